"""Looks at a small world: which roots count, when they come, and at how many machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sim import looks
from sim.world import World
from tests.sim.worlds import small


@pytest.fixture
def living() -> Iterator[World]:
    world = World(small())
    try:
        world.start()
        yield world
        assert world.result.violation is None, world.result.violation
    finally:
        world.close()


def test_roots_are_of_those_that_run_and_have_nothing_to_absorb(living: World) -> None:
    with living._alone():
        assert not living.looks.roots()
        assert not living.looks.equal()
    living.run_for(60)
    with living._alone():
        first = living.looks.roots()
        assert first.keys() == {"a", "b", "c"}
        assert len(set(first.values())) == 1
        assert living.looks.equal()
        living.machines["b"].write(["UPDATE t SET b = 9"])
        assert not living.looks.equal()
        living.machines["c"].stop()
        assert living.looks.roots() == {"a": first["a"]}
        living.machines["b"].store.absorb()
        assert not living.looks.equal()


def test_looks_come_at_even_intervals_until_they_pause(living: World) -> None:
    living.run_for(10.5)
    assert [sample.at for sample in living.result.samples] == [float(n) for n in range(1, 11)]
    living.looks.pause()
    living.run_for(10)
    assert len(living.result.samples) == 10
    living.looks.begin()
    living.run_for(3.25)
    assert [sample.at for sample in living.result.samples[10:]] == [21.5, 22.5, 23.5]


def test_nothing_is_sampled_that_no_report_wants() -> None:
    assert not World(replace(small(), duration_s=10.0), keep=False).run().samples


def test_of_many_only_some_are_compared_and_at_the_end_all_are_judged(
    living: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "LOOKED_AT", 2)
    monkeypatch.setattr(looks, "JUDGED", 1)
    compared: list[int] = []
    judged: list[tuple[int, int]] = []
    monkeypatch.setattr(living.oracle, "equal_check", lambda machines: compared.append(len(machines)))
    monkeypatch.setattr(living.oracle, "final", lambda every, some: judged.append((len(every), len(some))))
    living.run_for(89)
    living.finish()
    assert compared == [2, 2]
    assert judged == [(3, 1)]

"""Whole worlds: the same again, stopped by what breaks a promise, and nothing left of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.keys import Handshake
from replica.errors import StoreError
from sim.draw import draw
from sim.scenario import Event, Place
from sim.world import World, _end
from tests.sim.worlds import run, small

OTHER_PROCESS = """
from sim.scenario import Scenario
from sim.world import World
import sys
print(World(Scenario.load(sys.argv[1])).run().digest)
"""


FAULTS = (
    Event(10, "partition", "", {"groups": [["a"], ["b", "c"]], "for_s": 30}),
    Event(12, "crash", "b", {"how": "power", "what": "await", "at_step": 9, "for_s": 20}),
    Event(15, "clone", "c", {"to": "d"}),
)


def test_the_same_scenario_gives_the_same_trace_also_in_another_process(tmp_path: Path) -> None:
    scenario = small(*FAULTS)
    first, second = run(scenario), run(scenario)
    assert first.ok, first.verdict
    assert first.digest == second.digest
    assert first.lines == second.lines
    assert run(replace(scenario, seed=2)).digest != first.digest
    (tmp_path / "s.toml").write_text(scenario.to_toml(), encoding="utf-8")
    for hash_seed in ("0", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "s.toml")]
        done = subprocess.run(
            command, env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == first.digest


def test_a_drawn_world_too_gives_the_same_trace() -> None:
    scenario = draw(11, nodes=4, duration_s=120)
    assert run(scenario).digest == run(scenario).digest


@pytest.mark.parametrize("roots", ["rr", "rs"])
def test_both_sides_of_a_session_in_sync_have_one_root(roots: str) -> None:
    one, two = (root.encode() for root in roots)
    world = World(small())
    try:
        first, second = Handshake(b"1", b"2", 1, 1), Handshake(b"3", b"4", 1, 1)
        world.agreed("a", first, one)
        world.agreed("c", second, two)
        assert world.result.violation is None
        world.agreed("b", first, two)
        broken = world.result.violation
    finally:
        world.close()
    assert (broken.invariant if broken else "") == ("" if one == two else "I5")


def test_what_a_dead_process_was_doing_is_closed_and_its_last_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    waits = list[int]()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for n in range(3):
                waits.append(n)
                with contextlib.suppress(GeneratorExit):
                    await asyncio.sleep(0)
            raise OSError("no more disk")

    coroutine = stubborn()
    coroutine.send(None)
    _end(coroutine)
    assert waits == [0, 1, 2]
    assert [record.message for record in caplog.records if "no more disk" in record.message]
    with pytest.raises(RuntimeError, match="already"):
        coroutine.send(None)


def test_what_is_kept_for_a_report_does_not_change_the_trace() -> None:
    assert World(small(*FAULTS), keep=False).run().digest == World(small(*FAULTS), keep=True).run().digest


def test_a_broken_promise_stops_the_world_at_that_moment() -> None:
    world = World(small())
    world.loop.call_at(33.25, world.fail, "I5", "b", "a digest is wrong")
    result = world.run()
    assert result.violation is not None
    assert (result.violation.invariant, result.violation.node, result.violation.at) == ("I5", "b", 33.25)
    assert result.ended_at == 33.25
    assert not result.ok
    assert result.lines[-1].kind == "VIOLATION"


def test_the_first_broken_promise_is_the_one_that_is_told() -> None:
    world = World(small())
    world.loop.call_at(20, world.fail, "I5", "b", "first")
    world.loop.call_at(20, world.fail, "I3", "a", "second")
    result = world.run()
    assert result.violation is not None
    assert result.violation.text in {"first", "second"}
    assert sum(line.kind == "VIOLATION" for line in result.lines) == 1


def test_nodes_that_cannot_become_equal_break_the_promise_of_progress() -> None:
    lonely = replace(small(), places=(Place("a", (), 5.0), Place("b", (), 5.0), Place("c", (), 5.0)))
    result = run(lonely)
    assert result.violation is not None
    assert result.violation.invariant == "I9"
    assert result.equal_at is None


def descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return {name for name in found if "replica-sim" in name}


@pytest.mark.parametrize("end", ["well", "violation", "early", "error"])
def test_nothing_is_left_however_a_world_ends(end: str, caplog: pytest.LogCaptureFixture) -> None:
    threads = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world = World(small(*FAULTS))
        folder = world.folder
        if end == "violation":
            world.loop.call_at(27, world.fail, "I1", "", "enough")
            world.run()
        elif end == "early":
            world.start()
            world.run_for(25)
            assert descriptors()
            world.close()
        elif end == "error":
            world.scenario = replace(world.scenario, schema="CREATE NONSENSE")
            with pytest.raises(Exception, match="syntax"):
                world.run()
        else:
            assert world.run().ok
        assert not folder.exists()
        assert not descriptors()
        assert world.loop.is_closed()
        del world
        gc.collect()
    assert threading.active_count() == threads
    assert asyncio.events._get_running_loop() is None
    assert not [r for r in caplog.records if r.name == "asyncio"]


def test_a_failure_of_the_world_itself_is_told_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: World) -> None:
        raise StoreError("a file that nobody can read")

    monkeypatch.setattr(World, "heal", fail)
    result = run(small())
    assert result.violation is not None
    assert result.violation.invariant == "simulator"
    assert "nobody can read" in result.violation.text

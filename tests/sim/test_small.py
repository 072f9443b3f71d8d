"""Worlds of small sizes keep the promises of the header."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace

import pytest

from sim.describe import describe
from sim.draw import draw
from sim.scenario import Event, Place, Scenario
from sim.small import NODE, SETTINGS, SHARE, SMALL, USUAL, sized
from sim.world import World

SCHEMA = "CREATE TABLE account(id TEXT PRIMARY KEY, name TEXT); INSERT INTO account VALUES ('a1', 'x');"


def settings() -> dict[str, int]:
    return {
        name: getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in SETTINGS
    }


def test_which_worlds_are_so_is_drawn_apart_from_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [draw(seed) for seed in range(120)]
    for count in (Counter(w.sizes for w in now)[SMALL], Counter(w.through for w in now)[NODE]):
        assert 0.6 * SHARE < count / len(now) < 1.5 * SHARE
    assert len({(w.sizes, w.through) for w in now}) == 4
    monkeypatch.setattr("sim.draw.drawn", lambda world: world)
    for world in now:
        before = draw(world.seed)
        more = set(map(str, world.events)) - set(map(str, before.events))
        assert bool(more) == (world.sizes == SMALL)
        kept = tuple(event for event in world.events if str(event) not in more)
        assert replace(world, events=kept, sizes=USUAL, through="file") == before


def test_sizes_are_small_in_such_a_world_and_as_before_after_it() -> None:
    usual, world = settings(), Scenario(1, (Place("n0"),))
    with sized(world):
        assert settings() == usual
    with pytest.raises(KeyError), sized(replace(world, sizes=SMALL)):
        small = settings()
        assert all(small[name] in SETTINGS[name] and small[name] < usual[name] for name in SETTINGS)
        raise KeyError
    assert settings() == usual


def test_rows_wait_and_sketches_are_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    young = importlib.import_module("replica.store.young")
    sketched = importlib.import_module("replica.store.sketched")
    met: Counter[str] = Counter()
    keep, part = young.keep, sketched.Sketched.part

    def kept(*given: object) -> None:
        met["rows wait"] += 1
        keep(*given)

    def made(self: object) -> bool:
        more: bool = part(self)
        met["a part of a sketch"] += more
        return more

    monkeypatch.setattr(young, "keep", kept)
    monkeypatch.setattr(sketched.Sketched, "part", made)
    world = next(w for w in map(draw, range(100)) if w.sizes == SMALL)
    assert World(replace(world, sizes=USUAL), keep=False).run().ok
    assert not met
    assert World(world, keep=False).run().ok
    assert met["rows wait"] > 2
    assert met["a part of a sketch"] > 2


def test_the_description_and_the_file_say_so() -> None:
    world = Scenario(1, (Place("n0"),), (Event(1, "backup", "n0"),), schema=SCHEMA, sizes=SMALL, through=NODE)
    assert "; sizes small; statements through the node" in describe(world)
    assert Scenario.from_toml(world.to_toml()) == world

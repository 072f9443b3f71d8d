"""One machine of a small world: it dies at every step, and people work on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sim.scenario import Event, Place, Scenario
from sim.world import World

SCHEMA = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b); INSERT INTO t VALUES ('k0', 1, 2);"


def write(at: float, node: str, key: str) -> Event:
    return Event(at, "write", node, {"sql": [f"INSERT INTO t VALUES ('{key}', 0, 0)"], "rows": [["t", [key]]]})


def put(at: float, node: str) -> Event:
    return Event(at, "put", node, {"table": "t", "json": '[{"id": "p", "a": 1}]', "rows": [["t", ["p"]]]})


def scenario(*events: Event) -> Scenario:
    places = (Place("a", ("b",), 10.0), Place("b", (), 10.0))
    return Scenario(5, places, tuple(sorted(events, key=lambda e: e.at)), 40.0, SCHEMA)


@contextmanager
def living(*events: Event) -> Iterator[World]:
    world = World(scenario(*events))
    try:
        world.start()
        yield world
    finally:
        world.close()


STEPS = [("await", n) for n in (1, 2, 3, 5, 8, 13, 21, 34)] + [("sql", n) for n in (1, 2, 4, 7, 12, 20, 33)]


@pytest.mark.parametrize("how", ["kill", "power"])
@pytest.mark.parametrize(("what", "at_step"), [*STEPS, ("commit", 1), ("commit", 2)])
def test_a_node_that_dies_at_any_step_starts_again_on_what_its_disk_kept(how: str, what: str, at_step: int) -> None:
    crash = Event(4, "crash", "a", {"how": how, "what": what, "at_step": at_step, "for_s": 3})
    result = World(scenario(write(3, "a", "k1"), crash, write(5, "a", "k2"), write(5, "b", "k3"))).run()
    assert result.ok, result.verdict
    downs = [line for line in result.lines if line.kind == "down"]
    ups = [line for line in result.lines if line.kind == "up" and line.node == "a"]
    assert len(downs) == 1
    assert len(ups) == 2 or (len(ups) == 1 and downs[0].at < ups[0].at)


def test_people_write_whether_the_node_runs_or_not() -> None:
    off = Event(4, "off", "b", {"for_s": 10})
    with living(write(3, "a", "k1"), off, write(6, "b", "k2"), write(20, "b", "k3"), put(21, "b")) as world:
        machine = world.machines["a"]
        world.run_for(2)
        machine.stop()
        world.run_for(3)
        assert not machine.ready
        assert len(machine.contents(["t"])) > 0
        assert any("'k1'" in line for line in machine.contents(["t"]))
        machine.boot()
        world.run_for(30)
        assert [(w.node, w.kind, w.ok) for w in world.result.work] == [
            ("a", "write", True), ("b", "write", False), ("b", "write", True), ("b", "put", True)
        ]  # fmt: skip
        text = str(world.machines["b"].contents(["t"]))
        assert "'k2'" not in text
        assert all(f"'{key}'" in text for key in ("k0", "k1", "k3", "p"))
        assert world.result.violation is None


def test_a_put_needs_the_node() -> None:
    with living(put(5, "b")) as world:
        world.run_for(3)
        world.machines["b"].stop()
        world.run_for(3)
        assert [(w.kind, w.ok) for w in world.result.work] == [("put", False)]


def test_a_write_that_sqlite_refuses_is_refused_and_changes_nothing() -> None:
    bad = Event(3, "write", "a", {"sql": ["UPDATE t SET a = 9", "INSERT INTO t VALUES ('k0', 0, 0)"], "rows": []})
    with living(bad) as world:
        world.run_for(2)
        before = world.machines["a"].contents(["t"])
        world.run_for(3)
        assert world.machines["a"].contents(["t"]) == before
        assert not world.result.work[0].ok


def test_what_a_user_sees_comes_back_with_the_write() -> None:
    with living() as world:
        world.run_for(2)
        seen = world.machines["a"].write(["UPDATE t SET a = 7"], [("t", ("k0",)), ("t", ("k9",))])
        assert seen == [("t", ("k0",), {"id": "k0", "a": 7, "b": 2}), ("t", ("k9",), None)]
        assert not world.machines["a"].verify()


def test_what_a_hostile_node_had_open_is_closed_with_its_process() -> None:
    attack = Event(5, "hostile", "a", {"how": "knock", "for_s": 10.0})
    with living(attack) as world:
        world.run_for(8)
        liar = world.machines["a"]._liar
        assert liar is not None
        world.run_for(12)
        assert world.result.violation is None
        assert world.machines["a"]._liar is None
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            liar.root()

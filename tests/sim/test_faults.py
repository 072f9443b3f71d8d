"""Every fault does what it is called, and is over when it ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from protocol.hlc import COUNTER_MAX
from sim.faults import KINDS
from sim.scenario import EVERYWHERE, PARAMETERS, WORKLOAD, Event, Place, Scenario
from sim.world import World

SCHEMA = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b); INSERT INTO t VALUES ('k0', 1, 2);"
AB = [["a", "b"]]


@pytest.fixture
def living() -> Iterator[World]:
    world = World(
        Scenario(5, (Place("a", ("b",), 10.0), Place("b", ("a",), 10.0), Place("c", ("a",), 10.0)), (), 600.0, SCHEMA)
    )
    world.by_hand = True
    try:
        world.start()
        world.run_for(15)
        yield world
        assert world.result.violation is None, world.result.violation
    finally:
        world.close()


def strike(world: World, kind: str, node: str = "", **with_: Any) -> None:
    assert set(with_) == PARAMETERS[kind]
    with world._alone():
        world.strike(Event(world.loop.time(), kind, node, with_))


def insert(world: World, key: str, node: str = "b") -> None:
    world.machines[node].write([f"INSERT INTO t VALUES ('{key}', 0, 0)"])


def test_every_kind_has_its_fault() -> None:
    assert set(KINDS) == set(PARAMETERS) - WORKLOAD
    assert set(KINDS) > EVERYWHERE


def test_a_partition_keeps_groups_apart_and_leaves_the_rest_together(living: World) -> None:
    strike(living, "partition", groups=[["a"]], for_s=30)
    blocked = {(x, y) for x in "abc" for y in "abc" if x != y and living.network.blocked(x, y)}
    assert blocked == {("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")}
    living.run_for(31)
    assert not living.network.blocked("a", "b")


def test_a_block_is_one_way(living: World) -> None:
    strike(living, "block", links=AB, for_s=30)
    assert living.network.blocked("a", "b")
    assert not living.network.blocked("b", "a")
    living.run_for(31)
    assert not living.network.blocked("a", "b")


def test_links_are_slow_spoiled_and_cut_for_a_while(living: World) -> None:
    link = living.network.link("a", "b")
    strike(living, "slow", links=AB, for_s=30, bytes_per_s=100, latency_s=2)
    strike(living, "frames", links=AB, for_s=30, how="flip", share=0.5)
    strike(living, "cut", links=AB)
    assert (link.bytes_per_s, link.latency_s, link.how, link.share) == (100, 2, "flip", 0.5)
    assert link.cut_after
    living.run_for(31)
    assert (link.bytes_per_s, link.latency_s, link.how) == (float("inf"), 0.02, None)


def test_marks_of_the_network_end(living: World) -> None:
    strike(living, "deaf", "b", for_s=30)
    strike(living, "version", "c", for_s=30)
    assert (living.network.deaf, living.network.other_version) == ({"b"}, {"c"})
    living.run_for(31)
    assert (living.network.deaf, living.network.other_version) == (set(), set())


def test_a_node_of_another_version_is_told_to_update_until_it_is_over(living: World) -> None:
    strike(living, "version", "c", for_s=30)
    insert(living, "k1", "c")
    living.run_for(29)
    assert living.result.reach["version"]["told"]
    assert [line for line in living.trace.lines if (line.node, line.kind) == ("c", "sync") and "a: 426 " in line.text]
    assert not any("'k1'" in line for line in living.machines["a"].contents(["t"]))
    living.run_for(31)
    assert any("'k1'" in line for line in living.machines["a"].contents(["t"]))


def test_clocks_jump_drift_and_stand_still(living: World) -> None:
    clock = living.machines["b"].clock
    strike(living, "step", "b", ms=5_000)
    assert clock.now_ms() - clock.true_ms() == 5_000
    strike(living, "drift", "b", ppm=200)
    living.run_for(100)
    assert clock.now_ms() - clock.true_ms() == 5_020
    strike(living, "freeze", "b", for_s=50)
    shown = clock.now_ms()
    living.run_for(49)
    assert clock.now_ms() == shown
    living.run_for(2)
    assert clock.now_ms() > shown + 50_000


def test_a_full_counter_carries_into_the_next_millisecond(living: World) -> None:
    strike(living, "counter", "b")
    with living.machines["b"].offline() as store:
        assert int.from_bytes(store._core.meta("clock")[:8], "big") & COUNTER_MAX == COUNTER_MAX
    insert(living, "k1")
    living.run_for(30)
    assert any("'k1'" in line for line in living.machines["a"].contents(["t"]))


def test_who_sleeps_goes_on_and_who_is_off_starts_anew(living: World) -> None:
    for kind in ("suspend", "off"):
        machine = living.machines["b"]
        before = machine.process
        strike(living, kind, "b", for_s=30)
        assert (machine.on, machine.ready) == (False, kind == "suspend")
        living.run_for(31)
        assert (machine.on, machine.ready) == (True, True)
        assert (machine.process is before) == (kind == "suspend")


def test_a_crash_now_or_at_a_step(living: World) -> None:
    machine = living.machines["b"]
    strike(living, "crash", "b", how="kill", what="await", at_step=0, for_s=5)
    assert living.result.bands[-1].kind == "down"
    living.run_for(6)
    assert machine.ready
    strike(living, "crash", "b", how="power", what="sql", at_step=3, for_s=5)
    living.run_for(30)
    assert machine.ready
    downs = [line.text for line in living.trace.lines if line.kind == "down"]
    assert downs[1].startswith("its power was cut in the middle of a")


def test_of_two_crashes_to_come_the_one_that_came_is_told_as_it_was(living: World) -> None:
    strike(living, "crash", "b", how="kill", what="await", at_step=3, for_s=5)
    strike(living, "crash", "b", how="kill", what="sql", at_step=10**6, for_s=5)
    living.run_for(30)
    (waits,) = [band.text for band in living.result.bands if band.kind == "crash"]
    assert "statement" in waits
    assert [band.kind for band in living.result.bands].count("down") == 1


def test_a_full_disk_takes_nothing_and_one_with_errors_says_so(living: World) -> None:
    strike(living, "full", "b", for_s=20)
    with pytest.raises(sqlite3.Error, match="full"):
        insert(living, "k1")
    living.run_for(21)
    strike(living, "ioerror", "b", at_step=1, for_s=20, late=False)
    with pytest.raises(sqlite3.Error, match="I/O"):
        insert(living, "k1")
    living.run_for(30)
    insert(living, "k1")
    assert living.shaky == {"b"}


@pytest.mark.parametrize("what", ["row", "digest", "trie", "page"])
def test_rot_is_found_and_the_copy_replaced(living: World, what: str) -> None:
    strike(living, "rot", "b", what=what)
    assert living.result.reach["rot"].keys() & {"found", "harmless"}
    living.run_for(60)
    assert not living.machines["b"].verify()
    assert any("'k0'" in line for line in living.machines["b"].contents(["t"]))


def test_rot_where_nobody_replicates_is_no_fault_of_the_engine() -> None:
    numbers = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 3000)"
    rows, schema = f"{numbers} INSERT INTO log SELECT 'said ' || n FROM r", f"{SCHEMA} CREATE TABLE log(said);"
    world = World(Scenario(5, (Place("a", ("b",), 10.0), Place("b", ("a",), 10.0)), (), 600.0, schema))
    world.by_hand = True
    try:
        world.start()
        world.run_for(15)
        for _ in range(6):
            world.machines["b"].write(["CREATE TABLE IF NOT EXISTS log(said)", rows])  # A fresh copy has none.
            strike(world, "rot", "b", what="page")
            world.run_for(20)
        assert world.result.violation is None, world.result.violation
        assert world.result.reach["rot"]["harmless"]
    finally:
        world.close()


def test_copies_are_cloned_and_restored(living: World) -> None:
    strike(living, "restore", "b")
    assert living.trace.lines[-1].text == "there is no backup"
    strike(living, "backup", "b")
    insert(living, "k1")
    strike(living, "clone", "b", to="d")
    assert any("'k1'" in line for line in living.machines["d"].contents(["t"]))
    strike(living, "restore", "b")
    assert not any("'k1'" in line for line in living.machines["b"].contents(["t"]))
    living.run_for(60)
    assert any("'k1'" in line for line in living.machines["b"].contents(["t"]))


def test_a_definition_changes_or_is_refused(living: World) -> None:
    strike(living, "schema", "b", sql=["ALTER TABLE t ADD COLUMN d"])
    strike(living, "schema", "b", sql=["ALTER TABLE none ADD COLUMN d"])
    assert living.trace.lines[-1].text.startswith("refused: no such table")
    living.run_for(60)
    assert any(row[-1] == "None" for row in living.machines["a"].contents(["t"]))


def test_a_hostile_machine_attacks_and_then_is_a_node_again(living: World) -> None:
    machine = living.machines["c"]
    strike(living, "hostile", "c", how="garbage", for_s=30)
    assert machine.how_hostile == "garbage"
    living.run_for(29)
    assert living.result.reach["hostile"]["garbage"]
    living.run_for(10)
    assert machine.ready
    assert not machine.how_hostile


def test_a_fault_of_a_machine_that_is_not_there_is_noted(living: World) -> None:
    strike(living, "backup", "z")
    assert living.trace.lines[-1].text == "there is no such node"

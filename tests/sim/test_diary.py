"""What a user was told is written is waited for as the header of the module promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.bugs import planted
from tests.sim.test_oracle import NUMBERED, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for machine in made.machines:
        machine.close()


def test_a_lost_write(world: World) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.store.absorb()
    a.write("UPDATE t SET a = 2", "1")
    a.sql("DELETE FROM _replica_outbox")
    a.write("INSERT INTO t VALUES ('2', 1, 1)", "2")
    a.store.absorb()
    assert "I2" in world.broken


def test_a_lost_delete(world: World) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.store.absorb()
    a.write("DELETE FROM t", "1")
    a.sql("DELETE FROM _replica_outbox")
    a.write("INSERT INTO t VALUES ('2', 1, 1)", "2")
    a.store.absorb()
    assert "I2" in world.broken


def test_what_is_not_waited_for(world: World) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES (CAST(x'ff' AS TEXT), 1, 1)")
    world.oracle.user_wrote("a", [("t", (None,), {"id": None, "a": 1}), ("nowhere", (1,), {"id": 1})])
    assert world.oracle.pending("a") == []
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    assert world.oracle.pending("a") == ["t ['1']"]
    a.store.absorb()
    a.write("UPDATE t SET a = 1", "1")
    assert world.oracle.pending("a") == []


def test_a_write_replaces_what_was_noted(world: World) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.write("INSERT INTO t VALUES ('2', 1, 1)", "2")
    a.write("UPDATE t SET a = 5", "2")  # Nobody looked at the other row.
    a.store.absorb()
    assert world.said == []
    assert world.oracle.pending("a") == []


def test_a_column_that_is_dropped_is_not_waited_for(world: World) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.sql("ALTER TABLE t DROP COLUMN b")
    a.store.absorb()
    assert world.said == []


@pytest.mark.parametrize(("bug", "broken"), [("", set()), ("numbers-reused", {"I2"})])
def test_a_number_that_is_used_again(tmp_path: Path, bug: str, broken: set[str]) -> None:
    world = World(tmp_path, NUMBERED, "a")
    (a,) = world.machines
    a.write("INSERT INTO t VALUES (1, 1, 1)", 1)
    a.store.absorb()
    a.write("DELETE FROM t", 1)
    a.write("INSERT INTO t VALUES (1, 2, 1)", 1)
    with planted(bug):
        a.store.absorb()
    assert world.oracle.pending("a") == []
    assert world.broken == broken
    a.close()


@pytest.mark.parametrize("count", [0, 1])
def test_a_row_that_a_write_under_way_has_changed(world: World, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replica.store.young.BATCH_MIN", 1)
    a = world.machines[0]
    a.store.put_many("t", [("1", 1, 1)])
    world.oracle.user_wrote("a", [("t", ("1",), a.sees("1"))])
    assert world.oracle.pending("a") == ["t ['1']"]
    world.oracle.user_asks("a", count)
    a.store.put_many("t", [("1", 2, 2)])
    assert world.broken == (set() if count else {"I2"})
    assert world.oracle.pending("a") == []


@pytest.mark.parametrize("told", [True, False])
def test_a_row_that_somebody_was_writing_when_the_machine_died(world: World, told: bool) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.sql("UPDATE t SET a = 2")
    if told:
        world.oracle.user_unsure("a", [("t", ("1",))])
    a.store.absorb()
    assert world.broken == (set() if told else {"I2"})

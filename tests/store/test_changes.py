"""Everything that comes into the user's tables, or goes, is told as a change, whoever did it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.record import unpack_id
from replica.store import changes, put
from replica.store.changes import Change
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]

Told = list[tuple[str, object, str, bool]]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE, w);"


def told(machine: Machine) -> Told:
    """What its listener hears from now on, but for the engine's own tables."""
    heard: Told = []
    machine.store.listen(
        lambda changes: heard.extend(
            (c.collection, unpack_id(c.id)[0][0], c.kind, c.remote) for c in changes if not c.collection.startswith("_")
        )
    )
    return heard


def rivals(machine: Make) -> tuple[Machine, Machine]:
    """Two machines; on both, b is held because of a."""
    one, other = machine("one", T), machine("other", T)
    one.sql("INSERT INTO t VALUES ('a', 1, 0)")
    one.store.absorb()
    other.clock.ms += 1_000
    other.sql("INSERT INTO t VALUES ('b', 1, 0)")
    heard = told(other)
    meet(one, other)
    assert set(one.held()) == set(other.held()) == {"b"}
    assert sorted(heard, key=str) == [
        ("t", "a", "insert", True),
        ("t", "b", "delete", True),
        ("t", "b", "insert", False),
    ]
    return one, other


def test_adopted_rows_are_inserts(machine: Make) -> None:
    m = machine("m", T + "INSERT INTO t VALUES ('a', 1, 0), ('b', 2, 0);", adopt=False)
    heard = told(m)
    m.store.adopt()
    assert sorted(heard) == [("t", "a", "insert", False), ("t", "b", "insert", False)]


def test_an_edit_that_lets_a_held_record_surface_is_an_insert_of_its_row(machine: Make) -> None:
    one, other = rivals(machine)
    mine, theirs = told(one), told(other)
    one.store.held_edit(one.store.held()[0]["ref"], {"w": 1})
    assert mine == [("t", "b", "update", False)]
    one.store.held_edit(one.store.held()[0]["ref"], {"v": 2})
    assert mine[1:] == [("t", "b", "insert", False)]
    meet(one, other)
    assert theirs == [("t", "b", "insert", True)]


def test_a_held_record_that_is_deleted_is_told(machine: Make) -> None:
    one, _ = rivals(machine)
    heard = told(one)
    one.store.held_delete(one.store.held()[0]["ref"])
    assert heard == [("t", "b", "delete", False)]


@pytest.mark.parametrize("how", ["DELETE FROM t WHERE k = 'a'", "UPDATE t SET v = 9 WHERE k = 'a'"])
def test_a_record_that_only_surfaces_is_an_insert_by_whoever_made_room(machine: Make, how: str) -> None:
    one, other = rivals(machine)
    mine, theirs = told(one), told(other)
    one.sql(how)
    one.store.absorb()
    kind = how.partition(" ")[0].lower()
    assert mine == [("t", "a", kind, False), ("t", "b", "insert", False)]
    meet(one, other)
    assert sorted(theirs) == [("t", "a", kind, True), ("t", "b", "insert", True)]


def test_rows_of_a_table_that_comes_from_a_peer_are_remote(machine: Make) -> None:
    one, other = machine("one", T), machine("other")
    one.store.put_many("t", [("a", 1, 0)])
    heard = told(other)
    rows = one.records("t")
    other.store.apply([r.delta() for r in rows], other.clock())
    other.store.apply([r.delta() for r in one.records() if r not in rows], other.clock())
    assert other.rows("SELECT k FROM t") == [("a",)]
    assert heard == [("t", "a", "insert", True)] * 2, "once as a record, once when its table came"


@pytest.mark.parametrize("fast", [True, False])
def test_of_very_many_changes_only_the_last_are_told_and_that_some_were_missed(
    machine: Make, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    monkeypatch.setattr(changes, "CHANGES_MAX", 50)
    m, heard = machine("m", T), list[Change]()
    m.store.listen(heard.extend)
    m.store.put_many("t", [(f"k{i}", i, 0) for i in range(50)])
    assert [change.kind for change in heard] == ["insert"] * 50
    heard.clear()
    if fast:
        m.store.put_many("t", [(f"n{i}", f"n{i}", 0) for i in range(500)])
    else:
        m.sql("UPDATE t SET w = 1", "INSERT INTO t VALUES ('last', -1, 0)")
        m.store.absorb()
    assert heard[0] is changes.MISSED
    assert len(heard) <= 50
    assert changes.MISSED not in heard[1:]
    heard.clear()
    m.store.put_many("t", [("after", -2, 0)])
    assert [change.kind for change in heard] == ["insert"]


def test_what_a_savepoint_takes_back_is_not_told_however_much_it_was(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "CHANGES_MAX", 50)
    m, heard = machine("m", T), list[Change]()
    m.store.listen(heard.extend)
    with m.store.transaction() as core:
        put.put_many(core, "t", [("a", 1, 0)])
        with core.savepoint(keep=False):
            put.put_many(core, "t", [(f"n{i}", f"n{i}", 0) for i in range(75)])
        put.put_many(core, "t", [("b", 2, 0)])
    assert [unpack_id(change.id)[0] for change in heard] == [("a",), ("b",)]

"""Copies held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.record import Record
from sim.compare import differing
from sim.truth import look
from tests.sim.test_oracle import NUMBERED, Judged, World
from tests.store.harness import all_meet, meet


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, names="ab")
    a, b = made.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.store.absorb()
    assert list(differing([a, b])) == []
    meet(a, b)
    assert list(differing([a, b])) == []
    yield made
    for machine in made.machines:
        machine.close()


def test_roots_and_contents(world: World) -> None:
    a, b = world.machines
    a.sql("UPDATE _replica_meta SET value = zeroblob(16) WHERE name = 'root'")
    assert list(differing([a, b])) == [("I5", "b", "b and a have equal contents, but other roots")]
    b.write("UPDATE t SET a = 2", "1")
    b.store.absorb()
    b.sql("UPDATE _replica_meta SET value = zeroblob(16) WHERE name = 'root'")
    assert list(differing([a, b])) == [("I5", "b", "b and a have equal roots, but other contents")]


def test_a_record_that_was_read_before_is_one_for_all_copies_and_a_damaged_one_is_still_found(world: World) -> None:
    a, b = world.machines
    known: dict[bytes, Record] = {}
    first, second = (look(m.store._core, known=known) for m in (a, b))
    rid = next(rid for rid in first.records if rid[0] == "t")
    assert second.records[rid] is first.records[rid] is known[first.digests[rid]]
    b.sql("INSERT INTO _replica_mute VALUES (1)", "UPDATE t SET a = 9", "DELETE FROM _replica_mute")
    found = look(b.store._core, known=known)
    assert list(found.odd) == [rid]
    assert rid not in found.records
    assert look(a.store._core, known=known).records[rid] is first.records[rid]


KEEP = "INSERT INTO _replica_extra SELECT key, pos, x'01' FROM _replica_record JOIN _replica_field USING (tbl)"
"""The value is kept aside: what the row shows is no matter of the record."""


def _show(machine: Judged, change: str) -> None:
    machine.sql("INSERT INTO _replica_mute VALUES (1)", f"UPDATE t SET {change}", "DELETE FROM _replica_mute")


def test_records_and_rows(world: World) -> None:
    a, b = world.machines
    for machine in (a, b):
        machine.sql(f"{KEEP} WHERE name IN ('a', 'b')", "UPDATE _replica_record SET flags = flags | 2")
    _show(b, "a = 9")
    assert list(differing([a, b])) == [("I1", "b", "equal records, but a and b show other rows of t")]


def test_rows_under_other_definitions(world: World) -> None:
    a, b = world.machines
    b.sql("CREATE INDEX i ON t(a)", "ALTER TABLE t ADD COLUMN c")
    b.store.absorb()
    meet(a, b)
    assert a.rows("SELECT c FROM t") == [(None,)]
    a.sql("ALTER TABLE t DROP COLUMN c")
    a.store.absorb()
    meet(a, b)
    assert list(differing([a, b])) == []
    _show(b, "c = 9")
    assert list(differing([a, b])) == []
    for machine in (a, b):
        machine.sql(f"{KEEP} WHERE name IN ('a', 'b')", "UPDATE _replica_record SET flags = flags | 2")
    _show(b, "b = 9")
    assert list(differing([a, b])) == [("I1", "b", "equal records, but a and b show other rows of t")]


def test_rows_under_definitions_of_which_the_first_says_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    a, b, c = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    for machine, sql in ((b, "ALTER TABLE t ADD COLUMN c"), (c, "ALTER TABLE t ADD COLUMN c TEXT")):
        machine.sql(sql)
    all_meet(world.machines)
    assert a.rows("SELECT c FROM t") == [(None,)]
    a.sql("ALTER TABLE t DROP COLUMN c")
    all_meet(world.machines)
    assert list(differing(world.machines)) == []
    for machine in world.machines:
        machine.sql(f"{KEEP} WHERE name IN ('a', 'b', 'c')", "UPDATE _replica_record SET flags = flags | 2")
    _show(c, "c = 9")
    assert list(differing(world.machines)) == [("I1", "c", "equal records, but b and c show other rows of t")]
    for machine in world.machines:
        machine.close()


def test_one_number_may_stand_for_two_records_under_other_definitions(tmp_path: Path) -> None:
    world = World(tmp_path, NUMBERED, "ab")
    a, b = world.machines
    a.write("INSERT INTO t VALUES (1, 1, 1)", 1)
    meet(a, b)
    b.sql("CREATE INDEX i ON t(a)")
    for machine in (a, b):
        machine.store.absorb()
        machine.sql(f"{KEEP} WHERE name IN ('a', 'b')", "UPDATE _replica_record SET flags = flags | 2")
    _show(b, "b = 9")
    assert list(differing([a, b])) == []
    b.sql("DROP INDEX i")
    b.store.absorb()
    assert list(differing([a, b])) == [("I1", "b", "equal records, but a and b show other rows of t")]
    for machine in world.machines:
        machine.close()


KEYS = """
CREATE TABLE c(y INT NOT NULL, x REAL NOT NULL, a, PRIMARY KEY(x, y));
CREATE TABLE empty(k TEXT PRIMARY KEY, v);
"""


def test_rows_are_matched_by_all_of_their_key_whatever_the_order_of_columns_and_the_kind_of_number(tmp_path: Path) -> None:
    a = Judged(tmp_path / "a.db", schema=KEYS)
    b = Judged(tmp_path / "b.db", schema=KEYS.replace("y INT NOT NULL, x REAL NOT NULL", "x NOT NULL, y INT NOT NULL"))
    a.sql("INSERT INTO c VALUES (1, 1, 'one'), (2, 1, 'two'), (1, 2, 'three')")
    all_meet([a, b])
    assert a.rows("SELECT x, y, a FROM c ORDER BY x, y") == b.rows("SELECT x, y, a FROM c ORDER BY x, y")
    assert [type(x) for (x,) in a.rows("SELECT x FROM c LIMIT 1")] == [float]
    assert [type(x) for (x,) in b.rows("SELECT x FROM c LIMIT 1")] == [int]
    assert list(differing([a, b])) == []
    for machine in (a, b):
        machine.sql(f"{KEEP} WHERE name = 'a'", "UPDATE _replica_record SET flags = flags | 2")
    b.sql("INSERT INTO _replica_mute VALUES (1)", "UPDATE c SET a = 9 WHERE y = 2", "DELETE FROM _replica_mute")
    assert list(differing([a, b])) == [("I1", "b", "equal records, but a and b show other rows of c")]
    for machine in (a, b):
        machine.close()

"""Copies held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.record import Record
from sim.compare import differing
from sim.truth import look
from tests.sim.test_oracle import World
from tests.store.harness import meet


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


def test_records_and_rows(world: World) -> None:
    a, b = world.machines
    keep = "INSERT INTO _replica_extra SELECT key, pos, x'01' FROM _replica_record JOIN _replica_field USING (tbl)"
    for machine in (a, b):
        machine.sql(f"{keep} WHERE name IN ('a', 'b')", "UPDATE _replica_record SET flags = flags | 2")
    b.sql("INSERT INTO _replica_mute VALUES (1)", "UPDATE t SET a = 9", "DELETE FROM _replica_mute")
    assert list(differing([a, b])) == [("I1", "b", "equal records, but a and b show other rows of t")]
    b.sql("CREATE INDEX i ON t(a)")
    b.store.absorb()
    assert list(differing([a, b])) == []

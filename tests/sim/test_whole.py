"""A look at all of a file, which makes anew only what is new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from replica.store.core import Core
from sim.truth import Look, look, read
from sim.whole import Whole
from tests.store.harness import Machine, all_meet

SCHEMA = """
CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b DEFAULT 7);
CREATE TABLE n(id INTEGER PRIMARY KEY, a UNIQUE);
CREATE TABLE c(x TEXT NOT NULL, y INT NOT NULL, a REAL, PRIMARY KEY(x, y));
"""
STEPS = (
    "INSERT INTO t VALUES ('1', 1, 'x'), ('2', x'00', NULL), ('3', 2.5, 'ä')",
    "INSERT INTO n VALUES (1, 'one'), (2, 'two'); INSERT INTO c VALUES ('k', 1, 0.5), ('k', 2, NULL)",
    "UPDATE t SET a = 2 WHERE id = '1'; DELETE FROM t WHERE id = '2'",
    "DELETE FROM n WHERE id = 1; INSERT INTO n VALUES (1, 'one again')",
    "UPDATE n SET a = CAST(x'ff' AS TEXT) WHERE id = 2",
    "ALTER TABLE t ADD COLUMN d DEFAULT 'new'",
    "UPDATE t SET d = 9 WHERE id = '3'; ALTER TABLE t DROP COLUMN b",
    "DROP TABLE c",
)
DAMAGE = (
    "UPDATE t SET a = 1.0 WHERE id = '1'",
    "UPDATE t SET a = CAST('two' AS BLOB) WHERE id = '3'",
    "DELETE FROM t WHERE id = '1'",
    "UPDATE _replica_record SET digest = zeroblob(16) WHERE tbl = (SELECT tbl FROM _replica_table WHERE local = 't')",
    "UPDATE _replica_record SET born = floor WHERE born > floor",
    "UPDATE _replica_extra SET value = x'05'",
    "DELETE FROM _replica_extra",
    "UPDATE _replica_field SET name = CASE name WHEN 'a' THEN 'b' ELSE 'a' END "
    "WHERE tbl = (SELECT tbl FROM _replica_table WHERE local = 't')",
)


@pytest.fixture
def read_keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records were made anew, by look."""
    found: list[int] = []

    def counting(core: Core, keys: Sequence[bytes], known: dict[bytes, object]) -> Look:
        found.append(len(keys))
        return read(core, keys, known)  # type: ignore[arg-type]

    monkeypatch.setattr("sim.whole.read", counting)
    return found


def same(whole: Whole, *machines: Machine) -> None:
    for machine in machines:
        core = machine.store._core
        with core.reading():
            assert whole.look(core, {}) == look(core)


def test_a_look_at_all_is_what_look_says(tmp_path: Path) -> None:
    whole = Whole()
    a, b = (Machine(tmp_path / f"{n}.db", schema=SCHEMA) for n in "ab")
    for step in STEPS:
        a.db.executescript(step)
        if "'one')" in step:
            b.sql("INSERT INTO n VALUES (9, 'one')")  # Only one of the two can be shown.
        same(whole, a)
        a.store.absorb()
        same(whole, a)
        all_meet([a, b])
        same(whole, a, b)
    a.close()
    b.close()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    whole, a = Whole(), Machine(tmp_path / "a.db", schema=SCHEMA)
    a.sql(STEPS[0])
    a.sql("DELETE FROM t WHERE id = '2'")
    a.store.absorb()
    a.sql("UPDATE t SET a = 2 WHERE id = '1'")
    a.store.absorb()
    same(whole, a)
    with a.store._core.reading():
        before = whole.look(a.store._core, {})
    assert not before.odd
    a.sql(damage)
    same(whole, a)
    with a.store._core.reading():
        assert whole.look(a.store._core, {}).odd
    a.close()


def test_what_stands_as_it_stood_is_not_made_anew(tmp_path: Path, read_keys: list[int]) -> None:
    whole = Whole()
    a, b = (Machine(tmp_path / f"{n}.db", schema=SCHEMA) for n in "ab")
    a.sql(STEPS[0])
    all_meet([a, b])
    known: dict[bytes, object] = {}
    for machine in (a, a, b):
        with machine.store._core.reading():
            whole.look(machine.store._core, known)  # type: ignore[arg-type]
    assert read_keys[0] > 3
    assert read_keys[1:] == [0, 0]
    a.sql("UPDATE t SET a = 5 WHERE id = '1'")
    a.store.absorb()
    with a.store._core.reading():
        whole.look(a.store._core, known)  # type: ignore[arg-type]
    assert read_keys[3:] == [1]
    a.close()
    b.close()

"""What waits in the young generation is read as it will be, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sim.truth import look
from sim.waiting import waiting
from tests.store.harness import Machine

ALIKE = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b)", [("1", 1, "x"), ("2", None, 2.5), ("3", b"", "y")]
NUMBERED = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)", [(5, 1, "x"), (7, None, -0.0), (-3, b"", "y")]
COMPOSITE = "CREATE TABLE t(x TEXT NOT NULL, y INT NOT NULL, a, PRIMARY KEY(x, y))", [("1", 1, "x"), ("1", 2, "x")]


def put(tmp_path: Path, schema: str, *batches: Sequence[tuple[object, ...]]) -> Machine:
    m = Machine(tmp_path / "m.db", schema=schema)
    for batch in batches:
        m.store.put_many("t", batch)
    return m


def said(m: Machine) -> list[object]:
    with m.store._core.reading():
        return [record.id for record in waiting(m.store._core)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replica.store.young.BATCH_MIN", 1)


@pytest.mark.parametrize(("schema", "rows"), [ALIKE, NUMBERED, COMPOSITE])
def test_a_row_that_waits_says_what_its_record_says(
    tmp_path: Path, schema: str, rows: list[tuple[object, ...]]
) -> None:
    m = put(tmp_path, schema, rows[:-1], rows[-1:])
    core = m.store._core
    with core.reading():
        found = {(record.collection, record.id): record for record in waiting(core)}
    m.store.absorb()
    with core.reading():
        known = look(core).records
    assert len(found) == len(rows)
    assert found == {rid: record for rid, record in known.items() if rid[0] == "t"}
    assert said(m) == []
    m.close()


def test_what_does_not_stand_there_any_more_says_nothing(tmp_path: Path) -> None:
    m = put(tmp_path, ALIKE[0], ALIKE[1], [("4", 4, 4)])
    assert len(said(m)) == 4
    m.sql("UPDATE t SET a = 9 WHERE id = '1'")
    m.sql("DELETE FROM t WHERE id = '2'")
    assert said(m) == [b"\x91\xa13", b"\x91\xa14"]
    m.sql("UPDATE t SET a = CAST(x'ff' AS TEXT) WHERE id = '3'")
    assert said(m) == [b"\x91\xa14"]
    m.sql("UPDATE t SET a = x'' WHERE id = '3'")
    assert said(m) == [b"\x91\xa13", b"\x91\xa14"]
    m.sql("UPDATE _replica_young SET body = body || x'00' WHERE seq = 1")
    assert said(m) == [b"\x91\xa14"]
    m.sql("UPDATE _replica_young SET body = 'x' WHERE seq = 1")
    assert said(m) == [b"\x91\xa14"]
    m.sql("DROP TABLE t")
    assert said(m) == []
    m.close()

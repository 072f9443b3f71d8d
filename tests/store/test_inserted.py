"""A load by another program is absorbed column by column; row by row comes to the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from protocol.prints import ITEM_BYTES
from replica.store import absorb, index, inserted
from replica.store.changes import Change
from replica.store.nursery import cut
from tests.store.harness import Machine, check_equal, meet, table_dump

Make = Callable[..., Machine]

TABLES = {
    "text": "CREATE TABLE t(k TEXT PRIMARY KEY, v, w INT)",
    "rowless": "CREATE TABLE t(k INT PRIMARY KEY, v, w INT) WITHOUT ROWID",
    "natural": "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w INT)",
    "number": "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w INT)",
    "nocase": "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v, w INT)",
    "typed": "CREATE TABLE t(w DATE, k REAL PRIMARY KEY NOT NULL, v) WITHOUT ROWID",
    "pair": "CREATE TABLE t(v, k, w, PRIMARY KEY(w, k))",
    "bare": "CREATE TABLE t(k TEXT PRIMARY KEY)",
    "defaults": "CREATE TABLE t(k PRIMARY KEY, v DEFAULT 'none', w INT DEFAULT 5)",
}


class Back(Exception):
    """Roll back."""


def outcome(m: Machine, rows_min: int) -> tuple[dict[str, list[tuple[Any, ...]]], list[Change], bytes]:
    """What absorption makes of what waits, if so few rows are a load; and then undoes it."""
    told: list[Change] = []
    core = m.core
    core.changes.listener = told.extend
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Back), core.transaction(index.flush):
        patched.setattr(inserted, "ROWS_MIN", rows_min)
        absorb.absorb_all(core)
        index.flush(core)
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '_replica_%'"
        found = table_dump(core.db, [name for (name,) in core.db.execute(sql)])
        found["_replica_history"] = sorted(
            (tuple(map(in_any_order, row)) for row in found["_replica_history"]), key=lambda row: row[2]
        )
        told = sorted(core.changes._noted, key=lambda change: change.id)
        root = index.root(core)[0]
        raise Back
    core.changes.listener = None
    return found, told, root


def in_any_order(cell: tuple[str, Any]) -> Any:
    """Items of the history."""
    return sorted(cut(cell[1], ITEM_BYTES)) if cell[0] == "bytes" and len(cell[1]) > ITEM_BYTES else cell


def both(m: Machine) -> None:
    fast, slow = outcome(m, 1), outcome(m, 1 << 30)
    assert fast[0].keys() == slow[0].keys()
    for table, rows in fast[0].items():
        assert rows == slow[0][table], table
    assert fast[1:] == slow[1:]


def taken(m: Machine, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What `take_inserted` says of each table when all is absorbed."""
    said: list[bool] = []

    def asked(*args: Any) -> bool:
        said.append(inserted.take_inserted(*args))
        return said[-1]

    monkeypatch.setattr(inserted, "ROWS_MIN", 1)
    monkeypatch.setattr(absorb, "take_inserted", asked)
    m.store.absorb()
    check_equal([m])
    return said


def made(machine: Make, name: str) -> Machine:
    """A machine with this table."""
    m = machine("m", TABLES[name], adopt=False)
    m.store.adopt(natural=["t"] if name == "natural" else [])
    return m


def load(m: Machine, rows: Sequence[Sequence[object]], or_: str = "") -> None:
    columns, marks = ("k, v, w", "?, ?, ?") if len(rows[0]) > 1 else ("k", "?")
    m.db.execute("BEGIN")
    m.db.executemany(f"INSERT {or_} INTO t({columns}) VALUES ({marks})", rows)
    m.db.execute("COMMIT")


@pytest.mark.parametrize("name", TABLES)
def test_a_load_is_taken_at_once_and_comes_to_the_same(machine: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    m = made(machine, name)
    for first in (0, 1_000):
        wide = (lambda n: (n,)) if name == "bare" else (lambda n: (n, f"v{n}" if n % 3 else None, n / 2))
        load(m, [wide(n) for n in Random(5).sample(range(first, first + 700), 600)])
        both(m)
        assert taken(m, monkeypatch) == [name != "bare"]
    assert m.value("SELECT count(*) FROM t") == 1_200


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("seed", range(12))
def test_whatever_else_waits_comes_to_the_same(machine: Make, monkeypatch: pytest.MonkeyPatch, name: str, seed: int) -> None:
    m, random = made(machine, name), Random(seed)
    strange = [b"\xff", 1 << 60, -1, 2.5, "", "é", None, "A", "a"]
    for _ in range(6):
        for _ in range(random.randrange(1, 5)):
            keys = random.sample(range(30), random.randrange(1, 20))
            kind = random.randrange(8)
            if kind < 4:
                rows = [(k, random.choice(strange), random.choice(strange)) for k in keys]
                load(m, [row[:1] if name == "bare" else row for row in rows], random.choice(["OR IGNORE", "OR REPLACE"]))
            elif kind == 4:
                m.sql("DELETE FROM t WHERE k IN (SELECT k FROM t ORDER BY k LIMIT 3)")
            elif kind == 5:
                m.sql(f"UPDATE OR IGNORE t SET k = k + {random.choice([1, 100])} WHERE k % 3 = 0")
            elif kind == 6:
                key = random.choice([3, None] if name in {"number", "natural"} else strange)
                m.sql("INSERT OR IGNORE INTO t(k) VALUES (?)", values=[key])
            elif name not in {"typed", "number", "natural", "rowless", "pair"}:
                m.sql("INSERT OR IGNORE INTO t(k) VALUES (CAST(x'ff41' AS TEXT))")
            m.clock.ms += random.choice([0, 1, 5_000])
        both(m)
        if random.randrange(3):
            m.store.absorb()
    m.store.absorb()
    assert m.store.verify() == []


def test_a_row_that_cannot_travel_leaves_the_others_to_be_looked_at(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine("m", TABLES["text"])
    load(m, [(f"k{n}", n, n) for n in range(40)])
    m.sql("INSERT INTO t VALUES ('large', zeroblob(70000000), 1)")
    both(m)
    assert taken(m, monkeypatch) == [False]
    assert m.value("SELECT count(*) FROM _replica_local") > 0


def test_a_row_that_is_gone_again_unheard_leaves_the_others_to_be_looked_at(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = machine("m", TABLES["text"])
    load(m, [(f"k{n}", n, n) for n in range(40)])
    m.sql("DELETE FROM t WHERE k = 'k7'", "DELETE FROM _replica_outbox WHERE op <> (SELECT op FROM _replica_outbox LIMIT 1)")
    both(m)
    assert taken(m, monkeypatch) == [False]
    assert len(m.records("t")) == 39


def test_loads_of_several_tables_are_taken_each(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine("m", TABLES["text"] + "; CREATE TABLE u(k INTEGER PRIMARY KEY, t REFERENCES t)")
    m.db.execute("BEGIN")
    for n in range(50):
        m.db.execute("INSERT INTO t VALUES (?, ?, ?)", (f"k{n}", n, n))
        m.db.execute("INSERT INTO u(t) VALUES (?)", (f"k{n}",))
    m.db.execute("COMMIT")
    both(m)
    assert taken(m, monkeypatch) == [True, True]


def test_a_row_under_the_key_of_a_held_record_leaves_the_others_to_be_looked_at(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE, w INT)"
    m, other = machine("m", schema), machine("other", schema)
    m.sql("INSERT INTO t VALUES ('mine', 'one', 1)")
    other.sql("INSERT INTO t VALUES ('theirs', 'one', 1)")
    meet(m, other)
    (held,) = m.held() or other.held()
    loser = m if m.held() else other
    load(loser, [(held, "two", 2), *((f"k{n}", f"v{n}", n) for n in range(40))])
    both(loser)
    assert taken(loser, monkeypatch) == [False]
    assert not loser.held()

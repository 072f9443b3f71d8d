"""Rivals: what the values say is what SQLite would do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.values import IllFormedText, Value
from replica.store import index
from replica.store.catalog import quote
from replica.store.rivals import Rivals
from replica.store.show import engine_writes
from tests.store.harness import Machine

Make = Callable[..., Machine]

SCHEMAS = {
    "unique columns": "CREATE TABLE t(k TEXT PRIMARY KEY, a TEXT UNIQUE, b INTEGER, UNIQUE(a, b))",
    "numbers": "CREATE TABLE t(k INTEGER PRIMARY KEY, a REAL UNIQUE, b NUMERIC UNIQUE)",
    "other collations": "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, a TEXT COLLATE RTRIM UNIQUE, b BLOB);"
    "CREATE UNIQUE INDEX i ON t(b COLLATE NOCASE)",
    "two key columns": "CREATE TABLE t(k TEXT, a TEXT, b TEXT UNIQUE, PRIMARY KEY(a, k)) WITHOUT ROWID",
}
TRIED = {
    "partial": "CREATE TABLE t(k TEXT PRIMARY KEY, a, b); CREATE UNIQUE INDEX i ON t(a) WHERE b > 0",
    "expression": "CREATE TABLE t(k TEXT PRIMARY KEY, a, b); CREATE UNIQUE INDEX i ON t(lower(a))",
    "default": "CREATE TABLE t(k TEXT PRIMARY KEY, a UNIQUE DEFAULT 'x', b)",
}
LARGE = [2.0**53, 2**53 + 1, str(2**53 + 1), 2**63 - 1]
CELL = st.sampled_from([None, 0, 1, 2, 1.0, 1.5, "1", "a", "A", "a ", "1.5", b"a", IllFormedText(b"a\xff"), *LARGE])
KEY = st.sampled_from([1, 2, "1", "a", "A", "b"])


def add(m: Machine, row: tuple[Value, ...]) -> None:
    marks = ", ".join("CAST(? AS TEXT)" if type(v) is IllFormedText else "?" for v in row)
    m.core.db.execute(f"INSERT OR IGNORE INTO t(k, a, b) VALUES ({marks})", row)


@pytest.mark.parametrize("schema", SCHEMAS)
@given(rows=st.lists(st.tuples(KEY, CELL, CELL), max_size=5), new=st.tuples(KEY, CELL, CELL))
def test_both_ways_find_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, schema: str, rows: list[tuple[Value, ...]], new: tuple[Value, ...]
) -> None:
    m = Machine(tmp_path_factory.mktemp("rivals") / "m.db", schema=SCHEMAS[schema])
    try:
        table = m.core.by_name["t"]
        with m.core.transaction(index.flush), engine_writes(m.core, [table]):
            if schema == "numbers":
                rows, new = [r for r in rows if type(r[0]) is int], (1, *new[1:])
            if schema == "two key columns":
                rows, new = [r for r in rows if type(r[1]) is str], (new[0], "a", new[2])
            for row in rows:
                add(m, row)
            named = dict(zip("kab", new, strict=True))
            assert table.shape is not None
            pk = [named.pop(c.name) for c in table.shape.key]
            columns = ", ".join(quote(n) for n in ([c.name for c in table.shape.key] + list(named)))
            marks = ", ".join("CAST(? AS TEXT)" if type(v) is IllFormedText else "?" for v in (*pk, *named.values()))
            replace = f"INSERT OR REPLACE INTO t({columns}) VALUES ({marks})", [*pk, *named.values()]
            with Rivals(m.core, table) as rivals:
                found = rivals._equal(pk, named)
                assert found is not None or type(named["a"]) is not float
                if found is not None:
                    assert sorted(map(repr, found)) == sorted(map(repr, rivals._replaced(*replace)))
    finally:
        m.close()


@pytest.mark.parametrize("schema", TRIED)
def test_what_the_values_do_not_say_is_tried(machine: Make, schema: str) -> None:
    m = machine("m", TRIED[schema])
    table = m.core.by_name["t"]
    with m.core.transaction(index.flush), engine_writes(m.core, [table]):
        add(m, ("1", "x", 1))
        named: dict[str, Value] = {"b": 2} if schema == "default" else {"a": "x" if schema == "partial" else "X", "b": 2}
        values = ["2", *named.values()]
        replace = f"INSERT OR REPLACE INTO t(k, {', '.join(named)}) VALUES ({', '.join('?' * len(values))})", values
        with Rivals(m.core, table) as rivals:
            assert rivals._equal(["2"], named) is None
            assert rivals.find(["2"], named, replace) == [("1",)]
            assert m.core.rows("SELECT k FROM t") == [("1",)]

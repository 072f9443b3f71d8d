"""Tables as people know them, and their SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from replica.store.catalog import shape
from sim.drafts import Table, insert_sql, literal, upsert_sql


def test_literals_are_what_they_say() -> None:
    values = [None, 1, -2.5, float("inf"), float("-inf"), "it's", "a\0b", b"\x00\xff", ""]
    with closing(sqlite3.connect(":memory:")) as db:
        assert [db.execute(f"SELECT {literal(v)}").fetchone()[0] for v in values] == values


def test_rows_tell_what_a_table_is_like() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE, b)")
        db.execute("INSERT INTO t VALUES (7, 'x', 1), (8, 'y', 9e999)")
        table = Table(db, shape(db, "t"))
        assert table.made_up
        assert table.unique == {"a"}
        assert table.keys == [(7,), (8,)]
        assert table.samples == {"id": [7, 8], "a": ["x", "y"], "b": [1]}
        assert table.find(db, (8,)) == {"id": 8, "a": "y", "b": None}
        assert table.find(db, (9,)) is None
        db.execute(insert_sql(table, {"id": 9, "a": "z"}))
        db.execute(upsert_sql(table, {"id": 9, "b": 3}))
        table.learn((9,), 0)
        assert table.find(db, (9,)) == {"id": 9, "a": "z", "b": 3}
        assert table.keys[0] == (9,)
        assert table.at((9,)) == '"id" = 9'

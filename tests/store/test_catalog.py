"""The shape of a table, which is read once for all files in which it is defined alike."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from replica.errors import TableRefused
from replica.store import catalog

STEPS = (
    "CREATE TABLE t(id TEXT PRIMARY KEY, a)",
    "CREATE UNIQUE INDEX i ON t(a)",
    "ALTER TABLE t ADD COLUMN b INT DEFAULT 7",
    "DROP INDEX i",
    "CREATE UNIQUE INDEX i ON t(a COLLATE NOCASE) WHERE b > 1",
    "ALTER TABLE t RENAME TO u; CREATE TABLE t(id INTEGER PRIMARY KEY, a, b INT)",
    "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT REFERENCES u(id)) STRICT",
    "DROP TABLE t; CREATE TABLE t(x TEXT, y INT, PRIMARY KEY(x, y)) WITHOUT ROWID",
)


def test_what_is_remembered_of_a_table_is_what_its_file_says() -> None:
    """Two files that are defined alike at times, but not when the other asks."""
    with closing(sqlite3.connect(":memory:")) as one, closing(sqlite3.connect(":memory:")) as two:
        for number, sql in enumerate(STEPS):
            one.executescript(sql)
            assert catalog.shape(one, "t") == catalog._read_shape(one, "t"), sql
            if number:
                two.executescript(STEPS[number - 1])
                assert catalog.shape(two, "t") == catalog._read_shape(two, "t"), sql
        assert catalog.shape(one, "t") != catalog.shape(two, "t")


def test_a_table_is_refused_where_it_belongs_to_a_virtual_one_and_only_there() -> None:
    """Its definition says nothing of that."""
    with closing(sqlite3.connect(":memory:")) as plain, closing(sqlite3.connect(":memory:")) as virtual:
        virtual.execute("CREATE VIRTUAL TABLE f USING fts5(a)")
        (sql,) = virtual.execute("SELECT sql FROM sqlite_master WHERE name = 'f_config'").fetchone()
        plain.execute(sql)
        assert catalog.shape(plain, "f_config").key
        with pytest.raises(TableRefused, match="virtual table"):
            catalog.shape(virtual, "f_config")


def test_no_more_shapes_are_remembered_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SHAPES_MAX", 3)
    catalog._shapes.clear()
    with closing(sqlite3.connect(":memory:")) as db:
        for number in range(9):
            db.execute(f"CREATE TABLE t{number}(id TEXT PRIMARY KEY)")
            assert catalog.shape(db, f"t{number}").name == f"t{number}"
            assert len(catalog._shapes) <= 3

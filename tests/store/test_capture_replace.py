"""Capture of REPLACE: the rows that a write pushes out are deleted everywhere, although no statement names them."""

from __future__ import annotations

import pytest

from tests.store.harness import meet
from tests.store.test_capture import KEYS, UNIQUES, Make, alive, caught, table


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("unique", UNIQUES)
def test_the_victims_of_replace_are_deleted_everywhere(machine: Make, unique: str, key: str) -> None:
    a = machine("a", table("t", key, unique))
    a.sql("INSERT INTO t(k, u, w, n) VALUES (1, 'x', 'w', 1), (2, 'y', 'w', 1), (3, 'z', 'w', 1), (4, 'q', 'w', 1)")
    caught(a)
    a.sql("INSERT OR REPLACE INTO t(k, u, w, n) VALUES (5, 'x', 'w', 1)")
    assert a.rows("SELECT count(*) FROM t") == [(4,)]
    caught(a)
    a.sql("UPDATE OR REPLACE t SET u = 'y' WHERE k = 3")
    assert a.rows("SELECT count(*) FROM t") == [(3,)]
    caught(a)
    a.sql("UPDATE OR REPLACE t SET u = 'one'")
    assert a.rows("SELECT count(*) FROM t") == [(1,)]
    caught(a)
    assert sorted(alive(a).values()) == [False] * 4 + [True]
    before = a.store.root()
    a.sql("INSERT OR IGNORE INTO t(k, u, w, n) VALUES (9, 'one', 'w', 1)")
    assert a.store.root() == before
    b = machine("b")
    meet(a, b)
    assert b.rows("SELECT k, u, w, n FROM t") == a.rows("SELECT k, u, w, n FROM t")


def test_a_row_that_replaces_several_at_once_deletes_them_all(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE, w, x, UNIQUE(w, x));")
    a.sql("INSERT INTO t VALUES ('a', 1, 1, 1), ('b', 2, 2, 2), ('c', 3, 3, 3)")
    caught(a)
    a.sql("INSERT OR REPLACE INTO t VALUES ('a', 2, 3, 3)")
    caught(a)
    assert alive(a) == {("a",): True, ("b",): False, ("c",): False}


@pytest.mark.parametrize("constraint", ["u UNIQUE ON CONFLICT REPLACE", "u, UNIQUE(u) ON CONFLICT REPLACE"])
def test_a_constraint_that_replaces_by_itself_is_watched(machine: Make, constraint: str) -> None:
    a = machine("a", f"CREATE TABLE t(k TEXT PRIMARY KEY, {constraint});")
    a.sql("INSERT INTO t VALUES ('a', 1), ('b', 2)")
    caught(a)
    a.sql("INSERT INTO t VALUES ('c', 1)", "UPDATE t SET u = 1 WHERE k = 'b'")
    caught(a)
    assert alive(a) == {("a",): False, ("b",): True}


def test_null_becomes_the_default_before_it_replaces(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, u TEXT NOT NULL DEFAULT 'd' UNIQUE, v);")
    a.sql("INSERT INTO t VALUES ('a', 'd', 1), ('b', 'e', 2)")
    caught(a)
    a.sql("INSERT OR REPLACE INTO t VALUES ('c', NULL, 3)")
    caught(a)
    assert alive(a) == {("a",): False, ("b",): True, ("c",): True}
    a.sql("UPDATE OR REPLACE t SET u = NULL WHERE k = 'b'")
    caught(a)
    assert a.rows("SELECT * FROM t") == [("b", "d", 2)]


DEFAULTS = ["abc", '"abc"', "[v]", "`v`", "u", '"v"', "'it''s'", "-1", "(lower('X') || 'y')", "x'61'", "TRUE", "false"]


@pytest.mark.parametrize("default", DEFAULTS)
def test_a_default_of_any_spelling_keeps_the_table_writable_and_watched(machine: Make, default: str) -> None:
    a = machine("a", f"CREATE TABLE t(k TEXT PRIMARY KEY, u NOT NULL DEFAULT {default} UNIQUE, v);")
    a.sql("INSERT INTO t(k, v) VALUES ('a', 'other')")
    caught(a)
    a.sql("INSERT OR REPLACE INTO t VALUES ('b', NULL, 'b')", "UPDATE t SET v = 'c'")
    caught(a)
    assert alive(a) == {("a",): False, ("b",): True}


def test_a_key_that_only_its_collation_takes_for_equal_is_replaced(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES ('ann', 1)", "INSERT OR REPLACE INTO t VALUES ('ANN', 2)")
    caught(a)
    assert alive(a)["ANN",]
    a.sql("INSERT INTO t VALUES ('Ann', 3) ON CONFLICT(k) DO UPDATE SET v = 3")
    caught(a)
    assert a.rows("SELECT * FROM t") == [("ANN", 3)]


def test_a_replaced_row_that_could_not_travel_is_listed_no_more(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, e); CREATE UNIQUE INDEX i ON t(lower(e));")
    a.sql("INSERT INTO t VALUES (CAST(x'ff' AS TEXT), 'A')")
    assert len(a.store.status()["local_only"]) == 1
    a.sql("INSERT OR REPLACE INTO t VALUES ('k', 'a')")
    caught(a)
    assert a.store.status()["local_only"] == []

"""`put_many`: who is at fault is named, whichever way the rows went."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from replica.errors import RowRefused, UsageError
from replica.store import put
from replica.store.careful import Row
from tests.store.harness import Machine, check_equal

TABLE = "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT UNIQUE, w INT NOT NULL DEFAULT 5 CHECK(w >= 0));"
TRIGGER = "CREATE TRIGGER r BEFORE INSERT ON t WHEN NEW.v = 'no' BEGIN SELECT RAISE(ABORT, 'never'); END;"

Make = Callable[..., Machine]


def refused(a: Machine, rows: list[Row], text: str) -> None:
    """However the rows come."""
    for source in (rows, iter(rows)):
        with pytest.raises(RowRefused, match=text):
            a.store.put_many("t", source)


@pytest.mark.parametrize("count", [3, 40, 700])
@pytest.mark.parametrize("schema", [TABLE, TABLE + TRIGGER], ids=["fast", "slow"])
@pytest.mark.parametrize("at", [0, 1, -1])
def test_the_row_that_a_constraint_refuses_is_named(machine: Make, count: int, schema: str, at: int) -> None:
    a = machine("a", schema)
    a.store.put_many("t", [{"k": "old", "v": "taken"}])
    before = a.dump()
    bad = range(count)[at]
    for v, w, text in (("taken", 1, "UNIQUE"), ("v", -1, "CHECK"), ("v", None, "NOT NULL")):
        rows: list[Row] = [(f"k{n}", f"v{n}", n) for n in range(count)]
        rows[bad] = ("bad", v, w)
        refused(a, rows, f"refuses row {bad + 1}: {text}")
        refused(a, [*rows, {"k": "last"}], f"refuses row {bad + 1}: {text}")
        rows[0 if bad else 1] = {"k": "part"}
        refused(a, rows, f"refuses row {bad + 1}: {text}")
        assert a.dump() == before
    check_equal([a])


def test_the_row_that_a_trigger_refuses_is_named(machine: Make) -> None:
    refused(machine("a", TABLE + TRIGGER), [{"k": "a"}, {"k": "b", "v": "no"}, {"k": "c"}], "refuses row 2: never")


def test_rows_are_counted_over_all_chunks(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put, "ROWS", 300)
    a = machine("a", TABLE)
    rows: list[Row] = [(f"k{n}", f"v{n}", -1 if n == 777 else n) for n in range(1_000)]
    refused(a, rows, "refuses row 778: CHECK")
    rows[650] = ("k", "v", object())
    refused(a, rows, "row 651, w: a field cannot hold")
    rows[650] = ("too", "few")
    with pytest.raises(UsageError, match="row 651 has 2 values, t 3 columns"):
        a.store.put_many("t", rows)
    assert a.rows("SELECT * FROM t") == []


def test_fields_that_a_row_does_not_name_stay_though_a_new_row_must_have_them(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, name TEXT NOT NULL, v UNIQUE, w)")
    a.store.put_many("t", [("a", "Ana", 1, 1), ("b", "Bo", 2, 2)])
    a.store.put_many("t", [{"k": "a", "v": 7}, {"w": 8, "k": "b", "v": None}, {"k": "a"}])
    assert a.rows("SELECT * FROM t") == [("a", "Ana", 7, 1), ("b", "Bo", None, 8)]
    refused(a, [{"k": "a", "v": 9}, {"k": "new", "v": 5}], "refuses row 2: NOT NULL")
    refused(a, [{"k": "b", "w": 1}, {"k": "b", "v": 7, "w": 9}], "refuses row 2: UNIQUE")
    assert a.rows("SELECT * FROM t") == [("a", "Ana", 7, 1), ("b", "Bo", None, 8)]
    check_equal([a])


@pytest.mark.parametrize("count", [2, 700])
def test_what_is_no_row_or_of_a_wrong_type_is_named(machine: Make, count: int) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w); CREATE TABLE s(k TEXT PRIMARY KEY, n INTEGER) STRICT")
    rows: list[Row] = [(n, n, n) for n in range(count)]
    for odd, text in ((None, "row 2 is a NoneType"), ("abc", "row 2 is a str"), (("x", 1, 1), "row 2: its key must be")):
        refused(a, [rows[0], odd, *rows[2:]], text)  # type: ignore[list-item]
    with pytest.raises(UsageError, match="row 2: t has no column 1"):
        a.store.put_many("t", [rows[0], {1: "x"}, *rows[2:]])  # type: ignore[dict-item]
    with pytest.raises(RowRefused, match="refuses row 2: cannot store TEXT"):
        a.store.put_many("s", [("a", 1), ("b", "x")])
    assert a.rows("SELECT * FROM t") == a.rows("SELECT * FROM s") == []

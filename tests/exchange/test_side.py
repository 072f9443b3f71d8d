"""Sides: a store and a file of the same content are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from replica.errors import NotAStore, UsageError
from replica.exchange.importing.runs import Known
from replica.exchange.quality.checks import checks
from replica.exchange.quality.compare import Asked, compare
from replica.exchange.quality.profile import profile
from replica.exchange.quality.side import Side, is_database, of_reader, open_side, place
from replica.exchange.rows import BATCH_ROWS, MISSING, Batch, Broken, Finding, Reader, Row
from replica.store.core import Core
from tests.store.harness import Machine

Make = Callable[..., Machine]


class ListReader:
    """A file in memory."""

    format = "list"

    def __init__(self, fields: Sequence[str], rows: list[Row], broken: int = 0) -> None:
        self.fields, self._rows, self._broken = list(fields), rows, broken
        self.findings: list[Finding] = []
        self.closed = False

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        numbers = range(1, len(self._rows) + 1)
        yield Batch(numbers, numbers, self._rows, [Broken(9, 9, "x", "why")] * self._broken)

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def close(self) -> None:
        self.closed = True


def nobody(_core: Core, _name: str) -> Known | None:
    """Nobody imported anything."""
    return None


def unread(_path: str) -> Reader:
    raise AssertionError("no file is read here")


def rows_of(side: Side) -> list[Row]:
    """All rows of a side."""
    return [row for part in side.parts() for row in part]


def test_a_store_and_a_file_of_its_content_are_alike(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE t(id TEXT PRIMARY KEY, n INTEGER, r REAL, v TEXT)")
    a.sql("INSERT INTO t VALUES ('b', 5, 1.5, NULL), ('a', NULL, 2.0, '李')")
    (tmp_path / "t.csv").write_text("any")
    text = ListReader(["id", "n", "r", "v"], [("a", "", "2.0", "李"), ("b", "5", "1.50", "")])
    with (
        open_side(f"{a.path}:T", None, nobody, unread) as store,
        open_side(str(tmp_path / "t.csv"), None, nobody, lambda _: text) as file,
    ):
        assert (store.fields, store.key, store.is_store) == (["id", "n", "r", "v"], ("id",), True)
        assert (file.fields, file.is_store) == (store.fields, False)
        assert rows_of(store) == rows_of(store) == [("a", None, 2.0, "李"), ("b", 5, 1.5, None)]
        assert compare(store, file, Asked(("id",))).equal
    assert text.closed


def test_relations_are_compared_by_external_key(machine: Make) -> None:
    a = machine("a", "CREATE TABLE firm(rid TEXT PRIMARY KEY, code TEXT, parent TEXT)")
    a.sql("INSERT INTO firm VALUES ('r1', 'X', 'r2'), ('r2', 'Y', NULL)")
    known = Known("firm", "s", ("code",), "rid", ("code", "parent"), {"parent": "firm"})
    with open_side(str(a.path), "firm", lambda *_: known, unread) as side:
        assert (side.fields, side.key) == (["code", "parent"], ("code",))
        assert rows_of(side) == [("X", "Y"), ("Y", None)]


def test_a_side_stands_still_while_others_write(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(id INTEGER PRIMARY KEY)")
    a.sql("INSERT INTO t VALUES (1)")
    with open_side(f"{a.path}:t", None, nobody, unread) as side:
        a.sql("INSERT INTO t VALUES (2)")
        assert rows_of(side) == [(1,)]


def test_where_a_name_leads(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE t(id INTEGER PRIMARY KEY)")
    assert place(f"{a.path}:t", None) == (str(a.path), "t")
    assert place(str(a.path), "t") == (str(a.path), "t")
    assert place("none:t", "x") == ("none:t", None)
    with pytest.raises(UsageError, match="which of its tables"):
        place(str(a.path), None)
    assert not is_database(str(tmp_path))
    assert not is_database("\0")
    with pytest.raises(UsageError), open_side(f"{a.path}:nothing", None, nobody, unread):
        pass
    alone = tmp_path / "alone.db"
    alone.write_bytes(b"SQLite format 3\x00")
    with pytest.raises(NotAStore), open_side(f"{alone}:t", None, nobody, unread):
        pass


def test_what_sqlite_cannot_hold_comes_as_text_and_broken_rows_are_told() -> None:
    side = of_reader("f", ListReader(["a", "b", "c"], [(1 << 70, True, MISSING), ("x", None, 1.5)], broken=2))
    assert rows_of(side) == [(str(1 << 70), 1, None), ("x", None, 1.5)]
    assert side.notes == ["f: 2 rows cannot be read and are left out"]
    profile(side)


def test_rules_of_a_map_say_what_is_valid(tmp_path: Path) -> None:
    map_ = tmp_path / "m.toml"
    map_.write_text(MAP)
    rows: list[Row] = [("1", "ada@x.io", 5), ("2", "nonsense", 500), ("3", "", None)]
    store = Side("s", ["id", "mail", "age"], True, lambda: iter([rows]))
    found = profile(store, (), checks(str(map_), store))
    assert [f.validity for f in found.fields] == [None, 1 / 2, 1 / 2]
    file = Side("f", ["E-Mail", "Age"], False, lambda: iter([[("ada@x.io", "7"), ("no", "x")]]))
    found = profile(file, (), checks(str(map_), file))
    assert [f.validity for f in found.fields] == [1 / 2, 1 / 2]


MAP = """
version = 1

[[collection]]
name = "people"
key = ["mail"]

[collection.fields.mail]
from = "E-Mail"
type = "email"

[collection.fields.age]
from = "Age"
type = "integer"
max = 150
"""

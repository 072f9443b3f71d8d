"""A map backwards in an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replica.errors import MapRefused
from replica.exchange.exporting.export import Asked, export
from replica.exchange.exporting.mapped import reverse
from replica.exchange.rows import DELETED, MISSING
from tests.exchange.lists import ListWriter
from tests.store.harness import NOW_MS, Machine

Make = Callable[..., Machine]
MAP = """
version = 1

[[collection]]
name = "people"
key = ["mail"]

[collection.fields.mail]
from = "E-Mail"
type = "email"

[collection.fields.active]
from = "Active?"
type = "boolean"
true = ["是"]
false = ["否"]

[collection.fields.source]
constant = "legacy"
"""


@pytest.fixture
def map_(tmp_path: Path) -> str:
    """A map file."""
    (tmp_path / "m.toml").write_text(MAP, encoding="utf-8")
    return str(tmp_path / "m.toml")


def test_rows_have_the_columns_of_the_file(machine: Make, map_: str) -> None:
    a = machine("a", "CREATE TABLE People(mail TEXT PRIMARY KEY, active INTEGER, source TEXT, note TEXT)")
    a.sql(
        "INSERT INTO people VALUES ('b@x.io', 0, 'legacy', 'n'), ('a@x.io', 1, 'legacy', 'm'), ('c@x.io', NULL, '', '')"
    )
    out = ListWriter()
    summary = export(a.store, Asked("people"), lambda *_: None, out.open, reverse=reverse(map_, "PEOPLE"))
    assert out.fields == summary.fields == ["E-Mail", "Active?"]
    assert out.rows == [("a@x.io", "是"), ("b@x.io", "否"), ("c@x.io", None)]
    assert any(note.startswith("source is not in the file: it is a constant") for note in summary.notes)
    assert any(note.startswith("note is not in the file: the map does not know it") for note in summary.notes)


def test_deletes_keep_their_mark_and_their_key(machine: Make, map_: str) -> None:
    a = machine("a", "CREATE TABLE people(id TEXT PRIMARY KEY, mail TEXT)")
    a.store.execute("INSERT INTO people VALUES ('1', 'a@x.io'), ('2', 'b@x.io')")
    a.clock.ms += 10
    a.store.execute("DELETE FROM people WHERE id = '1'")
    out = ListWriter()
    asked = Asked("people", since_ms=NOW_MS)
    summary = export(a.store, asked, lambda *_: None, out.open, reverse=reverse(map_, "people"))
    assert out.fields == ["E-Mail", "Active?", "id", DELETED]
    assert out.rows == [("b@x.io", MISSING, "2", 0), (MISSING, MISSING, "1", 1)]
    assert any("active is in the map, but not in the table" in note for note in summary.notes)


def test_a_select_needs_a_map_of_one_collection(machine: Make, map_: str, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE people(mail TEXT PRIMARY KEY)")
    a.sql("INSERT INTO people VALUES ('a@x.io')")
    out = ListWriter()
    export(a.store, Asked("SELECT mail FROM people"), lambda *_: None, out.open, reverse=reverse(map_, None))
    assert out.rows == [("a@x.io", MISSING)]
    with pytest.raises(MapRefused, match="nobody"):
        reverse(map_, "nobody")
    two = tmp_path / "two.toml"
    two.write_text(MAP + MAP.partition("\n\n")[2].replace('"people"', '"firms"'), encoding="utf-8")
    with pytest.raises(MapRefused, match="people, firms"):
        reverse(str(two), None)

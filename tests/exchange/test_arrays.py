"""Child records as arrays of their parents in JSON and XML: what a map made of arrays becomes arrays again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from replica.exchange import commands_export
from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.nesting import nested
from replica.exchange.rows import ReadOptions
from tests.exchange.imports import counts, take, write
from tests.store.harness import NOW_MS, Machine

Make = Callable[..., Machine]
MAP = """version = 1
source = "shop"
[[collection]]
name = "orders"
key = "id"
[collection.fields]
id = "no"
city = "ship.address.city"
zip = "ship.address.zip"
total = { from = "total", type = "number" }

[[collection]]
name = "lines"
key = ["order", "number"]
rows = "body.lines"
[collection.fields]
order = { from = "^no", refers = "orders", exists = true }
number = "#"
article = "sku.code"
price = { from = "price", type = "number" }
city = "^ship.address.city"

[[collection]]
name = "tags"
key = ["order", "tag"]
rows = "tags"
[collection.fields]
order = "^no"
tag = "."
"""
ORDERS = [
    {
        "no": "A1", "ship": {"address": {"city": "Split", "zip": "21000"}}, "total": 12.5,
        "body": {"lines": [{"sku": {"code": f"s{n}"}, "price": n + 0.5} for n in range(12, 0, -1)]}, "tags": ["x", "y"],
    },
    {"no": "B2", "ship": {"address": {"city": "京", "zip": None}}, "total": None, "body": {"lines": []}, "tags": []},
    {
        "no": "C3", "ship": {"address": {"city": " <&> ", "zip": ""}}, "total": 1.0,
        "body": {"lines": [{"sku": {"code": None}, "price": 2.5}]}, "tags": ["_x0041_"],
    },
]  # fmt: skip


@dataclass
class Said:
    """What the command says."""

    fields: list[str]
    notes: list[str]


def export(a: Machine, out: Path, map: str, *more: str, what: str = "orders") -> Said:
    """Run the command."""
    a.store.absorb()
    (out.parent / "m.toml").write_text(map, encoding="utf-8")
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--json", action="store_true")
    commands_export.add_arguments(parser)
    options = parser.parse_args([str(a.path), what, str(out), "--json", "--map", str(out.parent / "m.toml"), *more])
    with redirect_stdout(StringIO()) as printed:
        assert commands_export.run(options) == 0
    document = json.loads(printed.getvalue())
    return Said(document["fields"], document["notes"])


def taken(machine: Make, name: str, folder: Path, orders: Any = ORDERS) -> Machine:
    a = machine(name)
    file = write(folder / "in.json", json.dumps(orders))
    assert counts(take(a.store, file, map=MAP, read=ReadOptions(format="json", records="."))) == (len(orders), 0, 0, 0, 0)
    return a


def shown(a: Machine) -> list[Any]:
    """All that is in the three tables; text and numbers that say the same, as XML has text only, are the same."""
    rows = [a.rows(f"SELECT * FROM {name} ORDER BY id") for name in ("orders", "lines", "tags")]
    return [[[str(value or "") for value in row] for row in some] for some in rows]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "xml", "json.gz"])
@pytest.mark.parametrize("number", [1, 3])
def test_arrays_come_out_and_go_in_again(machine: Make, tmp_path: Path, suffix: str, number: int) -> None:
    a = taken(machine, "a", tmp_path, ORDERS[:number])
    summary = export(a, tmp_path / f"out.{suffix}", MAP)
    assert summary.fields == ["no", "ship", "total", "body", "tags"]
    lost = [note for note in summary.notes if "lines" in note or "tags" in note]
    assert lost == ['lines.city is not in the file: it is taken from the record of "orders"']
    again = take(a.store, tmp_path / f"out.{suffix}", map=MAP, read=ReadOptions())
    assert counts(again) == (0, 0, number, 0, 0)
    b = machine("b")
    assert counts(take(b.store, tmp_path / f"out.{suffix}", map=MAP, read=ReadOptions())) == (number, 0, 0, 0, 0)
    assert shown(b) == shown(a)
    if suffix == "json":
        assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == ORDERS[:number]


def test_what_does_not_come_back_is_told(machine: Make, tmp_path: Path) -> None:
    a = taken(machine, "a", tmp_path)
    a.sql("DELETE FROM orders WHERE id = 'C3'", "DELETE FROM lines WHERE number = 3")
    a.sql("INSERT INTO tags VALUES ('t', 'nobody', 'z')")
    notes = export(a, tmp_path / "out.json", MAP).notes
    assert "lines: 1 records belong to none of these: they are not in the file" in notes
    assert "lines: 9 have another number than their place, which they come back with" in notes
    assert "tags: 2 records belong to none of these: they are not in the file" in notes
    notes = export(a, tmp_path / "out.csv", MAP).notes
    why = 'lines is not in the file: it is the array "body.lines", and the format has none'
    assert any(note.startswith(why) for note in notes)
    a.clock.ms = NOW_MS + 1_000
    notes = export(a, tmp_path / "since.json", MAP, "--since", "2023-11-14T22:13:21Z").notes
    assert "lines is not in the file: what changed since is of one collection" in notes
    a.sql("DROP TABLE tags")
    notes = export(a, tmp_path / "out.json", MAP).notes
    assert any(n.startswith("tags is not in the file: no table 'tags' is replicated here") for n in notes)


PARTS = """version = 1
[[collection]]
name = "people"
key = "id"
[collection.fields]
id = "ID"

[[collection]]
name = "mails"
key = "mail"
rows = "Mails"
separator = ";"
[collection.fields]
person = { from = "^ID", refers = "people" }
mail = "."
"""


def test_parts_of_a_text_in_any_format(machine: Make, tmp_path: Path) -> None:
    a = machine("a")
    take(a.store, write(tmp_path / "1.csv", "ID,Mails\n1,a@x; b@x\n2,\n3,c@x\n"), map=PARTS)
    export(a, tmp_path / "out.csv", PARTS, what="people")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8-sig").split() == ["ID,Mails", "1,a@x;b@x", "2,", "3,c@x"]
    assert counts(take(a.store, tmp_path / "out.csv", map=PARTS)) == (0, 0, 3, 0, 0)
    a.sql("UPDATE mails SET mail = 'x;y' WHERE mail = 'c@x'")
    notes = export(a, tmp_path / "out.csv", PARTS, what="people").notes
    assert any(note.startswith("mails: 1 texts are empty, or have ';'") for note in notes)


def test_of_two_parents_with_one_key_the_first_has_the_elements(machine: Make, tmp_path: Path) -> None:
    a = taken(machine, "a", tmp_path)
    a.sql("INSERT INTO orders SELECT 'zz', 'A1', 'x', NULL, 1")
    export(a, tmp_path / "out.json", MAP)
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [(o["no"], len(o["body"]["lines"])) for o in found] == [("A1", 12), ("A1", 0), ("B2", 0), ("C3", 1)]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('order = { from = "^no", refers = "orders", exists = true }', 'order = "#"',
         'no field of it says which record of "orders" it belongs to: it would be made of "^no"'),
        ('rows = "body.lines"', 'rows = "ship.address"', '"ship.address" is written from the field "city"'),
        ('rows = "body.lines"', 'rows = "body.lines[1]"', 'it is made of one element of an array alone ("body.lines[1]")'),
        ('rows = "body.lines"', 'rows = "body.lines"\nwhen = { sku = "x" }',
         '`when` takes some elements of "body.lines": what the others were is not known'),
        ('article = "sku.code"', 'article = "."', 'both elements of "body.lines" and what is in them are fields'),
        ('id = "no"', 'id = { from = ["no", "nr"] }',
         'no field of it says which record of "orders" it belongs to: it would be made of its key, if that is one column'),
    ],
)  # fmt: skip
def test_what_cannot_be_an_array_is_said_with_why(old: str, new: str, why: str) -> None:
    assert old in MAP
    found, lost = nested(parse(MAP.replace(old, new, 1), "m", None), "Orders", flat=False)
    assert (lost[0].field, lost[0].why) == ("lines", why)
    assert "lines" not in [one.collection for one in found]

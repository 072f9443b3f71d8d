"""Map files: what is refused, and how it is said."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jsonschema_rs
import pytest

from replica.errors import MapRefused
from replica.exchange.maps import mapwords
from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.mapmodel import Condition, Lookup, Split
from replica.exchange.maps.mapping import load
from replica.exchange.maps.steps import NORMAL
from tests.exchange.listed import mapped, one
from tests.exchange.pace import spent

FULL = """
version = 1
about = "all words"
source = "erp"
[read]
format = "csv"
encoding = "gb18030"
delimiter = ";"
quote = "'"
header = 2
decimal = ","
date = "DMY"
country = "CN"
records = "a.b"
sheet = 2
[[collection]]
name = "c"
key = ["a", "b"]
blank = "clear"
when = { Type = "x", Kind = { is = [1, true], not = "y", pattern = "a+", filled = true } }
rest = "keep"
[collection.fields.a]
from = "A"
[collection.fields.b]
from = ["B", "C"]
concat = "-"
trim = true
normalise = true
case = "lower"
empty = ["N/A"]
split = { separator = ";", index = -1 }
lookup = { table = { x = 1 }, absent = "keep" }
type = "text"
default = "d"
required = true
allowed = ["d", "e"]
pattern = "d|e"
min_length = 1
max_length = 2
unique = true
"""

C = 'version = 1\n[[collection]]\nname = "c"\nkey = "a"\n'


def refusal(text: str, folder: Path | None = None) -> str:
    with pytest.raises(MapRefused) as refused:
        parse(text, "m.toml", folder)
    return str(refused.value)


def field(words: str, folder: Path | None = None) -> str:
    return refusal(
        f'version = 1\n[[collection]]\nname = "c"\nkey = "id"\n[collection.fields]\nid = "id"\n'
        f"[collection.fields.x]\n{words}",
        folder,
    )


def test_every_word_arrives_in_the_model() -> None:
    made = parse(FULL, "m.toml", None)
    assert (made.source, made.date, made.read.decimal, made.read.sheet, made.read.records) == (
        "erp",
        "DMY",
        ",",
        "2",
        "a.b",
    )
    assert made.country == "CN"
    (c,) = made.collections
    assert (c.name, c.key, c.blank, c.rest) == ("c", ("a", "b"), "clear", "keep")
    assert c.when == (Condition("Type", ("x",)), Condition("Kind", ("1", "true"), ("y",), "a+", True))
    b = c.fields[1]
    assert (b.sources, b.concat, b.split, b.normalise) == (("B", "C"), "-", Split(";", -1), NORMAL)
    assert (b.lookup, b.allowed, b.unique) == (Lookup((("x", 1),), "keep"), ("d", "e"), True)


def test_all_errors_at_once_each_with_its_place() -> None:
    text = refusal(
        'versoin = 1\n[read]\ndelimter = ";"\ndecimal = ";"\n[[collection]]\nname = "a"\nfilter = 1\n'
        '[collection.fields.id]\ntyp = "date"\n[collection.fields.b]\ntype = "dat"\nlookup = { fil = "x" }'
    )
    for part in (
        'unknown word "versoin": did you mean "version"?', 'read: unknown word "delimter": did you mean "delimiter"?',
        'read: decimal: must be one of ".", ","', 'collection "a": unknown word "filter": did you mean "when"?',
        'field "id": unknown word "typ": did you mean "type"?', 'field "b": type: must be one of "text"',
        'field "b", lookup: unknown word "fil": did you mean "file"?', "version: write version = 1", "key is missing",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ('pattern = "(a"', "no pattern that can be run"), ('pattern = "(?=a)"', "no pattern that can be run"),
        ('pattern = "a)|(b"', "no pattern that can be run"), ('type = "date"\nformat = "dd/mm/yyyy"', "months are MM"),
        ('type = "date"\nformat = "yyyy"', "lacks"), ('type = "date"\nformat = "q"', "no part of a date"),
        ('type = "datetime"\nzone = "Mars/Base"', "zone"), ('type = "datetime"\nzone = "../etc"', "zone"),
        ('type = "phone"\ncountry = "ZZ"', "not known"), ('type = "phone"\ncountry = "Germany"', "two capital letters"),
        ('country = "DE"', 'goes with type = "phone"'), ('constant = 1\nfrom = "x"', "either from or constant"),
        ('concat = "x"', "needs several columns"), ('type = "number"\nmin = 5\nmax = 1', "no value would fit"),
        ("min = 5", "min and max are numbers"), ('type = "number"\nmin = "5"', "min and max are numbers"),
        ("min_length = 5\nmax_length = 1", "no value would fit"), ("exists = true", "goes with refers"),
        ('type = "date"\ndefault = "soon"', "default 'soon' is no date"),
        ('type = "boolean"\nallowed = ["yes"]', "as it is stored: 1"),
        ('type = "boolean"\ntrue = ["x"]\nfalse = ["X"]', "a word in common"),
        ('lookup = { table = { a = 1 }, file = "x" }', "either table or file"),
        ('lookup = { file = "x" }', "ready map names no files"),
        ('split = { separator = ";", index = 0 }', "split"), ("required = 1", "true or false"), ("from = []", "from"),
    ],
)  # fmt: skip
def test_what_could_not_work_is_refused_before_the_first_row(words: str, why: str) -> None:
    assert why in field(words)
    assert 'field "x"' in field(words)


def test_the_country_of_a_file_is_that_of_its_phones() -> None:
    assert 'country "ZZ" is not known' in refusal(
        C.replace("[[", '[read]\ncountry = "ZZ"\n[[') + '[collection.fields]\na = "x"'
    )
    text = '[read]\ncountry = "CN"\n[[collection]]\nname = "c"\nkey = "a"\n[collection.fields.a]\ntype = "phone"'
    (made,), _ = mapped(text, ["a"], [("13800138000",)])
    assert made.columns == [["+8613800138000"]]


def test_collections_that_could_not_work() -> None:
    head = 'version = 1\n[[collection]]\nname = "c"\n'
    assert 'key "idd" is none of its fields; did you mean "id"?' in refusal(
        head + 'key = "idd"\n[collection.fields]\nid = "x"'
    )
    assert "all records would be one" in refusal(head + 'key = "id"\n[collection.fields.id]\nconstant = 1')
    assert "are one to SQLite" in refusal(head + 'key = "id"\n[collection.fields]\nid = "a"\nID = "b"')
    assert "is no path" in refusal(head + 'key = "id"\nrows = "x"\n[collection.fields]\nid = "a[x]"')
    assert "separator needs rows" in refusal(head + 'key = "id"\nseparator = ";"\n[collection.fields]\nid = "a"')
    assert "it has no fields" in refusal(head + 'key = "id"')
    assert 'when "x": must be text' in refusal(head + 'key = "id"\nwhen = { x = [[1]] }\n[collection.fields]\nid = "a"')
    assert "different keys" in refusal(
        head
        + 'key = "id"\n[collection.fields]\nid = "a"\n[[collection]]\nname = "c"\nkey = "b"\n[collection.fields]\nb = "a"'
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "version = 1", "version = 2\ncollection = []", "collection = 5\nversion = 1",
        "version = 1\ncollection = [5]",
        "version = 1\n[[collection]]\nfields = 5", "a = " + "[" * 10_000, "\0", f"{C}when = 5",
        f"{C}[collection.fields]\na = 5",
        f"{C}fields = []", f"{C}[collection.fields.a]\nfrom = {{}}",
        f"{C}[collection.fields.a]\nlookup = {{ table = [] }}",
    ],
)  # fmt: skip
def test_whatever_is_no_map_is_refused(text: str) -> None:
    assert refusal(text).startswith("m.toml: ")


def test_a_pattern_takes_linear_time() -> None:
    began = time.process_time()
    _, problems = one('pattern = "(a+)+b"', ["a" * 50_000 + "c", "aab", "ab\n", "", None, "ab\ud800"])
    assert spent(began) < 1
    assert [[rule for rule, _ in found] for found in problems] == [["pattern"], [], ["pattern"], [], [], ["pattern"]]


def test_rules_refuse_and_say_what_to_do() -> None:
    def rules(words: str, *cells: object) -> list[list[str]]:
        found = one(words, list(cells))[1]
        assert all(":" in message for row in found for _, message in row)
        return [[rule for rule, _ in row] for row in found]

    assert rules("required = true", "", None, " ", "x", 0) == [["required"], ["required"], ["required"], [], []]
    assert rules('type = "date"\nrequired = true', "nope") == [["date"]]
    assert rules('allowed = ["a", "b"]', "a", "c", "") == [[], ["allowed"], []]
    assert rules('type = "number"\ndecimal = "."\nmin = 1\nmax = 2', "0.5", "1", "2.5", "") == [
        ["min"],
        [],
        ["max"],
        [],
    ]
    assert rules('type = "date"\nmin = "2020-01-01"', "2019-12-31", "2020-01-01") == [["min"], []]
    assert rules("min_length = 2\nmax_length = 3", "a", "张三", "abcd", "") == [["min_length"], [], ["max_length"], []]
    assert rules('min_length = 2\npattern = "[a-z]+"\nallowed = ["bb"]', "1") == [["allowed", "pattern", "min_length"]]
    assert 'did you mean "won"?' in one('allowed = ["won", "lost"]', ["Wonn"])[1][0][0][1]


def test_files_beside_the_map(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("code,name,land\n1,Ann,DE\n2,Bo,FR\n", "utf-8-sig")
    words = 'lookup = { file = "t.csv", from = "code", to = "land" }'
    (tmp_path / "m.toml").write_text(
        f'version = 1\n[[collection]]\nname = "c"\nkey = "x"\n[collection.fields.x]\n{words}'
    )
    assert load(tmp_path / "m.toml").collections[0].fields[0].lookup == Lookup((("1", "DE"), ("2", "FR")))
    assert 'no column "lamd"; did you mean "land"?' in field(words.replace("land", "lamd"), tmp_path)
    assert "not in the map's folder" in field('lookup = { file = "../t.csv" }', tmp_path)
    assert "not in the map's folder" in field('lookup = { file = "/etc/passwd" }', tmp_path)
    assert "there is no file" in field('lookup = { file = "u.csv" }', tmp_path)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,3\n")
    assert "a second time" in field('lookup = { file = "t.csv" }', tmp_path)


def test_a_map_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(MapRefused, match="No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "m.toml").write_bytes("version = 1 # ü".encode("latin-1"))
    with pytest.raises(MapRefused, match="not UTF-8"):
        load(tmp_path / "m.toml")
    (tmp_path / "m.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(MapRefused, match="larger than"):
        load(tmp_path / "m.toml")


def test_the_packed_schema_is_the_schema_of_the_words() -> None:
    packed = Path(mapwords.__file__).with_name("map.schema.json").read_text(encoding="utf-8")
    assert packed == mapwords.schema_text()
    import tomllib

    assert jsonschema_rs.is_valid(json.loads(packed), tomllib.loads(FULL))
    assert not jsonschema_rs.is_valid(json.loads(packed), tomllib.loads(FULL.replace("about", "abuot")))

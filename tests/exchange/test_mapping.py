"""Maps carried out: rows in, rows of collections and problems out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import MapRefused
from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.mapping import Field, Target, load, plain
from replica.exchange.rows import MISSING, Batch, Tree
from tests.exchange.listed import mapped, one

CONTACTS = """
source = "erp"
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = "ID"
name = "Name"
"""


def batch(*rows: tuple[object, ...]) -> Batch:
    return Batch(range(1, len(rows) + 1), range(1, len(rows) + 1), list(rows))


def test_without_a_map_the_headers_are_the_fields_and_nothing_is_converted() -> None:
    mapper = plain("contacts", ["Id"]).mapper(["Id", "Zip", "Flag"])
    fields = (Field("Id"), Field("Zip"), Field("Flag"))
    assert mapper.targets == (Target("contacts", ("Id",), fields, "leave"),)
    made, problems = mapper.map(batch(("1", "00123", True), (2, " x ", MISSING), ("3", "", None), ("4", 0.5, b"\0")))
    assert not problems
    assert made[0].sources == [0, 1, 2, 3]
    assert made[0].columns == [["1", 2, "3", "4"], ["00123", " x ", "", 0.5], [1, MISSING, None, b"\0"]]
    assert made[0].columns[2][0].__class__ is int
    assert plain("contacts", ["Id"], "clear").mapper(["Id"]).targets[0].blank == "clear"


def test_an_int_that_has_no_place_in_sqlite_is_refused() -> None:
    _, problems = plain("c", ["id"]).mapper(["id", "n"]).map(batch(("1", 2**63), ("2", 2**63 - 1)))
    assert list(problems) == [0]
    assert "64 bits" in problems[0][0].message


def test_keys_must_be_filled_and_whole() -> None:
    made, problems = plain("c", ["a", "b"]).mapper(["a", "b"]).map(
        batch(("1", "2"), ("", "2"), ("1", "8.61380E+12"), (None, MISSING), ("1", "\u3000"))
    )  # fmt: skip
    assert made[0].sources == [0]
    assert [(p.field, p.rule) for p in problems[1]] == [("a", "key")]
    assert [(p.field, p.rule, p.value) for p in problems[2]] == [("b", "digits", "8.61380E+12")]
    assert "export the column as text" in problems[2][0].message
    assert [p.field for p in problems[3]] == ["a", "b"]
    assert list(problems) == [1, 2, 3, 4]


def test_what_the_file_lacks_is_named_at_once_with_near_names() -> None:
    with pytest.raises(MapRefused) as refused:
        plain("c", ["contact_id", "mail"]).mapper(["Contact Id", "E-Mail", "x"])
    assert 'no column "contact_id"; did you mean "Contact Id"?' in str(refused.value)
    assert 'no column "mail"; did you mean "E-Mail"?' in str(refused.value)
    with pytest.raises(MapRefused, match='"name" and "name", which are one'):
        parse(f"version = 1\n{CONTACTS}".replace('"id"', '"id"\nrest = "keep"', 1), "m", None).mapper(
            ["ID", "Name", "na" + "me"]
        )
    assert plain("c", ["id"]).mapper(["id", "Straße", "STRASSE", "É", "é"])
    with pytest.raises(MapRefused, match='"Name" and "name", which are one to SQLite'):
        plain("c", ["id"]).mapper(["id", "Name", "name"])


def test_a_row_is_rejected_whole_with_all_its_problems() -> None:
    text = (
        CONTACTS
        + """
[collection.fields.mail]
type = "email"
[collection.fields.tel]
type = "phone"
country = "CN"
[[collection]]
name = "companies"
key = "company"
[collection.fields.company]
from = "Company"
max_length = 3
"""
    )
    fields = ["ID", "Name", "mail", "tel", "Company"]
    made, problems = mapped(text, fields, [("1", "A", "a@b.de", "", "X"), ("2", "B", "nope", "8.6E+12", "too long")])
    assert [m.sources for m in made] == [[0], [0]]
    assert made[0].columns == [["1"], ["A"], ["a@b.de"], [None]]
    assert [(p.field, p.rule) for p in problems[1]] == [("mail", "email"), ("tel", "phone"), ("company", "max_length")]
    assert all(":" in p.message for p in problems[1])  # What to do stands behind it.


def test_one_row_makes_records_of_several_collections_and_none_of_what_it_does_not_name() -> None:
    text = (
        CONTACTS
        + """
[collection.fields.company]
from = "Company ID"
refers = "companies"
exists = true
[[collection]]
name = "companies"
key = "id"
blank = "clear"
[collection.fields]
id = "Company ID"
name = "Company"
[collection.fields.kind]
constant = "customer"
[collection.fields.land]
default = "DE"
"""
    )
    fields = ["ID", "Name", "Company ID", "Company", "land"]
    rows = [("1", "A", "c1", "X", ""), ("2", "B", "", "", ""), ("3", "C", "", "Y", "FR"), ("", "", "", "", "")]
    (contacts, companies), problems = mapped(text, fields, rows)
    assert contacts.sources == [0, 1]
    assert contacts.columns[2] == ["c1", ""]
    assert companies.sources == [0]
    assert companies.columns == [["c1"], ["X"], ["customer"], ["DE"]]
    assert companies.defaulted == {3: [0]}
    assert [(p.field, p.rule) for p in problems[2]] == [("id", "key")]
    assert [p.rule for p in problems[3]] == ["when"]  # It is in no record, but never lost.


def test_when_takes_some_rows_and_the_others_are_not_lost() -> None:
    text = (
        CONTACTS
        + """
[collection.when]
Type = ["person", "contact"]
Name = { filled = true, not = "test" }
ID = { pattern = "[0-9]+" }
"""
    )
    rows = [
        ("1", "A", "Person "),
        ("2", "", "person"),
        ("3", "TEST", "person"),
        ("4", "D", "firm"),
        ("x", "E", "person"),
    ]
    (made,), problems = mapped(text, ["ID", "Name", "Type"], rows)
    assert made.sources == [0]
    assert set(problems) == {1, 2, 3, 4}
    assert {p.rule for found in problems.values() for p in found} == {"when"}


def test_columns_that_nothing_reads_are_known() -> None:
    mapper = parse(f"version = 1\n{CONTACTS}[collection.when]\nType = 'x'", "m", None).mapper(
        ["ID", "Zip", "Name", "Type"]
    )
    assert mapper.unused == ("Zip",)
    assert plain("c", ["id"]).mapper(["id", "x"]).unused == ()


def test_columns_of_the_rest_are_kept_as_they_are() -> None:
    (made,), _ = mapped(
        '[[collection]]\nname="c"\nkey="id"\nrest="keep"\n[collection.fields.id]\nfrom="ID"',
        ["ID", "Zip"],
        [("1", "007")],
    )
    assert made.columns == [["1"], ["007"]]


def test_references_of_several_fields_are_tuples() -> None:
    text = CONTACTS + '[collection.fields.parent]\nfrom = ["P1", "P2"]\ntrim = true\nrefers = "firms"'
    (made,), _ = mapped(text, ["ID", "Name", "P1", "P2"], [("1", "a", " x", "y"), ("2", "b", "", "y")])
    cells: list[object] = list(made.columns[2])
    assert cells == [("x", "y"), None]


def test_a_reference_by_one_of_several_names_is_no_key_of_several_fields() -> None:
    text = CONTACTS + '[collection.fields.firm]\nfrom = ["Firm ID", "FirmId", "firm"]\nrefers = "firms"\noptional = true'
    for there in (["FirmId"], ["FirmId", "firm"]):
        (made,), _ = mapped(text, ["ID", "Name", *there], [("1", "a", *there)])
        assert list(made.columns[2]) == ["FirmId"]


def test_the_case_of_a_header_does_not_count_where_one_column_can_be_meant() -> None:
    (made,), _ = mapped(CONTACTS, ["id", "NAME"], [("1", "a")])
    assert list(made.columns) == [["1"], ["a"]]
    (made,), _ = mapped(CONTACTS, ["ID", "id", "Name"], [("1", "2", "a")])
    assert made.columns[0] == ["1"]
    with pytest.raises(MapRefused, match='no column "ID"'):
        mapped(CONTACTS, ["Id", "id", "Name"], [])


def test_what_is_but_the_beginning_of_other_columns_is_no_alternative() -> None:
    text = CONTACTS + '[collection.fields.tel]\nfrom = ["tel.work", "tel", "tel.home"]\noptional = true'
    fields, tree = ["ID", "Name", "tel.cell"], {"ID": "1", "Name": "a", "tel": [{"value": "5", "kinds": ["cell"]}]}
    (made,), _ = mapped(text, fields, [("1", "a", "5")], [tree])
    assert len(made.columns) == 2
    (made,), _ = mapped(text, [*fields, "tel"], [("1", "a", "5", "7")], [tree])
    assert made.columns[2] == ["7"]


def test_optional_columns_alternatives_and_defaults() -> None:
    text = (
        CONTACTS
        + """
[collection.fields.tel]
from = ["Mobile", "Phone", "Fax"]
[collection.fields.gone]
optional = true
[collection.fields.land]
optional = true
default = "CN"
"""
    )
    (made,), _ = mapped(
        text, ["ID", "Name", "Mobile", "Phone"], [("1", "a", "", "5"), ("2", "b", "7", "5"), ("3", "c", " ", "")]
    )
    assert made.columns[2:] == [["5", "7", " "], ["CN"] * 3]
    assert made.defaulted == {3: [0, 1, 2]}
    with pytest.raises(MapRefused, match='field "tel" of "contacts": the file has no column "Mobile"'):
        mapped(text, ["ID", "Name"], [])


def test_a_column_may_have_any_name() -> None:
    text = '[[collection]]\nname="c"\nkey="id"\n[collection.fields]\nid="ID"\neur="Price [EUR]"\nx="^.a..[1]"'
    (made,), _ = mapped(text, ["ID", "Price [EUR]", "^.a..[1]"], [("1", "5", "6")])
    assert made.columns == [["1"], ["5"], ["6"]]
    with pytest.raises(MapRefused, match=r'no column "Price \[EUR\]"; did you mean "Price \(EUR\)"'):
        mapped(text, ["ID", "Price (EUR)", "^.a..[1]"], [])


def test_elements_of_an_array_become_records_that_see_their_row() -> None:
    text = """
[[collection]]
name = "orders"
key = "id"
[collection.fields]
id = "id"
first = "lines[1].sku"
all = { from = "lines", type = "json" }
[[collection]]
name = "lines"
key = ["order", "no"]
rows = "lines"
[collection.fields]
order = { from = "^id", refers = "orders" }
no = "#"
sku = "sku"
city = "ship.to"
buyer = "^buyer.name"
"""
    trees: list[Tree] = [
        {"id": "7", "buyer": {"name": "Ann"}, "lines": [{"sku": "a", "ship": {"to": "B"}}, {"sku": "b"}]},
        {"id": "8", "lines": []},
        {"id": "9", "lines": {"sku": "z"}},
    ]
    flat = [("7", "Ann", '[{"sku":"a","ship":{"to":"B"}},{"sku":"b"}]'), ("8", MISSING, "[]"), ("9", MISSING, MISSING)]
    (orders, lines), problems = mapped(text, ["id", "buyer.name", "lines"], flat, trees)
    assert not problems
    assert orders.columns[1] == ["a", MISSING, "z"]
    assert orders.columns[2][1:] == ["[]", MISSING]
    assert lines.sources == [0, 0, 2]
    assert lines.columns == [
        ["7", "7", "9"],
        [1, 2, 1],
        ["a", "b", "z"],
        ["B", MISSING, MISSING],
        ["Ann", "Ann", MISSING],
    ]


def test_a_cell_with_several_values_becomes_records() -> None:
    text = """
[[collection]]
name = "tags"
key = ["contact", "tag"]
rows = "Tags"
separator = ";"
[collection.fields]
contact = "^ID"
tag = "."
"""
    (made,), problems = mapped(text, ["ID", "Tags"], [("1", "a; b;;"), ("2", "")])
    assert made.columns == [["1", "1"], ["a", "b"]]
    assert [p.rule for p in problems[1]] == ["when"]
    with pytest.raises(MapRefused, match="needs a file that nests"):
        mapped(text.replace('separator = ";"', ""), ["ID", "Tags"], [("1", "a")])


def test_json_schema_of_a_collection_says_all_errors(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(
        '{"type": "object", "required": ["id", "name"], "properties": {"name": {"minLength": 2}, "vip": {"type": "boolean"},'
        ' "mail": {"type": "string"}}}'
    )
    (tmp_path / "m.toml").write_text(
        'version = 1\n[[collection]]\nname = "c"\nkey = "id"\nschema = "s.json"\n[collection.fields]\nid = "id"\n'
        'name = "name"\nvip = { type = "boolean" }\nmail = { type = "email" }'
    )
    mapper = load(tmp_path / "m.toml").mapper(["id", "name", "vip", "mail"])
    rows = [("1", "Ann", "是", "a@b.de"), ("2", "B", "", "nope"), ("3", None, "no", ""), ("4", "Bo", "no", "")]
    (made,), problems = mapper.map(batch(*rows))
    assert made.sources == [0, 3]
    assert [(p.field, p.rule) for p in problems[1]] == [("mail", "email"), ("name", "schema minLength")]
    assert '"name" is a required property' in problems[2][0].message
    _, problems = mapper.map(batch(("5", "\ud800", "", ""), ("6", b"\xff", "", ""), ("7", "A\ud800", "", "")))
    assert [(row, p.field, p.rule) for row, found in problems.items() for p in found] == [
        (0, "name", "schema minLength")
    ]
    for bad in ('{"type": 5}', '{"$ref": "http://example.com/x.json"}', "[]", '{"pattern": "(?=a)"}'):
        (tmp_path / "s.json").write_text(bad)
        with pytest.raises(MapRefused, match="no JSON Schema that can be used"):
            load(tmp_path / "m.toml")


def test_on_error_rejects_empties_or_keeps() -> None:
    cells = ["1", "x", 2.5]
    assert one('type = "integer"', cells)[0] == [1, None, None]
    assert one('type = "integer"\non_error = "null"', cells) == ([1, None, None], [[], [], []])
    assert one('type = "integer"\non_error = "keep"', cells) == ([1, "x", 2.5], [[], [], []])


def test_lookup_tables() -> None:
    table = 'lookup = { table = { "男" = "m", "Female" = "f", one = 1 }'
    values, problems = one(table + " }", ["男", " female", "one", "Femal", ""])
    assert values == ["m", "f", 1, None, ""]
    assert [p[0][0] if p else "" for p in problems] == ["", "", "", "lookup", ""]
    assert 'did you mean "Female"?' in problems[3][0][1]
    assert one(table + ', absent = "keep" }', ["?"])[0] == ["?"]
    assert one(table + ', absent = "null" }', ["?"])[0] == [None]


@given(st.lists(st.tuples(*[st.one_of(st.none(), st.text(max_size=4), st.integers(), st.floats(), st.booleans())] * 3)))
def test_every_row_is_mapped_or_has_a_problem(rows: list[tuple[object, ...]]) -> None:
    text = """
[[collection]]
name = "a"
key = "x"
[collection.fields]
x = { type = "number", decimal = "." }
y = { type = "boolean", default = 1 }
[[collection]]
name = "b"
key = "z"
[collection.fields]
z = { normalise = true, type = "text" }
y = { type = "date", on_error = "null" }
"""
    made, problems = mapped(text, ["x", "y", "z"], rows) if rows else ([], {})
    taken = {row for m in made for row in m.sources}
    assert taken | set(problems) == set(range(len(rows)))
    assert not taken & set(problems)
    assert all(len(column) == len(m.sources) for m in made for column in m.columns)

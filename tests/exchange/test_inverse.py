"""Maps backwards: what is written reads back as what it was."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import MapRefused
from replica.exchange.maps.inverse import inverse
from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.mapping import plain
from replica.exchange.rows import MISSING, Batch

MAP = """
version = 1
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = "ID"
name = { from = ["Name", "Display"], trim = true }
sex = { from = "Sex", lookup = { table = { "男" = "m", "Male" = "m", "女" = "f" }, absent = "keep" } }
grade = { from = "Grade", lookup = { table = { low = 1, high = 2 } }, type = "integer" }
vip = { from = "VIP", type = "boolean", true = ["是"], false = ["否"] }
born = { from = "Born", type = "date", format = "d. MMM yyyy" }
met = { from = "Met", type = "date", format = "MDY" }
serial = { from = "Serial", type = "date", format = "excel" }
seen = { from = "Seen", type = "datetime", format = "dd.MM.yyyy HH:mm:ss", zone = "Asia/Shanghai" }
made = { from = "Made", type = "datetime", format = "DMY" }
sum = { from = "Sum", type = "number", decimal = "," }
boss = { from = ["B1", "B2"], refers = "contacts" }
tag1 = { from = "Tags", split = { separator = ";", index = 1 } }
tag2 = { from = "Tags", split = { separator = ";", index = 2 } }
source = { constant = "x" }
full = { from = ["First", "Last"], concat = " " }
part = { from = "Path", split = { separator = "/", index = 2 } }
twice = "ID"
short = { from = "Short", type = "date", format = "dd/MM/yy" }
"""


def test_what_cannot_go_back_is_said_with_why() -> None:
    made = inverse(parse(MAP, "m", None), "contacts")
    assert {lost.field: lost.why.split(":")[0].split(",")[0] for lost in made.lost} == {
        "source": "it is a constant of the map",
        "full": "it was joined from several columns",
        "part": 'it is one part of "Path"',
        "twice": 'the column "ID" is written from the field "id"',
        "short": '"dd/MM/yy" has two digits of the year only',
    }
    assert made.fields == (
        "ID", "Name", "Sex", "Grade", "VIP", "Born", "Met", "Serial", "Seen", "Made", "Sum", "B1", "B2", "Tags",
    )  # fmt: skip
    with pytest.raises(MapRefused, match="did you mean contacts"):
        inverse(parse(MAP, "m", None), "contact")


def test_without_a_map_and_with_the_rest_fields_keep_their_names() -> None:
    made = inverse(plain("c", ["id"]), "c", ["id", "x"])
    assert (made.reads, made.fields, made.lost) == (("id", "x"), ("id", "x"), ())
    assert made.columns([["1", "2"], ["", None]]) == [["1", "2"], ["", None]]
    kept = parse(MAP.replace('key = "id"', 'key = "id"\nrest = "keep"'), "m", None)
    assert inverse(kept, "contacts", ["ID", "name", "zip"]).fields[-1] == "zip"


def test_values_as_the_file_has_them() -> None:
    made = inverse(parse(MAP, "m", None), "contacts")
    cells = {
        "id": "1", "name": "Ann", "sex": "m", "grade": 2, "vip": 0, "born": "2021-03-12", "met": "2021-03-12",
        "serial": "2021-03-12", "seen": "2021-03-12T02:20:30Z", "made": "2021-03-12T02:20:30Z", "sum": 1234.5,
        "boss": ("x", "y"), "tag1": "a", "tag2": None,
    }  # fmt: skip
    columns: list[Any] = [[cells[name]] for name in made.reads]
    assert [column[0] for column in made.columns(columns)] == [
        "1", "Ann", "男", "high", "否", "12. Mar 2021", "03/12/2021", 44267, "12.03.2021 10:20:30", "2021-03-12T02:20:30Z",
        "1234,5", "x", "y", "a",
    ]  # fmt: skip


TEXT = st.text(st.characters(codec="utf-8", exclude_characters=";"), max_size=5).map(str.strip).filter(bool)
DAYS = st.dates(min_value=date(1900, 1, 1)).map(date.isoformat)
TIMES = st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2100, 1, 1))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": TEXT.filter(lambda t: "e" not in t.casefold()),
                "name": TEXT,
                "sex": st.sampled_from(["m", "f", "x", ""]),
                "grade": st.sampled_from([1, 2, None]),
                "vip": st.sampled_from([0, 1, None]),
                "born": st.one_of(st.none(), DAYS),
                "met": st.one_of(st.none(), DAYS),
                "serial": st.one_of(st.none(), DAYS),
                "seen": st.one_of(st.none(), TIMES.map(lambda t: t.isoformat(timespec="seconds") + "Z")),
                "made": st.one_of(st.none(), TIMES.map(lambda t: t.isoformat(timespec="seconds"))),
                "sum": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
                "boss": st.one_of(st.none(), st.tuples(TEXT, TEXT)),
                "tag1": TEXT,
                "tag2": st.one_of(st.none(), TEXT),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_reads_back(records: list[dict[str, Any]]) -> None:
    mapping = parse(MAP, "m", None)
    back = inverse(mapping, "contacts")
    columns = back.columns([[r[name] for r in records] for name in back.reads])
    gone = {"First", "Last", "Path", "Short"}
    fields = [*back.fields, *gone]
    rows = [(*cells, *[MISSING] * len(gone)) for cells in zip(*columns, strict=True)]
    mapper = mapping.mapper(fields)
    (made,), problems = mapper.map(Batch(range(len(rows)), range(len(rows)), rows))
    assert not problems
    names = [f.name for f in mapper.targets[0].fields]
    read = [dict(zip(names, cells, strict=True)) for cells in zip(*made.columns, strict=True)]
    assert [{name: r[name] for name in back.reads} for r in read] == records

"""Delimited text in and out: the promises of replica/exchange/formats/delimited.py, by number."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replica.errors import FileRefused, RowRefused, Unsure, UsageError
from replica.exchange.formats.delimited import DelimitedReader, DelimitedWriter
from replica.exchange.formats.files import Input, open_input
from replica.exchange.formats.output import open_output
from replica.exchange.rows import MISSING, Broken, ReadOptions, WriteOptions
from tests.exchange.pace import spent

SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.exists(), reason="real data (../shared) is absent")


OPEN: list[Input] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def close_all() -> None:
    while OPEN:
        OPEN.pop().close()


def reader(data: bytes | str, **options: Any) -> DelimitedReader:
    OPEN.append(open_input("-", io.BytesIO(data.encode() if isinstance(data, str) else data)))
    return DelimitedReader(OPEN[-1], ReadOptions(**options))


def rows_of(data: bytes | str, **options: Any) -> list[tuple[str, ...]]:
    return [row for batch in reader(data, **options).batches() for row in batch.rows]


def broken_of(data: bytes | str, **options: Any) -> list[Broken]:
    return [one for batch in reader(data, **options).batches() for one in batch.broken]


def written(fields: Sequence[str], rows: Sequence[Sequence[Any]], **options: Any) -> bytes:
    out = io.BytesIO()
    with open_output("-", out) as output:
        writer = DelimitedWriter(output, fields, WriteOptions(**options))
        writer.write(rows)
        writer.close()
    return out.getvalue()


@shared
@pytest.mark.parametrize("path", sorted(SHARED.glob("csv-spectrum/csvs/*.csv")), ids=lambda p: p.stem)
def test_1_what_others_wrote_comes_in_exactly(path: Path) -> None:
    with open_input(path) as file:
        own = DelimitedReader(file)
        got = [dict(zip(own.fields, row, strict=True)) for batch in own.batches() for row in batch.rows]
    want = json.loads((SHARED / "csv-spectrum" / "json" / f"{path.stem}.json").read_text())
    if path.stem == "location_coordinates":  # Its JSON has another phone number than its CSV.
        want = [{**want, "Contact Phone Number": "2095257564"}]
    assert got == want


@shared
def test_1_a_real_file_comes_in_as_the_standard_library_reads_it() -> None:
    path = SHARED / "chicago_sites.csv"
    with path.open(newline="", encoding="utf-8") as file:
        want = list(csv.reader(file))
    own = DelimitedReader(open_input(path))
    batches = list(own.batches())
    assert own.fields == want[0]
    assert [list(row) for batch in batches for row in batch.rows] == want[1:]
    assert not any(batch.broken for batch in batches)
    assert own.progress() == (path.stat().st_size,) * 2
    own.close()
    own.close()


def test_1_numbers_and_lines_are_right_with_cells_of_several_lines() -> None:
    data = 'id,note\n1,"a\nb\nc"\n\n2,x\n3,"y\n4,z\n5,"p\r\nq"\n6,last'
    got = list(reader(data).batches())
    assert [(n, i, r) for b in got for n, i, r in zip(b.numbers, b.lines, b.rows, strict=True)] == [
        (1, 2, ("1", "a\nb\nc")),
        (2, 6, ("2", "x")),
        (4, 8, ("4", "z")),
        (5, 9, ("5", "p\r\nq")),
        (6, 11, ("6", "last")),
    ]
    (broken,) = [one for b in got for one in b.broken]
    assert broken[:3] == (3, 7, '3,"y')
    assert "quote" in broken.reason


def test_1_batches_are_of_the_asked_size_and_come_again() -> None:
    data = "id,name\n" + "".join(f"{i},n{i}\n" if i % 7 else f"{i}\n" for i in range(1, 101))
    own = reader(data)
    for _ in range(2):
        batches = list(own.batches(10))
        assert all(len(b.rows) <= 10 for b in batches)
        assert [r[0] for b in batches for r in b.rows] == [str(i) for i in range(1, 101) if i % 7]
        assert [n for b in batches for n in b.numbers] == [i for i in range(1, 101) if i % 7]
        assert [x.number for b in batches for x in b.broken] == [i for i in range(1, 101) if not i % 7]
        assert {x.reason.split(":")[0] for b in batches for x in b.broken} == {"1 cell where the table has 2"}


def test_2_blank_lines_are_no_rows_but_an_empty_cell_is_one() -> None:
    assert rows_of('name\n\n""\nAnn\n\n') == [("",), ("Ann",)]
    assert rows_of("id,name\n\n1,\n,\n   \n2,x\n") == [("1", ""), ("", ""), ("2", "x")]


def test_2_what_is_no_row_says_so() -> None:
    data = "id,name\n1,Ann\n2,Ben\nid,name\n3,Cy\n\na,b,c\n1,2,3\n\nTotal: 3\n"
    assert rows_of(data) == [("1", "Ann"), ("2", "Ben"), ("3", "Cy")]
    assert [(b.line, b.reason.split(":")[0]) for b in broken_of(data)] == [
        (4, "the header again"),
        (7, "3 cells where the table has 2"),
        (8, "3 cells where the table has 2"),
        (10, "a footer"),
    ]
    bad = broken_of(b"id,name\n1,Zo\xc3\xab\n2,\xc3\xab\xc3\xab\xc3\xab\xc3\xab\n3,x\xffy\n")
    assert [(b.line, b.raw) for b in bad] == [(4, "3,x\ufffdy")]
    assert "byte 0xff in cell 2" in bad[0].reason


def test_2_findings_tell_what_was_skipped_and_seen() -> None:
    own = reader("Report\nof today\n\nid,name\n1,Ã¼\n2,锟斤拷\n3,x\n4,y\n5,é\n6,éééééé\n")
    found = {f.what: f for f in own.findings}
    assert {"encoding", "delimiter", "quote", "header", "preamble", "mojibake"} <= set(found)
    assert found["header"].value == "line 4"
    assert "Ã¼" in found["mojibake"].value
    assert own.fields == ["id", "name"]
    assert next(iter(own.batches())).rows[0] == ("1", "Ã¼")


def test_3_headers_empty_files_and_what_the_user_says() -> None:
    assert reader("id,a,a,,a\n1,2,3,4,5\n").fields == ["id", "a", "a (2)", "column 4", "a (3)"]
    assert (reader("id,name\n").fields, rows_of("id,name\n")) == (["id", "name"], [])
    for empty in (b"", b"\xef\xbb\xbf", b"\n\n \n", "\n".encode("utf-16")):
        with pytest.raises(FileRefused, match="empty"):
            reader(empty)
    assert rows_of("a;b\n1;2\n", delimiter=",", header=1) == [("1;2",)]
    assert rows_of("1\t2\n3\t4\n", header=0, delimiter="tab") == [("1", "2"), ("3", "4")]
    assert reader("x,y\nid,name\n1,2\n", header=2).fields == ["id", "name"]
    assert rows_of("a|b\n'1'|'x|y'\n", quote="'") == [("1", "x|y")]
    assert rows_of('a,b\n"1,x"\n', quote="none") == [('"1', 'x"')]
    for wrong in ({"delimiter": "ab"}, {"quote": "xx"}, {"header": 9}, {"encoding": "utf-7"}, {"encoding": "rot13"}):
        with pytest.raises(UsageError):
            reader("id,name\n1,2\n", **wrong)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NASTY = st.text(st.sampled_from(list("'=+-@\t\r\n ＝＋－＠\"\\,;a1.\u3000\xa0\0\ufeff")), max_size=6)
CELL = st.one_of(TEXT, NASTY)


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[str, ...]]:
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(*[CELL] * width), min_size=1, max_size=8))


@settings(max_examples=400, deadline=None)
@given(tables(), st.booleans(), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["utf-8", "utf-16", "gb18030"]))
def test_4_whatever_is_written_is_read(
    rows: list[tuple[str, ...]], for_excel: bool, delimiter: str, encoding: str
) -> None:
    fields = ["id", "name", "email", "city"][: len(rows[0])]
    data = written(fields, rows, for_excel=for_excel, delimiter=delimiter, encoding=encoding)
    said = encoding if encoding == "gb18030" else None
    own = reader(data, delimiter=delimiter, header=1, quote='"', encoding=said)
    batches = list(own.batches())
    assert own.fields == fields
    assert [b for batch in batches for b in batch.broken] == []
    assert [row for batch in batches for row in batch.rows] == rows
    close_all()


@pytest.mark.parametrize("for_excel", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "big5", "cp1252", "cp1250"])
def test_4_every_encoding_comes_back_without_a_word(encoding: str, for_excel: bool) -> None:
    word = {"big5": "陳志明的電話", "gb18030": "张伟的电话", "cp1252": "Müller José", "cp1250": "Łukasz Dąbrowski"}.get(
        encoding, "Zoë 張"
    )
    rows = [(str(i), word, "=1+1", "-5", "'=x") for i in range(20)]
    data = written(["id", "name", "note", "number", "mark"], rows, encoding=encoding, for_excel=for_excel)
    assert rows_of(data) == rows
    assert (b"'=1+1" in data or "'=1+1".encode("utf-16-le") in data) == for_excel


def test_4_excel_gets_a_mark_and_no_formula() -> None:
    cells = ["=1", " =1", "@x", "\tx", "＝1", "+x", "-x", "-5", "+8613800000000", "+43 1 555", "x"]
    data = written(["c"], [(c,) for c in cells], for_excel=True).decode("utf-8-sig")
    got = [row[0] for row in csv.reader(io.StringIO(data, newline=""))][1:]
    assert got == ["'=1", "' =1", "'@x", "'\tx", "'＝1", "'+x", "'-x", "-5", "+8613800000000", "+43 1 555", "x"]
    assert written(["c"], [("=1",)]) == b"c\n=1\n"
    for text, marked in (("=1", True), ("it's", False)):
        own = reader(written(["id", "note"], [("1", text)], for_excel=True))
        assert ("formula markers" in {f.what for f in own.findings}) == marked
    assert rows_of("id,note\n1,'=1\n") == [("1", "'=1")]


def test_4_other_cells_have_one_text_each() -> None:
    row = [1, -5, 0.1, 1e300, True, False, b"\x00\xff", None, MISSING, "x"]
    names = [f"f{i}" for i in range(len(row))]
    assert written(names, [row]).split(b"\n")[1] == b"1,-5,0.1,1e+300,true,false,x'00ff',,,x"


def test_5_what_cannot_be_written_names_row_field_and_character() -> None:
    rows = [("1", "Ann"), ("2", "䶮")]
    with pytest.raises(RowRefused, match=r"row 2, field name: 䶮 \(U\+4DAE\) is not in cp1252: write gb18030 or utf-8"):
        written(["id", "name"], rows, encoding="cp1252")
    with pytest.raises(RowRefused, match=r"row 4098, field name: \\ud800 is half a character"):
        written(["id", "name"], [*[("1", "x")] * 4097, ("2", "a\ud800")])
    with pytest.raises(RowRefused, match="3 cells, the file has 2"):
        written(["id", "name"], [("1", "2", "3")])


def test_6_the_same_rows_make_the_same_bytes_in_whatever_portions() -> None:
    rows = [(str(i), f"a\r{i}" if i % 5000 == 0 else 'q"x' if i % 3 else " y ") for i in range(9000)]
    out = io.BytesIO()
    with open_output("-", out) as output:
        writer = DelimitedWriter(output, ["id", "name"])
        for i in range(0, 9000, 77):
            writer.write(rows[i : i + 77])
    assert out.getvalue() == written(["id", "name"], rows)
    assert rows_of(out.getvalue()) == rows


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b"a,b\n" * 2_000_000,
        b"id,name\n1," + b"x" * 20_000_000 + b"\n2,y\n",
        b"," * 3_000_000 + b"\n1,2\n",
        b"x" * 30_000_000,
        b'id,name\n' + b'1,"x\n' * 300_000,
        b'id,name\n' + b'"\n' * 300_000,
        b"id,name\n" + b"\xff" * 3_000_000,
    ],
    ids=["opened at the start", "a long line", "only delimiters", "no line", "all opened", "only quotes", "only bad bytes"],
)  # fmt: skip
def test_2_an_attack_ends_soon(data: bytes) -> None:
    began = time.process_time()
    kept = broken = 0
    try:
        for batch in reader(data).batches():
            kept, broken = kept + len(batch.rows), broken + len(batch.broken)
    except (FileRefused, Unsure):
        assert spent(began) < 1
    else:
        assert kept + broken
        assert spent(began) < 1 + len(data) / 2_000_000


def test_texts_as_formulas_are_texts() -> None:
    own = reader(b'id,name,sum\r\n="00123",Ana,"=""kept"""\r\n="00124","=SUM(A1)",=A1\r\n')
    rows = [row for batch in own.batches() for row in batch.rows]
    assert rows == [("00123", "Ana", "kept"), ("00124", "=SUM(A1)", "=A1")]
    assert [f.what for f in own.findings if f.what.startswith("texts")] == ["texts as formulas"]
    data = written(["id", "name"], [("1", '="00123"'), ("2", ',="x",')], for_excel=False)
    assert [row for batch in reader(data).batches() for row in batch.rows] == [("1", '="00123"'), ("2", ',="x",')]


def test_a_cell_that_ends_with_a_backslash_escapes_nothing() -> None:
    own = reader(b'id,path,note\n1,"C:\\dir\\","a, b"\n2,"D:\\",c\n')
    assert [row for batch in own.batches() for row in batch.rows] == [("1", "C:\\dir\\", "a, b"), ("2", "D:\\", "c")]

"""Sheets: what Excel shows comes in, what is written comes back, and no workbook blows up its reader."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from replica.errors import FileRefused, RowRefused, UsageError
from replica.exchange.formats import sheetwrite
from replica.exchange.formats.sheet import SheetReader
from replica.exchange.formats.sheetwrite import XlsxWriter, sheet_name
from replica.exchange.rows import MISSING, Finding, ReadOptions, Row
from tests.exchange.pace import spent
from tests.exchange.sources import Bytes


def write(fields: list[str], rows: list[Row], name: str = "records") -> bytes:
    out = io.BytesIO()
    writer = XlsxWriter(out, fields, name)
    writer.write(rows)
    writer.close()
    return out.getvalue()


def read(data: bytes | Path, size: int = 3, **options: Any) -> tuple[list[str], list[Row], list[Finding]]:
    reader = SheetReader(Bytes(data), ReadOptions(**options))
    try:
        rows = [row for batch in reader.batches(size) for row in batch.rows]
        return reader.fields, rows, reader.findings
    finally:
        reader.close()


def excel(make: Callable[[Any, Any], None], **options: Any) -> bytes:
    """A workbook as another library writes it."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True, **options}) as book:
        make(book, book.add_worksheet())
    return out.getvalue()


text = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("_x0041\r\n\t\0")))
cells = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), text
)


def sayable(value: object) -> object:
    if value is None:
        return ""
    return str(value) if type(value) is int and abs(value) > 2**53 else value


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_written_is_read(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    fields = data.draw(st.lists(text.map(str.strip).filter(bool), min_size=count, max_size=count, unique=True))
    rows = data.draw(st.lists(st.tuples(*[cells] * count), max_size=5))
    found, got, _ = read(write(fields, rows))
    assert found == fields
    assert got == [tuple(map(sayable, row)) for row in rows if any(v not in {None, ""} for v in row)]


def test_bytes_are_the_same_and_text_is_text() -> None:
    rows: list[Row] = [("=1+1", "00123", "http://a.example", 0.1 + 0.2), (b"\0", MISSING, float("inf"), "_x0041_")]
    data = write(["a", "b", "c", "d"], rows, "a/b:c" * 10)
    assert data == write(["a", "b", "c", "d"], rows, "a/b:c" * 10)
    assert read(data)[1] == [rows[0], ("x'00'", "", "inf", "_x0041_")]
    sheet = zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml")
    assert b"<f>" not in sheet
    assert b"hyperlink" not in sheet
    assert sheet_name("a/b:c" * 10) == "a_b_ca_b_ca_b_ca_b_ca_b_ca_b_ca"


def test_limits_of_a_sheet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RowRefused, match=r'"b" of row 1 is longer'):
        write(["a", "b"], [("x" * 32_767, "😀" * 16_384)])
    assert read(write(["a"], [("x" * 32_767,)]))[1] == [("x" * 32_767,)]
    monkeypatch.setattr(sheetwrite, "ROWS_MAX", 3)
    assert len(read(write(["a"], [(1,), (2,)]))[1]) == 2
    with pytest.raises(RowRefused, match="write CSV or Parquet"):
        write(["a"], [(1,), (2,), (3,)])
    with pytest.raises(RowRefused, match="columns"):
        write([f"c{i}" for i in range(16_385)], [])
    with pytest.raises(RowRefused, match="surrogate"):
        write(["a"], [("\ud800",)])
    with pytest.raises(RowRefused, match="place"):
        write(["a"], [(object(),)])


@pytest.mark.parametrize("since_1904", [False, True])
def test_values_of_excel(since_1904: bool) -> None:
    def make(book: Any, sheet: Any) -> None:
        kinds = {
            k: book.add_format({"num_format": k}) for k in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "hh:mm", "[h]:mm:ss")
        }
        sheet.write_row(0, 0, list("abcdefg"))
        sheet.write_number(1, 0, 3)
        sheet.write_datetime(1, 1, date(2020, 1, 2), kinds["yyyy-mm-dd"])
        sheet.write_datetime(1, 2, datetime(2020, 1, 2, 3, 4, 5), kinds["yyyy-mm-dd hh:mm:ss"])
        sheet.write_datetime(1, 3, clock(12, 30), kinds["hh:mm"])
        sheet.write_datetime(1, 4, timedelta(hours=36), kinds["[h]:mm:ss"])
        sheet.write_boolean(1, 5, True)
        sheet.write_formula(1, 6, "=1+1.5", value=2.5)
        sheet.write_formula(2, 0, "=NA()", value="#N/A")
        sheet.write_formula(2, 2, "=1/0", value="#DIV/0!")
        sheet.write_string(4, 6, "00123")

    fields, rows, findings = read(excel(make, date_1904=since_1904))
    assert fields == list("abcdefg")
    assert rows == [
        (3, "2020-01-02", "2020-01-02T03:04:05", "12:30:00", "36:00:00", True, 2.5),
        ("#N/A", "", "#DIV/0!", "", "", "", ""),
        ("", "", "", "", "", "", "00123"),
    ]
    assert [f.value for f in findings if f.what == "cells with an error"] == ["2 (as #N/A, kept as text)"]


def test_the_header_is_found_below_a_title() -> None:
    def make(_: Any, sheet: Any) -> None:
        sheet.write_string(1, 1, "Contacts of 2020")
        sheet.write_row(4, 1, ["name", "", "name", "unused"])
        sheet.write_row(5, 1, ["A", "x", "B"])
        sheet.write_row(7, 1, ["C", 5, "D"])

    fields, rows, findings = read(excel(make))
    assert fields == ["name", "column 3", "name (2)", "unused"]
    assert rows == [("A", "x", "B", ""), ("C", 5, "D", "")]
    assert [(f.value, f.option) for f in findings if f.what == "header"] == [("5", "--header")]
    reader = SheetReader(Bytes(excel(make)), ReadOptions(header=6))
    [batch] = reader.batches()
    assert reader.fields == ["A", "x", "B"]
    assert (batch.numbers, batch.lines, batch.rows) == ([1], [8], [("C", 5, "D")])
    reader.close()
    assert read(excel(make), header=0)[0] == ["column 2", "column 3", "column 4", "column 5"]
    with pytest.raises(UsageError, match="--header"):
        read(excel(make), header=99)


def test_a_sheet_is_chosen() -> None:
    def make(book: Any, _: Any) -> None:
        for name in ("One", "2"):
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, ["a"])
            sheet.write_row(1, 0, [name])

    data = excel(make)
    _, rows, findings = read(data)
    assert rows == [("One",)]
    assert [(f.value, f.others) for f in findings if f.what == "sheet"] == [("One", ("Sheet1", "2"))]
    assert read(data, sheet="2")[1] == [("2",)]
    assert read(data, sheet="3")[1] == [("2",)]
    assert read(data, sheet="Sheet1")[:2] == ([], [])
    with pytest.raises(UsageError, match="One"):
        read(data, sheet="9")


def book(sheet: bytes, **others: bytes) -> bytes:
    """A workbook with this sheet."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(write(["a"], [(1,)]))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, sheet if "sheet1" in name else old.read(name))
        for name, data in others.items():
            new.writestr(name, data)
    return out.getvalue()


def lying() -> bytes:
    """A workbook whose directory says that its sheet is small."""
    data = bytearray(book(b"<worksheet>" + b" " * 50_000_000 + b"</worksheet>"))
    at = data.find((50_000_000 + 23).to_bytes(4, "little"), data.find(b"PK\x01\x02"))
    data[at : at + 4] = (1_000).to_bytes(4, "little")
    return bytes(data)


CORNER = (
    b'<worksheet><sheetData><row r="1"><c r="A1"><v>1</v></c></row>'
    b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>'
)
ODS = (
    b'<office:document-content><table:table><table:table-row table:number-rows-repeated="1048576">'
    b'<table:table-cell office:value-type="string" table:number-columns-repeated="16384"/></table:table-row></table:table>'
    b"</office:document-content>"
)


def ods() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        made.writestr("content.xml", ODS)
    return out.getvalue()


ATTACKS: dict[str, Callable[[], bytes]] = {
    "bomb": lambda: book(b"<worksheet>" + b" " * 200_000_000 + b"</worksheet>"),
    "bomb beside": lambda: book(b"<worksheet/>", bomb=b"\0" * 600_000_000),
    "lying": lying,
    "corner": lambda: book(CORNER),
    "corner in quotes": lambda: book(CORNER.replace(b'"', b"'")),
    "ods": ods,
    "cut": lambda: write(["a"], [(i,) for i in range(1000)])[:-100],
    "no workbook": lambda: book(b"")[:30],
    "empty": lambda: b"",
    "text": lambda: b"a,b\n1,2\n",
    "old": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
    "no sheet": lambda: book(b"<worksheet><sheetData><row"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_at_once(name: str) -> None:
    data = ATTACKS[name]()
    began = time.process_time()
    with pytest.raises(FileRefused):
        read(data)
    assert spent(began) < 1


def test_a_damaged_part_is_refused() -> None:
    data = bytearray(write(["a"], [(f"text {i}",) for i in range(1000)]))
    data[-3000:-2000] = b"\xff" * 1000
    with pytest.raises(FileRefused):
        read(bytes(data))

"""Errors of formulas in ods, which the library shows as nothing or as 0, and cells that are empty."""

from __future__ import annotations

import io
import time
import zipfile

import pytest

from replica.errors import FileRefused
from replica.exchange.formats.sheet import SheetReader
from replica.exchange.rows import Finding, ReadOptions, Row
from tests.exchange.pace import spent
from tests.exchange.sources import Bytes

_NAMES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
)
_CALC = 'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
MANIFEST = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry '
    'manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>'
)
EMPTY = "<table:table-cell/>"


def text(said: str, more: str = "") -> str:
    return f'<table:table-cell office:value-type="string" {more}><text:p>{said}</text:p></table:table-cell>'


def error(said: str, kind: str = 'office:value-type="string" office:string-value=""', more: str = "") -> str:
    return (
        f'<table:table-cell table:formula="of:=1/0" {kind} calcext:value-type="error" {more}><text:p>{said}</text:p>'
        "</table:table-cell>"
    )


def ods(*tables: list[str]) -> bytes:
    """A file of these tables; a row is the text of its cells."""
    rows = ["".join(f"<table:table-row>{row}</table:table-row>" for row in table) for table in tables]
    body = "".join(f'<table:table table:name="T{i}">{table}</table:table>' for i, table in enumerate(rows))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        made.writestr("META-INF/manifest.xml", MANIFEST)
        made.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content {_NAMES} {_CALC}><office:body><office:spreadsheet>{body}'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return out.getvalue()


def read(data: bytes, **options: str) -> tuple[list[Row], list[Finding]]:
    reader = SheetReader(Bytes(data), ReadOptions(**options))  # type: ignore[arg-type]
    try:
        return [row for batch in reader.batches() for row in batch.rows], reader.findings
    finally:
        reader.close()


HEAD = text("id") + text("a") + text("b") + text("c")
ZERO = 'office:value-type="float" office:value="0"'


def test_an_error_is_its_text_and_told_and_an_empty_cell_is_empty() -> None:
    file = ods([HEAD, text("1") + error("#N/A") + EMPTY + error("#DIV/0!", ZERO), text("2") + EMPTY * 2 + text("x")])
    rows, findings = read(file)
    assert rows == [("1", "#N/A", "", "#DIV/0!"), ("2", "", "", "x")]
    assert [f.value for f in findings if f.what == "cells with an error"] == ["2 (as #N/A, kept as text)"]


def test_an_error_that_is_repeated_and_one_of_another_sheet() -> None:
    first = [HEAD, text("1") + error("#REF!", more='table:number-columns-repeated="2"') + text("x")]
    second = [HEAD, text("2") + text("y") + text("y") + error("#NAME?", ZERO)]
    rows, findings = read(ods(first, second))
    assert rows == [("1", "#REF!", "#REF!", "x")]
    assert [f.value[:1] for f in findings if f.what == "cells with an error"] == ["2"]
    assert read(ods(first, second), sheet="T1")[0] == [("2", "y", "y", "#NAME?")]


@pytest.mark.parametrize("before", [0, 7, 900])
def test_errors_are_found_wherever_the_file_is_cut(before: int) -> None:
    rows = [HEAD, *[text(str(i)) + text("x" * before) + error("#N/A", ZERO) + EMPTY for i in range(3_000)]]
    got, _ = read(ods([*rows, text("last") + text("") + EMPTY + text("c")]))
    assert [row[2] for row in got] == [*["#N/A"] * 3_000, ""]


def test_an_error_that_is_repeated_without_end_is_refused_at_once() -> None:
    far = error("#N/A", more='table:number-columns-repeated="999999999"')
    began = time.process_time()
    with pytest.raises(FileRefused, match="cells"):
        read(ods([HEAD, far]))
    assert spent(began) < 1


def test_tabs_breaks_and_long_durations() -> None:
    note = "<office:annotation><text:p>a<text:tab/>comment</text:p></office:annotation>"
    odd = text('a<text:tab/>b<text:s text:c="3"/>c<text:line-break/>d<text:span>e<text:tab/></text:span>f</text:p><text:p>g')
    dated = '<table:table-cell office:value-type="time" office:time-value="{}" table:number-columns-repeated="2"/>'
    rows = [
        text("id") + text("v") + text("w"),
        text("1") + odd + text("kept").replace("<text:p>", f"{note}<text:p>"),
        text("2") + dated.format("PT26H03M04S"),
        text("3") + dated.format("PT12H30M00S"),
        text("4") + dated.format("-P1DT02H00M01.5S"),
        text("5") + text("PT26H03M04S") + EMPTY,
        (text("6") + text("x<text:tab/>") + EMPTY),
    ]
    other = [text("k<text:tab/>") + text("l")] * 2
    long = (" " * 3).join("bc")
    assert read(ods(other, rows, other), sheet="2")[0] == [
        ("1", f"a\t{long}\nde\tf\ng", "kept"), ("2", "26:03:04", "26:03:04"), ("3", "12:30:00", "12:30:00"),
        ("4", "-26:00:01", "-26:00:01"), ("5", "PT26H03M04S", ""), ("6", "x\t", ""),
    ]  # fmt: skip
    assert read(ods(other, rows, other), sheet="3")[0] == [("k\t", "l")]


def test_a_text_that_nests_without_end_is_refused() -> None:
    deep = "<text:span>" * 3_000 + "<text:tab/>" + "</text:span>" * 3_000
    began = time.process_time()
    with pytest.raises(FileRefused):
        read(ods([text("id") + text("v"), text("1") + text(deep)]))
    many = text("x<text:tab/>", 'table:number-columns-repeated="900"')
    assert len(read(ods([text("id") + many] + [text("1") + many] * 200))[0]) == 200
    assert spent(began) < 5

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

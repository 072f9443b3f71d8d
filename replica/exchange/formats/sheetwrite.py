"""Writing xlsx: one sheet, as a stream, exactly what was given.

Written without a library: those that write xlsx round floats to 16 digits and mangle text that looks like their own escapes.

1. Text is text: no formula, no link, no number out of "00123". Whole numbers up to 2**53 and floats are numbers, the same
   when read; larger whole numbers, infinities are text. Booleans are booleans, bytes the text x'hex'.
2. Control characters, and a text that looks like their escape, are _xHHHH_ as Excel writes them.
3. A text over 32,767 characters, more than 1,048,576 rows or 16,384 columns are RowRefused, which says what to do.
4. For the same rows the same bytes. Memory holds what `write` was given.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterable, Sequence

from replica.errors import RowRefused
from replica.exchange.formats.paths import nests, text_of
from replica.exchange.formats.source import Sink, wrong_width
from replica.exchange.formats.xlsx import EXACT
from replica.exchange.rows import MISSING, Row

ROWS_MAX, COLUMNS_MAX, TEXT_MAX = 1_048_576, 16_384, 32_767

_ODD = re.compile("[&<>\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
    f'ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_KIND}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="NAME" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


class _Unseekable(io.RawIOBase):
    """A sink as a file for zipfile."""

    def __init__(self, out: Sink) -> None:
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._out.write(bytes(data))
        return len(data)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 0, 0
    return entry


def _letters(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _escape(found: re.Match[str]) -> str:
    letter = found[0]
    return _ENTITIES.get(letter) or f"_x{ord(letter):04X}_"


def sheet_name(name: str) -> str:
    """A name that Excel takes for a sheet."""
    return re.sub(r"[\[\]:*?/\\\x00-\x1f]", "_", name).strip("'")[:31] or "records"


class XlsxWriter:
    """A workbook of one sheet, its header the first row."""

    def __init__(self, out: Sink, fields: Sequence[str], name: str = "records") -> None:
        if len(fields) > COLUMNS_MAX:
            raise RowRefused(f"a sheet has {COLUMNS_MAX:,} columns at most, not {len(fields):,}: write CSV or Parquet")
        self._fields, self._count = list(fields), 0
        self._columns = [_letters(i + 1) for i in range(len(fields))]
        self._zip = zipfile.ZipFile(_Unseekable(out), "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        for part, text in _PARTS.items():
            shown = text.replace("NAME", _ODD.sub(_escape, sheet_name(name)).replace('"', "&quot;"))
            self._zip.writestr(_entry(part), (_XML + shown).encode(), compresslevel=6)
        self._sheet = self._zip.open(_entry("xl/worksheets/sheet1.xml"), "w")
        self._sheet.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>\n'.encode())
        self.write([tuple(fields)])

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows, in the order of the fields. Raises RowRefused for what a sheet cannot hold."""
        made = []
        try:
            for row in rows:
                self._count += 1
                if self._count > ROWS_MAX:
                    raise RowRefused(
                        f"a sheet has {ROWS_MAX - 1:,} rows at most: write CSV or Parquet, or several files"
                    )
                if len(row) != len(self._columns):
                    raise wrong_width(row, len(self._columns))
                made.append(f'<row r="{self._count}">')
                for column, value in zip(self._columns, row, strict=True):
                    if value is not None and value is not MISSING and value != "":
                        made.append(self._cell(column, value))
                made.append("</row>\n")
            self._sheet.write("".join(made).encode())
        except UnicodeEncodeError:
            raise RowRefused("half a character (a lone surrogate) has no place in a sheet") from None
        except RuntimeError as error:
            raise RowRefused(
                f"the sheet is larger than a file of Excel can be ({error}): write CSV or Parquet"
            ) from None

    def _cell(self, column: str, value: object) -> str:
        place = f"{column}{self._count}"
        if isinstance(value, bool):
            return f'<c r="{place}" t="b"><v>{value:d}</v></c>'
        if (isinstance(value, int) and abs(value) <= EXACT) or (isinstance(value, float) and math.isfinite(value)):
            return f'<c r="{place}"><v>{value!r}</v></c>'
        if isinstance(value, bytes):
            value = f"x'{value.hex()}'"
        elif isinstance(value, int | float):
            value = str(value)
        elif nests(value):
            value = text_of(value)
        if not isinstance(value, str):
            raise RowRefused(f"{type(value).__name__} has no place in a sheet")
        if len(value) > TEXT_MAX // 2 and len(value.encode("utf-16-le", "surrogatepass")) // 2 > TEXT_MAX:
            field = self._fields[self._columns.index(column)]
            raise RowRefused(
                f'"{field}" of row {self._count - 1:,} is longer than the {TEXT_MAX:,} characters of a cell: write CSV or'
                " JSON"
            )
        shown = _ODD.sub(_escape, value)
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{shown}</t></is></c>'

    def discard(self) -> None:
        """Give up: what was written is no workbook."""
        self._sheet.close()
        self._zip.close()

    def close(self) -> None:
        """Finish the file."""
        self._sheet.write(b"</sheetData></worksheet>\n")
        self._sheet.close()
        self._zip.close()

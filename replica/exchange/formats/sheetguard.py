"""What a workbook would unpack to, before it is opened.

1. Every part is unpacked once here, under caps on size and ratio; a part that is larger than it says is refused.
2. The cells that its sheets speak of span a bounded area: one cell in the last corner would ask for all seventeen thousand
   million between. A row of xlsx is bounded too.
3. Cells of ods that hold an error (#N/A) are noted by their place, because the library shows them as empty.
"""

from __future__ import annotations

import itertools
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from replica.errors import FileRefused

UNPACKED_MAX = 512 << 20
"""Of an ods, which is read whole."""
STREAMED_MAX = 64 << 30
"""Of an xlsx."""
ROW_MAX = 64 << 20
"""Bytes of a row of xlsx (16,384 cells of 4,000), or of a text that its cells share."""
FILLED = 8
"""A sheet may be as much larger than CELLS_MAX as it has cells, times this."""
RATIO_MAX = 200
RATIO_FREE = 4 << 20
"""Unpacked bytes of a part before the ratio counts."""
CELLS_MAX = 50_000_000
PARTS_MAX = 10_000
ERRORS_MAX = 100_000

_PLACE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{1,3})(\d{1,7})["']""")
_ODS = re.compile(rb"<table:(table-row|table-cell|covered-table-cell|table)\b([^>]*)>")
_ODS_ERROR = re.compile(
    rb"<(?:table:(table-row|table-cell|covered-table-cell|table)\b([^>]*)|text:p\b[^>]*)>([^<]{0,40})"
)
_REPEATED = re.compile(rb'number-(?:rows|columns)-repeated="(\d{1,9})"')

TEXT_MAX = 1 << 30
"""Bytes of text of a sheet, as often as it stands."""

Errors = dict[tuple[int, int], str]


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


class _Area:
    """The rectangle of cells that a sheet of xlsx needs."""

    def __init__(self) -> None:
        self._columns: set[bytes] = set()
        self._rows = (10_000_000, 0)
        self.shared = self.seen = self.longest = self._since = 0
        """Cells with a shared text; cells and rows with a place; bytes of the longest row."""

    def see(self, data: bytes) -> None:
        low, high = self._rows
        self.shared += data.count(b't="s"') + data.count(b"t='s'")
        found = _PLACE.findall(data)
        if found:
            self._columns.update(letters for letters, _ in found)
            self.seen += len(found)
            rows = [int(digits) for _, digits in found]
            self._rows = min(low, *rows), max(high, *rows)
        row = max(data.rfind(b"row>"), data.rfind(b"row "))
        self._since = self._since + len(data) if row < 0 else len(data) - row
        self.longest = max(self.longest, self._since)

    def cells(self) -> int:
        columns = [_column(letters) for letters in self._columns] or [0]
        return (max(columns) - min(columns) + 1) * max(self._rows[1] - self._rows[0] + 1, 0)


class _Shared:
    """The longest of the texts that cells share: a million cells can share one of a megabyte."""

    def __init__(self) -> None:
        self.longest = self._since = 0

    def see(self, data: bytes) -> None:
        *ended, rest = data.split(b"<si>") if b"<si>" in data else [data]
        if ended:
            self.longest = max(self.longest, self._since + len(ended[0]), *map(len, ended[1:]), 0)
            self._since = 0
        self._since += len(rest)
        self.longest = max(self.longest, self._since)


class _OdsArea:
    """The same of ods, whose rows and cells say how often they stand."""

    def __init__(self) -> None:
        self._row = self._column = self._times = self._widest = self._tallest = 0
        self.shared = self.seen = self.longest = 0
        self.tables: list[Errors] = []
        self._error: tuple[range, range] | None = None
        """Rows and columns of an error whose text has not come yet."""

    def see(self, data: bytes) -> None:
        if self._error is None and b'value-type="error"' not in data:
            for kind, attributes in _ODS.findall(data):
                self._tag(kind, attributes)
            return
        for kind, attributes, text in _ODS_ERROR.findall(data):
            if kind:
                self._error = None
                times = self._tag(kind, attributes)
                if b'value-type="error"' in attributes:
                    columns = range(self._column - times, self._column)
                    self._error = range(self._row - self._times, self._row), columns
            elif self._error is not None and self.tables:
                rows, columns = self._error
                places = ((row, column) for row in rows for column in columns)
                for place in itertools.islice(places, max(ERRORS_MAX - len(self.tables[-1]), 0)):
                    self.tables[-1][place] = text.decode("utf-8", "replace")
                self._error = None

    def _tag(self, kind: bytes, attributes: bytes) -> int:
        """Count a tag. Returns how often it stands."""
        found = _REPEATED.search(attributes)
        times = int(found[1]) if found else 1
        if kind == b"table":
            self._row = 0
            self.tables.append({})
        elif kind == b"table-row":
            self._row, self._column, self._times = self._row + times, 0, times
        else:
            self._column += times
            if b"value-type" in attributes:
                self._widest = max(self._widest, self._column)
                self._tallest = max(self._tallest, self._row)
        return times

    def cells(self) -> int:
        return self._widest * self._tallest


def _unpacked(file: IO[bytes], entry: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    """A part, unpacked by what is there and not by what the directory says. Raises FileRefused, zlib.error."""
    file.seek(entry.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise FileRefused(f"{name} is a damaged workbook: get it again")
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or entry.flag_bits & 1:
        raise FileRefused(f"{name} is encrypted or packed in an unusual way: save it anew")
    inflate = zlib.decompressobj(-15) if entry.compress_type == zipfile.ZIP_DEFLATED else None
    made, left = 0, entry.compress_size
    while left > 0 or (inflate is not None and inflate.unconsumed_tail):
        if inflate is None:
            data = file.read(min(left, 1 << 18))
            left -= len(data)
        else:
            packed = inflate.unconsumed_tail
            if not packed:
                packed = file.read(min(left, 1 << 16))
                left -= len(packed)
                if not packed:
                    raise FileRefused(f"{name} is cut off: get it again")
            data = inflate.decompress(packed, 1 << 20)
        if not data and inflate is None:
            raise FileRefused(f"{name} is cut off: get it again")
        made += len(data)
        if made > entry.file_size or (made > RATIO_FREE and made > RATIO_MAX * max(entry.compress_size, 1)):
            raise FileRefused(f"{name} unpacks to much more than a table would: that is a bomb")
        yield data
        if inflate is not None and inflate.eof:
            break


def weigh(path: Path, name: str) -> dict[str, Errors]:
    """Look through a workbook that is a zip: part of a sheet (of ods with "#" and its
    number) -> its cells that hold errors. Raises FileRefused."""
    found: dict[str, Errors] = {}
    shared, used = _Shared(), 0
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            declared = sum(entry.file_size for entry in entries)
            streamed = any(entry.filename.lower() == "xl/workbook.xml" for entry in entries)
            most = STREAMED_MAX if streamed else UNPACKED_MAX
            if len(entries) > PARTS_MAX or declared > most:
                raise FileRefused(f"{name} unpacks to {declared:,} bytes; {most:,} at most: save it as CSV")
            for entry in entries:
                if entry.is_dir():
                    continue
                area = shared if entry.filename.lower().endswith("sharedstrings.xml") else _area(entry.filename)
                tail = b""
                for data in _unpacked(file, entry, name):
                    if area is not None:
                        data = tail + data
                        cut = data.rfind(b"<") if len(data) > 4_096 else -1
                        data, tail = (data[:cut], data[cut:]) if cut > 0 else (b"", data)
                        area.see(data)
                if area is None:
                    continue
                area.see(tail)
                if area.longest > ROW_MAX:
                    raise FileRefused(
                        f"{name} has a row or text of {area.longest:,} bytes; {ROW_MAX:,} at most: that is a bomb"
                    )
                if isinstance(area, _Shared):
                    continue
                used += area.shared
                if area.cells() > CELLS_MAX + FILLED * area.seen:
                    raise FileRefused(
                        f"{name} speaks of {area.cells():,} cells, {CELLS_MAX:,} at most: delete the empty rows and columns"
                    )
                found[entry.filename] = {}
                if isinstance(area, _OdsArea):
                    found |= {f"{entry.filename}#{number}": errors for number, errors in enumerate(area.tables)}
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError) as error:
        raise FileRefused(f"{name} is a damaged workbook ({error}): get it again, or save it as CSV") from None
    if used * shared.longest > TEXT_MAX and shared.longest > 32 * 32_767:
        raise FileRefused(
            f"{name} has a text of {shared.longest:,} bytes that stands up to {used:,} times: that is a bomb"
        )
    return found


def _area(part: str) -> _Area | _OdsArea | None:
    lower = part.lower()
    if "worksheets/" in lower and lower.endswith(".xml"):
        return _Area()
    return _OdsArea() if lower == "content.xml" else None

"""What a workbook would unpack to, before it is opened.

1. What its directory says is under caps on size and ratio. A part is unpacked under the same caps: one that is larger than
   it says, or other than its sum says, is refused.
2. The cells that an ods speaks of span a bounded area: one cell in the last corner would ask for all seventeen thousand
   million between. Those of an xlsx are counted by its own reader, as they come.
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
PIECE = 1 << 16
RATIO_MAX = 200
RATIO_FREE = 4 << 20
"""Unpacked bytes of a part before the ratio counts."""
CELLS_MAX = 50_000_000
PARTS_MAX = 10_000
ERRORS_MAX = 100_000

_ODS = re.compile(rb"<table:(table-row|table-cell|covered-table-cell|table)\b([^<>]*)>")
_ODS_ERROR = re.compile(
    rb"<(?:table:(table-row|table-cell|covered-table-cell|table)\b([^<>]*)|text:p\b[^<>]*)>([^<]{0,40})"
)
_REPEATED = re.compile(rb'number-(?:rows|columns)-repeated="(\d{1,9})"')

Errors = dict[tuple[int, int], str]


class _OdsArea:
    """The rectangle of cells that the sheets of an ods need; its rows and cells say how often they stand."""

    def __init__(self) -> None:
        self._row = self._column = self._times = self._widest = self._tallest = 0
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


def unpacked(file: IO[bytes], entry: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    """A part of the workbook `name` in pieces of PIECE, by what is there and not by what the directory says. Raises
    FileRefused, OSError, zlib.error."""
    file.seek(entry.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise FileRefused(f"{name} is a damaged workbook: get it again")
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or entry.flag_bits & 1:
        raise FileRefused(f"{name} is encrypted or packed in an unusual way: save it anew")
    inflate = zlib.decompressobj(-15) if entry.compress_type == zipfile.ZIP_DEFLATED else None
    made, left, crc = 0, entry.compress_size, 0
    while left > 0 or (inflate is not None and inflate.unconsumed_tail):
        packed = inflate.unconsumed_tail if inflate is not None else b""
        if not packed:
            packed = file.read(min(left, PIECE))
            left -= len(packed)
            if not packed:
                raise FileRefused(f"{name} is cut off: get it again")
        data = packed if inflate is None else inflate.decompress(packed, PIECE)
        made, crc = made + len(data), zlib.crc32(data, crc)
        if made > entry.file_size or _bomb(made, entry):
            raise FileRefused(f"{name} unpacks to much more than a table would: that is a bomb")
        yield data
        if inflate is not None and inflate.eof:
            break
    if crc != entry.CRC:
        raise FileRefused(f"{name} is a damaged workbook: get it again, or save it as CSV")


def _bomb(size: int, entry: zipfile.ZipInfo) -> bool:
    return size > RATIO_FREE and size > RATIO_MAX * max(entry.compress_size, 1)


def weigh(path: Path, name: str) -> list[Errors] | None:
    """Look at a workbook that is a zip. Of an ods: the cells of each of its sheets that hold errors; None of others.
    Raises FileRefused."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            declared = sum(entry.file_size for entry in entries)
            # No ods has such a folder. Where there is one, the library for ods might take it for an xlsx.
            streamed = any(entry.filename.lower().startswith("xl/") for entry in entries)
            most = STREAMED_MAX if streamed else UNPACKED_MAX
            if len(entries) > PARTS_MAX or declared > most:
                raise FileRefused(f"{name} unpacks to {declared:,} bytes; {most:,} at most: save it as CSV")
            if any(_bomb(entry.file_size, entry) for entry in entries):
                raise FileRefused(f"{name} unpacks to much more than a table would: that is a bomb")
            if streamed or "content.xml" not in archive.namelist():
                return None
            area = _OdsArea()
            for entry in entries:
                held: list[bytes] = []
                for data in unpacked(file, entry, name):
                    if entry.filename.lower() == "content.xml":
                        # To the last tag only, for it may be cut.
                        cut = data.rfind(b"<")
                        if cut >= 0:
                            area.see(b"".join([*held, data[:cut]]))
                            held.clear()
                        held.append(data[max(cut, 0) :])
                area.see(b"".join(held))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError) as error:
        raise FileRefused(f"{name} is a damaged workbook ({error}): get it again, or save it as CSV") from None
    if area.cells() > CELLS_MAX:
        raise FileRefused(
            f"{name} speaks of {area.cells():,} cells, {CELLS_MAX:,} at most: delete the empty rows and columns"
        )
    return area.tables

"""Cells of an old workbook (xls) that hold an error (#N/A), by their place: the library shows them as empty.

A compound file ([MS-CFB] 2) has a stream of records ([MS-XLS] 2.1): those of a sheet begin where its entry in the list of
sheets says. Whatever is not as it should be ends the look: the library has judged the file before.

1. Errors are found whether a cell holds one (BoolErr) or a formula gave it (Formula), in the sheet that is asked for.
2. A file that is damaged anywhere makes neither an exception nor an endless loop.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from struct import iter_unpack

from replica.exchange.formats.sheetguard import ERRORS_MAX, Errors

_TEXTS = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}  # fmt: skip
_FORMULA, _EOF, _BOUNDSHEET, _BOOLERR, _BOF = 0x0006, 0x000A, 0x0085, 0x0205, 0x0809
_LAST = 0xFFFFFFFA
"""Numbers of sectors are below it; what is above ends a chain."""


def errors(path: Path, sheet: int) -> Errors:
    """(row, column) from 0 -> text of the error, of the sheet of this number from 0."""
    with path.open("rb") as file:
        if path.stat().st_size < 512:
            return {}
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            stream = _workbook(data)
    starts = [_number(record, 0, 4) for kind, record in _records(stream, 0) if kind == _BOUNDSHEET]
    found: Errors = {}
    depth = 0
    for kind, record in _records(stream, starts[sheet]) if sheet < len(starts) else ():
        depth += (kind == _BOF) - (kind == _EOF)
        if depth == 0 or len(found) >= ERRORS_MAX:
            break
        code = _code(kind, record)
        if depth == 1 and code is not None:  # Deeper are charts that lie in the sheet.
            found[_number(record, 0, 2), _number(record, 2, 2)] = _TEXTS.get(code, "#N/A")
    return found


def _code(kind: int, record: bytes) -> int | None:
    """The error that this record puts into a cell."""
    if kind == _BOOLERR and len(record) >= 8 and record[7] == 1:
        return record[6]
    if kind == _FORMULA and record[12:14] == b"\xff\xff" and record[6] == 2:
        return record[8]
    return None


def _records(stream: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """(kind, data) of the records from this place on; of the first part of a stream, up to its end."""
    first = at == 0
    while at + 4 <= len(stream):
        kind, size = _number(stream, at, 2), _number(stream, at + 2, 2)
        yield kind, stream[at + 4 : at + 4 + size]
        if first and kind == _EOF:
            return
        at += 4 + size


def _number(data: bytes | mmap.mmap, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _workbook(data: mmap.mmap) -> bytes:
    """The stream with the records; empty if there is none."""
    shift, small = _number(data, 30, 2), _number(data, 32, 2)
    if shift not in {9, 12} or small != 6:
        return b""
    table = _table(data, shift)
    entries = _chain(data, table, _number(data, 48, 4), shift)
    root = entries[:128]
    for at in range(0, len(entries), 128):
        entry = entries[at : at + 128]
        if entry[: _number(entry, 64, 2)].decode("utf-16-le", "replace").rstrip("\0") in {"Workbook", "Book"}:
            break
    else:
        return b""
    start, size = _number(entry, 116, 4), _number(entry, 120, 4)
    if size >= _number(data, 56, 4):
        return _chain(data, table, start, shift)[:size]
    pieces = _numbers(_chain(data, table, _number(data, 60, 4), shift))
    inner = _chain(data, table, _number(root, 116, 4), shift)
    return _chain(inner, pieces, start, small, -1)[:size]


def _table(data: mmap.mmap, shift: int) -> list[int]:
    """Sector -> the next of its chain."""
    sectors = _numbers(data[76:512])
    most, at = len(data) >> shift, _number(data, 68, 4)
    while at < _LAST and len(sectors) <= most + 109:
        part = _numbers(data[(at + 1) << shift : (at + 2) << shift])
        if not part:
            break
        sectors += part[:-1]
        at = part[-1]
    return _numbers(b"".join(data[(n + 1) << shift : (n + 2) << shift] for n in sectors[: most + 109] if n < most))


def _numbers(data: bytes) -> list[int]:
    return [n for (n,) in iter_unpack("<I", data[: len(data) & ~3])]


def _chain(data: mmap.mmap | bytes, table: list[int], at: int, shift: int, skipped: int = 0) -> bytes:
    """The bytes of a chain of sectors; those of a file come after its header, which is as large as one."""
    parts: list[bytes] = []
    while at < len(table) and len(parts) <= len(data) >> shift:  # More would be a circle.
        parts.append(data[(at + 1 + skipped) << shift : (at + 2 + skipped) << shift])
        at = table[at]
    return b"".join(parts)

"""Cells of an ods that the library shows otherwise than they are: tabs and line breaks in a text, which it leaves out, and
durations of a day and more, which it shows as PT26H03M04S.

1. Text is what a person sees in the cell, tabs and line breaks as such; comments on a cell are none of it.
2. A duration is hours, minutes and seconds, as in the other sheets, however many hours; text that looks like one stays.
3. A file is looked through only if something in it may be such a cell; entities are never resolved.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replica.errors import FileRefused
from replica.exchange.formats.sheetguard import ERRORS_MAX
from replica.libraries import library

Cells = dict[tuple[int, int], str]
"""(row, column) from 0 -> what stands there."""

_MARKS = (b"<text:tab", b"<text:line-break", b'value-type="time"')
_DURATION = re.compile(r"(-?)P(?:(\d+)D)?T(\d+)H(\d+)M(\d+)(?:[.,]\d+)?S")
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"


def cells(path: Path, sheet: int, name: str) -> Cells:
    """Those of the sheet of this number from 0. The workbook, called `name`, was weighed before. Raises FileRefused."""
    with zipfile.ZipFile(path) as archive:
        with archive.open("content.xml") as stream:
            before, marked = b"", False
            while not marked and (piece := stream.read(1 << 20)):
                marked = any(mark in before + piece for mark in _MARKS)
                before = piece[-32:]
        if not marked:
            return {}
        with library("lxml"):
            from lxml import etree

        with archive.open("content.xml") as stream:
            try:
                return _found(stream, sheet)
            except etree.XMLSyntaxError as error:
                raise FileRefused(f"{name} is a damaged workbook ({error}): get it again, or save it as CSV") from None


def _found(stream: Any, sheet: int) -> Cells:
    from lxml import etree

    found: Cells = {}
    row, number = 0, -1
    tags = (f"{_TABLE}table", f"{_TABLE}table-row")
    events = etree.iterparse(stream, ("start", "end"), tag=tags, resolve_entities=False, no_network=True)
    for event, element in events:
        if element.tag == f"{_TABLE}table":
            number += event == "start"
            row = 0
        elif event == "end":
            times = _times(element, "rows")
            if number == sheet:
                for columns, said in _row(element):
                    for place in ((r, c) for r in range(row, row + times) for c in columns):
                        if len(found) >= ERRORS_MAX:
                            return found
                        found[place] = said
            row += times
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    return found


def _row(row: Any) -> Iterator[tuple[range, str]]:
    column = 0
    for cell in row.iterchildren(f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
        times = _times(cell, "columns")
        said = _said(cell)
        if said is not None:
            yield range(column, column + times), said
        column += times


def _times(element: Any, what: str) -> int:
    said = element.get(f"{_TABLE}number-{what}-repeated", "1")
    return int(said) if said.isdecimal() and len(said) < 10 else 1


def _said(cell: Any) -> str | None:
    """What a cell says, if it is one of those."""
    if cell.get(f"{_OFFICE}value-type") == "time":
        duration = _DURATION.fullmatch(cell.get(f"{_OFFICE}time-value", ""))
        if duration is None:
            return None
        hours = 24 * int(duration[2] or 0) + int(duration[3])
        return f"{duration[1]}{hours:02}:{duration[4]:0>2}:{duration[5]:0>2}" if hours >= 24 else None
    lines = list(cell.iterchildren(f"{_TEXT}p"))
    if not any(next(line.iter(f"{_TEXT}tab", f"{_TEXT}line-break"), None) is not None for line in lines):
        return None
    return "\n".join(_text(line) for line in lines)


def _text(element: Any) -> str:
    parts = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}tab":
            parts.append("\t")
        elif child.tag == f"{_TEXT}line-break":
            parts.append("\n")
        elif child.tag == f"{_TEXT}s":
            count = child.get(f"{_TEXT}c", "1")
            parts.append(" " * (int(count) if count.isdecimal() and len(count) < 6 else 1))
        elif isinstance(child.tag, str) and child.tag.startswith(_TEXT):
            parts.append(_text(child))
        parts.append(child.tail or "")
    return "".join(parts)

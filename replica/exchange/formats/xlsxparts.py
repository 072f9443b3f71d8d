"""The parts of a workbook of xlsx, walked an element at a time: whatever they hold, memory and time stay bounded.

1. A row takes at most ROW_MAX characters, and so does a text that cells share. It is what the parser takes that is counted,
   so nothing that a part holds can hide its size.
2. Tags are at most TAG_MAX bytes long and DEPTH_MAX deep, and elements and attributes have at most NAMES_MAX names.
3. A sheet may ask for CELLS_MAX cells from its first row and column A on, and for FILLED more with each that it has.
4. A cell is in one of COLUMNS_MAX columns, by its place or after the one before; a place that is none is refused.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from replica.errors import FileRefused
from replica.exchange.formats.sheetguard import CELLS_MAX, unpacked

COLUMNS_MAX: Final = 16_384
"""Of a sheet, as Excel has them."""
ROW_MAX = 64 << 20
"""16,384 cells of 4,000 characters."""
FILLED: Final = 8
TAG_MAX: Final = 1 << 20
"""Of a tag or a comment; the parser begins anew with each piece of one."""
DEPTH_MAX: Final = 100
NAMES_MAX: Final = 10_000

_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_PLACE: Final = re.compile(r"([A-Za-z]{1,3})[0-9]+")


def plain(value: str) -> str:
    """A text without the escapes of Excel, such as _x000D_."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value) if "_x" in value else value


def walked(path: Path, entry: zipfile.ZipInfo, walk: Texts | Rows, name: str) -> Iterator[Any]:
    """What `walk` makes of a part of the workbook `name`, a piece at a time. Raises FileRefused, ExpatError, ValueError,
    OSError, zlib.error, and what `walk` raises."""
    names: dict[str, str] = {}
    parser = expat.ParserCreate(None, None, names)
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = walk.start, walk.end, walk.text
    parser.StartDoctypeDeclHandler = _refuse
    fed = 0
    with path.open("rb") as file:
        for piece in unpacked(file, entry, name):
            parser.Parse(piece)
            fed += len(piece)
            if fed - parser.CurrentByteIndex > TAG_MAX + len(piece):
                raise FileRefused(f"{name} has a tag of more than {TAG_MAX:,} bytes: that is a bomb")
            if len(names) > NAMES_MAX:
                raise FileRefused(f"{name} has more than {NAMES_MAX:,} names of elements: that is a bomb")
            yield from walk.done
            walk.done.clear()
    parser.Parse(b"", True)
    yield from walk.done


def _refuse(*_: object) -> None:
    raise ValueError("a DOCTYPE, which no workbook has")


class _Walk:
    """Takes texts, up to ROW_MAX characters since `_fresh`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._names: dict[str, str] = {}
        self._said: list[str] = []
        self._size = self._depth = 0
        self._taking = self._aside = False

    def _down(self, name: str) -> str:
        """Into an element. Returns its name without a prefix."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise FileRefused(f"{self._name} has elements more than {DEPTH_MAX} deep: that is a bomb")
        local = self._names.get(name)
        if local is None:
            local = self._names[name] = name.rpartition(":")[2]
        return local

    def _fresh(self) -> None:
        self._said, self._size, self._taking = [], 0, False

    def _add(self, size: int) -> None:
        self._size += size
        if self._size > ROW_MAX:
            raise FileRefused(f"{self._name} has a row or text of more than {ROW_MAX:,} characters: that is a bomb")

    def text(self, data: str) -> None:
        """Characters, of a value or between the elements."""
        if self._taking:
            self._add(len(data))
            self._said.append(data)


class Texts(_Walk):
    """Takes the texts of shared strings: their own and those of their runs, not how they are pronounced."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.done: list[str] = []

    def start(self, name: str, _: dict[str, str]) -> None:
        """An element begins."""
        name = self._down(name)
        if name == "t":
            self._taking = not self._aside
        elif name == "rPh":
            self._aside = True
        elif name == "si":
            self._fresh()

    def end(self, name: str) -> None:
        """An element ends."""
        self._depth -= 1
        name = self._names[name]
        if name == "t":
            self._taking = False
        elif name == "rPh":
            self._aside = False
        elif name == "si":
            self.done.append(plain("".join(self._said)))
            self._fresh()


class Rows(_Walk):
    """Takes the rows of a sheet: (line, values). `value`: makes a cell's value of what it says, its kind and its style."""

    def __init__(self, name: str, value: Callable[[str, str | None, str | None], Any]) -> None:
        super().__init__(name)
        self.done: list[tuple[int, list[Any]]] = []
        self._value, self._columns = value, dict[str, int]()
        self._values: list[Any] = []
        self._line = self._first = self._widest = self._cells = 0
        self._column = -1
        self._kind: str | None = None
        self._style: str | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = self._down(name)
        if name == "c":
            place = attributes.get("r")
            self._column = self._place(place) if place else self._column + 1
            self._kind, self._style, self._said = attributes.get("t"), attributes.get("s"), []
            self._cells += 1
        elif name == "v" or (name == "t" and self._kind == "inlineStr" and not self._aside):
            self._taking = True
        elif name == "rPh":
            self._aside = True
        elif name == "row":
            self._line = max(self._line + 1, int(attributes.get("r", "0")))
            self._begin()

    def end(self, name: str) -> None:
        """An element ends."""
        self._depth -= 1
        name = self._names[name]
        if name == "c":
            if self._said and (value := self._value("".join(self._said), self._kind, self._style)) != "":
                if self._kind == "s":
                    self._add(len(value))
                self._put(value)
        elif name in {"v", "t"}:
            self._taking = False
        elif name == "rPh":
            self._aside = False
        elif name == "row":
            if self._values:
                self._weigh()
                self.done.append((self._line, self._values))
            self._begin()

    def _begin(self) -> None:
        self._fresh()
        self._values, self._column = [], -1

    def _put(self, value: Any) -> None:
        values, column = self._values, self._column
        if column < len(values):
            values[column] = value
            return
        if column >= COLUMNS_MAX:
            raise _too_wide(column)
        if column > len(values):
            values += [""] * (column - len(values))
        values.append(value)

    def _weigh(self) -> None:
        self._first = self._first or self._line
        self._widest = max(self._widest, len(self._values))
        area = self._widest * (self._line - self._first + 1)
        if area > CELLS_MAX + FILLED * self._cells:
            raise FileRefused(
                f"{self._name} speaks of {area:,} cells, {CELLS_MAX:,} at most: delete the empty rows and columns"
            )

    def _place(self, place: str) -> int:
        """The column of a place such as AB12, from 0."""
        found = _PLACE.fullmatch(place)
        if found is None:
            raise ValueError(f'a cell at "{place[:20]}", which is no place such as B7')
        letters = found[1]
        column = self._columns.get(letters)
        if column is None:
            column = 0
            for letter in letters.upper():
                column = column * 26 + ord(letter) - 64
            if column > COLUMNS_MAX:
                raise _too_wide(column - 1)
            column = self._columns[letters] = column - 1
        return column


def _too_wide(column: int) -> ValueError:
    return ValueError(f"a cell in column {column + 1:,}; {COLUMNS_MAX:,} at most")

"""Workbooks of Excel (ECMA-376, xlsx), a row at a time: neither a sheet nor the texts that its cells share stay in memory.

1. Values are those that `sheet` promises: whole numbers int, others float, dates and times ISO text by the format of their
   cell, booleans, a formula's value; an error is its text, and counted.
2. Memory does not grow with the sheet, nor with the shared texts but for a few bytes a block of them.
3. Only sheets of cells have rows; which of them are hidden is known.
4. What is damaged is FileRefused; entities are never resolved. `xlsxparts` walks the parts, under limits.
"""

from __future__ import annotations

import marshal
import re
import tempfile
import zipfile
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from xml.parsers.expat import ExpatError

from replica.errors import FileRefused
from replica.exchange.formats.sheetguard import unpacked
from replica.exchange.formats.xlsxparts import Rows, Texts, plain, walked
from replica.libraries import library

BLOCK_TEXTS, BLOCK_CHARS, BLOCKS = 256, 1 << 16, 64
"""Shared texts that are read together, their characters, and such blocks that stay in memory."""
LONG, LONG_MAX = 32_767, 1 << 30
"""Characters of a text that Excel would not have, and of all cells that show such a text that is shared."""
TREE_MAX: Final = 64 << 20
"""Bytes of a part that is held whole: the list of the sheets, or the styles."""
EXACT: Final = 1 << 53
"""Whole numbers up to here are what the sheet's floats say."""

_SAFE: Final[dict[str, Any]] = {"resolve_entities": False, "no_network": True, "load_dtd": False}
_RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_BUILT_IN: Final = frozenset([*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)])
"""Formats with a number of their own that show a date or a time; 46 shows a duration."""
_LITERAL: Final = re.compile(r'"[^"]*"?|\\.|[_*].|\[(?![hms]+\])[^\]]*\]', re.IGNORECASE)
_DURATION: Final = re.compile(r"\[[hms]+\]", re.IGNORECASE)
_DAY: Final = re.compile("[dmyhs]", re.IGNORECASE)
_DAY_MS: Final = 86_400_000


def kind_of(code: str) -> str:
    """What a number format shows: "date" (or a time), "duration", or "" for a number."""
    code = _LITERAL.sub("", code.partition(";")[0])
    if _DURATION.search(code):
        return "duration"
    return "date" if _DAY.search(code) and code.strip().lower() != "general" else ""


def moment(serial: float, kind: str, since_1904: bool) -> Any:
    """The text of a number that is shown as a date, a time or a duration; the number itself where it can be none."""
    ms = int(abs(serial) * _DAY_MS + 0.5) if abs(serial) < 1e9 else -1
    if kind == "duration" and ms >= 0:
        return f"{'-' if serial < 0 else ''}{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}"
    days, rest = divmod(ms, _DAY_MS)
    if serial < 0 or ms < 0:
        return _number(serial)
    if serial < 1:
        return (datetime(1904, 1, 1) + timedelta(milliseconds=rest)).time().isoformat()
    # Excel's 1900 has a 29th of February.
    first = date(1904, 1, 1) if since_1904 else date(1899, 12, 31) if days < 60 else date(1899, 12, 30)
    try:
        day = first + timedelta(days=days)
    except OverflowError:
        return _number(serial)
    if serial.is_integer():
        return day.isoformat()
    return (datetime(day.year, day.month, day.day) + timedelta(milliseconds=rest)).isoformat()


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) <= EXACT else value


class _Texts:
    """The texts that cells share, in a temporary file. Those that were read last stay in memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the workbook)
        self._first, self._at = array("q"), array("q", [0])
        self._cache: dict[int, list[str]] = {}
        self.count = 0

    def fill(self, texts: Iterable[str]) -> None:
        """Keep them all."""
        block: list[str] = []
        size = 0
        for text in texts:
            if len(text) > LONG:  # Alone, so that no other text of its block must be read with it.
                self._keep(block)
                self._keep([text])
                block, size = [], 0
                continue
            block.append(text)
            size += len(text)
            if len(block) >= BLOCK_TEXTS or size >= BLOCK_CHARS:
                self._keep(block)
                block, size = [], 0
        self._keep(block)

    def _keep(self, block: list[str]) -> None:
        self._first.append(self.count)
        self.count += len(block)
        self._at.append(self._at[-1] + self._file.write(marshal.dumps(block, 2)))

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self.count:
            raise IndexError("a cell shows a shared text that is not there")
        number = bisect_right(self._first, index) - 1
        block = self._cache.get(number)
        if block is None:
            self._file.seek(self._at[number])
            block = marshal.loads(self._file.read(self._at[number + 1] - self._at[number]))
            if len(block[0]) <= LONG:
                if len(self._cache) >= BLOCKS:
                    del self._cache[next(iter(self._cache))]
                self._cache[number] = block
        return block[index - self._first[number]]

    def close(self) -> None:
        self._file.close()


class Workbook:
    """An open workbook. `names`: of its sheets, in order; `hidden`: of each, whether it is; `errors`: cells with an error
    that were read. Close it when done. Raises FileRefused."""

    def __init__(self, path: Path, name: str) -> None:
        with library("lxml"):
            from lxml import etree

        self._etree, self._path, self._name = etree, path, name
        self.errors = 0
        self._long = 0
        """Characters of the long texts that cells showed."""
        self._texts = _Texts()
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = {entry.filename: entry for entry in archive.infolist()}
            self._open()
        except BaseException as error:
            self.close()
            if isinstance(error, (*_FAULTS, etree.XMLSyntaxError)):
                raise self._damaged(error) from None
            raise

    def _damaged(self, error: BaseException) -> FileRefused:
        return FileRefused(f"{self._name} is a damaged workbook ({error}): get it again, or save it as CSV")

    def _tree(self, part: str) -> Any:
        entry = self._entries[part]
        if entry.file_size > TREE_MAX:
            raise FileRefused(f"{self._name} says {entry.file_size:,} bytes of its sheets or styles: that is a bomb")
        with self._path.open("rb") as file:
            said = b"".join(unpacked(file, entry, self._name))
        return self._etree.fromstring(said, self._etree.XMLParser(**_SAFE))

    def _open(self) -> None:
        book = self._tree("xl/workbook.xml")
        targets = {r.get("Id"): r for r in self._tree("xl/_rels/workbook.xml.rels")}
        found = [(sheet, targets.get(_relation(sheet))) for sheet in book.iterfind(".//{*}sheets/{*}sheet")]
        self.names = [sheet.get("name", "") for sheet, _ in found]
        self.hidden = [sheet.get("state", "visible") != "visible" for sheet, _ in found]
        self._parts = [_target(r) if r is not None and r.get("Type", "").endswith("/worksheet") else "" for _, r in found]
        properties = book.find("{*}workbookPr")
        self._since_1904 = properties is not None and properties.get("date1904", "0") in {"1", "true"}
        others = {r.get("Type", "").rpartition("/")[2]: _target(r) for r in targets.values()}
        styles = others.get("styles", "")
        self._kinds = _kinds(self._tree(styles)) if styles in self._entries else []
        if (shared := others.get("sharedStrings", "")) in self._entries:
            self._texts.fill(walked(self._path, self._entries[shared], Texts(self._name), self._name))

    def rows(self, number: int) -> Iterator[tuple[int, list[Any]]]:
        """(line, values) of the rows of a sheet that say something, in order. Raises FileRefused."""
        if self._parts[number]:
            try:
                entry = self._entries[self._parts[number]]
                yield from walked(self._path, entry, Rows(self._name, self._value), self._name)
            except _FAULTS as error:
                raise self._damaged(error) from None

    def _value(self, said: str, kind: str | None, style: str | None) -> Any:
        if kind == "s":
            text = self._texts[int(said)]
            if len(text) > LONG:
                self._long += len(text)
                if self._long > LONG_MAX:
                    raise FileRefused(f"{self._name} shows a text of {len(text):,} characters too often: that is a bomb")
            return text
        if kind is None or kind == "n":
            return self._shown(said, style)
        if kind == "b":
            return said.strip() in {"1", "true"}
        self.errors += kind == "e"
        return plain(said)

    def _shown(self, said: str, style: str | None) -> Any:
        try:
            value = float(said)
        except ValueError:
            return said
        at = int(style) if style else 0
        kind = self._kinds[at] if at < len(self._kinds) else ""
        return moment(value, kind, self._since_1904) if kind else _number(value)

    def close(self) -> None:
        """Let go of the shared texts."""
        self._texts.close()


_FAULTS = (
    KeyError, IndexError, ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError, ExpatError
)  # fmt: skip
"""What the libraries raise over a damaged zip, or a part of it that is not what it should be."""


def _relation(sheet: Any) -> str:
    """The id of a sheet's relation, in either of the two namespaces of the standard."""
    return str(sheet.get(_RELATION) or next((v for k, v in sheet.attrib.items() if k.endswith("}id")), ""))


def _target(relation: Any) -> str:
    target = str(relation.get("Target", ""))
    return target[1:] if target.startswith("/") else f"xl/{target}"


def _kinds(styles: Any) -> list[str]:
    """Of each cell format: what it shows."""
    codes = {f.get("numFmtId"): kind_of(f.get("formatCode", "")) for f in styles.iterfind(".//{*}numFmts/{*}numFmt")}
    found = []
    for form in styles.iterfind("{*}cellXfs/{*}xf"):
        id_ = form.get("numFmtId", "0")
        own = "duration" if id_ == "46" else "date" if id_.isdecimal() and int(id_) in _BUILT_IN else ""
        found.append(codes.get(id_, own))
    return found

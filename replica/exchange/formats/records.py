"""Delimited text to records, with the damage kept where it is.

The standard library's parser does the work on whole pieces of text, strictly. Where it stops, or a record has another width
than the table, the room looks for the next line that begins a record of the right width: what lies between is broken, every
other record is kept. One test each:

1. Records, their first lines and their cells are those of the standard library for every well-formed text, wherever the
   pieces are cut, and whatever the line ends.
2. An unbalanced quote, a row of another width, bytes outside the encoding and a line without end cost their own lines.
3. A record is at most ROW_MAX characters and LINES_MAX lines; memory is a few times that, and time is linear, whatever
   the file.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from replica.exchange.formats.encoding import BAD

ROW_MAX = 16 << 20
"""Characters of a record."""

LINES_MAX = 100_000
"""Lines of a record."""

RAW_MAX = 2_000
"""Characters of a broken record that are shown."""

_RESYNC_LINES = 200
"""Lines after a damaged one that are tried as the beginning of a good one."""
_TRY_LINES = 50
_WINDOW = 20_000
"""Lines that are parsed at once, so that what was read ahead does not become rows all together."""
_CUT: Final = "\udfff"
"""Stands where a line was cut: no decoder gives it."""
_BACKSLASH: Final = re.compile(r'\\(["\\])')

csv.field_size_limit(ROW_MAX)  # The library's own limit is for the whole process, and far below a long note.


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells are told apart. `quote`: "" for none; `backslash`: a quote inside a quoted cell is \\" and not "";
    `spaced`: spaces after a delimiter are no part of a cell."""

    delimiter: str = ","
    quote: str = '"'
    backslash: bool = False
    spaced: bool = False

    def rows(self, lines: Iterable[str]) -> Any:
        """The standard library's reader, strict."""
        if not self.quote:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)
        return csv.reader(
            lines, delimiter=self.delimiter, quotechar=self.quote, strict=True, skipinitialspace=self.spaced
        )

    def plain(self, text: str) -> str:
        """The text with doubled quotes."""
        if not self.backslash or "\\" not in text:
            return text
        return _BACKSLASH.sub(lambda m: '""' if m[1] == '"' else "\\", text)


@dataclass(slots=True)
class Piece:
    """Some records: `rows`, the line where each begins (from 1), and broken ones as (line, raw text, reason), in order."""

    rows: list[list[str]]
    starts: list[int]
    broken: list[tuple[int, str, str]] = field(default_factory=list)
    final: bool = False


def lines_of(text: str) -> list[str]:
    """Lines with their ends, which are LF, CR LF or CR; nothing else ends a line."""
    return io.StringIO(text, newline="").readlines()


def blocks(texts: Iterable[str]) -> Iterator[tuple[list[str], bool, bool]]:
    """(whole lines, is the last block, has characters that no good text has). The last block is not a small one."""
    carry, cutting = "", False
    held: list[str] = []
    for text in texts:
        held.append(text)
        if len(held) > 2:
            block, carry, cutting = _whole(carry + held.pop(0), cutting)
            if block:
                yield lines_of(block), False, not _good(block)
    text = carry + "".join(held)
    if cutting:
        text = text[_end(text) :]
    yield lines_of(text), True, not _good(text)


def _whole(text: str, cutting: bool) -> tuple[str, str, bool]:
    """(whole lines, the rest, is the rest to be thrown away up to its line's end)."""
    if cutting:
        if not (end := _end(text)):
            return "", "", True
        text = text[end:]
    # A CR at the very end may be half of a CR LF.
    cut = max(text.rfind("\n"), text.rfind("\r", 0, max(len(text) - 1, 0))) + 1
    rest = text[cut:]
    if len(rest) > ROW_MAX:
        return text[:cut] + rest[:RAW_MAX] + _CUT + "\n", "", True
    return text[:cut], rest, False


def _end(text: str) -> int:
    found = re.search("\r\n?|\n", text)
    return found.end() if found else 0


def _good(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def records(texts: Iterable[str], dialect: Dialect, width: int, skip: int, wider: bool = False) -> Iterator[Piece]:
    """The records of `width` cells after the first `skip` lines. `wider`: every row ends with one more delimiter."""
    pending: list[str] = []
    line, need, odd = skip, 0, False
    for lines, final, strange in blocks(texts):
        if skip:
            skip, lines = max(0, skip - len(lines)), lines[skip:]
        if dialect.backslash:
            lines = [dialect.plain(one) for one in lines]
        pending += lines
        odd = odd or strange
        if need and not final:
            need -= sum(map(len, lines))
            if need > 0:
                continue
        done = False
        while not done:
            parser = _Parser(pending, dialect, width, final, wider)
            used, done = parser.run()
            if wider:
                parser.rows = [row[:width] for row in parser.rows]
            if odd:
                parser.set_aside()
            broken = [(line + start + 1, parser.raw(start, end), why) for start, end, why in sorted(parser.broken)]
            yield Piece(parser.rows, [line + start + 1 for start in parser.starts], broken, final and done)
            line += used
            del pending[:used]
        # What is unfinished is read again with as much again behind it: so time stays linear.
        need, odd = sum(map(len, pending)), odd and bool(pending)


class _Parser:
    """One go over some lines."""

    def __init__(self, lines: list[str], dialect: Dialect, width: int, final: bool, wider: bool) -> None:
        self.lines, self.dialect, self.final = lines, dialect, final
        self.width, self.raw_width = width, width + wider
        self.rows: list[list[str]] = []
        self.starts: list[int] = []
        self.broken: list[tuple[int, int, str]] = []

    def run(self) -> tuple[int, bool]:
        """Parse; (how many lines are done with, is that all that can be done)."""
        at, window = 0, _WINDOW
        while at < len(self.lines):
            stop = min(len(self.lines), at + window)
            following = self._good_run(at, stop)
            if following is None:
                if stop == len(self.lines):
                    return self.last, True
                at, window = self.last, window * 4
                continue
            at, window = following, _WINDOW
            if _WINDOW <= at < len(self.lines):
                return at, False
        return at, True

    def _good_run(self, at: int, stop: int) -> int | None:
        """Parse until something is wrong; the line to go on at, None if more lines are needed."""
        walk = iter(self.lines)
        walk.__setstate__(at)  # type: ignore[attr-defined]
        reader, width, self.last = self.dialect.rows(itertools.islice(walk, stop - at)), self.raw_width, at
        rows, starts = self.rows, self.starts
        try:
            for row in reader:
                end = at + reader.line_num
                if len(row) != width or (width > self.width and row[-1]):
                    following = self._other_width(row, self.last, end)
                    if following != end:
                        return following
                else:
                    rows.append(row)
                    starts.append(self.last)
                self.last = end
        except csv.Error as error:
            return self._stopped(error, stop)
        return self.last

    def _stopped(self, error: csv.Error, stop: int) -> int | None:
        start = self.last
        if "unexpected end" in str(error):
            last = self.final and stop == len(self.lines)
            if not last and stop - start < LINES_MAX and sum(map(len, self.lines[start:stop])) <= ROW_MAX:
                return None
            reason = "a quote is opened and never closed: close it or remove it"
        elif "field larger" in str(error):
            reason = f"a cell is longer than {ROW_MAX:,} characters"
        else:
            reason = "a quote stands where none may stand: double it, or remove it"
        following = self._resync(start, len(self.lines)) or start + 1
        self.broken.append((start, following, reason))
        return following

    def _other_width(self, row: list[str], start: int, end: int) -> int:
        """What to do with a row of another width; the line to go on at."""
        if not row or (self.width > 1 and end - start == 1 and not self.lines[start].strip()):
            return end
        if len(row) == self.width < self.raw_width:
            self.rows.append(row)
            self.starts.append(start)
            return end
        if end - start > 1 and self.width > 1 and (following := self._resync(start, end)):
            self.broken.append(
                (start, following, "a quote is opened and not closed on its line: close it or remove it")
            )
            return following
        if len(row) == self.raw_width:
            why = "a value stands after the last column: remove it, or name its column"
        else:
            cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
            why = f"{cells} where the table has {self.width}: add or remove delimiters, or quote the cell that has one"
        if any("\0" in cell for cell in row):
            why += " (there are NUL characters in it)"
        self.broken.append((start, end, why))
        return end

    def _resync(self, start: int, end: int) -> int | None:
        """The first line after `start` that begins a record of the right width."""
        for line in range(start + 1, min(end, start + _RESYNC_LINES)):
            if self._fits(line):
                return line
        return None

    def _fits(self, line: int) -> bool:
        if self.width == 1:
            return True
        try:
            row: list[str] = next(self.dialect.rows(self.lines[line : line + _TRY_LINES]), [])
        except csv.Error:
            return False
        return len(row) in {self.width, self.raw_width}

    def set_aside(self) -> None:
        """Take out the rows with bytes outside the encoding, and lines without end."""
        kept_rows, kept_starts = [], []
        borders = sorted([*self.starts, *(start for start, _, _ in self.broken), self.last])
        for row, start in zip(self.rows, self.starts, strict=True):
            whole = "\t".join(row)
            if _good(whole):
                kept_rows.append(row)
                kept_starts.append(start)
                continue
            end = borders[min(bisect_right(borders, start), len(borders) - 1)]
            self.broken.append((start, min(end, start + _TRY_LINES), _strange(whole)))
        self.rows, self.starts = kept_rows, kept_starts

    def raw(self, start: int, end: int) -> str:
        """The text of some lines, cut to a sane length; bytes outside the encoding as U+FFFD."""
        text = "".join(line[:RAW_MAX] for line in self.lines[start : min(end, start + RAW_MAX)])[:RAW_MAX]
        return re.sub("[\ud800-\udfff]", "\ufffd", text.rstrip("\r\n"))


def _strange(text: str) -> str:
    if _CUT in text:
        return f"a line of more than {ROW_MAX:,} characters: no table has that"
    bad = BAD.search(text)
    byte = f"byte 0x{ord(bad[0]) - 0xDC00:02x}" if bad else "a character"
    column = text.count("\t", 0, bad.start()) + 1 if bad else 1
    return f"{byte} in cell {column} is not of the file's encoding: mend it, or say --encoding"

"""Rows as lines of a delimited text, quickly: most rows hold nothing that must be quoted, and a join is all they need.

A line is right as it was joined if it holds as many delimiters as it has cells less one, and neither a quote nor a line
end: else one of its cells does, and the library writes that row. One test each:

1. The text is that of the csv library, whatever the rows.
2. A table without anything to quote takes less than half of the library's time.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, Final

JOINED: Final[frozenset[type]] = frozenset({str, int, float, type(None)})
"""Types of cells that can be joined; others go through the library."""
AT_ONCE = 256
"""Rows of one text: what is small stays in the memory that the last one left, and costs no new pages."""


class _Lines(list[str]):
    """What the csv library writes to."""

    write = list.append


class QuickLines:
    """Writes rows of so many cells, quoted where they must be. `end`: LF or CR LF."""

    def __init__(self, width: int, delimiter: str, end: str) -> None:
        self._width, self._delimiter, self._end = width, delimiter, end
        self._made = _Lines()
        # The library quotes what holds a character of its line end: both, whatever ours is.
        self._careful = csv.writer(self._made, delimiter=delimiter, lineterminator="\r\n")

    def texts(self, rows: Sequence[Sequence[Any]], kinds: set[type]) -> Iterator[str]:
        """The lines of these rows, whose cells have no other types than these, some at a time."""
        for start in range(0, len(rows), AT_ONCE):
            yield self._text(rows[start : start + AT_ONCE], kinds)

    def _text(self, rows: Sequence[Sequence[Any]], kinds: set[type]) -> str:
        if self._width < 2 or not kinds <= JOINED:
            return "".join(map(self._one, rows))
        join, end = self._delimiter.join, self._end
        if kinds == {str}:
            lines = list(map(join, rows))
        else:
            lines = [join(["" if c is None else c if type(c) is str else str(c) for c in row]) for row in rows]
        text = end.join(lines)
        if self._plain(text, len(lines)):
            return text + end
        between, delimiter = self._width - 1, self._delimiter
        for at, line in enumerate(lines):
            if line.count(delimiter) != between or '"' in line or "\n" in line or "\r" in line:
                lines[at] = self._one(rows[at])[: -len(end)]
        return end.join([*lines, ""])

    def _plain(self, text: str, count: int) -> bool:
        """Whether no cell of these lines holds anything that must be quoted."""
        ends = text.count("\r") == (count - 1 if self._end == "\r\n" else 0) and text.count("\n") == count - 1
        return ends and '"' not in text and text.count(self._delimiter) == count * (self._width - 1)

    def _one(self, row: Sequence[Any]) -> str:
        self._careful.writerow(row)
        return self._made.pop()[:-2] + self._end

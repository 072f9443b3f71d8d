"""The rows of a sheet, kept in a temporary file: a sheet is read once, and known whole before its header is told."""

from __future__ import annotations

import marshal
import tempfile
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from replica.exchange.formats.footer import LINES_MAX
from replica.exchange.rows import chars

CHUNK_ROWS, CHUNK_CELLS, CHUNK_CHARS = 1_000, 50_000, 4 << 20
"""Rows that are kept together, their cells and the characters of those."""


class SheetRows:
    """Rows that say something, with their lines. `width`: cells of the widest; `last`: the last line; `first`: the rows of
    the first `head` lines, by line; `below`: of each column the last line that says something there; `tabular`: how many
    rows have several values; `end`: the last rows. Close it when done."""

    def __init__(self, head: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the sheet)
        self._head = head
        self._sizes = array("q")
        self.width = self.last = self.tabular = 0
        self.first: dict[int, list[Any]] = {}
        self.below: list[int] = []
        self.end: deque[tuple[int, list[Any]]] = deque(maxlen=LINES_MAX)

    def fill(self, rows: Iterable[tuple[int, list[Any]]]) -> None:
        """Keep these rows; those that say nothing are left out."""
        chunk: list[tuple[int, list[Any]]] = []
        cells = size = 0
        for line, row in rows:
            filled = [i for i, value in enumerate(row) if value != ""]
            if not filled:
                continue
            self.below += [0] * (filled[-1] + 1 - len(self.below))
            for i in filled:
                self.below[i] = line
            self.last, self.tabular = line, self.tabular + (len(filled) > 1)
            if line <= self._head:
                self.first[line] = row
            self.end.append((line, row))
            chunk.append((line, row))
            cells, size = cells + len(row), size + chars([tuple(row)])
            if len(chunk) >= CHUNK_ROWS or cells >= CHUNK_CELLS or size >= CHUNK_CHARS:
                self._keep(chunk)
                chunk, cells, size = [], 0, 0
        self._keep(chunk)
        self.width = len(self.below)

    def _keep(self, chunk: list[tuple[int, list[Any]]]) -> None:
        if chunk:
            self._sizes.append(self._file.write(marshal.dumps(chunk, 2)))

    def __iter__(self) -> Iterator[tuple[int, list[Any]]]:
        at = 0
        for size in self._sizes:
            self._file.seek(at)
            yield from marshal.loads(self._file.read(size))
            at += size

    def close(self) -> None:
        """Forget them."""
        self._file.close()

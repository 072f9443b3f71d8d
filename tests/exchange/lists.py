"""A file in memory: what a test of exports writes to, and looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from replica.exchange.rows import Row


class ListWriter:
    """Keeps the rows. `closed`: the file is whole."""

    def __init__(self) -> None:
        self.fields: list[str] = []
        self.rows: list[Row] = []
        self.closed = False

    def open(self, fields: Sequence[str]) -> ListWriter:
        """Begin a file with these fields."""
        self.fields = list(fields)
        return self

    def write(self, rows: Iterable[Row]) -> None:
        """Keep them."""
        self.rows += rows

    def close(self) -> None:
        """All rows are there."""
        self.closed = True

    def dicts(self) -> list[dict[str, Any]]:
        """Rows by field."""
        return [dict(zip(self.fields, row, strict=True)) for row in self.rows]

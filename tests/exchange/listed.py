"""A file that is a list in memory: what the rooms of maps are tested with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.mapping import Mapped, Problem
from replica.exchange.rows import BATCH_ROWS, Batch, Finding, Row, Tree


class Listed:
    """A Reader of rows that are there already."""

    format = "list"

    def __init__(self, fields: Sequence[str], rows: Sequence[Row], trees: list[Tree] | None = None) -> None:
        self.fields, self.findings = list(fields), list[Finding]()
        self._rows, self._trees = rows, trees
        self.passes = 0

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        self.passes += 1
        for at in range(0, len(self._rows), size):
            rows = list(self._rows[at : at + size])
            numbers = range(at + 1, at + 1 + len(rows))
            yield Batch(numbers, numbers, rows, [], None if self._trees is None else self._trees[at : at + size])

    def progress(self) -> tuple[int, int]:
        return len(self._rows), len(self._rows)

    def close(self) -> None:
        pass


def mapped(
    text: str, fields: Sequence[str], rows: Sequence[Row], trees: list[Tree] | None = None
) -> tuple[list[Mapped], dict[int, list[Problem]]]:
    """What a map of this text makes of these rows, in one batch; `version = 1` is put before it."""
    mapper = parse(f"version = 1\n{text}", "map.toml", None).mapper(fields)
    return mapper.map(next(iter(Listed(fields, rows, trees).batches(len(rows)))))


def one(field: str, cells: Sequence[Any]) -> tuple[list[Any], list[list[tuple[str, str]]]]:
    """The values that a field of these words makes of one column, and (rule, message) of the problems of each row."""
    text = f'[[collection]]\nname = "c"\nkey = "id"\n[collection.fields]\nid = "id"\n[collection.fields.x]\n{field}'
    (made,), problems = mapped(text, ["id", "x"], [(str(i), cell) for i, cell in enumerate(cells)])
    values: list[Any] = [None] * len(cells)
    for record, row in enumerate(made.sources):
        values[row] = made.columns[1][record]
    return values, [[(p.rule, p.message) for p in problems.get(i, [])] for i in range(len(cells))]

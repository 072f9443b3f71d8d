"""Rows of several files that refer to each other in a circle, as rows of one file: they stand or fall together.

They are known by their own file and number wherever they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from replica.exchange.importing import ledger
from replica.exchange.importing.batches import File
from replica.exchange.maps.mapmodel import Mapped, Problem
from replica.exchange.rows import Batch

Part = tuple[File, Batch]
"""A file, and rows of it."""


def joined(parts: Sequence[Part]) -> Part:
    """One file with these rows, which are to be taken once."""
    if len(parts) == 1:
        return parts[0]
    mapper = _Mapper(parts)
    numbers = [ledger.place(file.number, number) for file, rows in parts for number in rows.numbers]
    lines = [line for _, rows in parts for line in rows.lines]
    owners = tuple(file.number for file, _ in parts for _ in file.mapper.targets)
    every = Batch(numbers, lines, [row for _, rows in parts for row in rows.rows])
    return File(0, mapper, mapper.stamps, parts[0][0].find, None, owners), every


class _Mapper:
    """Maps the rows that it was made with, each by the map of its file."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.targets = tuple(target for file, _ in parts for target in file.mapper.targets)

    def map(self, _: Batch) -> tuple[list[Mapped], dict[int, list[Problem]]]:
        """Records, and problems by index of the row, of all."""
        mapped: list[Mapped] = []
        problems: dict[int, list[Problem]] = {}
        row = target = 0
        for file, batch in self._parts:
            made, wrong = file.mapper.map(batch)
            mapped += [m._replace(target=m.target + target, sources=[s + row for s in m.sources]) for m in made]
            problems.update({i + row: found for i, found in wrong.items()})
            row, target = row + len(batch.rows), target + len(file.mapper.targets)
        return mapped, problems

    def stamps(self, _: Batch) -> tuple[list[bytes], dict[int, str]]:
        """The stamp of each row, and why it has none, by index."""
        stamps: list[bytes] = []
        late: dict[int, str] = {}
        for file, batch in self._parts:
            some, wrong = file.stamps(batch)
            late.update({i + len(stamps): why for i, why in wrong.items()})
            stamps += some
        return stamps, late

"""What the outbox says: which rows to look at, in which order, and when each was touched.

A load of many new rows, each named once, is read column by column; everything else row by row. A test holds both ways
equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from protocol.values import IllFormedText
from replica.store import capture
from replica.store.core import Core

_GONE = frozenset({capture.DELETE, capture.LEFT})
APART_MS = 1_000
"""An insert and what follows it within this time are one event: few files are copied, and edited apart, in a second."""

_Place = tuple[int, tuple[Any, ...], bool]


class Entry(NamedTuple):
    """A row to look at. `stamps`: of what happened to it; two, if it was deleted or its key changed: if a row is there, it
    was inserted after that. None, if they are to be issued when something is found. `born`: if it was inserted long before
    it was last touched, the stamp of that: a copy of this file may know the row since then, and may have deleted it."""

    pk: tuple[Any, ...]
    stamps: tuple[bytes, ...] = ()
    born: bytes = b""

    @property
    def left(self) -> bool:
        """Whether the record that was there before is there no more."""
        return len(self.stamps) > 1


def entries(core: Core, rows: Sequence[tuple[Any, ...]]) -> dict[int, list[Entry]]:
    """The rows to look at, by table, stamped; from these rows of the outbox, in order. Tables that are no more are left out.

    Stamps are issued over all tables in one order, before any table is looked at: else what was written to one table in
    the morning would get stamps after what was written to another in the evening."""
    if not rows:
        return {}
    ends = {tbl: 4 + len(table.shape.key) for tbl, table in core.tables.items() if table.shape is not None}
    now = core.now_ms()
    return _once_each(core, rows, ends, now) or _one_by_one(core, rows, ends, now)


def _one_by_one(core: Core, rows: Sequence[tuple[Any, ...]], ends: dict[int, int], now: int) -> dict[int, list[Entry]]:
    """`entries`, whatever the rows. `ends`: where the key in them ends, by table."""
    touched: dict[_Place, tuple[int, object, bool]] = {}
    inserted: dict[_Place, tuple[int, object]] = {}
    odd = any(IllFormedText in map(type, column) for column in list(zip(*rows, strict=True))[4:])
    for number, row in enumerate(rows):
        tbl, op, at = row[1:4]
        if tbl not in ends:
            continue
        pk = row[4 : ends[tbl]]
        place = tbl, pk, odd and IllFormedText in map(type, pk)  # To Python alone, such text equals the blob.
        before = touched.pop(place, None)  # The last place in the order counts.
        left = op in _GONE or (before is not None and before[2])
        touched[place] = number, at, left
        if op == capture.INSERT and before is None:
            inserted[place] = number, at
        elif left:
            inserted.pop(place, None)
    births = [
        (number, place, at)
        for place, (number, at) in inserted.items()
        if _wall(touched[place][1], now) - _wall(at, now) >= APART_MS
    ]
    births.sort(key=itemgetter(0), reverse=True)
    born: dict[_Place, bytes] = {}
    by_table: dict[int, list[Entry]] = {}
    tick = core.clock.tick
    for place, (number, at, left) in touched.items():
        while births and births[-1][0] < number:
            _, early, moment = births.pop()
            born[early] = tick(_wall(moment, now))
        wall = _wall(at, now)
        stamps = (tick(wall), tick(wall)) if left else (tick(wall),)
        by_table.setdefault(place[0], []).append(Entry(place[1], stamps, born.get(place, b"")))
    return by_table


def _once_each(core: Core, rows: Sequence[tuple[Any, ...]], ends: dict[int, int], now: int) -> dict[int, list[Entry]]:
    """The same, if all rows are of one table, none left, and each is named once, as in a load; else nothing."""
    _, tables, ops, at, *parts = zip(*rows, strict=True)
    tbl = tables[0]
    if set(tables) != {tbl} or tbl not in ends or not _GONE.isdisjoint(ops) or set(map(type, at)) != {int}:
        return {}
    pks = list(zip(*parts[: ends[tbl] - 4], strict=True))
    if any(IllFormedText in map(type, part) for part in parts) or len(set(pks)) < len(pks):
        return {}
    stamps: list[bytes] = []
    for moment, some in groupby(at):
        stamps += core.clock.ticks(_wall(moment, now), len(list(some)))
    return {tbl: list(map(Entry, pks, zip(stamps, strict=True)))}


def _wall(at: object, now: int) -> int:
    return max(0, min(at, now)) if type(at) is int else now

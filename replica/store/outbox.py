"""What the outbox says: which rows to look at, in which order, and when each was touched.

A load of many new rows, each named once, is read column by column; everything else row by row. A test holds both ways
equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from protocol.values import IllFormedText
from replica.store import capture
from replica.store.core import Core

_GONE = frozenset({capture.DELETE, capture.LEFT})
_UNTOUCHED = (0, False)


class Entry(NamedTuple):
    """A row to look at. `stamps`: of what happened to it; two, if it was deleted or its key changed: if a row is there, it
    was inserted after that. None, if they are to be issued when something is found."""

    pk: tuple[Any, ...]
    stamps: tuple[bytes, ...] = ()

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
    touched: dict[tuple[int, tuple[Any, ...], bool], tuple[object, bool]] = {}
    odd = any(IllFormedText in map(type, column) for column in list(zip(*rows, strict=True))[4:])
    for row in rows:
        tbl, op, at = row[1:4]
        if tbl not in ends:
            continue
        pk = row[4 : ends[tbl]]
        place = tbl, pk, odd and IllFormedText in map(type, pk)  # To Python alone, such text equals the blob.
        _, left = touched.pop(place, _UNTOUCHED)  # The last place in the order counts.
        touched[place] = at, left or op in _GONE
    by_table: dict[int, list[Entry]] = {}
    tick = core.clock.tick
    for (tbl, pk, _), (at, left) in touched.items():
        wall = _wall(at, now)
        stamps = (tick(wall), tick(wall)) if left else (tick(wall),)
        by_table.setdefault(tbl, []).append(Entry(pk, stamps))
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

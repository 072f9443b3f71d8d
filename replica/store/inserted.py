"""The short way for a load: rows of one table that another program inserted, none of which is a record yet.

It does what `absorb.look` does, to the same bytes, for two thirds of the price: what is known of all the rows is made column
by column and sorted in at once. If one of them is not plain, all are left to that: a row that is gone, a key that is known,
a value that cannot travel. A test holds both ways equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.errors import ValueRefused
from protocol.record import pack_ids
from protocol.values import IllFormedText
from replica.store import capture
from replica.store.catalog import Table
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.encoder import Encoder
from replica.store.fresh import BLOCK, fresh_columns, named
from replica.store.nursery import Born, Nursery
from replica.store.outbox import Entry
from replica.store.state import raw_rows

ROWS_MIN = 256
"""Fewer rows are hardly dearer one by one."""


def take_inserted(core: Core, table: Table, entries: Sequence[Entry], ops: Sequence[int]) -> bool:
    """Make records of all these rows. False, and nothing is done, if that is not for them. `ops`: what the triggers saw."""
    if len(entries) < ROWS_MIN or set(ops) != {capture.INSERT} or len(ops) != len(entries):
        return False
    if not (table.plain and table.columns) or _numbered(core, table, entries):
        return False
    assert table.shape is not None
    ids, nursery, encoders = list[bytes](), Nursery(), [Encoder() for _ in table.columns]
    for start in range(0, len(entries), BLOCK):
        try:
            some = _born(core, table, entries[start : start + BLOCK], encoders)
        except ValueRefused:
            return False
        if some is None:
            return False
        ids += some.ids
        nursery.add(table.tbl, table.shape.rowid_alias, some)
    if not nursery.enter(core):
        return False
    core.changes.extend(Change(table.collection, id_, "insert", False) for id_ in ids)
    return True


def _numbered(core: Core, table: Table, entries: Sequence[Entry]) -> bool:
    """Whether the number of one of these rows stands for a record."""
    if table.shape is None or not table.shape.rowid_alias:
        return False
    sql = "SELECT pk FROM _replica_row WHERE tbl = ? AND pk IN ("
    return any(True for _ in core.select_in(sql, [entry.pk[0] for entry in entries], table.tbl))


def _born(core: Core, table: Table, entries: Sequence[Entry], encoders: Sequence[Encoder]) -> Born | None:
    """None if one of the rows is gone. Raises ValueRefused."""
    pks = [entry.pk for entry in entries]
    rows = raw_rows(core, table, pks)
    keys = [*zip(*pks, strict=True)]
    if any(IllFormedText in map(type, column) for column in keys):
        raise ValueRefused("text that is not UTF-8 is no key")
    by_key = dict(zip(pack_ids([*zip(*rows, strict=True)][: len(keys)]), rows, strict=True))
    found = [by_key.get(key) for key in pack_ids(keys)]
    if None in found:
        return None
    columns: list[Sequence[Any]] = list(zip(*filter(None, found), strict=True))
    return fresh_columns(core, table, *named(core, table, columns, [entry.stamps[0] for entry in entries]), encoders)

"""New records, written together: their rows and what is known of them, if their table stores the rows as they are.

What one of them says may be refused; then all are written in the general way, which tells which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from replica.store.catalog import Table
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.fresh import fresh_rows
from replica.store.put import uncaptured
from replica.store.shadow import write_new
from replica.store.show import PlainRows, engine_writes


class New(NamedTuple):
    """A record to be made, of this row, with values for all columns. `silent`: positions of those that the source does not
    speak of, which show their defaults: whoever speaks of them is heard."""

    row: int
    id: bytes
    stamp: bytes
    values: tuple[Any, ...]
    silent: frozenset[int] = frozenset()


def insert_new(
    core: Core, table: Table, pks: Sequence[tuple[Any, ...]], new: Sequence[New], keys: Sequence[bytes]
) -> list[bytes] | None:
    """Write new records, in the caller's transaction. `pks`: by row; `keys`: of the records. Returns of each its key and
    the first half of its digest; None, and nothing is written, if that is not possible. Raises Collision as `apply`
    does."""
    rows = [(*pks[n.row], *n.values) for n in new]
    columns = list(zip(*rows, strict=True))
    if not table.plain or any(n.silent for n in new) or not PlainRows(table).hold(columns):
        return None
    assert table.shape is not None
    width = len(table.shape.key)
    shadows = fresh_rows(core, table, keys, [n.id for n in new], [n.stamp for n in new], columns[width:])
    if not write_new(core, shadows):
        return None
    marks = [shadow[0] + shadow[8][:8] for shadow in shadows]
    del shadows  # They are as large as the rows.
    with engine_writes(core, [table]), uncaptured(core, table, len(rows)), core.trial():
        core.insert(table.insert, table.marks, rows)
    if table.shape.rowid_alias:
        pairs = [(table.tbl, row[0], key) for row, key in zip(rows, keys, strict=True)]
        core.db.executemany("INSERT INTO _replica_row VALUES (?, ?, ?)", pairs)
    core.clock.observe(max(n.stamp for n in new))
    core.dirty.born(keys)
    core.changes.extend(Change(table.collection, n.id, "insert", False) for n in new)
    return marks

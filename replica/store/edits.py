"""The short way for edits: fragments that change fields of shown records, in a table that stores the values as they are.

It does what `apply` does with a `State` and `show` with its row, to the same bytes, for a third of the price. What is not
plain is left to them: a delete, another birth, a field without a column, two values under one stamp, a record that holds
another from view. A test holds both ways equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from protocol import limits
from protocol.record import Delta, gather, pack_id
from protocol.values import Value, pack_values
from replica.store.catalog import Table
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.fresh import shadow_row, spread, whole_shadows
from replica.store.shadow import ShadowRow, write
from replica.store.show import PlainRows
from replica.store.state import fetch_rows


class Edit(NamedTuple):
    """A fragment, the key of its record, and the primary key in that."""

    key: bytes
    pk: tuple[Value, ...]
    delta: Delta


def join_edits(core: Core, table: Table, edits: Sequence[Edit]) -> tuple[set[bytes], list[bytes]]:
    """Join the plain ones of these. Returns their keys, and those of the records that changed."""
    times = Counter(edit.key for edit in edits)
    times.update(key for (key,) in core.select_in("SELECT blocker FROM _replica_held WHERE blocker IN (", list(times)))
    plain = {e.key: e for e in edits if times[e.key] == 1 and e.delta.names and not e.delta.floor}
    shadows = whole_shadows(core, table, list(plain))
    if not shadows:
        return set(), []
    rows = fetch_rows(core, table, [plain[shadow[0]].pk for shadow in shadows])
    joining = _Joining(core, table)
    for key, id_, born, stamps, which, _ in shadows:
        edit = plain[key]
        row = rows.get(pack_id(edit.pk) if table.surrogate else id_)
        if row is not None and edit.delta.born in {b"", born}:
            joining.join(edit, id_, born, spread(stamps, which, len(row)), row)
    changed = joining.finish()
    return joining.done, changed


class _Joining:
    def __init__(self, core: Core, table: Table) -> None:
        self._core, self._table = core, table
        self._safe = PlainRows(table).columns
        self._updates: dict[tuple[int, ...], list[tuple[bytes, list[Any]]]] = {}
        self._past: dict[bytes, list[tuple[bytes, int, bytes, bytes, bytes]]] = {}
        self._rows: dict[bytes, ShadowRow] = {}
        self._seen: dict[bytes, set[bytes]] = {}
        self.done: set[bytes] = set()

    def join(self, edit: Edit, id_: bytes, born: bytes, stamps: list[bytes], row: list[Any]) -> None:
        """Join one fragment, unless there is something about it that is not plain."""
        table, delta = self._table, edit.delta
        packed, lost, won = pack_values(row), [], {}
        before = packed[:], stamps[:]
        news = zip(delta.names, delta.register_stamps(), delta.values, pack_values(delta.values), strict=True)
        for name, stamp, value, new in news:
            pos = table.positions.get(name)
            if pos is None or not stamps or type(value) not in self._safe[pos]:
                return
            old_stamp, old = stamps[pos], packed[pos]
            if new != old:
                if stamp == old_stamp:
                    return
                loser = (old_stamp, old) if stamp > old_stamp else (stamp, new)
                lost.append((edit.key, pos, max(stamp, old_stamp), *loser))
            if stamp > old_stamp:
                stamps[pos], packed[pos] = stamp, new
                if new != old:
                    won[pos] = value
        if sum(map(len, packed)) > limits.RECORD_BYTES_MAX // 2:
            return
        self.done.add(edit.key)
        if before == (packed, stamps):
            return
        self._past[edit.key] = lost
        if won:
            values = [*won.values(), *edit.pk, *edit.pk]
            self._updates.setdefault(tuple(won), []).append((edit.key, values))
        self._seen[edit.key] = {born, *before[1]}
        distinct, which = gather(stamps)
        self._rows[edit.key] = shadow_row(self._core, table, edit.key, id_, b"", born, distinct, which, packed)

    def finish(self) -> list[bytes]:
        """Write what can stand in the table; the others are not done then. Returns the keys of what changed."""
        core, table = self._core, self._table
        for at, updates in self._updates.items():
            sets = ", ".join(f"{table.value_columns[pos]} = ?" for pos in at)
            sql = f"UPDATE OR FAIL {table.sql} SET {sets} WHERE {table.seek}"
            for key in [updates[number][0] for number in core.each(sql, [values for _, values in updates])]:
                self.done.remove(key)
                del self._rows[key], self._past[key]
        write(core, list(self._rows.values()), self._seen)
        for row in self._rows.values():
            core.dirty.touch(row[0])
            core.note(Change(table.collection, row[2], "update", core.remote))
        past = list(chain.from_iterable(self._past.values()))
        core.db.executemany("INSERT OR REPLACE INTO _replica_past VALUES (?, ?, ?, ?, ?)", past)
        return list(self._rows)

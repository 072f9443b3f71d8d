"""Absorption: what other programs wrote becomes stamped state.

The outbox says which rows to look at; the row itself is the witness. Row gone and record shown: a delete. Row there and
record not live: an insert. Both: an update of the fields whose check differs. No difference: nothing happened. The young
generation is older than what the outbox says, and is merged first. One test each:

1. stamp = max(last + 1, min(captured wall, wall now)), in captured order, one stamp for all fields of a row's event.
2. Where SQLite made up the key, a row deleted and inserted anew under one number is another record.
3. A value that cannot travel stays local-only: not stamped, not digested, listed with its reason.
4. Absorbing changes no row of the user's, but where a held record may surface or must give way.
5. Held records surface when every row was looked at: what surfaces under the number of a record whose delete still waits
   would be taken for that record, or its delete for a delete of this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from protocol.collector import uncollected
from protocol.errors import ValueRefused
from protocol.record import Birth, pack_id, pack_ids, unpack_id
from protocol.values import IllFormedText, pack_values
from replica.store import outbox, young
from replica.store.catalog import Table, marks
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.fresh import fresh_row, fresh_rows
from replica.store.inserted import take_inserted
from replica.store.outbox import Entry
from replica.store.retouch import Found, Retouched, retouch
from replica.store.shadow import SHOWN, ShadowRow, load_shadows, write
from replica.store.show import UNKNOWN, engine_writes, settle
from replica.store.state import State, check, fetch_rows, key_of, light, load, new, row_id, save, speak, trim

ENTRIES_MAX = 32_768
"""Outbox entries absorbed in one transaction: about half a second, for which other programs wait for the write lock."""

AT_ONCE = 4_096
"""Rows that are looked at together: what is made of them still fits into the processor's cache."""

WAITS = "SELECT EXISTS(SELECT 1 FROM _replica_outbox) OR EXISTS(SELECT 1 FROM _replica_young)"
"""Whether anything waits, of what other programs wrote or of the young generation."""

_ROW, _ROWS = -1, -2
"""Instead of a field's position: a row that cannot travel, or any number of rows with NULL in the key."""


def backlog(core: Core) -> int:
    """Entries that wait to be absorbed."""
    return int(core.db.execute("SELECT count(*) FROM _replica_outbox").fetchone()[0])


def pending(core: Core) -> bool:
    """Whether anything waits."""
    return bool(core.db.execute(WAITS).fetchone()[0])


def captured(core: Core) -> bool:
    """Whether something waits that other programs wrote."""
    return core.db.execute("SELECT 1 FROM _replica_outbox LIMIT 1").fetchone() is not None


@uncollected()
def absorb(core: Core, limit: int = ENTRIES_MAX) -> int:
    """Absorb up to `limit` outbox entries, in the caller's transaction. Returns how many are left at least (0: none)."""
    if not pending(core):
        return 0
    if young.merge(core):
        return int(pending(core))
    stamp_outbox(core, limit)
    if pending(core):
        return 1
    surface(core)
    return 0


def stamp_outbox(core: Core, limit: int = ENTRIES_MAX) -> None:
    """Stamp what up to `limit` outbox entries are about. What was held because of it waits for `surface`."""
    rows = core.rows("SELECT * FROM _replica_outbox ORDER BY seq LIMIT ?", (limit,))
    by_table = outbox.entries(core, rows)
    for tbl, entries in by_table.items():
        if not take_inserted(core, core.tables[tbl], entries, [row[2] for row in rows if row[1] == tbl]):
            for some in _parts(entries):
                look(core, core.tables[tbl], some)
    if len(rows) < limit:
        core.db.execute("DELETE FROM _replica_outbox")
    else:
        core.db.execute("DELETE FROM _replica_outbox WHERE seq <= ?", (rows[-1][0],))
    for tbl in by_table:
        table = core.tables[tbl]
        if table.shape is not None and table.shape.needs_count and _count_differs(core, table):
            full_diff(core, table)


def surface(core: Core) -> None:
    """Give records that nothing shown holds any more their chance. Only when no row waits to be looked at."""
    waiting: dict[int, list[bytes]] = {}
    for tbl, key in core.db.execute("SELECT tbl, key FROM _replica_held WHERE blocker = ?", (UNKNOWN,)):
        waiting.setdefault(tbl, []).append(key)
    for tbl, keys in waiting.items():
        with engine_writes(core, [core.tables[tbl]]):
            settle(core, list(load(core, keys).values()))


def absorb_all(core: Core) -> None:
    """Absorb whatever waits, in the caller's transaction."""
    while absorb(core):
        pass


def full_diff(core: Core, table: Table) -> None:
    """Look at every row and every shown record of a table: the backstop for whatever no trigger saw. What was held because
    of it waits for `surface`."""
    assert table.shape is not None
    core.db.execute("DELETE FROM _replica_local WHERE tbl = ? AND pos < 0", (table.tbl,))  # Noted anew if still there.
    # Kept aside: there each row has a number to go on from, and memory does not grow with the table.
    core.db.execute(f"CREATE TEMP TABLE _replica_scan AS SELECT {', '.join(table.key_columns)} FROM {table.sql}")
    seen = 0
    while part := core.rows("SELECT * FROM temp._replica_scan WHERE rowid > ? LIMIT ?", (seen, AT_ONCE)):
        look(core, table, [Entry(tuple(row)) for row in part])
        seen += len(part)
    core.db.execute("DROP TABLE temp._replica_scan")
    sql = f"SELECT id FROM _replica_record WHERE tbl = ? AND flags & {SHOWN}"
    shown = core.db.execute(sql, (table.tbl,)).fetchall()
    for some in _parts(shown):
        pks = [unpack_id(id_)[0] for (id_,) in some]
        there = fetch_rows(core, table, pks)
        look(core, table, [Entry(pk) for pk in pks if pack_id(pk) not in there])


def _parts(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (rows[i : i + AT_ONCE] for i in range(0, len(rows), AT_ONCE))


def _count_differs(core: Core, table: Table) -> bool:
    keyed = " AND ".join(f"{c} IS NOT NULL" for c in table.key_columns)
    (rows,) = core.db.execute(f"SELECT count(*) FROM {table.sql} WHERE {keyed}").fetchone()
    (expected,) = core.db.execute(
        f"SELECT (SELECT count(*) FROM _replica_record WHERE tbl = ? AND flags & {SHOWN}) + "
        "(SELECT count(*) FROM _replica_local WHERE tbl = ? AND pos = ?)",
        (table.tbl, table.tbl, _ROW),
    ).fetchone()
    return bool(rows != expected)


def look(core: Core, table: Table, entries: Sequence[Entry]) -> None:
    """Look at rows of one table, in order, and stamp what changed. What was held because of it waits for `surface`."""
    ids = _row_ids(core, table, [entry.pk for entry in entries])
    rows = fetch_rows(core, table, list(ids))
    keys = _record_keys(core, table, ids)
    found: list[Found] = [(entry, ids[entry.pk], keys.get(entry.pk)) for entry in entries if entry.pk in ids]
    retouched = retouch(core, table, found, rows)
    if retouched.rows:
        found = [one for one in found if one[2] not in retouched.rows]
    states = load(core, [key for key in keys.values() if key not in retouched.rows])
    _add_missing_rows(core, table, keys, states, rows, ids)
    looking = _Looking(core, table, rows, states, retouched)
    for one in looking.take_new(found):
        looking.at(*one)
    looking.finish()


def _row_ids(core: Core, table: Table, pks: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], bytes]:
    columns = list(zip(*pks, strict=True))
    if not any(IllFormedText in map(type, column) for column in columns):
        with suppress(ValueRefused):
            return dict(zip(pks, pack_ids(columns), strict=True))
    ids = {}
    for pk in pks:
        try:
            ids[pk] = row_id(pk)
        except ValueRefused as error:
            note_local_row(core, table, pk, str(error))
    return ids


def note_local_row(core: Core, table: Table, pk: tuple[Any, ...], reason: str) -> None:
    """A row that cannot travel at all is listed as long as it is there."""
    id_ = core.keys.digest(repr([(type(v).__name__, v) for v in pk]).encode())
    where = " AND ".join(f"{c} IS {marks([v])}" for c, v in zip(table.key_columns, pk, strict=True))
    core.db.execute("DELETE FROM _replica_local WHERE tbl = ? AND id = ? AND pos < 0", (table.tbl, id_))
    if core.db.execute(f"SELECT 1 FROM {table.sql} WHERE {where}", pk).fetchone():
        shown = ", ".join(repr(v)[:60] for v in pk)
        note = (table.tbl, id_, _ROWS if None in pk else _ROW, f"row {shown}: {reason}")
        core.db.execute("INSERT INTO _replica_local VALUES (?, ?, ?, ?)", note)


def _record_keys(core: Core, table: Table, ids: dict[tuple[Any, ...], bytes]) -> dict[tuple[Any, ...], bytes]:
    assert table.shape is not None
    if not table.shape.rowid_alias:
        return dict(zip(ids, core.keys.record_keys(table.packed_name, ids.values()), strict=True))
    sql = "SELECT pk, key FROM _replica_row WHERE tbl = ? AND pk IN ("
    found: dict[object, bytes] = dict(core.select_in(sql, [pk[0] for pk in ids], table.tbl))
    keys = {pk: found[pk[0]] for pk in ids if pk[0] in found}
    if not table.surrogate:
        keys.update({pk: key_of(core, table, id_) for pk, id_ in ids.items() if pk not in keys})
    return keys


def _add_missing_rows(
    core: Core,
    table: Table,
    keys: dict[tuple[Any, ...], bytes],
    states: dict[bytes, State],
    rows: dict[bytes, list[Any]],
    ids: dict[tuple[Any, ...], bytes],
) -> None:
    """A shown record whose row is gone has no values left to load: only its stamps matter for the delete."""
    gone = [keys[pk] for pk, id_ in ids.items() if id_ not in rows and pk in keys and keys[pk] not in states]
    for key, shadow in load_shadows(core, gone).items():
        state = new(table, key, shadow.id)
        state.shadow, state.flags = shadow, shadow.flags
        state.record.floor, state.record.born = shadow.floor, shadow.born
        states[key] = state


class _Looking:
    """One pass over touched rows of a table."""

    def __init__(
        self,
        core: Core,
        table: Table,
        rows: dict[bytes, list[Any]],
        states: dict[bytes, State],
        retouched: Retouched,
    ) -> None:
        self._core, self._table, self._rows, self._states, self._retouched = core, table, rows, states, retouched
        self._fresh: dict[bytes, ShadowRow] = {}
        self._changed: dict[bytes, State] = {}
        self._shown_rows: list[tuple[int, object, bytes]] = []
        self._touched: list[bytes] = []

    def _stamp(self, entry: Entry, number: int = -1) -> bytes:
        return entry.stamps[number] if entry.stamps else self._core.clock.tick(self._core.now_ms())

    def take_new(self, some: Sequence[Found]) -> Sequence[Found]:
        """Take the rows that are no record yet, all at once, where that comes to the same. Returns the others."""
        core, table = self._core, self._table
        new = [one for one in some if one[2] not in self._states and one[1] in self._rows and not one[0].born]
        if not table.plain or not new:
            return some
        stamps = [self._stamp(entry) for entry, _, _ in new]
        if table.surrogate:
            ids = [pack_id(entry.pk, Birth(stamp)) for (entry, _, _), stamp in zip(new, stamps, strict=True)]
            keys = core.keys.record_keys(table.packed_name, ids)
        else:
            ids = [id_ for _, id_, _ in new]
            keys = [key for _, _, key in new if key is not None]
        columns = list(zip(*(self._rows[id_] for _, id_, _ in new), strict=True))
        try:
            rows = fresh_rows(core, table, keys, ids, stamps, columns)
        except ValueRefused:  # One of them is too large.
            return some
        self._fresh = dict(zip(keys, rows, strict=True))
        core.dirty.born(keys)
        if table.shape is not None and table.shape.rowid_alias:
            pks = (entry.pk[0] for entry, _, _ in new)
            self._shown_rows = [(table.tbl, pk, key) for pk, key in zip(pks, keys, strict=True)]
        core.changes.extend(Change(table.collection, id_, "insert", False) for id_ in ids)
        taken = {id_ for _, id_, _ in new}
        return [one for one in some if one[1] not in taken]

    def at(self, entry: Entry, id_: bytes, key: bytes | None) -> None:
        row, state = self._rows.get(id_), self._states.get(key) if key else None
        if row is None:
            if state is not None and state.shown:
                self._delete(state, self._stamp(entry))
            return
        if state is not None and state.shown and entry.left and self._table.surrogate:
            self._delete(state, self._stamp(entry, 0))
            state = None
        if self._table.surrogate and (state is None or not state.record.live):
            self._insert(entry, None, id_, row)
        elif state is None or not state.record.live:
            self._insert(entry, state, id_, row)
        else:
            self._update(entry, state, row)

    def _insert(self, entry: Entry, state: State | None, id_: bytes, row: list[Any]) -> None:
        core, table = self._core, self._table
        stamp = self._stamp(entry)
        born = entry.born or stamp
        if table.surrogate:
            id_ = pack_id(entry.pk, Birth(born))
        key = key_of(core, table, id_)
        if table.shape is not None and table.shape.rowid_alias:
            self._shown_rows.append((table.tbl, entry.pk[0], key))
        core.note(Change(table.collection, id_, "insert", False))
        if state is None and born == stamp and table.plain and light(row):
            self._fresh[key] = fresh_row(core, table, key, id_, stamp, row)
            core.dirty.touch(key, 1)
            return
        if state is None:
            state = new(table, key, id_)
        state.record.born = born
        state.flags |= SHOWN
        state.checks.clear()
        for name, pos, packed in zip(table.names, table.at, pack_values(row), strict=True):
            self._write(state, name, pos, packed, stamp)
        self._keep(state, stamp)

    def _update(self, entry: Entry, state: State, row: list[Any]) -> None:
        table, shadow = self._table, state.shadow
        assert shadow is not None
        packed = pack_values(row)
        if not state.shown:  # The row of a held record's key was inserted: it is a write of every column here.
            changed = list(zip(table.names, table.at, packed, strict=True))
        else:
            changed = [
                (name, pos, value)
                for name, pos, value in zip(table.names, table.at, packed, strict=True)
                if pos >= len(shadow.checks) or shadow.checks[pos] != check(value)
            ]
            if not changed and self._core.keys.digest(state.record.encode()) != shadow.digest:
                changed = list(zip(table.names, table.at, packed, strict=True))
        if not changed:
            if speak(self._core, state, packed):
                self._changed[state.key] = state
            return
        if not state.shown and table.shape is not None and table.shape.rowid_alias:
            self._shown_rows.append((table.tbl, entry.pk[0], state.key))
        stamp = self._stamp(entry)
        state.flags |= SHOWN
        for name, pos, value in changed:
            state.checks.pop(pos, None)
            self._write(state, name, pos, value, stamp)
        self._keep(state, stamp)
        self._core.note(Change(table.collection, state.record.id, "update", False))

    def _write(self, state: State, name: str, pos: int, packed: bytes, stamp: bytes) -> None:
        state.record.registers[name] = (stamp, packed)
        if pos in state.local:
            state.local -= {pos}
            where = (self._table.tbl, state.record.id, pos)
            self._core.db.execute("DELETE FROM _replica_local WHERE tbl = ? AND id = ? AND pos = ?", where)

    def _keep(self, state: State, stamp: bytes) -> None:
        """Take the state, without the values that make it too large to travel."""
        trim(self._core, state, stamp)
        self._changed[state.key] = state
        self._touched.append(state.key)

    def _delete(self, state: State, stamp: bytes) -> None:
        state.record.floor = stamp
        state.record.registers.clear()
        state.checks.clear()
        state.flags = 0
        self._changed[state.key] = state
        self._touched.append(state.key)
        core, table = self._core, self._table
        if table.shape is not None and table.shape.rowid_alias:
            gone = (table.tbl, state.pk[0], state.key)
            core.db.execute("DELETE FROM _replica_row WHERE tbl = ? AND pk = ? AND key = ?", gone)
        core.db.execute("DELETE FROM _replica_local WHERE tbl = ? AND id = ?", (table.tbl, state.record.id))
        core.note(Change(table.collection, state.record.id, "delete", False))

    def finish(self) -> None:
        """Store it all. What was held by what changed is held by nothing that is known, until it has its chance."""
        core, table = self._core, self._table
        write(core, self._fresh.values())
        self._retouched.store(core, table)
        save(core, self._changed.values())
        core.db.executemany("INSERT OR REPLACE INTO _replica_row VALUES (?, ?, ?)", self._shown_rows)
        if core.db.execute("SELECT 1 FROM _replica_held WHERE tbl = ? LIMIT 1", (table.tbl,)).fetchone():
            touched = [*self._touched, *self._retouched.rows]
            core.db.executemany("DELETE FROM _replica_held WHERE key = ?", [(key,) for key in touched])
            released = [(UNKNOWN, key) for key in touched]
            core.db.executemany("UPDATE _replica_held SET blocker = ? WHERE blocker = ?", released)

"""Apply: a peer's records join what is here, whole batch in one transaction.

A record that is new here, whole, and stored by its table as it is goes in by the fast path; everything else is loaded,
joined and settled. A test holds both paths equal. One test each:

1. A batch is applied as a whole or, if a frame is malformed or the disk fails, not at all.
2. A stamp too far ahead defers that item alone, in words; everything else of the record is taken.
3. A stamp with our own node id that we never issued means that this file was cloned: we draw a new id, and say so.
4. The value that lost is kept, one a field, so that `why` can show it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from protocol import limits
from protocol.descent import Applied, Refusal
from protocol.errors import Malformed
from protocol.hlc import Clock, millis
from protocol.record import Delta, encode, fold, gather, unpack_id
from protocol.values import Value, pack_values
from replica.store import ddl
from replica.store.catalog import Table
from replica.store.changes import Change
from replica.store.core import ALONE_MAX, Core
from replica.store.edits import Edit, join_edits
from replica.store.fresh import fresh_rows, shadow_row
from replica.store.leap import leap
from replica.store.shadow import SHOWN, load_shadows, write
from replica.store.show import PlainRows, engine_writes, kind_of, settle
from replica.store.state import State, key_of, load, new
from replica.words import clean


def apply(core: Core, deltas: Sequence[Delta], now_ms: int) -> Applied:
    """Join these fragments, in the caller's transaction, after absorption. Raises Malformed."""
    schema = [d for d in deltas if d.collection in ddl.SCHEMA]
    batch = _Batch(core, now_ms)
    told = core.changes.mark()
    if schema:
        batch.join(schema)
        if batch.changed:
            ddl.materialize(core)
    batch.join([d for d in deltas if d.collection not in ddl.SCHEMA])
    core.changes.merge(told, lambda changes: _once(core, changes))
    return Applied(len(batch.changed), batch.held, batch.refused)


def _once(core: Core, changes: list[Change]) -> list[Change]:
    """One change of each record: a batch may bring it in several parts, or hide it again."""
    found: dict[tuple[str, bytes], Change] = {}
    for change in changes:
        place = change.collection, change.id
        before = found.get(place)
        if before is None:
            found[place] = change
        elif before.kind == "insert":
            if change.kind == "delete" and not _lives(core, change):
                del found[place]
        else:
            born_again = before.kind == "delete" and change.kind != "delete"
            found[place] = change._replace(kind="update") if born_again else change
    return list(found.values())


def _lives(core: Core, change: Change) -> bool:
    key = key_of(core, core.by_name[change.collection], change.id)
    row = core.db.execute("SELECT born > floor FROM _replica_record WHERE key = ?", (key,)).fetchone()
    return bool(row and row[0])


class _Item(NamedTuple):
    delta: Delta
    key: bytes
    pk: tuple[Value, ...]
    table: Table


class _Batch:
    def __init__(self, core: Core, now_ms: int) -> None:
        self._core = core
        self._now_ms = now_ms
        self._horizon = (((now_ms + limits.DRIFT_MS_MAX) << 16) | 0xFFFF).to_bytes(8, "big")
        self._issued = core.meta("issued") or b""
        self.changed: dict[bytes, None] = {}
        """Keys of the records that changed."""
        self.refused: list[Refusal] = []
        self._names: dict[bytes, str] = {}
        """What the group calls nodes: one with a wrong clock is named for each of its writes."""

    @property
    def held(self) -> int:
        """How many of the records that changed live, but are not shown now."""
        core = self._core
        system = [t.tbl for t in core.tables.values() if t.collection in ddl.SYSTEM]
        bare = any(t.shape is None for t in core.tables.values() if t.tbl not in system)
        if not bare and core.db.execute("SELECT 1 FROM _replica_held LIMIT 1").fetchone() is None:
            return 0
        sql = (
            f"SELECT count(*) FROM _replica_record WHERE born > floor AND NOT flags & {SHOWN} "
            f"AND tbl NOT IN ({','.join('?' * len(system))}) AND key IN ("
        )
        return sum(count for (count,) in core.select_in(sql, list(self.changed), *system))

    def join(self, deltas: Sequence[Delta]) -> None:
        by_name: dict[str, list[Delta]] = {}
        for delta in deltas:
            by_name.setdefault(delta.collection, []).append(delta)
        items = [item for name, some in by_name.items() for item in self._admit(name, some)]
        fresh, rest = self._fresh(items)
        with engine_writes(self._core, list({i.table.tbl: i.table for i in items}.values())):
            for tbl, some_items in fresh.items():
                rest.extend(self._insert(self._core.tables[tbl], some_items))
            self._merge(self._edit(rest))

    # --- admission ----------------------------------------------------------------------------------------------------

    def _admit(self, collection: str, deltas: Sequence[Delta]) -> list[_Item]:
        core = self._core
        table = core.by_name.get(collection)
        if table is None:
            if fold(collection) != collection:
                raise Malformed(f"the collection {collection!r} is not folded to lower case")
            table = core.table(collection)
        ids = [delta.id for delta in deltas]
        keys = core.keys.record_keys(table.packed_name, ids)
        items = [_Item(d, key, unpack_id(id_)[0], table) for d, key, id_ in zip(deltas, keys, ids, strict=True)]
        newest = max(delta.greatest() for delta in deltas)
        if newest[:8] > self._horizon:
            items = [kept for item in items if (kept := self._in_time(item)) is not None]
            newest = max((item.delta.greatest() for item in items), default=b"")
        for delta in (item.delta for item in items):
            node = core.clock.node
            if node in delta.stamps or node == delta.born[8:] or node == delta.floor[8:]:
                mine = [s for s in {*delta.register_stamps(), delta.born, delta.floor} if s[8:] == node]
                if mine and max(mine)[:8] > self._issued:
                    self._become_another()
        core.clock.observe(newest)
        return items

    def _in_time(self, item: _Item) -> _Item | None:
        """The item, or what is left of it without stamps too far ahead."""
        if item.delta.greatest()[:8] <= self._horizon:
            return item
        kept = self._defer(item.delta, item.key)
        return item._replace(delta=kept) if kept is not None else None

    def _fresh(self, items: Sequence[_Item]) -> tuple[dict[int, list[_Item]], list[_Item]]:
        """New records that their tables store as they are, by table; and all others."""
        keys = [item.key for item in items]
        seen = {key for (key,) in self._core.select_in("SELECT key FROM _replica_record WHERE key IN (", keys)}
        fresh: dict[int, list[_Item]] = {}
        rest: list[_Item] = []
        numbers = self._taken_numbers(items)
        for item in items:
            table, delta = item.table, item.delta
            new = item.key not in seen and table.plain and delta.born > delta.floor and delta.names == table.names
            if new and len(item.pk) == len(table.key_columns) and item.pk[0] not in numbers.get(table.tbl, ()):
                fresh.setdefault(table.tbl, []).append(item)
                seen.add(item.key)
                if table.tbl in numbers:
                    numbers[table.tbl].add(item.pk[0])
            else:
                rest.append(item)
        for tbl, some in fresh.items():
            checker = PlainRows(self._core.tables[tbl])
            if not checker.hold(list(zip(*((*i.pk, *i.delta.values) for i in some), strict=True))):
                fits = [checker.holds((*i.pk, *i.delta.values)) for i in some]
                rest += [i for i, fit in zip(some, fits, strict=True) if not fit]
                fresh[tbl] = [i for i, fit in zip(some, fits, strict=True) if fit]
        return fresh, rest

    def _taken_numbers(self, items: Sequence[_Item]) -> dict[int, set[Value]]:
        """Row numbers that are taken, of those that these records have, by table. The key would refuse them too, but in a
        large batch that is a Collision, and two nodes often count alike."""
        numbers: dict[int, set[Value]] = {}
        for item in items:
            if item.table.surrogate:
                numbers.setdefault(item.table.tbl, set()).update(v for v in item.pk if type(v) is int)
        sql = "SELECT pk FROM _replica_row WHERE tbl = ? AND pk IN ("
        return {tbl: {pk for (pk,) in self._core.select_in(sql, list(some), tbl)} for tbl, some in numbers.items()}

    def _defer(self, delta: Delta, key: bytes) -> Delta | None:
        """The part of a fragment whose stamps are not too far ahead, if any. What is left out is not stored: the peer
        will offer it again."""
        stamps = delta.register_stamps()
        ahead = max(s for s in (*stamps, delta.floor, delta.born) if s[:8] > self._horizon)
        minutes = (millis(ahead) - self._now_ms) // 60_000
        name = self._names.get(ahead[8:]) or self._names.setdefault(ahead[8:], ddl.node_name(self._core, ahead[8:]))
        shown = clean(", ".join(map(str, unpack_id(delta.id)[0])))
        reason = (
            f"{name} is {minutes} min ahead of this node's clock: its write to {clean(delta.collection)} {shown} waits "
            "until the clocks agree"
        )
        self.refused.append(Refusal(key, self._core.keys.digest(_encode(delta)), reason[: limits.TEXT_CHARS_MAX]))
        if max(delta.born, delta.floor)[:8] > self._horizon:
            return None  # Without its delete, a record would come back to life; without its insert, it has no fields.
        kept = [i for i, s in enumerate(stamps) if s[:8] <= self._horizon]
        packed, which = gather([stamps[i] for i in kept])
        if not (kept or delta.floor or delta.born):
            return None
        names, values = tuple(delta.names[i] for i in kept), tuple(delta.values[i] for i in kept)
        return delta._replace(names=names, values=values, stamps=packed, which=which)

    def _become_another(self) -> None:
        core = self._core
        old = core.clock.node
        core.set_meta("node", core.random(8))
        core.clock = Clock(core.meta("node"), core.clock.last)
        core.set_meta("clone", f"{self._now_ms}: another copy of this file wrote as node {old.hex()}; this one is now "
                               f"{core.clock.node.hex()}")  # fmt: skip
        self._issued = core.clock.last
        ddl.introduce(core)

    # --- the fast path ------------------------------------------------------------------------------------------------

    def _insert(self, table: Table, items: list[_Item]) -> list[_Item]:
        """Insert new records as they are. Returns those that a constraint refuses, for the general path."""
        core = self._core
        items, refused = self._insert_rows(table, items)
        if not items:
            return refused
        even = [i for i in items if i.delta.born == i.delta.stamps and not i.delta.floor]
        rows = fresh_rows(
            core,
            table,
            [i.key for i in even],
            [i.delta.id for i in even],
            [i.delta.born for i in even],
            list(zip(*(i.delta.values for i in even), strict=True)),
        )
        for item in items if len(even) < len(items) else ():
            d = item.delta
            if d.floor or d.born != d.stamps:
                packed = pack_values(d.values)
                rows.append(shadow_row(core, table, item.key, d.id, d.floor, d.born, d.stamps, d.which, packed))
        core.dirty.born([i.key for i in items])
        core.changes.extend(Change(table.collection, i.delta.id, "insert", core.remote) for i in items)
        write(core, rows)
        assert table.shape is not None
        if table.shape.rowid_alias:
            pairs = [(table.tbl, i.pk[0], i.key) for i in items]
            core.db.executemany("INSERT OR REPLACE INTO _replica_row VALUES (?, ?, ?)", pairs)
            if table.shape.autoincrement:
                leap(core, table)
        self.changed.update(dict.fromkeys(i.key for i in items))
        return refused

    def _insert_rows(self, table: Table, items: list[_Item]) -> tuple[list[_Item], list[_Item]]:
        """Those whose rows are in, and the others."""
        core = self._core
        rows = [(*i.pk, *i.delta.values) for i in items]
        if len(rows) > ALONE_MAX:
            with suppress(sqlite3.IntegrityError), core.trial():
                core.insert(table.insert, table.marks, rows)
                return items, []
            return [], items
        refused = {*core.each(table.insert + table.marks, rows)}
        return [i for n, i in enumerate(items) if n not in refused], [items[n] for n in sorted(refused)]

    def _edit(self, items: list[_Item]) -> list[_Item]:
        """Join plain edits. Returns the others, for the general path."""
        by_table: dict[int, list[Edit]] = {}
        for item in items:
            by_table.setdefault(item.table.tbl, []).append(Edit(item.key, item.pk, item.delta))
        done: set[bytes] = set()
        for tbl, edits in by_table.items():
            keys, changed = join_edits(self._core, self._core.tables[tbl], edits)
            done |= keys
            self.changed.update(dict.fromkeys(changed))
        return [item for item in items if item.key not in done]

    # --- the general path ---------------------------------------------------------------------------------------------

    def _merge(self, items: list[_Item]) -> None:
        if not items:
            return
        core = self._core
        states = load(core, list({i.key for i in items}))
        # A record whose row vanished without a delete has lost its values here; what the peer sends restores it.
        unread = load_shadows(core, [i.key for i in items if i.key not in states])
        touched: dict[bytes, tuple[State, bool]] = {}
        past: list[tuple[bytes, int, bytes, bytes, bytes]] = []
        for item in items:
            state = states.get(item.key)
            if state is None:
                state = states[item.key] = new(item.table, item.key, item.delta.id)
                state.shadow = unread.get(item.key)
            was_live = state.record.live
            lost = self._losers(state, item.delta)
            if self._join(state, item):
                past.extend(lost)
                touched.setdefault(item.key, (state, was_live))
        if not touched:
            return
        settle(core, [state for state, _ in touched.values()], told=True)
        past = [lost for lost in past if lost[3] > states[lost[0]].record.floor]  # A delete erases values for good.
        core.db.executemany("INSERT OR REPLACE INTO _replica_past VALUES (?, ?, ?, ?, ?)", past)
        self.changed.update(dict.fromkeys(touched))
        for state, was_live in touched.values():
            core.note(Change(state.table.collection, state.record.id, kind_of(state, was_live=was_live), core.remote))

    def _join(self, state: State, item: _Item) -> bool:
        """Join a fragment, unless the record would then be too large to send on. Returns whether anything changed."""
        record = state.record
        before = record.floor, record.born, dict(record.registers)
        if not record.join(item.delta):
            return False
        size = sum(len(name) + len(value) + 32 for name, (_, value) in record.registers.items())
        if size > limits.RECORD_BYTES_MAX or len(record.registers) > limits.FIELDS_MAX:
            record.floor, record.born, record.registers = before
            shown = clean(", ".join(map(str, item.pk)))
            reason = (
                f"{clean(state.table.label)} {shown}: both copies together make a record of {size} bytes in "
                f"{len(item.delta.names)} fields, over the limit of {limits.RECORD_BYTES_MAX}: shorten it on one side"
            )
            digest = self._core.keys.digest(_encode(item.delta))
            self.refused.append(Refusal(item.key, digest, reason[: limits.TEXT_CHARS_MAX]))
            return False
        return True

    def _losers(self, state: State, delta: Delta) -> list[tuple[bytes, int, bytes, bytes, bytes]]:
        if not state.record.registers:
            return []
        lost = []
        for name, register in delta.registers().items():
            old = state.record.registers.get(name)
            if old is None or old == register or old[1] == register[1]:
                continue
            if old[0] == register[0] and old[0][8:] == self._core.clock.node:
                self._become_another()
            winner, loser = max(old, register), min(old, register)
            lost.append((state.key, self._core.field(state.table, name), winner[0], *loser))
        return lost


def _encode(delta: Delta) -> bytes:
    packed = pack_values(delta.values)
    return encode(*delta[:4], delta.names, delta.stamps, delta.which, packed)

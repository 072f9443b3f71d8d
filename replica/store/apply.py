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

from protocol import limits
from protocol.descent import Applied, Refusal
from protocol.errors import Malformed
from protocol.hlc import Clock, millis
from protocol.record import Delta, encode, fold, gather, unpack_id
from protocol.values import Value, pack_values
from replica.store import ddl
from replica.store.catalog import Table
from replica.store.core import Change, Core
from replica.store.fresh import shadow_row
from replica.store.show import PlainRows, engine_writes, leap, settle
from replica.store.state import ShadowRow, State, key_of, load, new, write


def apply(core: Core, deltas: Sequence[Delta], now_ms: int) -> Applied:
    """Join these fragments, in the caller's transaction, after absorption. Raises Malformed."""
    system = [d for d in deltas if d.collection in ddl.SYSTEM]
    batch = _Batch(core, now_ms)
    if system:
        batch.join(system)
        if batch.changed:
            ddl.materialize(core)
    batch.join([d for d in deltas if d.collection not in ddl.SYSTEM])
    return Applied(batch.changed, batch.held, batch.refused)


class _Item:
    __slots__ = ("delta", "key", "pk", "table")

    def __init__(self, delta: Delta, key: bytes, pk: tuple[Value, ...], table: Table) -> None:
        self.delta, self.key, self.pk, self.table = delta, key, pk, table


class _Batch:
    def __init__(self, core: Core, now_ms: int) -> None:
        self._core = core
        self._now_ms = now_ms
        self._horizon = (((now_ms + limits.DRIFT_MS_MAX) << 16) | 0xFFFF).to_bytes(8, "big")
        self._issued = core.meta("issued") or b""
        self.changed = 0
        self.held = 0
        self.refused: list[Refusal] = []

    def join(self, deltas: Sequence[Delta]) -> None:
        items = [item for item in map(self._admit, deltas) if item is not None]
        existing = {
            key
            for (key,) in self._core.select_in("SELECT key FROM _replica_record WHERE key IN (", [i.key for i in items])
        }
        fresh: dict[int, list[_Item]] = {}
        rest: list[_Item] = []
        checkers: dict[int, PlainRows] = {}
        for item in items:
            table, delta = item.table, item.delta
            if item.key not in existing and table.plain and delta.names == table.names and delta.born > delta.floor:
                checker = checkers.get(table.tbl) or checkers.setdefault(table.tbl, PlainRows(table))
                if len(item.pk) == len(table.key_columns) and checker.holds((*item.pk, *delta.values)):
                    fresh.setdefault(table.tbl, []).append(item)
                    existing.add(item.key)
                    continue
            rest.append(item)
        with engine_writes(self._core, list({i.table.tbl: i.table for i in items}.values())):
            for tbl, some in fresh.items():
                rest.extend(self._insert(self._core.tables[tbl], some))
            self._merge(rest)

    # --- admission ----------------------------------------------------------------------------------------------------

    def _admit(self, delta: Delta) -> _Item | None:
        core = self._core
        if fold(delta.collection) != delta.collection:
            raise Malformed(f"the collection {delta.collection!r} is not folded to lower case")
        table = core.table(delta.collection)
        pk, _ = unpack_id(delta.id)
        key = key_of(core, table, delta.id)
        greatest = delta.greatest()
        if greatest[:8] > self._horizon:
            kept = self._defer(delta, key)
            if kept is None:
                return None
            delta, greatest = kept, kept.greatest()
        node = core.clock.node
        if node in delta.stamps or node == delta.born[8:] or node == delta.floor[8:]:
            mine = [s for s in {*delta.register_stamps(), delta.born, delta.floor} if s[8:] == node]
            if mine and max(mine)[:8] > self._issued:
                self._become_another()
        core.clock.observe(greatest)
        return _Item(delta, key, pk, table)

    def _defer(self, delta: Delta, key: bytes) -> Delta | None:
        """The part of a fragment whose stamps are not too far ahead, if any. What is left out is not stored: the peer
        will offer it again."""
        stamps = delta.register_stamps()
        ahead = max(s for s in (*stamps, delta.floor, delta.born) if s[:8] > self._horizon)
        minutes = (millis(ahead) - self._now_ms) // 60_000
        name = ddl.node_name(self._core, ahead[8:])
        shown = ", ".join(map(str, unpack_id(delta.id)[0]))
        reason = (
            f"{name} is {minutes} min ahead of this node's clock: its write to {delta.collection} {shown} waits until "
            "the clocks agree"
        )
        self.refused.append(Refusal(key, self._core.keys.digest(_encode(delta)), reason[: limits.TEXT_CHARS_MAX]))
        if delta.born[:8] > self._horizon:
            return None
        kept = [i for i, s in enumerate(stamps) if s[:8] <= self._horizon]
        packed, which = gather([stamps[i] for i in kept])
        floor = delta.floor if delta.floor[:8] <= self._horizon else b""
        if not (kept or floor or delta.born):
            return None
        names, values = tuple(delta.names[i] for i in kept), tuple(delta.values[i] for i in kept)
        return delta._replace(floor=floor, names=names, values=values, stamps=packed, which=which)

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
        """Insert new records as they are. Returns them for the general path if a constraint refuses one."""
        core = self._core
        core.db.execute("SAVEPOINT replica_fast")
        try:
            core.insert(table.insert, table.marks, [(*i.pk, *i.delta.values) for i in items])
        except sqlite3.IntegrityError:
            core.db.execute("ROLLBACK TO replica_fast")
            core.db.execute("RELEASE replica_fast")
            return items
        core.db.execute("RELEASE replica_fast")
        rows: list[ShadowRow] = []
        for item in items:
            d = item.delta
            packed = pack_values(d.values)
            rows.append(shadow_row(core, table, item.key, d.id, d.floor, d.born, d.stamps, d.which, packed))
            core.dirty[item.key] = 1
            core.note(Change(table.collection, d.id, "insert", True))
        write(core, rows)
        assert table.shape is not None
        if table.shape.rowid_alias:
            pairs = [(table.tbl, i.pk[0], i.key) for i in items]
            core.db.executemany("INSERT OR REPLACE INTO _replica_row VALUES (?, ?, ?)", pairs)
            if table.shape.autoincrement:
                leap(core, table)
        self.changed += len(items)
        return []

    # --- the general path ---------------------------------------------------------------------------------------------

    def _merge(self, items: list[_Item]) -> None:
        core = self._core
        states = load(core, list({i.key for i in items}))
        touched: dict[bytes, tuple[State, bool]] = {}
        past: list[tuple[bytes, int, bytes, bytes, bytes]] = []
        for item in items:
            state = states.get(item.key)
            if state is None:
                state = states[item.key] = new(item.table, item.key, item.delta.id)
            was_live = state.record.live
            past.extend(self._losers(state, item.delta))
            if state.record.join(item.delta):
                touched.setdefault(item.key, (state, was_live))
        if not touched:
            return
        settle(core, [state for state, _ in touched.values()])
        past = [lost for lost in past if lost[3] > states[lost[0]].record.floor]  # A delete erases values for good.
        core.db.executemany("INSERT OR REPLACE INTO _replica_past VALUES (?, ?, ?, ?, ?)", past)
        self.changed += len(touched)
        for state, was_live in touched.values():
            live = state.record.live
            self.held += int(live and not state.shown and state.table.collection not in ddl.SYSTEM)
            kind = "update" if live and was_live else "insert" if live else "delete"
            core.note(Change(state.table.collection, state.record.id, kind, True))

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

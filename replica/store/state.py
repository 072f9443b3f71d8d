"""The state of records between the tables that hold it and the `Record` that the protocol knows.

A record's stamps stand in `_replica_record`, its values in the user's row, and what the row does not reproduce byte for
byte in `_replica_extra`. Digest = stamps + (extra, else the row). `State` is the general form; `fresh`
has short ways for records that are whole and of one stamp.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol import limits
from protocol.errors import ValueRefused
from protocol.hlc import lowest
from protocol.record import Delta, Record, Register, pack_id, pack_ids, unpack_id
from protocol.values import IllFormedText, Value, pack_value, pack_values
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.lists import CHUNK, length, places
from replica.store.shadow import EXTRA, SHOWN, Shadow, ShadowRow, load_shadows, store_form, write

NIL = pack_value(None)


@dataclass(slots=True)
class State:
    """A record with everything about it: `shadow` is what is stored so far (None: nothing)."""

    record: Record
    key: bytes
    table: Table
    shadow: Shadow | None
    checks: dict[int, int] = field(default_factory=dict)
    """Position -> check of what the user's row shows there, where it is not the register's own."""
    before: dict[str, Register] = field(default_factory=dict)
    """The registers as they were stored."""
    flags: int = 0
    local: frozenset[int] = frozenset()
    """Positions whose value here is over the limits of the wire, and stays here."""
    kept: dict[int, bytes] = field(default_factory=dict)
    """Those values, while no row shows them; in `extra` they stand under ~position."""

    @property
    def shown(self) -> bool:
        """Whether it stands in the user's table."""
        return bool(self.flags & SHOWN)

    @property
    def was_shown(self) -> bool:
        """Whether it stood there when it was stored last."""
        return self.shadow is not None and self.shadow.shown

    @property
    def pk(self) -> tuple[Value, ...]:
        """Its primary key."""
        return unpack_id(self.record.id)[0]

    @property
    def order(self) -> tuple[bytes, bytes]:
        """Who comes first is shown, of records that cannot stand together."""
        return self.record.born, self.key


def check(packed: bytes) -> int:
    """4 bytes that change (nearly always) when the value does."""
    return zlib.crc32(packed)


def key_of(core: Core, table: Table, id_: bytes) -> bytes:
    """Record key of an id."""
    return core.keys.record_key(table.packed_name, id_)


def row_id(pk: Sequence[object]) -> bytes:
    """Canonical bytes of a row's primary key. Raises ValueRefused for one that cannot travel: such a row stays here."""
    if IllFormedText in map(type, pk):
        raise ValueRefused("a key that is not UTF-8 text")
    return pack_id(pk)


# --- the general form -------------------------------------------------------------------------------------------------


def load(core: Core, keys: Sequence[bytes]) -> dict[bytes, State]:
    """States by key, of the records that exist and whose row, if it is shown, is there."""
    if not keys:
        return {}
    shadows = load_shadows(core, keys)
    extras: dict[bytes, dict[int, bytes]] = {}
    with_extra = [k for k, s in shadows.items() if s.flags & EXTRA]
    for key, pos, value in core.select_in("SELECT key, pos, value FROM _replica_extra WHERE key IN (", with_extra):
        extras.setdefault(key, {})[pos] = value
    rows = _rows_of(core, [s for s in shadows.values() if s.shown])
    local = local_cells(core, [s.id for s in shadows.values()])
    states = {}
    for key, shadow in shadows.items():
        table = core.tables[shadow.tbl]
        record = Record(table.collection, shadow.id, shadow.floor, shadow.born)
        packed: dict[int, bytes] = dict(extras.get(key, {}))
        if shadow.shown:
            row = rows.get(key)
            if row is None:
                continue
            values = pack_values(row)
            if not packed and table.plain and len(shadow.stamps) == len(values) and b"" not in shadow.stamps:
                record.registers = dict(zip(table.names, zip(shadow.stamps, values, strict=True), strict=True))
                states[key] = State(record, key, table, shadow, before=dict(record.registers), flags=shadow.flags)
                states[key].local = local.get((shadow.tbl, shadow.id), frozenset())
                continue
            for pos, value in zip(table.at, values, strict=True):
                packed.setdefault(pos, value)
        names = table.fields
        record.registers = {
            names[pos]: (stamp, packed[pos]) for pos, stamp in enumerate(shadow.stamps) if stamp and pos in packed
        }
        state = State(record, key, table, shadow, before=dict(record.registers), flags=shadow.flags)
        state.local = local.get((shadow.tbl, shadow.id), frozenset())
        state.kept = {~pos: value for pos, value in packed.items() if pos < 0}
        if shadow.shown:
            own = extras.get(key, {})
            state.checks = {
                pos: shadow.checks[pos]
                for pos in table.at
                if pos < len(shadow.stamps) and (pos in own or not shadow.stamps[pos])
            }
        states[key] = state
    return states


def local_cells(core: Core, ids: Sequence[bytes]) -> dict[tuple[int, bytes], frozenset[int]]:
    """(table, id) -> positions that are local-only, of these records."""
    if not core.db.execute("SELECT 1 FROM _replica_local LIMIT 1").fetchone():
        return {}
    found: dict[tuple[int, bytes], frozenset[int]] = {}
    for tbl, id_, pos in core.select_in("SELECT tbl, id, pos FROM _replica_local WHERE id IN (", ids):
        found[tbl, id_] = found.get((tbl, id_), frozenset()) | {pos}
    return found


def _rows_of(core: Core, shadows: list[Shadow]) -> dict[bytes, list[Any]]:
    by_table: dict[int, list[Shadow]] = {}
    for shadow in shadows:
        by_table.setdefault(shadow.tbl, []).append(shadow)
    found = {}
    for tbl, some in by_table.items():
        table = core.tables[tbl]
        if table.shape is None:
            continue
        pks = {s.key: unpack_id(s.id)[0] for s in some}
        rows = fetch_rows(core, table, list(pks.values()))
        for key, pk in pks.items():
            row = rows.get(pack_id(pk))
            if row is not None:
                found[key] = row
    return found


def fetch_rows(core: Core, table: Table, pks: Sequence[Sequence[object]]) -> dict[bytes, list[Any]]:
    """The user's rows with these primary keys: canonical bytes of the key alone -> values of the local columns."""
    assert table.shape is not None
    width, rows = len(table.shape.key), raw_rows(core, table, pks)
    ids = pack_ids([[row[i] for row in rows] for i in range(width)])
    return {id_: list(row[width:]) for id_, row in zip(ids, rows, strict=True)}


def raw_rows(core: Core, table: Table, pks: Sequence[Sequence[object]]) -> list[tuple[Any, ...]]:
    """The user's rows with these primary keys, in any order: the key, then the values of the local columns."""
    assert table.shape is not None
    width = len(table.shape.key)
    if width > 1:
        return list(_fetch_composite(core, table, pks, width))
    return list(core.select_in(f"{table.select} WHERE {table.key_columns[0]} IN (", [pk[0] for pk in pks]))


def _fetch_composite(
    core: Core, table: Table, pks: Sequence[Sequence[object]], width: int
) -> Iterable[tuple[Any, ...]]:
    one = f"({places(width)})"
    step = CHUNK // width
    for start in range(0, len(pks), step):
        part = pks[start : start + step]
        part = [*part, *[part[-1]] * (length(len(part)) - len(part))]
        sql = f"{table.select} WHERE ({', '.join(table.key_columns)}) IN (VALUES {places(len(part), one)})"
        yield from core.rows(sql, [value for pk in part for value in pk])


def save(core: Core, states: Iterable[State]) -> None:
    """Store what states say, but for the user's rows: shadow, extras, digest. A state that says nothing is forgotten.

    A register is in `extra` unless the record is shown and `checks` has no entry for it: then the row holds it."""
    rows: list[ShadowRow] = []
    extras: list[tuple[bytes, int, bytes]] = []
    gone: list[tuple[bytes]] = []
    erased: list[tuple[bytes, bytes]] = []
    before: dict[bytes, set[bytes]] = {}
    for state in states:
        state.flags &= SHOWN
        record, table = state.record, state.table
        if not (record.floor or record.born or record.registers):
            gone.append((state.key,))
            if state.shadow:
                core.toggled.changed(state.key, state.shadow.seen(), set())
                core.dirty.touch(state.key, -1)
            continue
        if state.flags & SHOWN and table.plain and not state.checks and record.registers.keys() == set(table.names):
            pairs = [record.registers[name] for name in table.names]
            stamps, checks = [stamp for stamp, _ in pairs], [check(value) for _, value in pairs]
        else:
            stamps, checks = _positions(core, state, extras)
        if not state.shown:
            extras.extend((state.key, ~pos, value) for pos, value in state.kept.items())
            state.flags |= EXTRA if state.kept else 0
        if record.floor and (state.shadow is None or state.shadow.floor != record.floor):
            erased.append((state.key, record.floor))
        stored, which = store_form(stamps)
        digest = core.keys.digest(record.encode())
        head = (state.key, table.tbl, record.id, record.floor, record.born)
        rows.append((*head, stored, which, array("I", checks).tobytes(), digest, state.flags))
        if state.shadow is not None:
            before[state.key] = state.shadow.seen()
        core.dirty.touch(state.key, int(state.shadow is None))
        if state.shadow is not None and state.shadow.flags & EXTRA:
            core.db.execute("DELETE FROM _replica_extra WHERE key = ?", (state.key,))
    write(core, rows, before)
    core.db.executemany("INSERT OR REPLACE INTO _replica_extra VALUES (?, ?, ?)", extras)
    core.db.executemany("DELETE FROM _replica_record WHERE key = ?", gone)
    core.db.executemany("DELETE FROM _replica_extra WHERE key = ?", gone)
    core.db.executemany("DELETE FROM _replica_held WHERE key = ?", gone)
    core.db.executemany("DELETE FROM _replica_past WHERE key = ? AND stamp <= ?", erased)


def _positions(core: Core, state: State, extras: list[tuple[bytes, int, bytes]]) -> tuple[list[bytes], list[int]]:
    """Stamps and checks by position. Adds what the row does not hold to `extras`."""
    table = state.table
    stamps, checks = [b""] * len(table.fields), [0] * len(table.fields)
    for name, (stamp, value) in state.record.registers.items():
        pos = core.field(table, name)
        if pos >= len(stamps):
            stamps.append(b"")
            checks.append(0)
        stamps[pos], checks[pos] = stamp, check(value)
        if not state.flags & SHOWN or pos in state.checks or pos not in table.at:
            extras.append((state.key, pos, value))
            state.flags |= EXTRA
    for pos, shown in state.checks.items():
        checks[pos] = shown
    return stamps, checks


def trim(core: Core, state: State, stamp: bytes) -> None:
    """Leave out of a record what the event of this stamp wrote, largest first, until it is small enough to travel: such
    a value stays here, listed with the reason."""
    registers, table = state.record.registers, state.table
    size = len(state.record.encode())
    written = [n for n, (at, _) in registers.items() if at == stamp]
    for name in sorted(written, key=lambda n: -len(registers[n][1])):
        if size <= limits.RECORD_BYTES_MAX:
            return
        pos, value = table.positions[name], registers.pop(name)[1]
        size -= len(value) + len(name)
        state.checks[pos] = check(value)
        state.local |= {pos}
        reason = f"{name}: {len(value)} bytes do not fit into a record of at most {limits.RECORD_BYTES_MAX}"
        note = (table.tbl, state.record.id, pos, reason)
        core.db.execute("INSERT OR REPLACE INTO _replica_local VALUES (?, ?, ?, ?)", note)


def speak(core: Core, state: State, packed: Sequence[bytes]) -> bool:
    """Give what a row shows without a register, the default of its column, one with the lowest stamp: nodes may have
    other defaults, and equal state must show equal rows. NULL needs none. `packed`: the values of the local columns. Returns
    whether there was any."""
    record, table, stamp, spoken = state.record, state.table, lowest(state.record.floor), False
    for name, pos, value in zip(table.names, table.at, packed, strict=True):
        if value != NIL and name not in record.registers and pos not in state.local:
            record.registers[name] = stamp, value
            state.checks.pop(pos, None)
            spoken = True
    if spoken:
        trim(core, state, stamp)
    return spoken


def bulk(values: Iterable[object]) -> int:
    """Bytes of these values, about."""
    return sum(len(v) if isinstance(v, str | bytes) else 9 for v in values)


def light(values: Iterable[object]) -> bool:
    """Whether a row of these values is certainly small enough to travel."""
    return 4 * bulk(values) < limits.RECORD_BYTES_MAX


def new(table: Table, key: bytes, id_: bytes) -> State:
    """A record of which nothing is known yet."""
    return State(Record(table.collection, id_), key, table, None)


def join(state: State, delta: Delta) -> bool:
    """Merge a fragment into a state. Returns whether it changed."""
    return state.record.join(delta)

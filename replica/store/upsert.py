"""Upsert: rows of another system join what is here, under stamps that the import chooses.

An import is a set of fragments like those that a peer sends, so what holds for a sync holds for it: it can be cut
anywhere and done again, in any batching. The user's own triggers do not fire, as in a sync. One test each:

1. Only fields that differ are written; a row that is here already writes nothing.
2. A field whose stamp is newer than the row's stays as it is: an old export never overwrites newer edits.
3. A row that a constraint refuses, or that would push another from view, is told in words and changes nothing.
4. The same rows under the same stamps, again and in any batching, come to the same state.
5. What a run wrote, and what stood there before, is noted: enough to undo it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from operator import itemgetter
from typing import Any

import msgpack

from protocol import limits
from protocol.hlc import base_stamp
from protocol.record import Delta, fold, gather, pack_ids
from protocol.values import Value, pack_value, unpack_value
from replica.errors import UsageError
from replica.store.apply import apply
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.fit import fit
from replica.store.fresh import plain, spread
from replica.store.identify import identify, told_id
from replica.store.insert import New, insert_new
from replica.store.leap import leap
from replica.store.lists import CHUNK
from replica.store.shadow import SHOWN, load_shadows
from replica.store.state import State, load

MARK_BYTES = 24
"""Of a mark: the key of a record, and the first half of its digest."""

_UNSPOKEN = base_stamp(bytes(8))
"""Stamp of a default: below every stamp of a write."""


class Fate(IntEnum):
    """What came of a row."""

    CREATED = 0
    UPDATED = 1
    UNCHANGED = 2
    NEWER = 3
    """What differs was written here after the row's stamp: kept."""
    DELETED = 4
    """The record was deleted here: kept so."""
    REFUSED = 5


@dataclass(slots=True)
class Rows:
    """Rows for one table. `keys`: in the order of its key columns (a None in a table that numbers its rows: the next);
    `columns`: of the others, by name; `stamps`: of each row. `keep`: the value that means "leave as it is"; `blank`: empty
    text and None mean that too where the record exists, and so do the rows named by `defaulted`, by column. `resurrect`:
    bring deleted ones back; `pardoned`: deletes that do not count, by stamp."""

    table: str
    keys: Sequence[tuple[Any, ...]]
    columns: Mapping[str, Sequence[Any]]
    stamps: Sequence[bytes]
    keep: object
    blank: bool = False
    resurrect: bool = False
    pardoned: frozenset[bytes] = frozenset()
    defaulted: dict[str, set[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Upserted:
    """What came of each row, in order. `before`: of updated rows, the values that were overwritten; `reasons`: of refused
    rows; `marks`: key and half a digest of the record, of rows that would change nothing if they came again, as far as they
    are asked for."""

    fates: list[Fate]
    before: dict[int, dict[str, Value]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    marks: dict[int, bytes] = field(default_factory=dict)


class Conflict(Exception):
    """Some rows cannot stand beside what is here: index -> why. Nothing of the transaction may be kept."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(f"{len(reasons)} rows in conflict")
        self.reasons = reasons


def upsert(
    core: Core, rows: Rows, run: str = "", own: bytes = b"", marked: Collection[Fate] = ()
) -> Upserted:
    """Write these rows, each of another record, in the caller's transaction. Raises Conflict: then nothing may be
    committed, and the rest tried again without the rows that it names; Collision as `apply` does; UsageError for a
    column that the table does not have. With a `run`, notes what it wrote under that name, but
    for records that are born with `own`, the run's own stamp: that is note enough. `marked`: fates of the rows whose marks
    are wanted."""
    table = core.by_name.get(fold(rows.table))
    if table is None or table.shape is None:
        raise UsageError(f"table {rows.table!r} is not replicated: run `replica adopt` first")
    return _Upsert(core, table, rows).write(run, own, marked)


def graves(core: Core, name: str, keys: Sequence[tuple[Any, ...]]) -> dict[int, bytes]:
    """Index -> stamp of the delete, of those keys whose record was deleted."""
    table = core.by_name[fold(name)]
    ids = [told_id(table, key) for key in keys] if table.surrogate or not keys else pack_ids(list(zip(*keys, strict=True)))
    found = core.keys.record_keys(table.packed_name, ids)
    sql = "SELECT key, floor FROM _replica_record WHERE born <= floor AND key IN ("
    dead = dict(core.select_in(sql, found))
    return {i: dead[key] for i, key in enumerate(found) if key in dead}


class _Upsert:
    def __init__(self, core: Core, table: Table, rows: Rows) -> None:
        assert table.shape is not None
        self._core, self._table, self._shape, self._rows = core, table, table.shape, rows
        self._reasons: dict[int, str] = {}
        count = len(rows.keys)
        by_name = {c.folded: c for c in table.columns}
        unknown = [n for n in rows.columns if fold(n) not in by_name]
        if unknown:
            raise UsageError(f"{self._shape.name} has no column {unknown[0]!r}")
        given = sorted((fold(n), values) for n, values in rows.columns.items())
        self._names = tuple(n for n, _ in given)
        self._columns = [self._fitted(by_name[n], values) for n, values in given]
        keys = list(zip(*rows.keys, strict=True)) if count else [()] * len(self._shape.key)
        fitted = [self._fitted(c, values) for c, values in zip(self._shape.key, keys, strict=True)]
        self._pks: list[tuple[Any, ...]] = list(zip(*fitted, strict=True))
        self._check_keys()
        self._defaulted = {fold(n): some for n, some in rows.defaulted.items()}
        self._fates = [Fate.UNCHANGED] * count
        self._before: dict[int, dict[str, Value]] = {}
        self._defaults: dict[str, Any] = {}
        self._new: list[New] = []
        self._graves = False
        self._deltas: list[Delta] = []
        self._at: list[int] = []
        """Of each delta, the row that it comes from."""
        self._loose: set[int] = set()
        """Rows that do not say all that their record now holds in their fields."""
        self._absent = False
        """Whether no row stands in the table yet."""
        self._made: dict[int, bytes] = {}
        """Marks of new records that were written at once."""

    def _fitted(self, column: Any, values: Sequence[Any]) -> Sequence[Any]:
        fitted, refused = fit(column, values, self._rows.keep)
        for i, reason in refused.items():
            self._reasons[i] = f"{self._reasons[i]}; {reason}" if i in self._reasons else reason
        return fitted

    def _check_keys(self) -> None:
        numbered = self._shape.rowid_alias
        for i, pk in enumerate(self._pks):
            if None in pk and not numbered:
                self._reasons.setdefault(i, f"no value for the key, {self._shape.key[pk.index(None)].name}")
            elif numbered and pk[0] is not None and type(pk[0]) is not int:
                self._reasons.setdefault(i, f"{self._shape.key[0].name}: {pk[0]!r} is no whole number")
        spare = limits.RECORD_BYTES_MAX // 8 // max(1, len(self._columns))
        if all(_longest(column) <= spare for column in self._columns):
            return
        for i in range(len(self._pks)):
            size = sum(len(v) if isinstance(v, str | bytes) else 9 for v in (c[i] for c in self._columns))
            if 4 * size >= limits.RECORD_BYTES_MAX:
                self._reasons.setdefault(i, f"a record has at most {limits.RECORD_BYTES_MAX // 4} bytes in an import")

    def _unlike(self) -> list[int]:
        """Rows that do not stand in the table just so: the others need no further look."""
        table = self._table
        todo = [i for i in range(len(self._pks)) if i not in self._reasons]
        if len(self._shape.key) > 1 or not self._names:
            return todo
        columns = [table.value_columns[table.names.index(n)] for n in self._names]
        sql = f"SELECT {', '.join([table.key_columns[0], *columns])} FROM {table.sql} WHERE {table.key_columns[0]} IN ("
        pks = [pk for (pk,) in self._pks]
        there = {row[0]: row[1:] for row in self._core.select_in(sql, [pks[i] for i in todo])}
        if not there:
            self._absent = True
            return todo
        rows = list(zip(*self._columns, strict=True))
        return [i for i in todo if there.get(pks[i]) != rows[i]]

    # --- what differs -------------------------------------------------------------------------------------------------

    def write(self, run: str, own: bytes, marked: Collection[Fate]) -> Upserted:
        found = identify(self._core, self._table, self._pks, self._unlike(), self._reasons)
        keys = {i: key for i, (key, _) in found.items()}
        before = self._held()
        if not self._create_all(found, keys):
            self._compare(found)
        if self._new and not self._made and not (self._core.bold and self._insert(keys)):
            names, collection = self._table.names, self._table.collection
            for new in self._new:
                stamps = [_UNSPOKEN if at in new.silent else new.stamp for at in range(len(names))]
                self._deltas.append(Delta(collection, new.id, b"", new.stamp, names, *gather(stamps), new.values))
                self._at.append(new.row)
        result = apply(self._core, self._deltas, self._core.now_ms())
        conflicts = {}
        if result.refused:
            index = {keys[i]: i for i in self._at}
            conflicts = {index[r.key]: r.reason for r in result.refused if r.key in index}
        if result.held or before != self._held():
            conflicts.update(self._pushed(keys, before))
        if conflicts:
            raise Conflict(conflicts)
        for i in self._reasons:
            self._fates[i] = Fate.REFUSED
        if run:
            self._note(run, own, keys)
        return Upserted(self._fates, self._before, self._reasons, self._marks(keys, marked) if marked else {})

    def _create_all(self, found: Mapping[int, tuple[bytes, bytes]], keys: Mapping[int, bytes]) -> bool:
        """Make a record of every row without a look for each, if none stands in the table. Returns whether none was there:
        one that is deleted or not shown is told by its key."""
        rows, keep = self._rows, type(self._rows.keep)
        if not (self._absent and found and self._core.bold and self._names == self._table.names):
            return False
        some = list(islice(keys.values(), CHUNK))
        if any(keep in set(map(type, column)) for column in self._columns) or load_shadows(self._core, some):
            return False
        values = list(zip(*self._columns, strict=True))
        self._new = [New(i, id_, rows.stamps[i], values[i]) for i, (_, id_) in found.items()]
        if not self._insert(keys):
            self._new = []
            return False
        for i in found:
            self._fates[i] = Fate.CREATED
        return True

    def _compare(self, found: Mapping[int, tuple[bytes, bytes]]) -> None:
        whole, others = plain(self._core, [key for key, _ in found.values()])
        at = [self._table.names.index(n) for n in self._names]
        shown = {shadow[0]: (shadow, row) for _, some in whole for shadow, row in some}
        states = load(self._core, others)
        rows = list(zip(*self._columns, strict=True)) if self._columns else [()] * len(self._pks)
        for i, (key, id_) in found.items():
            if key in shown:
                shadow, row = shown[key]
                self._edit(i, id_, rows[i], {n: row[pos] for n, pos in zip(self._names, at, strict=True)}, shadow)
            elif key in states and states[key].record.live:
                self._edit_state(i, rows[i], states[key])
            else:
                self._create(i, id_, rows[i], states.get(key))

    def _differing(self, i: int, new: tuple[Any, ...], old: Mapping[str, Any]) -> dict[str, Any]:
        keep, blank, defaulted = self._rows.keep, self._rows.blank, self._defaulted
        changed = {}
        for name, value in zip(self._names, new, strict=True):
            if value is keep or (name in old and _same(value, old[name])):
                continue
            if not (blank and (value is None or value == "" or i in defaulted.get(name, ()))):
                changed[name] = value
        return changed

    def _edit(self, i: int, id_: bytes, new: tuple[Any, ...], old: dict[str, Any], shadow: Any) -> None:
        changed = self._differing(i, new, old)
        if not changed:
            return
        stamps = dict(zip(self._table.names, spread(shadow[5], shadow[6], len(self._table.names)), strict=True))
        self._fragment(i, id_, changed, old, stamps)

    def _edit_state(self, i: int, new: tuple[Any, ...], state: State) -> None:
        registers = state.record.registers
        old = {n: unpack_value(registers[n][1]) for n in self._names if n in registers}
        stamps = {n: stamp for n, (stamp, _) in registers.items()}
        self._fragment(i, state.record.id, self._differing(i, new, old), old, stamps)

    def _fragment(self, i: int, id_: bytes, changed: dict[str, Any], old: Mapping[str, Any], stamps: Any) -> None:
        """What a row changes in a record that is here."""
        stamp = self._rows.stamps[i]
        newer = {n: v for n, v in changed.items() if stamp > stamps.get(n, b"")}
        if len(newer) < len(changed):
            self._loose.add(i)
        if not newer:
            self._fates[i] = Fate.NEWER if changed else Fate.UNCHANGED
            return
        self._fates[i] = Fate.UPDATED
        self._before[i] = {n: old.get(n) for n in newer}
        names = tuple(newer)
        self._deltas.append(Delta(self._table.collection, id_, b"", b"", names, stamp, b"", tuple(newer.values())))
        self._at.append(i)

    def _create(self, i: int, id_: bytes, new: tuple[Any, ...], state: State | None) -> None:
        rows, stamp = self._rows, self._rows.stamps[i]
        floor = state.record.floor if state is not None else b""
        if floor:
            if not (rows.resurrect or floor in rows.pardoned):
                self._fates[i] = Fate.DELETED
                return
            self._graves = True
            self._loose.add(i)
            if stamp <= floor:
                stamp = self._core.clock.tick(self._core.now_ms())
        self._fates[i] = Fate.CREATED
        names, values, silent = self._table.names, new, frozenset[int]()
        if self._names != names or rows.keep in new:
            given = dict(zip(self._names, new, strict=True))
            some = [given.get(n, rows.keep) for n in names]
            values = tuple(self._default(n) if v is rows.keep else v for n, v in zip(names, some, strict=True))
            if not floor:  # Else what is silent would be as dead as the delete is old.
                silent = frozenset(at for at, v in enumerate(some) if v is rows.keep)
        self._new.append(New(i, id_, stamp, values, silent))

    def _default(self, name: str) -> Any:
        """What a new row shows in a column that the source does not speak of."""
        if name not in self._defaults:
            column = next(c for c in self._table.columns if c.folded == name)
            sql = f"SELECT {column.default or 'NULL'}"
            self._defaults[name] = fit(column, [self._core.db.execute(sql).fetchone()[0]], self)[0][0]
        return self._defaults[name]

    def _insert(self, keys: Mapping[int, bytes]) -> bool:
        """Write all new records at once, if their table stores them as they are. Returns whether that was possible."""
        if self._graves:
            return False
        made = insert_new(self._core, self._table, self._pks, self._new, [keys[n.row] for n in self._new])
        if made is None:
            return False
        if self._shape.autoincrement and any(pk[0] is not None for pk in self._rows.keys):
            leap(self._core, self._table)
        self._made = {n.row: mark for n, mark in zip(self._new, made, strict=True)}
        return True

    # --- what cannot be -----------------------------------------------------------------------------------------------

    def _held(self) -> dict[bytes, tuple[str, bytes | None]]:
        sql = "SELECT key, reason, blocker FROM _replica_held WHERE tbl = ?"
        return {key: (reason, by) for key, reason, by in self._core.db.execute(sql, (self._table.tbl,)).fetchall()}

    def _pushed(self, keys: Mapping[int, bytes], before: Mapping[bytes, object]) -> dict[int, str]:
        """Rows that are held now, and rows that pushed another from view: why, by index."""
        index = {keys[i]: i for i in [*self._at, *(n.row for n in self._new)]}
        reasons = {}
        for key, (reason, by) in self._held().items():
            if key in before:
                continue
            if key in index:
                reasons[index[key]] = reason
            elif by in index:
                reasons[index[by]] = f"another record has this already: {reason}"
        sql = f"SELECT key FROM _replica_record WHERE born > floor AND NOT flags & {SHOWN} AND key IN ("
        for (key,) in self._core.select_in(sql, [k for k in index if index[k] not in reasons]):
            if key not in before:
                reasons[index[key]] = "the record cannot stand in the table"
        return reasons

    def _marks(self, keys: Mapping[int, bytes], marked: Collection[Fate]) -> dict[int, bytes]:
        """Row -> key and half a digest of its record as it is now."""
        wanted = [i for i, fate in enumerate(self._fates) if fate in marked and i not in self._loose]
        if self._made.keys() == set(wanted):
            return self._made
        places = {i: keys[i] for i in wanted if i in keys}
        rest = [i for i in wanted if i not in keys]
        places.update((i, key) for i, (key, _) in identify(self._core, self._table, self._pks, rest, {}).items())
        sql = "SELECT key, substr(digest, 1, 8) FROM _replica_record WHERE key IN ("
        digests = dict(self._core.select_in(sql, list(places.values())))
        return {i: key + digests[key] for i, key in places.items() if key in digests}

    # --- what it was --------------------------------------------------------------------------------------------------

    def _note(self, run: str, own: bytes, keys: Mapping[int, bytes]) -> None:
        """Keep what the run wrote, so that it can be undone: see `undo`."""
        rows: list[tuple[object, ...]] = [(run, keys[n.row], n.stamp, None) for n in self._new if n.stamp != own]
        for i, old in self._before.items():
            packed = msgpack.packb({n: pack_value(v) for n, v in old.items()})
            rows.append((run, keys[i], self._rows.stamps[i], packed))
        rows.sort(key=itemgetter(1))
        # A record that this run wrote before, and was interrupted: what stood there first counts.
        self._core.db.executemany("INSERT OR IGNORE INTO _replica_import VALUES (?, ?, ?, ?)", rows)


def _longest(column: Sequence[Any]) -> int:
    """Length of the longest text in a column."""
    try:
        return max(map(len, column), default=0)
    except TypeError:
        return max((len(v) for v in column if isinstance(v, str | bytes)), default=0)


def _same(value: Any, old: Any) -> bool:
    """Whether a source says what is here already: 1 and "1" are the same where a column takes both, for a file of text has
    but one way to say them."""
    return bool(value == old) or (type(value) is str and type(old) in {int, float} and value == repr(old))

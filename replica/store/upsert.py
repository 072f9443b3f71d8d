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

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from operator import itemgetter
from typing import Any

import msgpack

from protocol import limits
from protocol.errors import ValueRefused
from protocol.hlc import base_stamp
from protocol.keys import content_hash
from protocol.record import Birth, Delta, fold, pack_id, pack_ids
from protocol.values import Value, pack_any, pack_value, unpack_value
from replica.errors import UsageError
from replica.store.apply import apply
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.fit import fit
from replica.store.fresh import plain, spread
from replica.store.state import SHOWN, State, load, load_shadows


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
    rows."""

    fates: list[Fate]
    keys: list[bytes]
    before: dict[int, dict[str, Value]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


class Conflict(Exception):
    """Some rows cannot stand beside what is here: index -> why. Nothing of the transaction may be kept."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(f"{len(reasons)} rows in conflict")
        self.reasons = reasons


def upsert(core: Core, rows: Rows, run: str = "") -> Upserted:
    """Write these rows, each of another record, in the caller's transaction. Raises Conflict: then nothing may be
    committed, and the rest tried again without the rows that it names; Collision as `apply` does; UsageError for a
    column that the table does not have. With a `run`, notes what it wrote under that name."""
    table = core.by_name.get(fold(rows.table))
    if table is None or table.shape is None:
        raise UsageError(f"table {rows.table!r} is not replicated: run `replica adopt` first")
    return _Upsert(core, table, rows).write(run)


def graves(core: Core, name: str, keys: Sequence[tuple[Any, ...]]) -> dict[int, bytes]:
    """Index -> stamp of the delete, of those keys whose record was deleted."""
    table = core.by_name[fold(name)]
    found = core.keys.record_keys(table.packed_name, pack_ids(list(zip(*keys, strict=True)))) if keys else []
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
        self._deltas: list[Delta] = []
        self._at: list[int] = []
        """Of each delta, the row that it comes from."""

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
        for i in range(len(self._pks)) if self._heavy() else ():
            size = sum(len(v) if isinstance(v, str | bytes) else 9 for v in (c[i] for c in self._columns))
            if 4 * size >= limits.RECORD_BYTES_MAX:
                self._reasons.setdefault(i, f"a record has at most {limits.RECORD_BYTES_MAX // 4} bytes in an import")

    def _heavy(self) -> bool:
        spare = limits.RECORD_BYTES_MAX // 8 // max(1, len(self._columns))
        return any(len(v) > spare for c in self._columns for v in c if isinstance(v, str | bytes))

    # --- who is who ---------------------------------------------------------------------------------------------------

    def _identify(self) -> tuple[list[bytes], list[bytes]]:
        """(record key, id) of each row. In a table whose numbers SQLite makes up, a number that is new here gets an identity
        of its own: the same one wherever the same number is imported."""
        core, table = self._core, self._table
        if not self._shape.rowid_alias:
            ids = self._ids()
            return core.keys.record_keys(table.packed_name, ids), ids
        numbered = self._number()
        sql = "SELECT pk, key FROM _replica_row WHERE tbl = ? AND pk IN ("
        numbers = [pk[0] for i, pk in enumerate(self._pks) if i not in self._reasons]
        shown = dict(core.select_in(sql, numbers, table.tbl))
        known = {key: shadow.id for key, shadow in load_shadows(core, list(shown.values())).items()}
        ids = []
        for i, pk in enumerate(self._pks):
            if i in self._reasons:
                ids.append(b"")
            elif pk[0] in shown:
                ids.append(known[shown[pk[0]]])
            elif not table.surrogate:
                ids.append(pack_id(pk))
            elif i in numbered:
                ids.append(pack_id(pk, Birth(core.clock.tick(core.now_ms()))))
            else:
                ids.append(
                    pack_id(pk, Birth(base_stamp(content_hash(b"import" + table.packed_name + pack_any(pk[0])))))
                )
        keys = core.keys.record_keys(table.packed_name, ids)
        return [shown.get(pk[0], key) for pk, key in zip(self._pks, keys, strict=True)], ids

    def _ids(self) -> list[bytes]:
        """Of rows of a table with keys of its own; empty for one that is refused."""
        if not self._reasons:
            with suppress(ValueRefused):
                return pack_ids(list(zip(*self._pks, strict=True)))
        ids = []
        for i, pk in enumerate(self._pks):
            try:
                ids.append(b"" if i in self._reasons else pack_id(pk))
            except ValueRefused as error:
                ids.append(b"")
                self._reasons[i] = str(error)
        return ids

    def _number(self) -> set[int]:
        """Give the next numbers to rows that have none. Returns which those are."""
        without = [i for i, pk in enumerate(self._pks) if pk[0] is None]
        if not without:
            return set()
        sql = f"SELECT coalesce(max({self._table.key_columns[0]}), 0) FROM {self._table.sql}"
        tops = [self._core.db.execute(sql).fetchone()[0], *(pk[0] for pk in self._pks if type(pk[0]) is int)]
        if self._shape.autoincrement:
            last = "SELECT seq FROM sqlite_sequence WHERE name = ?"
            tops += [seq for (seq,) in self._core.db.execute(last, (self._shape.name,))]
        for number, i in enumerate(without, max(tops) + 1):
            self._pks[i] = (number,)
        return set(without)

    # --- what differs -------------------------------------------------------------------------------------------------

    def write(self, run: str) -> Upserted:
        keys, ids = self._identify()
        self._compare(keys, ids)
        before = self._held()
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
            self._note(run, keys)
        return Upserted(self._fates, keys, self._before, self._reasons)

    def _compare(self, keys: list[bytes], ids: list[bytes]) -> None:
        whole, others = plain(self._core, keys)
        pick = itemgetter(*(self._table.names.index(n) for n in self._names)) if len(self._names) > 1 else None
        shown: dict[bytes, tuple[Any, Any]] = {}
        for _, shadows, values in whole:
            shown.update({shadow[0]: (shadow, row) for shadow, row in zip(shadows, values, strict=True)})
        states = load(self._core, others)
        rows = zip(*self._columns, strict=True) if self._columns else [()] * len(keys)
        for i, (key, new) in enumerate(zip(keys, rows, strict=True)):
            if i in self._reasons:
                continue
            if key in shown:
                shadow, row = shown[key]
                old = pick(row) if pick else tuple(row[self._table.names.index(n)] for n in self._names)
                if old != new:
                    self._edit(i, ids[i], new, dict(zip(self._names, old, strict=True)), shadow)
            elif key in states and states[key].record.live:
                self._edit_state(i, new, states[key])
            else:
                self._create(i, ids[i], new, states.get(key))

    def _differing(self, i: int, new: tuple[Any, ...], old: Mapping[str, Any]) -> dict[str, Any]:
        keep, blank, defaulted = self._rows.keep, self._rows.blank, self._defaulted
        changed = {}
        for name, value in zip(self._names, new, strict=True):
            if value is keep or (name in old and value == old[name]):
                continue
            if not (blank and (value is None or value == "" or i in defaulted.get(name, ()))):
                changed[name] = value
        return changed

    def _edit(self, i: int, id_: bytes, new: tuple[Any, ...], old: dict[str, Any], shadow: Any) -> None:
        changed = self._differing(i, new, old)
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
            if stamp <= floor:
                stamp = self._core.clock.tick(self._core.now_ms())
        self._fates[i] = Fate.CREATED
        given = dict(zip(self._names, new, strict=True))
        values = tuple(
            self._default(n) if (v := given.get(n, rows.keep)) is rows.keep else v for n in self._table.names
        )
        names = self._table.names
        self._deltas.append(Delta(self._table.collection, id_, b"", stamp, names, stamp if names else b"", b"", values))
        self._at.append(i)

    def _default(self, name: str) -> Any:
        """What a new row shows in a column that the source does not speak of."""
        column = next(c for c in self._table.columns if c.folded == name)
        if column.default is None:
            return None
        return fit(column, [self._core.db.execute(f"SELECT {column.default}").fetchone()[0]], self)[0][0]

    # --- what cannot be -----------------------------------------------------------------------------------------------

    def _held(self) -> dict[bytes, tuple[str, bytes | None]]:
        sql = "SELECT key, reason, blocker FROM _replica_held WHERE tbl = ?"
        return {key: (reason, by) for key, reason, by in self._core.db.execute(sql, (self._table.tbl,)).fetchall()}

    def _pushed(self, keys: list[bytes], before: Mapping[bytes, object]) -> dict[int, str]:
        """Rows that are held now, and rows that pushed another from view: why, by index."""
        index = {keys[i]: i for i in self._at}
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

    # --- what it was --------------------------------------------------------------------------------------------------

    def _note(self, run: str, keys: list[bytes]) -> None:
        """Keep what the run wrote, so that it can be undone: see `undo`."""
        rows = []
        for i, delta in zip(self._at, self._deltas, strict=True):
            old = self._before.get(i)
            packed = None if old is None else msgpack.packb({n: pack_value(v) for n, v in old.items()})
            rows.append((run, keys[i], delta.stamps[:16] or delta.born, packed))
        rows.sort(key=itemgetter(1))
        # A record that this run wrote before, and was interrupted: what stood there first counts.
        self._core.db.executemany("INSERT OR IGNORE INTO _replica_import VALUES (?, ?, ?, ?)", rows)

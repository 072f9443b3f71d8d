"""What stands in the user's tables: a pure function of state and schema, never of arrival.

Among live records that cannot stand together (key, UNIQUE) or at all (NOT NULL, CHECK, key of another type), by
(born, record key) ascending, the first is shown and the others are held, with the reason. One test each:

1. Two stores with the same records and schema show the same rows, whatever the order in which they came.
2. A held record surfaces when what held it goes away, and a shown one gives way to an earlier one.
3. A row that does not read back as written keeps the register's true value in `extra`.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from protocol.errors import ValueRefused
from protocol.record import pack_id
from protocol.values import IllFormedText, Value, pack_values, unpack_value
from replica.store.catalog import Table, marks, quote
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.leap import leap
from replica.store.rivals import Rivals
from replica.store.schema import PREFIX
from replica.store.shadow import SHOWN
from replica.store.state import State, check, fetch_rows, key_of, load, row_id, save, speak

SAFE: dict[str, frozenset[type]] = {
    "TEXT": frozenset({str, bytes, type(None)}),
    "INTEGER": frozenset({int, bytes, type(None)}),
    "NUMERIC": frozenset({int, bytes, type(None)}),
    "REAL": frozenset({float, bytes, type(None)}),
    "BLOB": frozenset({str, bytes, int, float, type(None)}),
}
"""Affinity -> types of values that a column stores as they are, whatever their value: NaN and -0.0 are none of ours."""

UNKNOWN = b""
"""The blocker of a record that is held because of a row that is no record: its key cannot travel, or no trigger saw it."""

_CONFLICTS = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"}


class PlainRows:
    """Tells rows that a table stores as they are, by the types of their values alone: they need no reading back."""

    def __init__(self, table: Table) -> None:
        assert table.shape is not None
        self._safe = [SAFE[c.affinity] for c in (*table.shape.key, *table.columns)]
        for i, column in enumerate(table.shape.key):
            self._safe[i] = (
                frozenset({int}) if table.shape.rowid_alias else SAFE[column.affinity] - {type(None), float}
            )
        self.columns = self._safe[len(table.shape.key) :]
        """By position in a plain table: types of values that the column stores as they are."""
        self._good: set[tuple[type, ...]] = set()

    def holds(self, row: Sequence[object]) -> bool:
        """Whether the row (key, then columns) reads back as written."""
        types = tuple(map(type, row))
        if types in self._good:
            return True
        if all(kind in safe for kind, safe in zip(types, self._safe, strict=True)):
            self._good.add(types)
            return True
        return False

    def hold(self, columns: Sequence[Sequence[object]], kinds: Sequence[set[type]] = ()) -> bool:
        """Whether all rows of these columns do. `kinds`: the types of values in each, if they are known."""
        return all(map(frozenset.issuperset, self._safe, kinds or (set(map(type, column)) for column in columns)))


@contextmanager
def engine_writes(core: Core, tables: Sequence[Table]) -> Iterator[None]:
    """Write the user's tables without being captured and without firing the user's own triggers: their effects at the
    origin already travel as rows. They are dropped and made again inside the transaction."""
    triggers: list[tuple[str, str]] = []
    for table in tables:
        if table.shape is not None:
            triggers += user_triggers(core, table)
    with core.defining(triggers):
        for name, _ in triggers:
            core.db.execute(f"DROP TRIGGER {quote(name)}")
        core.mute()
        yield
        core.unmute()
        for _, sql in triggers:
            core.db.execute(sql)


def user_triggers(core: Core, table: Table) -> list[tuple[str, str]]:
    """(name, SQL) of the triggers on a table that are not ours."""
    assert table.shape is not None
    return core.db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE "
        f"AND substr(name, 1, {len(PREFIX)}) <> '{PREFIX}'",
        (table.shape.name,),
    ).fetchall()


def settle(core: Core, states: Sequence[State], *, told: bool = False) -> None:
    """Bring the user's tables, and everything stored about these records, to what their states say. Records that surface or
    give way are noted as changes, but for `states` if the caller tells of them."""
    by_table: dict[int, list[State]] = {}
    for state in states:
        by_table.setdefault(state.table.tbl, []).append(state)
    for tbl, some in by_table.items():
        table = core.tables[tbl]
        if table.shape is None:
            for state in some:
                state.flags &= ~SHOWN
            save(core, some)
        else:
            placed = _Placing(core, table).place(some)
            for state in placed[len(some) if told else 0 :]:
                if state.was_shown != state.shown:
                    core.note(Change(table.collection, state.record.id, kind_of(state), core.remote))


def kind_of(state: State, *, was_live: bool = True) -> str:
    """What happened to a settled record, for `changes()`: by its row, if it has come or gone, else by the record."""
    if state.was_shown != state.shown:
        return "insert" if state.shown else "delete"
    return "delete" if not state.record.live else "update" if was_live else "insert"


def settle_anew(core: Core, states: Sequence[State]) -> None:
    """Settle shown records whose rows may show another value than their registers have."""
    for state in states:
        for name in {state.table.fields[pos] for pos in state.checks} & set(state.before):
            del state.before[name]
    settle(core, states)


class _Placing:
    """Places records of one table. Runs inside `engine_writes`."""

    def __init__(self, core: Core, table: Table) -> None:
        assert table.shape is not None
        self._core, self._table, self._shape = core, table, table.shape
        self._columns = {c.folded: quote(c.name) for c in table.columns}
        self._affinity = {c.folded: c.affinity for c in table.columns}
        self._inserted = False
        self._rivals = Rivals(core, table)

    def place(self, states: Sequence[State]) -> list[State]:
        """Returns all that were looked at, `states` first."""
        wanted = {state.key: state for state in states}
        self._add_waiting(wanted, list(wanted))
        if refused := self._place_together(list(wanted.values())):
            with self._rivals:
                self._place_in_order(refused, wanted)
        self._read_back([s for s in wanted.values() if s.shown])
        for state in wanted.values():
            if state.local and not state.record.live:
                where = (self._table.tbl, state.record.id)
                self._core.db.execute("DELETE FROM _replica_local WHERE tbl = ? AND id = ?", where)
                state.kept.clear()
        save(self._core, wanted.values())
        shown = [(s.key,) for s in wanted.values() if s.shown or not s.record.live]
        self._core.db.executemany("DELETE FROM _replica_held WHERE key = ?", shown)
        if self._inserted and self._shape.autoincrement:
            leap(self._core, self._table)
        return list(wanted.values())

    def _add_waiting(self, wanted: dict[bytes, State], touched: Sequence[bytes]) -> list[State]:
        """Records held because of one of `touched` have a new chance."""
        if not self._core.db.execute("SELECT 1 FROM _replica_held LIMIT 1").fetchone():
            return []
        sql = "SELECT key FROM _replica_held WHERE tbl = ? AND blocker IN ("
        waiting = [k for (k,) in self._core.select_in(sql, touched, self._table.tbl) if k not in wanted]
        fresh = load(self._core, waiting)
        wanted.update(fresh)
        return list(fresh.values())

    # --- the common case: all stand together --------------------------------------------------------------------------

    def _place_together(self, states: list[State]) -> list[State]:
        """Show all that are live, one after the other. Returns those that a constraint refuses: they are not shown then."""
        rebuilt = [s for s in states if s.shown and (not s.record.live or set(s.before) - set(s.record.registers))]
        for state in rebuilt:
            self._delete(state)
        refused = []
        for state in states:
            if not state.record.live:
                continue
            if not state.shown and (reason := self._misfit(state)) is not None:
                self._hold(state, reason, None)
                continue
            try:  # ABORT undoes the statement, and nothing else.
                if state.shown:
                    self._update(state)
                else:
                    self._insert(state)
            except sqlite3.IntegrityError:
                if state.shown:
                    self._delete(state)
                refused.append(state)
        return refused

    def _misfit(self, state: State) -> str | None:
        """Why the key cannot stand in the local key columns, if it cannot."""
        pk = state.pk
        if len(pk) != len(self._shape.key):
            return f"its key has {len(pk)} parts, the table's {len(self._shape.key)}"
        for value, column in zip(pk, self._shape.key, strict=True):
            kind = type(value)
            if (self._shape.rowid_alias and kind is not int) or kind is IllFormedText:
                return f"key type differs: {column.name} is {column.affinity}, the key is {kind.__name__}"
            if kind not in SAFE[column.affinity] and pack_id(
                [stored(self._core, column.affinity, "?", value)]
            ) != pack_id([value]):
                return f"key type differs: {column.name} is {column.affinity}, the key is {kind.__name__} {value!r}"
        return None

    def _insert(self, state: State) -> None:
        sql, values = self._insert_sql(state, self._writable(state), "ABORT")
        self._core.db.execute(sql, values)
        state.flags |= SHOWN
        state.before = {}  # All of the row is new: what the columns make of it is to be read back.
        self._inserted = True
        if self._table.surrogate or self._shape.rowid_alias:
            row = (self._table.tbl, state.pk[0], state.key)
            self._core.db.execute("INSERT OR REPLACE INTO _replica_row VALUES (?, ?, ?)", row)

    def _writable(self, state: State) -> list[str]:
        """Registers that have a column here, but for cells whose own value is too large to travel."""
        at = self._table.positions
        return [n for n in state.record.registers if n in self._columns and at[n] not in state.local]

    def _insert_sql(self, state: State, present: list[str], conflict: str) -> tuple[str, list[object]]:
        kept = {n: v for n, v in ((self._table.fields[pos], v) for pos, v in state.kept.items()) if n in self._columns}
        packed = [*(state.record.registers[n][1] for n in present), *kept.values()]
        values: list[Value] = [*state.pk, *map(unpack_value, packed)]
        columns = ", ".join([*self._table.key_columns, *(self._columns[n] for n in (*present, *kept))])
        return f"INSERT OR {conflict} INTO {self._table.sql}({columns}) VALUES({marks(values)})", list(values)

    def _update(self, state: State) -> None:
        registers = state.record.registers
        changed = [n for n in self._writable(state) if state.before.get(n) != registers[n]]
        if not changed:
            return
        values = [unpack_value(registers[n][1]) for n in changed]
        sets = ", ".join(f"{self._columns[n]} = {marks([v])}" for n, v in zip(changed, values, strict=True))
        pk = state.pk
        for n in changed:
            state.checks.pop(self._table.positions[n], None)
        sql = f"UPDATE OR ABORT {self._table.sql} SET {sets} WHERE {self._table.seek}"
        self._core.db.execute(sql, [*values, *pk, *pk])

    def _delete(self, state: State) -> None:
        pk = state.pk
        if state.local and state.record.live:  # Nobody else has these values.
            (row,) = fetch_rows(self._core, self._table, [pk]).values()
            state.kept = {at: v for at, v in zip(self._table.at, pack_values(row), strict=True) if at in state.local}
        self._core.db.execute(f"DELETE FROM {self._table.sql} WHERE {self._table.seek}", [*pk, *pk])
        if self._table.surrogate or self._shape.rowid_alias:
            self._core.db.execute("DELETE FROM _replica_row WHERE tbl = ? AND pk = ?", (self._table.tbl, pk[0]))
        state.flags &= ~SHOWN
        state.checks.clear()
        state.before = {}

    def _hold(self, state: State, reason: str, blocker: bytes | None) -> None:
        row = (state.key, self._table.tbl, reason, blocker)
        self._core.db.execute("INSERT OR REPLACE INTO _replica_held VALUES (?, ?, ?, ?)", row)

    # --- conflicts: one by one, in order ------------------------------------------------------------------------------

    def _place_in_order(self, states: Sequence[State], wanted: dict[bytes, State]) -> None:
        """Place those again that a constraint refused. What gives way to one is later in order, so each is decided once."""
        heap = [(*s.order, s) for s in states]
        heapq.heapify(heap)
        while heap:
            state = heapq.heappop(heap)[2]
            if (reason := self._misfit(state)) is not None:
                self._hold(state, reason, None)
                continue
            try:
                self._insert(state)
            except sqlite3.IntegrityError as error:
                for displaced in self._resolve(state, error, wanted):
                    heapq.heappush(heap, (*displaced.order, displaced))

    def _resolve(self, state: State, error: sqlite3.IntegrityError, wanted: dict[bytes, State]) -> list[State]:
        """Hold this record, or make later ones give way to it. Returns what has to be placed again."""
        if error.sqlite_errorname not in _CONFLICTS:
            self._hold(state, str(error), None)
            return []
        row = {n: unpack_value(state.record.registers[n][1]) for n in self._writable(state)}
        rows = self._rivals.find(state.pk, row, self._insert_sql(state, self._writable(state), "REPLACE"))
        keys = keys_of_rows(self._core, self._table, rows)
        victims = load(self._core, keys)
        victims.update({key: wanted[key] for key in keys if key in wanted})  # What is not stored yet counts.
        victims.pop(state.key, None)  # A row of its own key that nobody has looked at yet: that will be an edit of it.
        earlier = min((v for v in victims.values() if v.order < state.order), key=lambda v: v.order, default=None)
        if earlier is not None or len(victims) < len(rows):
            self._hold(state, str(error), earlier.key if earlier else UNKNOWN)
            return []
        for victim in victims.values():
            wanted[victim.key] = victim
            self._delete(victim)
        again = [*victims.values(), *self._add_waiting(wanted, list(victims))]
        self._insert(state)
        return again

    # --- reading back -------------------------------------------------------------------------------------------------

    def _read_back(self, states: list[State]) -> None:
        """Note where the row shows something else than the register holds. A default becomes state."""
        doubtful = [s for s in states if self._doubtful(s)]
        rows = fetch_rows(self._core, self._table, [s.pk for s in doubtful])
        for state in doubtful:
            packed = pack_values(rows[pack_id(state.pk)])
            speak(self._core, state, packed)
            for name, pos, value in zip(self._table.names, self._table.at, packed, strict=True):
                register = state.record.registers.get(name)
                if register is None or register[1] != value:
                    state.checks[pos] = check(value)
                else:
                    state.checks.pop(pos, None)

    def _doubtful(self, state: State) -> bool:
        registers = state.record.registers
        if state.kept:
            return True
        for name, kind in self._affinity.items():
            register = registers.get(name)
            if register is None:
                return True
            moved = state.before.get(name) != register or self._table.positions[name] in state.checks
            if moved and type(unpack_value(register[1])) not in SAFE[kind]:
                return True
        return False


def stored(core: Core, affinity: str, sql: str, *values: object) -> Value:
    """What a column of this affinity makes of the value of an SQL expression."""
    columns = ", ".join(f'"{kind}" {kind}' for kind in SAFE)
    core.db.execute(f"CREATE TEMP TABLE IF NOT EXISTS _replica_stored({columns})")
    core.db.execute("DELETE FROM temp._replica_stored")
    core.db.execute(f'INSERT INTO temp._replica_stored("{affinity}") VALUES ({sql})', values)
    return core.rows(f'SELECT "{affinity}" FROM temp._replica_stored')[0][0]  # type: ignore[no-any-return]


def keys_of_rows(core: Core, table: Table, pks: Sequence[Sequence[Value]]) -> list[bytes]:
    """Record keys of the rows that are shown under these primary keys. A row that cannot travel has none."""
    assert table.shape is not None
    if not table.shape.rowid_alias:
        keys = []
        for pk in pks:
            with suppress(ValueRefused):
                keys.append(key_of(core, table, row_id(pk)))
        return keys
    sql = "SELECT key FROM _replica_row WHERE tbl = ? AND pk IN ("
    return [key for (key,) in core.select_in(sql, [pk[0] for pk in pks], table.tbl)]

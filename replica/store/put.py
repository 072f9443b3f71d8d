"""`put_many`: many rows into one table, stamped as they go in.

A new row that its table stores as it is goes straight into rows, state and trie; every other row goes in as an UPSERT
that the triggers capture, and is absorbed in the same transaction. So defaults, the user's triggers and constraints hold
as in plain SQL. A test holds both ways equal.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from protocol.errors import ValueRefused
from protocol.record import Birth, fold, pack_id
from protocol.values import check
from replica.errors import RowRefused, UsageError
from replica.store import index
from replica.store.absorb import absorb
from replica.store.catalog import Table, quote
from replica.store.core import Change, Core
from replica.store.show import PlainRows, user_triggers
from replica.store.state import fresh_row, key_of, write

ROWS = 16_384
FLUSH_AT = 262_144
"""Changed records after which the trie is brought up to date within one transaction: bounds memory."""

Row = Mapping[str, object] | Sequence[object]


def put_many(core: Core, name: str, rows: Iterable[Row]) -> int:
    """Insert or update rows (mappings, or sequences in the order of the table's columns), in the caller's transaction.
    Returns how many. Raises UsageError for an unknown table or column, RowRefused for a value that cannot be."""
    table = core.by_name.get(fold(name))
    if table is None or table.shape is None:
        raise UsageError(f"table {name!r} is not replicated: run `replica adopt` first")
    info = core.db.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (table.shape.name,)).fetchall()
    order = [n for (n,) in info]
    put = _Put(core, table, order)
    done = 0
    source = iter(rows)
    while chunk := list(itertools.islice(source, ROWS)):
        put.chunk(chunk, done)
        done += len(chunk)
        if len(core.dirty) > FLUSH_AT:
            index.flush(core)
    return done


class _Put:
    def __init__(self, core: Core, table: Table, order: list[str]) -> None:
        assert table.shape is not None
        self._core, self._table, self._shape, self._order = core, table, table.shape, order
        self._folded = {fold(n): n for n in order}
        self._fast_order = [c.name for c in (*table.shape.key, *table.columns)]
        self._checker = PlainRows(table)
        self._fast = table.plain and not user_triggers(core, table) and set(self._fast_order) == set(order)
        self._picks = [order.index(n) for n in self._fast_order] if self._fast else []

    def chunk(self, rows: list[Row], first: int) -> None:
        slow: list[tuple[int, Row]] = list(enumerate(rows, first)) if not self._fast else []
        if self._fast:
            slow = self._chunk_fast(rows, first)
        for columns, some in _by_columns(self._values(number, row) for number, row in slow):
            self._upsert(columns, some)
        while slow and absorb(self._core):
            pass

    def _values(self, number: int, row: Row) -> tuple[int, dict[str, object]]:
        if isinstance(row, Mapping):
            unknown = [n for n in row if fold(n) not in self._folded]
            if unknown:
                raise UsageError(f"row {number + 1}: {self._shape.name} has no column {unknown[0]!r}")
            items = {self._folded[fold(n)]: v for n, v in row.items()}
        elif len(row) == len(self._order):
            items = dict(zip(self._order, row, strict=True))
        else:
            raise UsageError(f"row {number + 1} has {len(row)} values, {self._shape.name} {len(self._order)} columns")
        try:
            return number, {n: check(v) for n, v in items.items()}
        except ValueRefused as error:
            raise RowRefused(f"row {number + 1}: {error}") from None

    def _chunk_fast(self, rows: list[Row], first: int) -> list[tuple[int, Row]]:
        core, table = self._core, self._table
        width, order, names, picks = len(self._shape.key), self._order, self._fast_order, self._picks
        slow: list[tuple[int, Row]] = []
        found: dict[bytes, tuple[int, Row, tuple[object, ...], bytes]] = {}
        now = core.now_ms()
        for number, row in enumerate(rows, first):
            if isinstance(row, Mapping):
                values = tuple(map(row.get, names)) if len(row) == len(names) and all(n in row for n in names) else ()
            else:
                values = tuple(row[i] for i in picks) if len(row) == len(order) else ()
            if not values or not self._checker.holds(values):
                slow.append((number, row))
                continue
            if table.surrogate:
                stamp = core.clock.tick(now)
                id_ = pack_id(values[:width], Birth(stamp))
                found[key_of(core, table, id_)] = (number, row, values, id_)
                continue
            try:
                id_ = pack_id(values[:width])
            except ValueRefused:
                slow.append((number, row))
                continue
            key = key_of(core, table, id_)
            if key in found:
                slow.append((number, row))
            else:
                found[key] = (number, row, values, id_)
        if self._shape.rowid_alias:
            taken = "SELECT pk FROM _replica_row WHERE tbl = ? AND pk IN ("
            here = {pk for (pk,) in core.select_in(taken, [v[0] for _, _, v, _ in found.values()], table.tbl)}
            twice = Counter(v[0] for _, _, v, _ in found.values())
            known = {k for k, (_, _, v, _) in found.items() if v[0] in here or twice[v[0]] > 1}
        else:
            known = set()
        if not table.surrogate:
            known |= {k for (k,) in core.select_in("SELECT key FROM _replica_record WHERE key IN (", list(found))}
        slow += [(n, row) for k, (n, row, _, _) in found.items() if k in known]
        self._insert({k: (values, id_) for k, (_, _, values, id_) in found.items() if k not in known}, now)
        return slow

    def _insert(self, found: dict[bytes, tuple[tuple[object, ...], bytes]], now: int) -> None:
        core, table, width = self._core, self._table, len(self._shape.key)
        core.mute()
        core.db.executemany(table.insert, [values for values, _ in found.values()])
        core.unmute()
        shadows = []
        for key, (values, id_) in found.items():
            stamp = id_[-16:] if table.surrogate else core.clock.tick(now)
            try:
                shadows.append(fresh_row(core, table, key, id_, stamp, values[width:]))  # type: ignore[arg-type]
            except OverflowError as error:
                raise RowRefused(f"{error}: a number does not fit into 64 bits") from None
            core.note(Change(table.collection, id_, "insert", False))
        core.dirty.update(dict.fromkeys(found, 1))
        write(core, shadows)
        if self._shape.rowid_alias:
            pairs = [(table.tbl, values[0], key) for key, (values, _) in found.items()]
            core.db.executemany("INSERT INTO _replica_row VALUES (?, ?, ?)", pairs)

    def _upsert(self, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
        keys = [c.name for c in self._shape.key]
        names = ", ".join(map(quote, columns))
        sql = f"INSERT INTO {self._table.sql}({names}) VALUES({', '.join('?' * len(columns))})"
        if not columns:
            sql = f"INSERT INTO {self._table.sql} DEFAULT VALUES"
        elif set(keys) <= set(columns):
            sets = ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns if c not in keys)
            target = ", ".join(map(quote, keys))
            sql += f" ON CONFLICT({target}) DO " + (f"UPDATE SET {sets}" if sets else "NOTHING")
        self._core.db.executemany(sql, rows)


def _by_columns(
    rows: Iterator[tuple[int, dict[str, object]]],
) -> Iterator[tuple[tuple[str, ...], list[tuple[object, ...]]]]:
    for columns, some in itertools.groupby(rows, key=lambda r: tuple(r[1])):
        yield columns, [tuple(values.values()) for _, values in some]

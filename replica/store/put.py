"""`put_many`: many rows into one table, stamped as they go in.

A new row that its table stores as it is goes straight into rows, state and trie; every other row goes in as an UPSERT
that the triggers capture, and is absorbed in the same transaction. So defaults, the user's triggers and constraints hold
as in plain SQL. A test holds both ways equal. What is known of many new rows is sorted in at once, at the end of the call
(`nursery`) or, of a batch that is a call of its own, later (`young`).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, compress
from operator import itemgetter
from typing import Any, NamedTuple, cast

from protocol.collector import uncollected
from protocol.errors import ValueRefused
from protocol.values import INT_MAX, INT_MIN
from replica.errors import RowAtFault, UsageError
from replica.store import absorb, capture, index, young
from replica.store.careful import Careful, Row, is_row
from replica.store.catalog import Table, called, quote
from replica.store.changes import Change
from replica.store.core import Collision, Core
from replica.store.encoder import Encoder, Encoders
from replica.store.fresh import BLOCK, fresh_columns, fresh_rows, named
from replica.store.nursery import BYTES_MAX, Born, Nursery
from replica.store.shadow import ShadowRow, write, write_new
from replica.store.show import PlainRows, user_triggers
from replica.store.source import taken

ROWS = 16_384
"""Rows that are written together."""
WAITING_MAX = 131072
"""Rows whose records wait in memory until they are sorted in: the more, the fewer pages are touched twice."""
FLUSH_AT = 262_144
"""Changed records after which the trie is brought up to date within one transaction: bounds memory."""
LATER_MIN = 256
"""Fewer rows are hardly dearer in their places at once."""
UNCAPTURED_MIN = 1_000
"""Dropping triggers and making them again pays from some 600 rows on; but every other connection then reads the definitions
again when it looks next: 0.2 ms of a plain program's with one table, 3 ms with forty, and some more of another store's."""


class _Block(NamedTuple):
    """Rows by columns, in the order of `_fast_order`, and the types in each."""

    columns: list[tuple[Any, ...]]
    kinds: list[set[type]]


def put_many(core: Core, name: str, rows: Iterable[Row], *, steady: bool = False) -> int:
    """Insert or update rows (mappings, or sequences in the order of the table's columns), in the caller's transaction.
    Returns how many. `steady`: nobody's code runs while they are read; else what is known of each chunk is sorted in before
    the next is asked for. Raises UsageError for an unknown table or column, RowRefused for a value that cannot be,
    RowAtFault for a row that a constraint refuses, and SourceFailed: then the caller takes back all that was done."""
    put = _prepare(core, name, Encoders())
    done = 0
    source = iter(rows)
    while chunk := taken(source, ROWS):
        put.chunk(chunk, done)
        done += len(chunk)
        if not steady:
            put.settle()
        if len(core.dirty) > FLUSH_AT:
            index.catch_up(core)
    put.settle()
    return done


def put_young(core: Core, name: str, rows: list[Row], encoders: Encoders) -> bool:
    """Insert a batch of rows, in the caller's transaction, and leave what is known of them to the young generation. False,
    and nothing is written, if that is not for these rows. Raises Collision if one is there already, or cannot be: then
    nothing may be kept, not even the stamps. `encoders`: what the caller keeps for the next batch."""
    return not absorb.captured(core) and _prepare(core, name, encoders).young(rows)


def _prepare(core: Core, name: str, encoders: Encoders) -> _Put:
    table = called(core.tables.values(), name)
    if table is None or table.shape is None:
        raise UsageError(f"table {name!r} is not replicated: run `replica adopt` first")
    info = core.db.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (table.shape.name,)).fetchall()
    return _Put(core, table, [n for (n,) in info], encoders.of(table.tbl, len(table.columns)))


class _Put:
    def __init__(self, core: Core, table: Table, order: list[str], encoders: list[Encoder]) -> None:
        assert table.shape is not None
        self._core, self._table, self._shape, self._order = core, table, table.shape, order
        self._careful = Careful(table, order)
        self._fast_order = [c.name for c in (*table.shape.key, *table.columns)]
        self._checker = PlainRows(table)
        exact = all(column.collation == "BINARY" for column in table.shape.key)
        self._fast = exact and table.plain and not user_triggers(core, table) and set(self._fast_order) == set(order)
        self._picks = [order.index(n) for n in self._fast_order] if self._fast else []
        self._width = len(order)
        self._insert_whole = f"INSERT OR FAIL INTO {table.sql}({', '.join(map(quote, order))}) VALUES "
        self._others = any(not unique.primary for unique in table.shape.uniques)
        self._updates = False
        """Some rows were there already, or were refused: look before inserting."""
        self._nursery = Nursery()
        self._encoders = encoders

    @uncollected()
    def chunk(self, rows: list[Row], first: int) -> None:
        if done := self._later(rows):
            rows, first = rows[done:], first + done
        if not rows:
            return
        self.settle()
        slow: list[tuple[int, Row]] = list(enumerate(rows, first)) if not self._fast else []
        if self._fast:
            slow = self._chunk_fast(rows, first)
        self._careful.run(self._core, slow)
        while slow and absorb.absorb(self._core):
            pass

    @uncollected()
    def young(self, rows: list[Row]) -> bool:
        """See `put_young`."""
        core, table = self._core, self._table
        if not (self._fast and table.columns):
            return False
        into, picked, blocks = self._as_they_are(rows)
        if not blocks:
            return False
        try:
            records = self._born(blocks)
            if young.hidden(core, _keys(records)):
                raise Collision
            if not young.room(core, len(rows)):
                young.merge(core)
            with uncaptured(core, table, len(rows)):
                core.insert(into, table.marks, picked)
        except (ValueRefused, UnicodeEncodeError, sqlite3.IntegrityError) as error:
            raise Collision from error  # The careful way says which row it is, and why.
        young.keep(core, table, records)
        self._tell(records)
        return True

    def _later(self, rows: list[Row]) -> int:
        """Insert rows that are all new, as the engine, and leave what is known of them to `settle`. Returns how many of
        them, from the first on, are in: the others are not for this way."""
        many = len(rows) >= LATER_MIN or self._nursery.count
        if self._updates or not (self._fast and self._table.columns and many):
            return 0
        into, picked, blocks = self._as_they_are(rows)
        try:
            records = self._born(blocks)
        except (ValueRefused, UnicodeEncodeError):
            return 0  # The careful way says which row it is, and why.
        if not records or young.hidden(self._core, _keys(records)):
            self._updates = bool(records)  # The next are often not new either.
            return 0
        if self._nursery.count + len(rows) > WAITING_MAX or self._nursery.size > BYTES_MAX:
            self.settle()
        done = left = self._insert_first(into, picked)
        for some in records:
            if left <= 0:
                break
            mine = some.first(left)
            self._nursery.add(self._table.tbl, self._shape.rowid_alias, mine)
            self._tell([mine])
            left -= len(mine.ids)
        self._updates = done < len(rows)
        return done

    def settle(self) -> None:
        """Sort in what waits for that."""
        if self._nursery.count and self._nursery.merge(self._core):
            while absorb.absorb(self._core):
                pass

    def _as_they_are(self, rows: list[Row]) -> tuple[str, Sequence[Sequence[object]], list[_Block]]:
        """If the table stores all rows as they are: the statement that inserts them, what it is given, and the columns of
        each BLOCK, in the order of `_fast_order`. Else nothing."""
        if self._whole(rows):
            into, picked = self._insert_whole, cast(list[tuple[object, ...]], rows)
            blocks = _blocks(picked, self._picks)
        else:
            into, picked = self._table.insert, list(map(self._pick, rows))
            blocks = _blocks(picked) if all(picked) else []
        return (into, picked, blocks) if all(map(self._fit, blocks)) else ("", [], [])

    def _tell(self, records: Iterable[Born]) -> None:
        collection = self._table.collection
        if self._core.changes.listener is not None:
            self._core.changes.extend(Change(collection, id_, "insert", False) for some in records for id_ in some.ids)

    def _whole(self, rows: Sequence[Row]) -> bool:
        """Whether all are tuples of all columns."""
        return self._width > 1 and set(map(type, rows)) == {tuple} and set(map(len, rows)) == {self._width}

    def _chunk_fast(self, rows: list[Row], first: int) -> list[tuple[int, Row]]:
        """Insert the rows that are new and stored as they are. Returns the others."""
        whole = self._whole(rows)
        picked = self._pick_all(rows) if whole else list(map(self._pick, rows))
        numbers = list(range(len(rows))) if whole else [i for i, values in enumerate(picked) if values]
        found = picked if whole else [values for values in picked if values]
        blocks = _blocks(found)
        if not all(map(self._fit, blocks)):
            numbers = [i for i in numbers if self._checker.holds(picked[i]) and self._fit(*_blocks([picked[i]]))]
        if len(numbers) < len(rows):
            numbers = self._apart(rows, picked, numbers, first)
            found = [picked[i] for i in numbers]
            blocks = _blocks(found)
        try:
            done = self._insert(numbers, found, blocks, len(rows), first)
        except (ValueRefused, UnicodeEncodeError):
            done = set()  # The careful way says which row it is, and why.
        return [(first + i, row) for i, row in enumerate(rows) if i not in done] if len(done) < len(rows) else []

    def _apart(self, rows: list[Row], picked: list[tuple[object, ...]], numbers: list[int], first: int) -> list[int]:
        """Of these rows, those that no other of the chunk is about: only their order cannot matter. Not even theirs, if
        SQLite is to choose a number or to change a key."""
        width, fast, keys = len(self._shape.key), set(numbers), set()
        for i, row in enumerate(rows):
            if i in fast:
                continue
            values = picked[i] or tuple(self._careful.values(first + i, row).get(n, self) for n in self._fast_order)
            if not self._checker.hold([(v,) for v in values[:width]]):
                return []
            keys.add(values[:width])
        return [i for i in numbers if picked[i][:width] not in keys]

    def _pick_all(self, rows: Sequence[Any]) -> list[tuple[object, ...]]:
        """`_pick` of tuples that have all columns."""
        if self._picks == list(range(self._width)):
            return list(rows)
        return list(map(itemgetter(*self._picks), rows))

    def _pick(self, row: Row) -> tuple[object, ...]:
        """The values of a row with all columns, in the order of `_fast_order`; none of any other."""
        if type(row) is not tuple and isinstance(row, Mapping):
            by_name = self._fast_order
            return tuple(map(row.get, by_name)) if len(row) == len(by_name) and all(n in row for n in by_name) else ()
        return tuple([row[i] for i in self._picks]) if is_row(row) and len(row) == self._width else ()

    def _fit(self, block: _Block) -> bool:
        """Whether the table stores all these values as they are, and a record can hold them."""
        if not self._checker.hold(*block):
            return False
        for column, kinds in zip(*block, strict=True):
            if float in kinds and any(v != v for v in column):  # noqa: PLR0124
                return False
            if int in kinds and not all(INT_MIN <= v <= INT_MAX for v in column if type(v) is int):
                return False
        return True

    def _insert(
        self, numbers: list[int], found: list[tuple[object, ...]], blocks: list[_Block], of: int, first: int
    ) -> set[int]:
        """Insert those rows that are new, of so many in the chunk; returns their numbers. `blocks`: the same rows by
        columns. Raises ValueRefused before anything is written."""
        core, table = self._core, self._table
        if not found or (self._others and len(found) < of):
            return set()  # A unique value may move from one row to another: then only their own order will do.
        shadows = self._shadows(blocks)
        keys = [shadow[0] for shadow in shadows]
        shown_by: list[Any] = [values[0] for values in found] if self._shape.rowid_alias else keys
        taken: set[Any] = set()
        if len(set(shown_by)) < len(shown_by):
            taken = {value for value, times in Counter(shown_by).items() if times > 1}
        if self._shape.rowid_alias:
            sql = "SELECT pk FROM _replica_row WHERE tbl = ? AND pk IN ("
            taken.update(pk for (pk,) in core.select_in(sql, shown_by, table.tbl))
        if taken or self._updates or not write_new(core, shadows):
            known = {k for (k,) in core.select_in("SELECT key FROM _replica_record WHERE key IN (", sorted(keys))}
            self._updates = self._updates or bool(known)
            new = [s not in taken and k not in known for s, k in zip(shown_by, keys, strict=True)]
            numbers, found, shadows = (
                list(compress(numbers, new)),
                list(compress(found, new)),
                list(compress(shadows, new)),
            )
            if self._others and len(found) < of:
                return set()
            write(core, shadows)
        self._insert_rows(found, numbers, first)
        if self._shape.rowid_alias:
            pairs = [(table.tbl, values[0], shadow[0]) for values, shadow in zip(found, shadows, strict=True)]
            core.db.executemany("INSERT INTO _replica_row VALUES (?, ?, ?)", pairs)
        core.dirty.born([shadow[0] for shadow in shadows])
        core.changes.extend(Change(table.collection, shadow[2], "insert", False) for shadow in shadows)
        return set(numbers)

    def _shadows(self, blocks: list[_Block]) -> list[ShadowRow]:
        shadows: list[ShadowRow] = []
        for some in self._named(blocks):
            shadows += fresh_rows(self._core, self._table, *some[:-1])
        return shadows

    def _born(self, blocks: list[_Block]) -> list[Born]:
        return [fresh_columns(self._core, self._table, *some) for some in self._named(blocks)]

    def _named(
        self, blocks: list[_Block]
    ) -> Iterator[
        tuple[list[bytes], list[bytes], Sequence[bytes], Sequence[Sequence[Any]], list[Encoder], list[set[type]]]
    ]:
        """What `fresh_columns` takes of each block."""
        core, width, done = self._core, len(self._shape.key), 0
        stamps = core.clock.ticks(core.now_ms(), sum(len(block.columns[0]) for block in blocks))
        for columns, kinds in blocks:
            own = stamps[done : done + len(columns[0])]
            done += len(own)
            yield *named(core, self._table, columns, own), self._encoders, kinds[width:]

    def _insert_rows(self, rows: list[tuple[object, ...]], numbers: list[int], first: int) -> None:
        core = self._core
        with uncaptured(core, self._table, len(rows)):
            before = core.db.total_changes
            try:
                core.insert(self._table.insert, self._table.marks, rows)
            except sqlite3.IntegrityError as error:
                raise RowAtFault(error, first + numbers[core.db.total_changes - before]) from error

    def _insert_first(self, into: str, rows: Sequence[Sequence[object]]) -> int:
        """Returns how many, from the first on, are in: all before one that is there already, or cannot be."""
        core = self._core
        with uncaptured(core, self._table, len(rows)):
            before = core.db.total_changes
            with suppress(sqlite3.IntegrityError):
                core.insert(into, self._table.marks, rows)
            return core.db.total_changes - before


def _keys(records: Iterable[Born]) -> list[bytes]:
    return list(chain.from_iterable(some.keys for some in records))


def _blocks(rows: list[tuple[object, ...]], picks: Sequence[int] = ()) -> list[_Block]:
    """Each BLOCK of rows. `picks`: the places of the columns to take, in that order, if not all."""
    blocks = []
    for start in range(0, len(rows), BLOCK):
        columns = list(zip(*rows[start : start + BLOCK], strict=True))
        if picks:
            columns = [columns[n] for n in picks]
        blocks.append(_Block(columns, [set(map(type, column)) for column in columns]))
    return blocks


@contextmanager
def uncaptured(core: Core, table: Table, rows: int) -> Iterator[None]:
    """Insert so many rows into a table without user's triggers, as the engine. A trigger that stays silent still costs each
    row a third of its price, so for many rows those that would fire are dropped and made again, inside the transaction."""
    assert table.shape is not None
    ours = capture.inserting(table.tbl, table.shape) if rows >= UNCAPTURED_MIN else {}
    with core.defining(ours):
        for name in ours:
            core.db.execute(f"DROP TRIGGER {quote(name)}")
        core.mute()
        yield
        core.unmute()
        for sql in ours.values():
            core.db.execute(sql)

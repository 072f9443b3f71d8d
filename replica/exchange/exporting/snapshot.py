"""One moment of a store, for reading: through a connection of its own that cannot write, while other programs go on.

One test each:

1. Everything read in one snapshot is of one moment, whatever other programs commit meanwhile.
2. A user's SELECT can read and nothing else: no write, no PRAGMA, no ATTACH, no second statement, none of the group's
   secrets.
3. Memory grows neither with the table nor with its rows: what SQLite sorts it keeps on the disk, and of wide rows few are
   taken at once.
4. A long query of a user's can be interrupted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from protocol.record import fold
from protocol.values import IllFormedText
from replica import system
from replica.errors import StoreBusy, UsageError
from replica.exchange.rows import BATCH_ROWS, Row
from replica.store import absorb
from replica.store.catalog import Table, meant
from replica.store.connection import connect, interruptible
from replica.store.core import Core
from replica.store.store import Store

TRIES = 64
"""For a moment in which nothing waits to be absorbed."""

CACHE_KB = 49_152
"""Of pages, and again as much for what is being sorted."""
SLICE, FEW = 256, 8
"""Rows taken at once, and of wide ones."""
PART_BYTES = 4 << 20
"""Of a part, as far as its size can be told from a few of its rows."""

_SECRET = frozenset({"_replica_meta", "sqlite_dbpage", "sqlite_dbdata", "sqlite_dbptr"})
"""Tables with the group's secrets, or with the pages that hold them."""
_MODULES = frozenset({(sqlite3.SQLITE_PRAGMA, "data_version"), (sqlite3.SQLITE_UPDATE, "sqlite_master")})
"""What modules such as json_each and full text search ask for when they declare themselves: they write nothing, and through
this connection nobody could."""
_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})


@contextmanager
def snapshot(store: Store, *, quiet: bool = False) -> Iterator[Core]:
    """A store as it is now, for any number of reads. `quiet`: at a moment when every write has its stamp. Raises StoreError;
    StoreBusy, if other programs write so often that there is no such moment."""
    with closing(connect(store.path, readonly=True)) as db:
        db.execute("PRAGMA temp_store = FILE")
        db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        core = Core(db, store.path, system.now_ms, system.random_bytes, _never)
        for _ in range(TRIES):
            store.absorb()
            with core.reading():
                if not quiet or not absorb.pending(core):
                    with interruptible(db):
                        yield core
                    return
    raise StoreBusy(f"other programs write to {store.path} without a pause: try again in a moment")


def _never(core: Core) -> None:
    raise AssertionError(f"a snapshot of {core.path} does not write")


def table_of(core: Core, collection: str) -> Table:
    """The adopted table of this name, here or in the group. Raises UsageError, with the names that there are."""
    table = meant(core.db, core.tables.values(), collection)
    if table is None or table.shape is None or collection.startswith("_replica"):
        names = sorted(t.label for t in core.tables.values() if t.shape is not None)
        there = f"there are: {', '.join(names)}" if names else f"adopt one first: replica adopt {core.path}"
        raise UsageError(f"no table {collection!r} is replicated here; {there}")
    return table


@contextmanager
def guarded(core: Core) -> Iterator[None]:
    """Whatever SQL runs here can read the user's data, and nothing else. Raises UsageError for what is wrong with it."""
    core.db.set_authorizer(_authorize)
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
        raise UsageError(f"one SELECT, please: {error}") from error
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_AUTH") or "prohibited" in str(error):
            raise UsageError(f"an export only reads, and never the group's secrets: {error}") from error
        if name in {"SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE"} and "decode" not in str(error):
            raise UsageError(f"this SQL does not run: {error}") from error
        raise
    finally:
        core.db.set_authorizer(None)


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
    if (action, first) in _MODULES and not (action == sqlite3.SQLITE_PRAGMA and second):
        return sqlite3.SQLITE_OK
    if action not in _READS or (action == sqlite3.SQLITE_READ and fold(first or "") in _SECRET):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and fold(second or "") == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def stream(db: sqlite3.Connection, sql: str, rows_max: int = BATCH_ROWS) -> Iterator[list[Row]]:
    """Rows of a query in parts of at most `rows_max`, fewer if they are wide; text that is not UTF-8 as IllFormedText. A
    query without an order of its own must find its rows in the same order twice, as it does in one snapshot."""
    seen = 0
    try:
        for part in _fetch(db, sql, rows_max, str):
            seen += len(part)
            yield part
        return
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    for part in _fetch(db, sql, rows_max, _tolerant):
        fresh = part[max(0, seen) :]
        seen -= len(part)
        if fresh:
            yield fresh


def _fetch(db: sqlite3.Connection, sql: str, rows_max: int, factory: Any) -> Iterator[list[Row]]:
    with closing(db.cursor()) as cursor:
        cursor.execute(sql)
        part: list[Row] = []
        size, take = 0, FEW
        while True:
            db.text_factory = factory
            try:
                some = cursor.fetchmany(take)
            finally:
                db.text_factory = str
            if not some:
                break
            widest = max(map(_width, some[:: max(1, len(some) // FEW)]))
            part += some
            size += widest * len(some)
            take = FEW if widest * SLICE > PART_BYTES else min(SLICE, rows_max)
            if size > PART_BYTES or len(part) + take > rows_max:
                yield part
                part, size = [], 0
        if part:
            yield part


def _width(row: Row) -> int:
    return sum(len(v) for v in row if isinstance(v, str | bytes))


def _tolerant(data: bytes) -> str | IllFormedText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return IllFormedText(data)

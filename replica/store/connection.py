"""A connection as the engine wants it: the settings of SQLite that everything else counts on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replica.errors import NotAStore, StoreReadOnly, from_sqlite
from replica.store import schema

BUSY_MS = 10_000
TURN_MS = 3
"""How long SQLite waits for the lock in one go: in a long one it asks ten times a second at last, and a program that writes
without pause hardly ever lets it in. Beside one that leaves the lock for 1 % of the time, 4 of 8 waits of 10 s failed; in
turns, none took more than 1.1 s."""
CHECKPOINT_PAGES = 4_096
"""The write-ahead log is copied into the file when it has 16 MB: a batch of scattered records writes more than SQLite's
usual 4 MB, and most of its pages are written again by the next."""
UNHURRIED_PAGES = 4 * CHECKPOINT_PAGES
"""Where somebody waits for the commit, and a later one can do it: if none does, the log has 64 MB at most."""
CACHE_KB = 12_288
"""Pages that a connection keeps. A sync is as fast with these as with five times as many."""
BULK_KB = 65_536
"""The same, for a large transaction: pages that it changes again and again should be written once."""
STEPS = 100_000
"""Of SQLite's machine between two looks at whether the user wants to stop: a few milliseconds."""


@contextmanager
def bulk(db: sqlite3.Connection) -> Iterator[None]:
    """A larger cache, for one large transaction inside."""
    (before,) = db.execute("PRAGMA cache_size").fetchone()
    db.execute(f"PRAGMA cache_size = -{BULK_KB}")
    try:
        yield
    finally:
        db.execute(f"PRAGMA cache_size = {before}")


class Pace:
    """How long the write-ahead log of a connection may become until a transaction that ends copies it into the file, which
    takes some 30 ms. SQLite compiles the PRAGMA anew each time, so it is only told of a change, before the transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._awaited = db, False
        self._told: bool | None = None

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """For transactions inside, for whose commits somebody waits: the copy is left to the next commit outside, or to
        `copy_log` before that."""
        before, self._awaited = self._awaited, True
        try:
            yield
        finally:
            self._awaited = before

    def keep(self) -> None:
        """Before a transaction."""
        if self._told is not self._awaited:
            self._told = None  # Whoever is interrupted here cannot say whether it was heard.
            self._db.execute(f"PRAGMA wal_autocheckpoint = {UNHURRIED_PAGES if self._awaited else CHECKPOINT_PAGES}")
            self._told = self._awaited


@contextmanager
def interruptible(db: sqlite3.Connection) -> Iterator[None]:
    """Let Ctrl-C stop a query: Python sees it only between two calls, and one call may take minutes."""
    db.set_progress_handler(_go_on, STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            raise KeyboardInterrupt from error
        raise
    finally:
        db.set_progress_handler(None, 0)


def _go_on() -> int:
    return 0


def copy_log(db: sqlite3.Connection) -> None:
    """Copy the write-ahead log into the file, as far as no reader needs what stands there."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def connect(
    path: str | Path,
    *,
    durable: bool = True,
    readonly: bool = False,
    create: bool = False,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> sqlite3.Connection:
    """A connection as the engine wants it: autocommit, WAL, FULL unless told otherwise; of the class `factory`. Raises
    StoreError."""
    path = str(path)
    if path in {"", ":memory:"}:  # Who says so means a database in memory, not a file of that name.
        raise NotAStore(f"{path!r} names no file: a node lives in a file, which several connections share")
    if not create and not Path(path).exists():
        raise NotAStore(f"{path}: there is no such file; `replica init {path}` would make one")
    try:
        uri = f"{Path(path).absolute().as_uri()}?mode={'ro' if readonly else 'rwc' if create else 'rw'}"
        db = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=512, factory=factory
        )
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    try:
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        if (create or schema.installed(db)) and not readonly:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StoreReadOnly(f"{path} cannot use write-ahead logging: move it to a local, writable disk")
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    except sqlite3.Error as error:
        db.close()
        raise from_sqlite(error, path) from error
    except StoreReadOnly:
        db.close()
        raise
    return db


def begin(db: sqlite3.Connection, busy_ms: int) -> None:
    """BEGIN IMMEDIATE, in turns of TURN_MS until its busy timeout has passed. Raises sqlite3.OperationalError."""
    turns = busy_ms // TURN_MS
    if turns:
        db.execute(f"PRAGMA busy_timeout = {TURN_MS}")
    try:
        for _ in range(1, turns):
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # BUSY_RECOVERY too, after a crash.
                    raise
        db.execute("BEGIN IMMEDIATE")
    finally:
        if turns:
            db.execute(f"PRAGMA busy_timeout = {busy_ms}")

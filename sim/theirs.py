"""A user's own database, which is read and left alone.

One test each:

1. Nothing is written into it or beside it, in whatever journal mode it is.
2. What another program has just written is read, be it still in the write-ahead log.
3. What is no database is refused, by its name.
4. Tables that the engine cannot replicate are told, each with its reason.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from replica.errors import TableRefused, UsageError
from replica.store.catalog import shape, user_tables

_MODES = slice(18, 20)
_WAL = b"\2\2"
"""Bytes of the header that say how the file is written and read; SQLite's file format, section 1.3.3."""


def theirs(path: str | Path) -> sqlite3.Connection:
    """A connection that only reads. Raises UsageError if this is no database, OSError, and sqlite3.Error."""
    file = Path(path).resolve()
    uri = f"{file.as_uri()}?mode=ro"
    if not file.is_file():
        raise UsageError(f"{path}: {'this is no plain file' if file.exists() else 'there is no such file'}; name a database")
    with file.open("rb") as opened:
        head = opened.read(_MODES.stop)
    # Whoever only reads a file in WAL mode makes a log and an index beside it, and may not remove them. Without a log
    # nobody writes.
    if head[_MODES] == _WAL and not file.with_name(f"{file.name}-wal").exists():
        uri += "&immutable=1"
    db = sqlite3.connect(uri, uri=True)
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        db.close()
        raise UsageError(f"{path}: {error}") from None
    return db


def left_out(db: sqlite3.Connection) -> dict[str, str]:
    """Tables that no node replicates, and the engine's reason."""
    found = {}
    for name in user_tables(db):
        try:
            shape(db, name)
        except TableRefused as error:
            found[name] = str(error)
    return found

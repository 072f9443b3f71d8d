"""A user's own database, which is read and left alone.

One test each:

1. Nothing is written into it or beside it, in whatever journal mode it is.
2. What another program has just written is read, be it still in the write-ahead log.
3. Tables that the engine cannot replicate are told, each with its reason.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from replica.errors import TableRefused
from replica.store.catalog import shape, user_tables

_MODES = slice(18, 20)
_WAL = b"\2\2"
"""Bytes of the header that say how the file is written and read; SQLite's file format, section 1.3.3."""


def theirs(path: str | Path) -> sqlite3.Connection:
    """A connection that only reads. Raises OSError, and sqlite3.Error, now or at the first statement."""
    file = Path(path).resolve()
    uri = f"{file.as_uri()}?mode=ro"
    if file.is_file():
        with file.open("rb") as opened:
            head = opened.read(_MODES.stop)
        # Whoever only reads a file in WAL mode makes a log and an index beside it, and may not remove them. Without a log
        # nobody writes.
        if head[_MODES] == _WAL and not file.with_name(f"{file.name}-wal").exists():
            uri += "&immutable=1"
    return sqlite3.connect(uri, uri=True)


def left_out(db: sqlite3.Connection) -> dict[str, str]:
    """Tables that no node replicates, and the engine's reason."""
    found = {}
    for name in user_tables(db):
        try:
            shape(db, name)
        except TableRefused as error:
            found[name] = str(error)
    return found

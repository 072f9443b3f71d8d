"""A consistent copy of a store while other programs write it, proven before anybody relies on it.

The copy is made by SQLite's online backup, in steps, on a connection that holds one read transaction: in write-ahead mode
that snapshot stands still while others write, so the backup neither blocks them nor begins anew when they do. VACUUM INTO
cannot do that: it must run outside a transaction, and the snapshot has to be one in which nothing waits to be absorbed.
Otherwise what waits would be stamped twice, here and by the restored copy, and be two records. One test each:

1. Each transaction of another program is in the copy whole or not at all.
2. Nothing waits in the copy, also while others write without a pause.
3. A copy that does not verify is no backup.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from replica.errors import StoreBusy, StoreError, from_sqlite
from replica.store import absorb
from replica.store.adopt import Progress
from replica.store.connection import connect
from replica.store.store import Store

TRIES = 100
PAGES = 1_024
"""Of one step: 4 MB, a few milliseconds."""


def take(store: Store, target: Path, progress: Progress | None = None) -> None:
    """Copy the store into a new file. Raises StoreBusy if others write too fast."""
    with closing(connect(store.path, readonly=True)) as db:
        _begin(store, db)
        try:
            (version,) = db.execute("PRAGMA schema_version").fetchone()

            def step(_: int, left: int, pages: int) -> None:
                if progress:
                    progress("copying pages", pages - left, pages)

            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                copy.execute("PRAGMA synchronous = OFF")  # It is synced once, when it is whole.
                db.backup(copy, pages=PAGES, progress=step)
                # The copy counts its definitions anew, and the engine would take them for changed.
                copy.execute(f"PRAGMA schema_version = {int(version)}")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise from_sqlite(error, str(target)) from error


def _begin(store: Store, db: sqlite3.Connection) -> None:
    """Open a snapshot in which nothing waits to be absorbed or followed."""
    for _ in range(TRIES):
        store.absorb()
        db.execute("BEGIN")
        (waiting,) = db.execute(absorb.WAITS).fetchone()
        (known,) = db.execute("SELECT value FROM _replica_meta WHERE name = 'schema_version'").fetchone()
        if not waiting and known == db.execute("PRAGMA schema_version").fetchone()[0]:
            return
        db.execute("COMMIT")
    raise StoreBusy(f"others write {store.path} faster than it can be looked at: pause one of them, and run it again")


def prove(store: Store, shown: str | Path, progress: Progress | None = None) -> tuple[bytes, int]:
    """Verify an opened copy; its root and its count of records. `shown`: whose copy, for messages. Raises StoreError if
    anything differs."""
    found = store.verify(progress)
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise StoreError(
            f"{shown} does not verify: {found[0]}{more}. See `replica verify {shown}`; if its rows are right, run "
            f"`replica rescan {shown}` and this again"
        )
    return store.root()

"""The engine's own tables, beside the user's in one SQLite file.

All names begin with `_replica_`. `record` is ordered by the 16-byte record key, which is the leaf level of the Merkle
trie; `trie` holds the levels above. Values live in the user's tables; only those that a row does not reproduce byte for
byte stand in `extra`. What is known of rows that were put last may wait in `young`. The outbox is written by triggers
in whatever program writes the user's tables, so it is untyped, has no constraint, and its SQL parses on SQLite 3.7.17.

A step of MIGRATIONS and the record of it are one transaction. A file from a newer version is refused, unread.
"""

import sqlite3

from replica.errors import NewerStore, StoreError, hopeless

PREFIX = "_replica_"

MIGRATIONS: tuple[str, ...] = (
    """
CREATE TABLE _replica_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE _replica_table(
    tbl INTEGER PRIMARY KEY,
    collection TEXT NOT NULL UNIQUE,  -- folded name, as it travels
    local TEXT,                       -- the user's table here; NULL: none
    surrogate INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '',   -- why there is no local table, in words
    signature TEXT NOT NULL DEFAULT '',
    leap INTEGER NOT NULL DEFAULT 0   -- AUTOINCREMENT: the number range in use begins here
);
CREATE TABLE _replica_field(tbl INTEGER, pos INTEGER, name TEXT NOT NULL, PRIMARY KEY(tbl, pos)) WITHOUT ROWID;
CREATE TABLE _replica_record(
    key BLOB PRIMARY KEY,
    tbl INTEGER NOT NULL,
    id BLOB NOT NULL,
    floor BLOB NOT NULL,
    born BLOB NOT NULL,
    stamps BLOB NOT NULL,   -- distinct register stamps, 16 bytes each
    which BLOB NOT NULL,    -- by position: index into stamps, all ones = absent; empty: all positions, one stamp
    checks BLOB NOT NULL,   -- by position: 4 bytes of the value last seen in the row
    digest BLOB NOT NULL,
    flags INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE _replica_extra(key BLOB, pos INTEGER, value BLOB NOT NULL, PRIMARY KEY(key, pos)) WITHOUT ROWID;
CREATE TABLE _replica_trie(prefix TEXT PRIMARY KEY, counts BLOB NOT NULL, digests BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE _replica_held(key BLOB PRIMARY KEY, tbl INTEGER, reason TEXT, blocker BLOB) WITHOUT ROWID;
CREATE INDEX _replica_held_blocker ON _replica_held(blocker);
CREATE TABLE _replica_row(tbl INTEGER, pk INTEGER, key BLOB NOT NULL, PRIMARY KEY(tbl, pk)) WITHOUT ROWID;
CREATE TABLE _replica_local(tbl INTEGER, id BLOB, pos INTEGER, reason TEXT, PRIMARY KEY(tbl, id, pos)) WITHOUT ROWID;
CREATE TABLE _replica_past(key BLOB, pos INTEGER, winner BLOB, stamp BLOB, value BLOB, PRIMARY KEY(key, pos))
    WITHOUT ROWID;
CREATE TABLE _replica_peer(
    node BLOB PRIMARY KEY, name TEXT, url TEXT, met_ms INTEGER, outcome TEXT, root BLOB, agreed_ms INTEGER,
    offset_ms INTEGER, sent INTEGER, received INTEGER
) WITHOUT ROWID;
CREATE TABLE _replica_outbox(seq INTEGER PRIMARY KEY, tbl, op, at, k0);
CREATE TABLE _replica_mute(x);
""",
    """
CREATE TABLE _replica_import(run TEXT, key BLOB, stamp BLOB, before BLOB, PRIMARY KEY(run, key)) WITHOUT ROWID;
CREATE TABLE _replica_import_row(
    run TEXT, number INTEGER, line INTEGER, kind TEXT, cells TEXT, reasons TEXT, PRIMARY KEY(run, number)
) WITHOUT ROWID;
""",
    """
CREATE TABLE _replica_import_known(mark BLOB, part INTEGER, run TEXT, content BLOB, PRIMARY KEY(mark, part));
CREATE TABLE _replica_history(seq INTEGER PRIMARY KEY, root BLOB NOT NULL, came BLOB NOT NULL, went BLOB NOT NULL);
CREATE TABLE _replica_sketch(seq INTEGER PRIMARY KEY, cells BLOB NOT NULL);
ALTER TABLE _replica_peer ADD COLUMN agreed BLOB;
""",
    """
CREATE TABLE _replica_young(
    seq INTEGER PRIMARY KEY,
    total INTEGER NOT NULL,  -- rows that wait, with these
    digest BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX _replica_hidden ON _replica_record(key) WHERE NOT flags & 1;
""",
)

FORMAT = len(MIGRATIONS)


def installed(db: sqlite3.Connection) -> int:
    """Format of the store in this file; 0: none. Raises StoreError for a table of somebody else's that has our name, and
    for a format that is none."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = '_replica_meta'").fetchone():
        return 0
    if {name for (name,) in db.execute("SELECT name FROM pragma_table_info('_replica_meta')")} != {"name", "value"}:
        raise StoreError("a table _replica_meta here is not the engine's: names that begin with _replica_ are its own")
    row = db.execute("SELECT value FROM _replica_meta WHERE name = 'format'").fetchone()
    if row and (type(row[0]) is not int or row[0] < 1):
        raise hopeless("the file", "the format of its store makes no sense")
    return int(row[0]) if row else 0


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the engine's tables to FORMAT, in the caller's transaction. Raises NewerStore."""
    have = installed(db)
    if have > FORMAT:
        raise NewerStore(f"{path} was written by a newer version (store format {have}, this is {FORMAT}): update")
    for number, script in enumerate(MIGRATIONS[have:], have + 1):
        for statement in script.split(";\n"):
            if statement.strip():
                db.execute(statement)
        db.execute("INSERT OR REPLACE INTO _replica_meta VALUES ('format', ?)", (number,))

"""Load: a dump becomes a database, as the first node of a new group, or in the empty file of a group that was joined.

The archive is somebody's: its schema is only ever CREATE TABLE, INDEX, VIEW and TRIGGER, one statement each, run under an
authorizer that refuses whatever else such a statement could do. One test each:

1. What was dumped comes back: rows of every kind, keys, constraints, indexes, views, triggers, counters, adoption.
2. A schema that would do anything else (ATTACH, PRAGMA, a query, a virtual or temporary table, the engine's own tables) is
   refused; nothing of it is kept.
3. Rows that are not those of the manifest are refused: fewer, more, others.
4. Nothing is under the new name unless all of it is there, adopted and verified.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from protocol.values import IllFormedText
from replica import system
from replica.backup import cells, snapshot
from replica.backup.archive import Made, Manifest, Reader, Rows
from replica.backup.dump import LINE_MAX
from replica.backup.place import check_new_database, disk_errors, private, settle, workroom
from replica.errors import FileRefused, from_sqlite
from replica.store import catalog, schema
from replica.store.adopt import Adopted, Progress
from replica.store.catalog import marks, quote
from replica.store.connection import connect
from replica.store.store import Store, initialize

_DEFINING = frozenset(
    {
        sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_READ, sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_FUNCTION,
    }
)  # fmt: skip
_FILLING = frozenset({sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})
_CODE = frozenset({"load_extension", "fts3_tokenizer"})
_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_NOMEM")


class Loaded(NamedTuple):
    """A loaded database: what was in the archive, what came of each table, the node's name and id, its root and number of
    records, and how many rows refer to none (they did before)."""

    manifest: Manifest
    adopted: list[Adopted]
    name: str
    node: bytes
    root: bytes
    records: int
    orphans: int


def load(
    path: str | Path,
    file: str | Path,
    *,
    name: str | None = None,
    progress: Progress | None = None,
    now_ms: Callable[[], int] = system.now_ms,
    random: Callable[[int], bytes] = system.random_bytes,
) -> Loaded:
    """Make the database `file` of the archive at `path`; or fill it, if it is a store without tables. `name`: of the new
    node (default: the file's). Raises FileRefused, StoreError, UsageError."""
    path, file = Path(path), Path(file)
    with disk_errors(path), open(path, "rb") as source:
        archive = Reader(source, str(path))
        if _is_empty_store(file):
            return _fill(archive, file, path, progress, now_ms, random)
        check_new_database(file, force=None)
        with workroom(file, now_ms) as room:
            made = room / "loaded.db"
            open(private(made), "wb").close()
            initialize(made, name or file.stem[:64] or "node", now_ms=now_ms, random=random)
            loaded = _fill(archive, made, path, progress, now_ms, random)
            settle(made, file, over=False)
            return loaded


def _is_empty_store(file: Path) -> bool:
    if not file.is_file():
        return False
    with closing(connect(file)) as db:
        try:
            others = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'view'").fetchall()
            return bool(schema.installed(db)) and not catalog.user_tables(db) and not others
        except sqlite3.Error as error:
            raise from_sqlite(error, str(file)) from error


def _fill(
    archive: Reader,
    file: Path,
    path: Path,
    progress: Progress | None,
    now_ms: Callable[[], int],
    random: Callable[[int], bytes],
) -> Loaded:
    manifest = archive.manifest
    with closing(connect(file)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            build(db, archive, str(path), progress)
            (orphans,) = db.execute("SELECT count(*) FROM pragma_foreign_key_check").fetchone()
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise from_sqlite(error, str(file)) from error
    with Store(file, now_ms=now_ms, random=random) as store:
        adopted: list[Adopted] = []
        if manifest.adopt is None:
            adopted = store.adopt(progress=progress)
        elif manifest.adopt:
            plain = [n for n in manifest.adopt if n not in manifest.natural]
            adopted = store.adopt(plain, natural=manifest.natural, progress=progress)
        root, records = snapshot.prove(store, path, progress)
        return Loaded(manifest, adopted, store.name, store.node_id, root, records, orphans)


def build(db: sqlite3.Connection, archive: Reader, name: str, progress: Progress | None = None) -> None:
    """Make what the archive holds, in the caller's transaction. Raises FileRefused."""
    manifest = archive.manifest
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LINE_MAX)
    _define(db, [one for one in manifest.schema if one.kind == "table"], name)
    for rows in manifest.tables:
        _insert(db, archive, rows, name, progress)
    with _only(db, _FILLING, "sqlite_sequence", f"{name}: its AUTOINCREMENT counters cannot be kept"):
        for table, last in manifest.sequences.items():
            if not db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (last, table)).rowcount:
                db.execute("INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)", (table, last))
    _define(db, [one for one in manifest.schema if one.kind != "table"], name)
    db.execute(f"PRAGMA user_version = {manifest.user_version}")
    db.execute(f"PRAGMA application_id = {manifest.application_id}")


@contextmanager
def _only(db: sqlite3.Connection, actions: frozenset[int], writes: str, what: str) -> Iterator[None]:
    """Run statements that may do only these things, and write only this table; whatever else ends in FileRefused."""

    def allow(action: int, one: str | None, two: str | None, where: str | None, _: str | None) -> int:
        if action in {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE}:
            fine = where == "main" and one == writes
        else:
            fine = action in actions and where in {"main", None} and (two or "").lower() not in _CODE
        return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY

    db.set_authorizer(allow)
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError) as error:
        if (getattr(error, "sqlite_errorname", "") or "").startswith(_DISK):
            raise
        raise FileRefused(f"{what}: {error}; nothing was kept") from error
    finally:
        db.set_authorizer(None)


def _define(db: sqlite3.Connection, some: list[Made], name: str) -> None:
    for one in some:
        with _only(db, _DEFINING, "sqlite_master", f"{name}: the {one.kind} {one.name!r} cannot be made"):
            db.execute(one.sql)
        sql = "SELECT 1 FROM sqlite_master WHERE type = ? AND name = ? AND lower(tbl_name) = lower(?)"
        if not db.execute(sql, (one.kind, one.name, one.table)).fetchone():
            raise FileRefused(f"{name}: what should make the {one.kind} {one.name!r} makes something else")


def _insert(db: sqlite3.Connection, archive: Reader, table: Rows, name: str, progress: Progress | None) -> None:
    columns = [c for (c,) in db.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (table.name,))]
    if columns != table.columns:
        raise FileRefused(f"{name}: the columns of {table.name!r} are not those of its rows")
    into = f"INSERT INTO {quote(table.name)}({', '.join(map(quote, columns))}) VALUES "
    where, digest, count = f"{name}: {table.file}", hashlib.sha256(), 0
    with _only(db, _FILLING, table.name, f"{where}: its rows cannot be stored"):
        for lines in cells.whole_lines(archive.parts(table.file), LINE_MAX, where):
            digest.update(lines)
            rows = cells.decode(lines, len(columns), where)
            _write(db, into, rows)
            count += len(rows)
            if progress:
                progress(f"loading {table.name}", count, max(count, table.rows))
    if (count, digest.hexdigest()) != (table.rows, table.sha256):
        raise FileRefused(f"{where}: its {count} rows are not the {table.rows} that were dumped: make the dump anew")


def _write(db: sqlite3.Connection, into: str, rows: list[list[Any]]) -> None:
    """Ill-formed text needs a statement of its own: Python cannot bind it."""
    odd = [number for number, row in enumerate(rows) if IllFormedText in map(type, row)]
    plain = f"({', '.join('?' * len(rows[0]))})" if rows else ""
    start = 0
    for number in [*odd, len(rows)]:
        db.executemany(into + plain, rows[start:number])
        if number < len(rows):
            db.execute(f"{into}({marks(rows[number])})", rows[number])
        start = number + 1

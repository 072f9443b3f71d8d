"""Dump: a whole database as an archive that people can read and any program can load; for another installation.

It holds what programs see: schema, rows, indexes, views, triggers, AUTOINCREMENT counters. It holds nothing of the engine:
no secrets, no stamps, no peers; what is loaded from it is a new group. That is the difference from a backup. One test each:

1. All tables come from one moment, also while others write.
2. What cannot be carried (virtual tables, and what needs them) is left out and said.
3. The same database makes the same bytes; memory does not grow with it.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from protocol.record import fold
from protocol.values import IllFormedText
from replica.backup import cells
from replica.backup.archive import KINDS, LeftOut, Made, Manifest, Rows, Writer, reserved, speaks_of_engine
from replica.backup.place import disk_errors, private, settle, workroom
from replica.errors import StoreError, TableRefused, UsageError, from_sqlite
from replica.store import catalog, schema
from replica.store.adopt import Progress
from replica.store.catalog import quote
from replica.store.connection import connect

BATCH = 512
LINE_MAX = 1 << 28
"""Bytes of a row in JSON."""


class Dumped(NamedTuple):
    """What was written. `held`: records that no table shows, and that are therefore not in it."""

    manifest: Manifest
    bytes: int
    held: int


def dump(file: str | Path, out: str | Path, *, force: bool = False, progress: Progress | None = None) -> Dumped:
    """Write the database `file`, a store or any other of SQLite, into the archive `out`; `force`: replace a file there.
    Raises StoreError, UsageError."""
    file, out = Path(file), Path(out)
    if out.is_dir() or (out.exists() and (not force or out.samefile(file))):
        raise UsageError(f"{out} exists: choose another name{'' if out.is_dir() else ', or say --force to replace it'}")
    with closing(connect(file, readonly=True)) as db, workroom(out) as room, disk_errors(out):
        made = room / "dump.zip"
        try:
            db.execute("BEGIN")
            manifest, held = _describe(db, file)
            with open(private(made), "wb+") as sink, closing(Writer(sink)) as writer:
                for number, one in enumerate([one for one in manifest.schema if one.kind == "table"], 1):
                    manifest.tables.append(_table(db, writer, one.name, number, progress))
                writer.finish(manifest)
        except sqlite3.Error as error:
            raise from_sqlite(error, str(file)) from error
        settle(made, out, over=force)
        return Dumped(manifest, out.stat().st_size, held)


def _describe(db: sqlite3.Connection, file: Path) -> tuple[Manifest, int]:
    manifest = Manifest(file.stem[:64])
    for name in ("user_version", "application_id"):
        setattr(manifest, name, db.execute(f"PRAGMA {name}").fetchone()[0])
    _schema(db, manifest)
    tables = {fold(one.name) for one in manifest.schema if one.kind == "table"}
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        found = db.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name").fetchall()
        manifest.sequences = {n: seq for n, seq in found if fold(str(n)) in tables and type(seq) is int}
    if not schema.installed(db):
        return manifest, 0
    manifest.name = str(db.execute("SELECT value FROM _replica_meta WHERE name = 'name'").fetchone()[0])
    found = db.execute("SELECT local, surrogate FROM _replica_table WHERE local IS NOT NULL ORDER BY local").fetchall()
    manifest.adopt = [n for n, _ in found if fold(n) in tables]
    manifest.natural = [n for n, surrogate in found if fold(n) in tables and not surrogate and _numbered(db, n)]
    (held,) = db.execute("SELECT count(*) FROM _replica_held").fetchone()
    return manifest, held


def _numbered(db: sqlite3.Connection, name: str) -> bool:
    try:
        return catalog.shape(db, name).rowid_alias
    except TableRefused:
        return False


def _schema(db: sqlite3.Connection, manifest: Manifest) -> None:
    """The user's objects; and what cannot go along."""
    kinds = dict(db.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main'").fetchall())
    virtual = {n for n, kind in kinds.items() if kind == "virtual"}
    found = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
    words = re.compile(r"\b(" + "|".join(re.escape(fold(n)) for n in virtual) + r")\b") if virtual else None
    for kind, name, table, sql in found:
        if reserved(name) or reserved(table) or kinds.get(name) == "shadow":
            continue
        if kind == "table" and name in virtual:
            manifest.left_out.append(LeftOut(name, "a virtual table: make it anew and fill it from the table that feeds it"))
        elif speaks_of_engine(sql):
            manifest.left_out.append(LeftOut(name, f"a {kind} that uses the engine's own tables"))
        elif kind in {"view", "trigger"} and words and (needed := words.search(fold(sql))):
            manifest.left_out.append(LeftOut(name, f"a {kind} that needs the virtual table {needed[1]!r}"))
        else:
            manifest.schema.append(Made(kind, name, table, sql))
    manifest.schema.sort(key=lambda one: KINDS.index(one.kind))


def _table(db: sqlite3.Connection, writer: Writer, name: str, number: int, progress: Progress | None) -> Rows:
    columns = [c for (c,) in db.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,))]
    (total,) = db.execute(f"SELECT count(*) FROM {quote(name)}").fetchone()
    # In the order of the table itself, whatever index would serve as well.
    sql = f"SELECT {', '.join(map(quote, columns))} FROM {quote(name)} NOT INDEXED"
    readable = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:40]
    entry = f"tables/{number:04}{'-' * bool(readable)}{readable}.jsonl"
    count, digest = 0, hashlib.sha256()
    with writer.entry(entry) as file:
        for rows in _stream(db, sql):
            lines = cells.encode(rows)
            if len(lines) > LINE_MAX and any(len(cells.encode([row])) > LINE_MAX for row in rows):
                raise StoreError(f"a row of {name!r} has over {LINE_MAX >> 20} MiB: take it out, or use `replica backup`")
            digest.update(lines)
            file.write(lines)
            count += len(rows)
            if progress:
                progress(f"writing {name}", count, total)
    return Rows(name, columns, entry, count, digest.hexdigest())


def _stream(db: sqlite3.Connection, sql: str) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in parts; of a table with text that is not UTF-8, the rest by the slow way."""
    done = 0
    try:
        for rows in _parts(db, sql):
            done += len(rows)
            yield rows
        return
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    db.text_factory = _tolerant
    try:
        for rows in _parts(db, sql):
            fresh = rows[max(0, done) :]
            done -= len(rows)
            if fresh:
                yield fresh
    finally:
        db.text_factory = str


def _parts(db: sqlite3.Connection, sql: str) -> Iterator[list[tuple[Any, ...]]]:
    with closing(db.execute(sql)) as cursor:
        while rows := cursor.fetchmany(BATCH):
            yield rows


def _tolerant(data: bytes) -> str | IllFormedText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return IllFormedText(data)

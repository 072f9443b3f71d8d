"""The disk of one machine: real SQLite files that crash, lose power, fill up, fail and rot when they are told to.

Every statement is a step; faults strike at steps. Python's sqlite3 offers no hook below SQL, so what is synced is not
observed but modelled by SQLite's contract for the settings of the connection: in WAL, FULL (2) syncs the log at each
commit, NORMAL (1) when a checkpoint runs, OFF (0) never; a checkpoint syncs the log first and the file after; a new log's
header is synced before its frames. Commits and checkpoints are seen in the index of the log, the -shm file. The loss of
directory entries is not modelled, nor a kill between two writes of one statement. One test each:

1. A process that is killed at any step finds its files as they stood, and every commit that returned.
2. A power cut loses an arbitrary part of what was not synced: under FULL no commit that returned, under OFF some; under
   FULL and NORMAL the file stays whole.
3. A full disk and a failing one raise SQLite's own errors, and the transaction is rolled back as SQLite does.
4. A late failure is reported for what has happened.
5. SQL's idea of now, in triggers too, is the machine's.
6. A dead machine runs no SQL.
7. Rot is not captured, and `verify` or SQLite's own check finds it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

from replica.store import catalog, core

SECTOR = 512
BLOCK = 8 * SECTOR
PAGES_MAX = 1_073_741_823
"""SQLite's own default of max_page_count."""
WORD = 24
"""Longer statements are no COMMIT: they need not be looked at."""

SUFFIXES = ("", "-wal", "-journal")

_FIRST = re.compile(r"(?:\s|;|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_JULIAN_MS = 210_866_760_000_000
"""1970 as SQLite counts: milliseconds since the beginning of the Julian calendar."""
_DATES = {name: (name, 0) for name in ("julianday", "date", "time", "datetime", "unixepoch")} | {
    "strftime": ("strftime", 1),
    "current_date": ("date", 0),
    "current_time": ("time", 0),
    "current_timestamp": ("datetime", 0),
}
"""SQL functions that know of now -> what they call, and which argument is the time."""
_READING = frozenset({"SELECT", "VALUES", "PRAGMA", "EXPLAIN", "ROLLBACK", "RELEASE", "ATTACH", "DETACH"})
_DEFINING = frozenset({"CREATE", "ALTER", "DROP", "REINDEX", "VACUUM", "ANALYZE"})

_execute, _executemany = sqlite3.Connection.execute, sqlite3.Connection.executemany
_cursor_execute, _cursor_executemany = sqlite3.Cursor.execute, sqlite3.Cursor.executemany


class Crash(BaseException):
    """The machine died in the middle of an SQL call. Nobody catches it but the world."""


class Image(NamedTuple):
    """What the files hold: the database, its write-ahead log, its rollback journal."""

    db: bytes = b""
    wal: bytes = b""
    journal: bytes = b""


class _Log(NamedTuple):
    """What the index of the write-ahead log says: how far it goes, and how much of it is in the database."""

    page: int
    frames: int
    salt: bytes
    backfilled: int


class Connection(sqlite3.Connection):
    """One that counts its steps, fails when it is told to, and has the machine's clock."""

    disk: Disk
    base = -1
    """total_changes when the transaction began, while the disk is full; -1: unknown."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (function, place) in _DATES.items():
            # Deterministic, as SQLite's own are to CHECK and indexes: it is called anew in each run of a statement.
            self.create_function(name, -1, partial(self.disk.sql_now, function, place), deterministic=True)
        self.disk.opened.append(self)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """One step."""
        disk = self.disk
        disk.steps += 1
        if disk.calm:
            disk.commits += sql == "COMMIT"
            return _execute(self, sql, parameters)
        return cast("sqlite3.Cursor", disk.step(self, sql, partial(_execute, self, sql, parameters)))

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """One step."""
        self.disk.steps += 1
        if self.disk.calm:
            return _executemany(self, sql, parameters)
        run = partial(_executemany, self, sql, parameters)
        return cast("sqlite3.Cursor", self.disk.step(self, sql, run))

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        """A step for each statement."""
        cursor = self.cursor()
        cursor.executescript(sql_script)
        return cast("sqlite3.Cursor", cursor)

    def cursor(self, factory: Any = None) -> Any:
        """A cursor whose statements are steps."""
        return super().cursor(factory or Cursor)

    def commit(self) -> None:
        """A step, if there is a transaction."""
        if self.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        """A step, if there is a transaction."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    def __exit__(self, kind: Any, *rest: object) -> Any:
        self.rollback() if kind else self.commit()
        return False

    def close(self) -> None:
        """Close it; the last one may checkpoint."""
        if self in self.disk.opened:
            self.disk.opened.remove(self)
            self.disk.closing(self, super().close)

    def plain(self, sql: str) -> Any:
        """The first value that a statement of the simulator's own returns: no step."""
        row = _execute(self, sql).fetchone()
        return row[0] if row else None


class Cursor(sqlite3.Cursor):
    """Of a Connection of ours."""

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """One step."""
        db = cast("Connection", self.connection)
        db.disk.steps += 1
        return db.disk.step(db, sql, partial(_cursor_execute, self, sql, parameters))

    def executemany(self, sql: str, seq_of_parameters: Any, /) -> Any:
        """One step."""
        db = cast("Connection", self.connection)
        db.disk.steps += 1
        return db.disk.step(db, sql, partial(_cursor_executemany, self, sql, seq_of_parameters))

    def executescript(self, sql_script: str, /) -> Any:
        """A step for each statement; what is open is committed first, as Python does."""
        self.connection.commit()
        statement = ""
        for part in sql_script.split(";"):
            statement += part + ";"
            if sqlite3.complete_statement(statement):
                if statement.strip(" \t\r\n;"):
                    self.execute(statement)
                statement = ""
        if statement.strip(" \t\r\n;"):
            self.execute(statement.removesuffix(";"))
        return self


class Disk:
    """The files of one machine in a folder, and their fate. `random` is drawn from only when a machine dies or rots."""

    def __init__(
        self,
        folder: Path,
        random: Random,
        now_ms: Callable[[], int],
        *,
        decide: Callable[[bytes], None] = lambda _: None,
        keep_synced: bool,
    ) -> None:
        """`decide` hears of every draw. `keep_synced`: power cuts are possible; it costs a copy of what is synced."""
        self.path = folder / "crm.db"
        self.steps = self.commits = 0
        self.opened: list[Connection] = []
        self.calm = not keep_synced
        self._random, self._now_ms, self._decide, self._keep = random, now_ms, decide, keep_synced
        self._class = cast("type[Connection]", type("Connection", (Connection,), {"disk": self}))
        self._dates = sqlite3.connect(":memory:", check_same_thread=False)
        self._crash: tuple[str, int, str] | None = None
        self._fail: tuple[int, bool, bool] | None = None
        self._full = self._filled = self._power = False
        self._found: Image | None = None
        self._last: Connection | None = None
        self._log: _Log | None = None
        self._db, self._wal, self._change = b"", bytearray(), b""
        self._upto: tuple[bytes, int] = b"", 0
        self._loose = False
        """Whether something was written that nothing orders, since all was synced."""
        self._synced(self.backup())

    # --- connections ------------------------------------------------------------------------------------------------

    def connect(
        self, path: str | Path | None = None, *, durable: bool = True, readonly: bool = False, create: bool = False
    ) -> sqlite3.Connection:
        """A connection as the engine wants it. Raises StoreError."""
        where = path or self.path
        return self._limit(core.connect(where, durable=durable, readonly=readonly, create=create, factory=self._class))

    def foreign(self) -> sqlite3.Connection:
        """A connection as another program has it."""
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False, factory=self._class)
        return self._limit(db)

    def close_all(self) -> None:
        """Close every connection, whatever it is doing."""
        for db in list(self.opened):
            db.close()

    def sql_now(self, function: str, place: int, *arguments: Any) -> Any:
        """A date function of SQL, as the machine's clock has it."""
        at = arguments[place] if len(arguments) > place else "now"
        if isinstance(at, str) and at.lower() == "now":
            at = (self._now_ms() + _JULIAN_MS) / 86_400_000.0
            if function == "julianday" and len(arguments) < 2:
                return at
            arguments = (*arguments[:place], at, *arguments[place + 1 :])
        marks = ", ".join("?" * len(arguments))
        return self._dates.execute(f"SELECT {function}({marks})", arguments).fetchone()[0]

    # --- faults to come ---------------------------------------------------------------------------------------------

    def crash_at(self, what: str, n: int, how: str) -> None:
        """Die at the n-th statement ("sql") or COMMIT ("commit") from now; `how`: "kill" or "power"."""
        self._check(how)
        self._crash = (what, max(1, n) + (self.commits if what == "commit" else self.steps), how)
        self._settle()

    def fail_at(self, n: int, late: bool, sticky: bool) -> None:
        """An I/O error at the n-th statement from now. `late`: it has run before the error is reported. `sticky`: and at
        every one after, until `heal`."""
        self._fail = (self.steps + max(1, n), late, sticky)
        self._settle()

    def fill(self, full: bool) -> None:
        """No room is left, or there is room again."""
        self._full, self._filled = full, self._filled or full
        for db in self.opened:
            db.base = -1 if db.in_transaction else db.total_changes
            self._limit(db)
        self._settle()

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """What runs in here is no step, and nothing happens to it: the world looks, the machine does nothing."""
        saved = self.steps, self.commits, self.calm
        self.calm = True
        try:
            yield
        finally:
            self.steps, self.commits, self.calm = saved

    def heal(self) -> None:
        """No more I/O errors, and there is room."""
        self._fail = None
        self.fill(False)

    def _settle(self) -> None:
        self.calm = not (self._keep or self._crash or self._fail or self._full or self._found is not None)

    def _check(self, how: str) -> None:
        if how not in {"kill", "power"} or (how == "power" and not self._keep):
            raise ValueError(f"this disk knows no crash by {how}")

    # --- a step -----------------------------------------------------------------------------------------------------

    def step(self, db: Connection, sql: str, run: Callable[[], Any]) -> Any:
        """Run one statement, or die, or fail."""
        if self._found is not None:
            raise Crash("this machine is off")
        word = _word(sql)
        commit = word in {"COMMIT", "END"}
        self.commits += commit
        if self.calm:
            return run()
        when, how = self._fate(commit)
        failing, late = self._failure(word, sql)
        if when == "before":
            self._die(how)
        if failing and not late:
            raise self._broken(db, "disk I/O error", 10, "SQLITE_IOERR")
        try:
            result = self._write(db, word, run) if self._full else run()
        except sqlite3.Error:
            if when:
                self._die(how)
            raise
        if when == "middle":
            self._die(how, middle=True)
        self._last = db
        if self._keep:
            self._observe(db, word)
        if when == "after":
            self._die(how)
        if failing:
            raise self._broken(db, "disk I/O error", 10, "SQLITE_IOERR")
        return result

    def _fate(self, commit: bool) -> tuple[str, str]:
        """When in this step the machine dies, if it does, and how."""
        if self._crash is None:
            return "", ""
        what, at, how = self._crash
        if what == "sql":
            return ("before", how) if self.steps >= at else ("", how)
        if not commit or self.commits < at:
            return "", how
        when = self._random.choice(("before", "after", "middle") if how == "power" else ("before", "after"))
        self._decide(when.encode())
        return when, how

    def _failure(self, word: str, sql: str) -> tuple[bool, bool]:
        """Whether this step fails, and whether late. To roll back needs no disk."""
        if self._fail is None or self.steps < self._fail[0] or (word == "ROLLBACK" and " TO" not in sql.upper()):
            return False, False
        _, late, sticky = self._fail
        if not sticky:
            self._fail = None
            self._settle()
        return True, late

    @staticmethod
    def _broken(db: Connection, text: str, code: int, name: str) -> sqlite3.OperationalError:
        _roll_back(db)
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode, error.sqlite_errorname = code, name
        return error

    def _die(self, how: str, *, middle: bool = False) -> None:
        self.crash(how, middle=middle)
        raise Crash(f"{how} at step {self.steps}, commit {self.commits}")

    def _limit(self, db: sqlite3.Connection) -> sqlite3.Connection:
        # A damaged file cannot say how long it is; commits to it fail all the same.
        with contextlib.suppress(sqlite3.DatabaseError):
            if self._full or self._filled:
                _execute(db, f"PRAGMA max_page_count = {1 if self._full else PAGES_MAX}").fetchone()
        return db

    def _write(self, db: Connection, word: str, run: Callable[[], Any]) -> Any:
        """Run a statement on a full disk: the log has no room for a commit that changes something."""
        full = "database or disk is full", 13, "SQLITE_FULL"
        if word in _DEFINING:
            raise self._broken(db, *full)
        if db.in_transaction:
            if word in {"COMMIT", "END"} and db.total_changes != db.base:
                raise self._broken(db, *full)
            return run()
        db.base = db.total_changes
        if word in _READING or word in {"BEGIN", "SAVEPOINT"}:
            return run()
        _execute(db, "BEGIN")
        try:
            result = run()
        except sqlite3.Error:
            _roll_back(db)
            raise
        if db.total_changes != db.base:
            raise self._broken(db, *full)
        _execute(db, "COMMIT")
        return result

    # --- what is synced ---------------------------------------------------------------------------------------------

    def closing(self, db: Connection, close: Callable[[], None]) -> None:
        """Close a connection; the last one checkpoints and deletes the log."""
        level = None
        if self._keep and self._found is None:
            try:
                level = db.plain("PRAGMA synchronous")
            except sqlite3.Error:
                level = 0  # Who cannot be asked syncs nothing.
        close()
        if level is not None:
            self._observe(db, "CLOSE", level)

    def _observe(self, db: Connection, word: str, level: int | None = None) -> None:
        """After a step of this connection: note what SQLite has synced by its contract."""
        before, now, head = self._log, self._look(), b""
        if now is None and (level is not None or not db.in_transaction):
            head = self._head()
        if before == now and (now or head in {b"", self._change}):
            return
        self._log, head = now, self._head()
        alone, self._change = before is None and head != self._change, head  # A commit without a log.
        level = db.plain("PRAGMA synchronous") if level is None else level
        if level == 0:
            self._loose = True
            return
        anew = before is not None and (now is None or now.salt != before.salt)
        seen = 0 if anew or before is None else before.backfilled
        moved = now is not None and now.backfilled != seen
        # Opening a log that is there syncs nothing.
        if now is not None and (moved or (level > 1 and (before or word not in _READING))):
            self._sync_log(now)
        # A log begins anew when all of it is in the file: since an earlier step, or this one put it there and synced it.
        behind = before is not None and before.backfilled < before.frames
        if alone or (anew and behind) or (now is not None and moved and now.backfilled == now.frames):
            self._db, self._loose = _read(self._path("")), False
        if now is None:
            self._wal.clear()

    def _sync_log(self, log: _Log) -> None:
        done = self._upto[1] if self._upto[0] == log.salt else 0
        start, end = (32 + n * (24 + log.page) if n else 0 for n in (done, log.frames))
        self._wal[start:end] = _read(self._path("-wal"), start, end - start)
        self._upto = log.salt, log.frames

    def _look(self) -> _Log | None:
        """The index of the log, if there is one. Mind: who closes a file of SQLite's drops the process's locks on it; here
        all connections live in one process, and SQLite settles their locks in memory."""
        data = _read(self._path("-shm"), 0, 100)
        if len(data) < 100 or not data[12]:
            return None
        page, frames = struct.unpack_from("=HI", data, 14)
        return _Log(page if page > 1 else 65_536, frames, data[32:40], *struct.unpack_from("=I", data, 96))

    def _head(self) -> bytes:
        return _read(self._path(""), 18, 10)

    def _path(self, suffix: str) -> str:
        return f"{self.path}{suffix}"

    # --- crashes and copies -----------------------------------------------------------------------------------------

    def crash(self, how: str, *, middle: bool = False) -> None:
        """Die now, by "kill" or "power"; `middle`: before the last step's syncs. Any SQL from here on raises Crash."""
        self._check(how)
        if self._found is not None:
            return
        if self._keep and not middle and self._last is not None and self._last in self.opened:
            self._observe(self._last, "")
        self._found, self._crash = (self._cut(middle) if how == "power" else self.backup()), None
        self._power = how == "power"
        self._settle()

    def recover(self) -> None:
        """Turn the machine on after a crash: it finds the files as they were left. Unsynced writes survive a kill, but
        not yet the next power cut."""
        if self._found is None:
            raise ValueError("this machine is not off")
        self._put(self._found)
        if self._power:
            self._synced(self._found)
        self._found = None
        self._settle()

    def backup(self) -> Image:
        """A copy of the whole disk, on or off."""
        return self._found if self._found is not None else Image(*(_read(self._path(x)) for x in SUFFIXES))

    def restore(self, image: Image) -> None:
        """Put a copy in place of what is there; the machine is off."""
        self._put(image)
        self._synced(image)
        self._found = None
        self._settle()

    def wipe(self) -> None:
        """A new disk: nothing is on it."""
        self.restore(Image(b"", b"", b""))

    def copy_to(self, other: Disk) -> None:
        """Clone the disk to a machine that is off."""
        other.restore(self.backup())

    def _put(self, image: Image) -> None:
        self.close_all()
        for suffix, data in zip(SUFFIXES, image, strict=True):
            Path(self._path(suffix)).write_bytes(data) if data else Path(self._path(suffix)).unlink(missing_ok=True)
        Path(self._path("-shm")).unlink(missing_ok=True)
        self._log, self._last, self._change = None, None, self._head()

    def _synced(self, image: Image) -> None:
        """All of this is on the disk for good."""
        self._db, self._wal, self._upto = image.db, bytearray(image.wal), (b"", 0)
        self._log, self._loose, self._change = None, False, self._head()

    def _cut(self, middle: bool) -> Image:
        """What a power cut leaves."""
        new, wal = self.backup(), bytes(self._wal)
        coin = self._random.random() < 0.5
        if self._loose:
            return Image(self._torn(self._db, new.db), self._torn(wal, new.wal))
        if not wal and not new.wal:  # A rollback journal takes back what is not committed.
            return Image(new.db if middle and coin else self._db)
        if coin and new.db != self._db:
            return Image(self._torn(self._db, new.db), new.wal)
        # The header of a new log is synced before its frames.
        return Image(self._db, self._torn(new.wal[:32] + wal[32:] if new.wal else wal, new.wal))

    def _torn(self, old: bytes, new: bytes) -> bytes:
        """Some sectors of the new, the others as they were. Draws do not depend on what the sectors hold."""
        count = -(-max(len(old), len(new)) // SECTOR)
        one, two = (self._random.getrandbits(count + 1) for _ in range(2))
        every = (1 << count) - 1
        prefix = (1 << self._random.randint(0, count)) - 1
        mask = self._random.choice((0, every, one, one & two, one | two, prefix)).to_bytes(count // 8 + 1, "little")
        sized = self._random.random() < 0.5
        self._decide(mask + bytes([sized]))
        out, kept = bytearray(old.ljust(len(new), b"\0")), 0
        for block in range(0, len(new), BLOCK):
            if old[block : block + BLOCK] == new[block : block + BLOCK]:
                continue
            for at in range(block, min(block + BLOCK, len(new)), SECTOR):
                if mask[at // SECTOR // 8] >> (at // SECTOR % 8) & 1:
                    part = new[at : at + SECTOR]
                    out[at : at + len(part)] = part
                    kept = at + len(part)
        return bytes(out[: len(new) if sized else max(len(old), kept)])

    # --- rot --------------------------------------------------------------------------------------------------------

    def rot(self, what: str) -> str:
        """Damage one "row", "digest", "trie" or "page" of a machine that is off, and say what, or "" if there is none."""
        self.close_all()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            said = "" if what == "page" else self._rot_row(db) if what == "row" else self._rot_bit(db, what)
        if what == "page":
            said = self._rot_page()
        self._synced(self.backup())
        self._decide(said.encode())
        return said

    def _rot_row(self, db: sqlite3.Connection) -> str:
        tables = [t.shape for _, t in sorted(catalog.load(db).items()) if t.shape is not None]
        self._random.shuffle(tables)
        for shape in tables:
            keys, name = [catalog.quote(c.name) for c in shape.key], catalog.quote(shape.name)
            fields = [c for c in shape.columns if not c.key]
            rows = db.execute(f"SELECT {', '.join(keys)} FROM {name} ORDER BY {', '.join(keys)}").fetchall()
            self._random.shuffle(fields)
            for column in fields if rows else ():
                key, field = self._random.choice(rows), catalog.quote(column.name)
                where = " AND ".join(f"{k} IS ?" for k in keys)
                value = 4242 if column.affinity in {"INTEGER", "REAL", "NUMERIC"} else "rotten"
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT INTO _replica_mute VALUES (1)")
                changed = db.execute(f"UPDATE OR IGNORE {name} SET {field} = ? WHERE {where} AND {field} IS NOT ?",
                                     (value, *key, value)).rowcount  # fmt: skip
                db.execute("DELETE FROM _replica_mute")
                db.execute("COMMIT")
                if changed:
                    return f"{shape.name} {key!r}: {column.name} is now {value!r}"
        return ""

    def _rot_bit(self, db: sqlite3.Connection, what: str) -> str:
        table, key, column = {"digest": ("record", "key", "digest"), "trie": ("trie", "prefix", "digests")}[what]
        rows = db.execute(f"SELECT {key}, {column} FROM _replica_{table} ORDER BY 1").fetchall()
        if not rows:
            return ""
        name, data = self._random.choice(rows)
        data, said = self._flipped(data, 0, len(data))
        db.execute(f"UPDATE _replica_{table} SET {column} = ? WHERE {key} = ?", (data, name))
        return f"_replica_{table} {name.hex() if isinstance(name, bytes) else name!r}: {said} of {column}"

    def _rot_page(self) -> str:
        """In what a b-tree page uses: the numbers of its cells, or the cells."""
        data, pages = _read(self._path("")), []
        size = int.from_bytes(data[16:18], "big")
        size = 65_536 if size == 1 else size
        for start in range(0, len(data), size):
            at = start + (0 if start else 100)
            cells, begin = struct.unpack_from(">HH", data, at + 3)
            if data[at] in {2, 5, 10, 13} and cells:
                pages.append((start + begin, start + size))
        begin, end = self._random.choice(pages)
        data, said = self._flipped(data, begin, end)
        self.path.write_bytes(data)
        return f"page {begin // size + 1}: {said} of the file"

    def _flipped(self, data: bytes, begin: int, end: int) -> tuple[bytes, str]:
        at, bit = self._random.randrange(begin, end), self._random.randrange(8)
        return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], f"bit {bit} of byte {at}"


def _roll_back(db: Connection) -> None:
    if db.in_transaction:
        _execute(db, "ROLLBACK")


def _word(sql: str) -> str:
    """The first word of a statement, without what stands before it."""
    found = _FIRST.match(sql)
    return found[1].upper() if found else ""


def _read(path: str, start: int = 0, size: int = -1) -> bytes:
    """Part of a file; nothing if there is none."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(file, os.fstat(file).st_size if size < 0 else size, start)
    finally:
        os.close(file)

"""The disk of one machine: real SQLite files that crash, lose power, fill up, fail and rot when they are told to.

Every statement is a step; faults strike at steps. What a power cut leaves is for `sim.durable` to know, what rots for
`sim.rot`. One test each:

1. A process that is killed at any step finds its files as they stood, and every commit that returned.
2. A full disk and a failing one raise SQLite's own errors, and the transaction is rolled back as SQLite does.
3. A late failure is reported for what has happened; of a commit it is known that nobody was told.
4. A dead machine runs no SQL.
5. Copies are whole, and may be put on any disk.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, cast

from replica.store import connection
from sim.connection import Connection, SqlClock
from sim.durable import READING, Durable, Image
from sim.rot import spoil

__all__ = ["Crash", "Disk", "Image"]

PAGES_MAX = 1_073_741_823
"""SQLite's own default of max_page_count."""

_FIRST = re.compile(r"(?:\s|;|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_DEFINING = frozenset({"CREATE", "ALTER", "DROP", "REINDEX", "VACUUM", "ANALYZE"})


class Crash(BaseException):
    """The machine died in the middle of an SQL call. Nobody catches it but the world."""


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
        self.clock = SqlClock(now_ms)
        self._random, self._decide, self._keep = random, decide, keep_synced
        self._class = cast("type[Connection]", type("Connection", (Connection,), {"disk": self}))
        self._crash: tuple[str, int, str] | None = None
        self._fail: tuple[int, bool, bool] | None = None
        self._full = self._filled = self._power = False
        self.untold = False
        """A commit was made that was reported as failed. Whoever looks at all of the file sets it back."""
        self._found: Image | None = None
        self._last: Connection | None = None
        self._durable = Durable(self.path, random, decide)

    # --- connections ------------------------------------------------------------------------------------------------

    def connect(
        self, path: str | Path | None = None, *, durable: bool = True, readonly: bool = False, create: bool = False
    ) -> sqlite3.Connection:
        """A connection as the engine wants it. Raises StoreError."""
        where = path or self.path
        return self._limit(connection.connect(where, durable=durable, readonly=readonly, create=create, factory=self._class))

    def foreign(self) -> sqlite3.Connection:
        """A connection as another program has it."""
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False, factory=self._class)
        return self._limit(db)

    def close_all(self) -> None:
        """Close every connection, whatever it is doing. What a dead machine leaves is known: its log need not be copied into
        a file that is no more."""
        if self._found is not None:
            self.path.unlink(missing_ok=True)
        for db in list(self.opened):
            db.close()

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

    def sync(self) -> None:
        """What stands in the files, which nobody has open, is on the disk for good: the world wrote it past this disk."""
        if self._keep:
            self._durable.keep(self._durable.image())

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
            self._durable.note(db, word)
        if when == "after":
            self._die(how)
        if failing:
            self.untold = self.untold or commit
            result.close()  # Else the error's traceback keeps it reading, and its snapshot grows old.
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
        db.take_back()
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
                cast("Connection", db).plain(f"PRAGMA max_page_count = {1 if self._full else PAGES_MAX}")
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
        if word in READING or word in {"BEGIN", "SAVEPOINT"}:
            return run()
        db.plain("BEGIN")
        try:
            result = run()
        except sqlite3.Error:
            db.take_back()
            raise
        if db.total_changes != db.base:
            raise self._broken(db, *full)
        db.plain("COMMIT")
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
            self._durable.note(db, "CLOSE", level)

    # --- crashes and copies -----------------------------------------------------------------------------------------

    def crash(self, how: str, *, middle: bool = False) -> None:
        """Die now, by "kill" or "power"; `middle`: before the last step's syncs. Any SQL from here on raises Crash."""
        self._check(how)
        if self._found is not None:
            return
        if self._keep and not middle and self._last is not None and self._last in self.opened:
            self._durable.note(self._last, "")
        self._found, self._crash = (self._durable.cut(middle) if how == "power" else self.backup()), None
        self._power = how == "power"
        self._settle()

    def recover(self) -> None:
        """Turn the machine on after a crash: it finds the files as they were left. Unsynced writes survive a kill, but
        not yet the next power cut."""
        if self._found is None:
            raise ValueError("this machine is not off")
        self._put(self._found)
        if self._power:
            self._durable.keep(self._found)
        self._found = None
        self._settle()

    def backup(self) -> Image:
        """A copy of the whole disk, on or off."""
        return self._found if self._found is not None else self._durable.image()

    def restore(self, image: Image) -> None:
        """Put a copy in place of what is there; the machine is off."""
        self._put(image)
        self._durable.keep(image)
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
        self._last = None
        self._durable.put(image)

    # --- rot --------------------------------------------------------------------------------------------------------

    def rot(self, what: str) -> str:
        """Damage one "row", "digest", "trie" or "page" of a machine that is off, and say what, or "" if there is none."""
        self.close_all()
        said = spoil(self.path, what, self._random)
        self._durable.keep(self.backup())
        self._decide(said.encode())
        return said


@lru_cache(4_096)
def _word(sql: str) -> str:
    """The first word of a statement, without what stands before it."""
    found = _FIRST.match(sql)
    return found[1].upper() if found else ""

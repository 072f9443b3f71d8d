"""A connection to the disk of a machine: each of its statements is a step, and its now is the machine's.

What happens at a step is for the disk to say; here they are only found, however a program may phrase them. One test each:

1. Steps and commits are counted however they come.
2. SQL's idea of now, in triggers too, is the machine's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from sim.disk import Disk

_JULIAN_MS = 210_866_760_000_000
"""1970 as SQLite counts: milliseconds since the beginning of the Julian calendar."""
_DATES = {name: (name, 0) for name in ("julianday", "date", "time", "datetime", "unixepoch")} | {
    "strftime": ("strftime", 1),
    "current_date": ("date", 0),
    "current_time": ("time", 0),
    "current_timestamp": ("datetime", 0),
}
"""SQL functions that know of now -> what they call, and which argument is the time."""

ASKED = 64
"""Answers that are remembered: a statement asks for the same now with each row."""

_execute, _executemany = sqlite3.Connection.execute, sqlite3.Connection.executemany
_cursor_execute, _cursor_executemany = sqlite3.Cursor.execute, sqlite3.Cursor.executemany


class SqlClock:
    """The date functions of SQL, as a machine's clock has them."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._sql = sqlite3.connect(":memory:", check_same_thread=False)
        self._asked = lru_cache(ASKED, typed=True)(self._ask)

    def call(self, function: str, place: int, *arguments: Any) -> Any:
        """A date function of SQL, as the machine's clock has it."""
        at = arguments[place] if len(arguments) > place else "now"
        if isinstance(at, str) and at.lower() == "now":
            at = (self._now_ms() + _JULIAN_MS) / 86_400_000.0
            if function == "julianday" and len(arguments) < 2:
                return at
            arguments = (*arguments[:place], at, *arguments[place + 1 :])
        return self._asked(function, *arguments)

    def _ask(self, function: str, *arguments: Any) -> Any:
        marks = ", ".join("?" * len(arguments))
        return self._sql.execute(f"SELECT {function}({marks})", arguments).fetchone()[0]


class Connection(sqlite3.Connection):
    """One that counts its steps, fails when it is told to, and has the machine's clock."""

    disk: Disk
    base = -1
    """total_changes when the transaction began, while the disk is full; -1: unknown."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (function, place) in _DATES.items():
            # Deterministic, as SQLite's own are to CHECK and indexes: it is called anew in each run of a statement.
            self.create_function(name, -1, partial(self.disk.clock.call, function, place), deterministic=True)
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

    def take_back(self) -> None:
        """Roll back what is open, as SQLite does by itself: no step."""
        if self.in_transaction:
            _execute(self, "ROLLBACK")


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

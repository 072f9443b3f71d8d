"""What a store takes of memory: a small cache for all days, a large one for large transactions, and no library in vain."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from replica.errors import RowRefused
from replica.store.connection import (
    BULK_KB,
    CACHE_KB,
    CHECKPOINT_PAGES,
    TURN_MS,
    UNHURRIED_PAGES,
    Pace,
    begin,
    connect,
    copy_log,
)
from tests.store.harness import Machine, foreign, meet

Make = Callable[..., Machine]


def test_who_is_waited_for_leaves_the_log_to_the_next_commit_unless_it_is_very_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replica.store.connection.CHECKPOINT_PAGES", 20)
    monkeypatch.setattr("replica.store.connection.UNHURRIED_PAGES", 80)
    path = tmp_path / "m.db"

    def write(db: sqlite3.Connection, pages: int) -> bool:
        """Write so many pages; whether the log was copied into the file."""
        before = path.read_bytes()
        pace.keep()
        db.execute("INSERT INTO t VALUES (randomblob(?))", (4_000 * pages,))
        return path.read_bytes() != before

    with closing(connect(path, create=True)) as db:
        db.execute("CREATE TABLE t(v)")
        copy_log(db)
        pace = Pace(db)
        with pace.unhurried():
            assert [write(db, 15) for _ in range(3)] == [False] * 3
        assert write(db, 1), "the next commit"
        with pace.unhurried():
            assert [write(db, 15), write(db, 15), write(db, 60)] == [False, False, True]
            assert not write(db, 30)
        before = path.read_bytes()
        copy_log(db)
        assert path.read_bytes() != before


def test_a_peers_batch_leaves_the_log_to_the_idle_or_to_the_next_after_so_many_records(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (machine(name, "CREATE TABLE t(id INTEGER PRIMARY KEY, v);") for name in "ab")
    assert meet(a, b)[0].in_sync
    said: list[str] = []

    unhurried = Pace.unhurried

    def late(pace: Pace) -> AbstractContextManager[None]:
        if pace is b.core.pace:
            said.append("late")
        return unhurried(pace)

    monkeypatch.setattr("replica.store.port.copy_log", lambda _: said.append("copied"))
    monkeypatch.setattr(Pace, "unhurried", late)
    monkeypatch.setattr("replica.store.port.COPY_AFTER", 30)
    steps: tuple[tuple[int, bool, list[str]], ...] = (
        (20, False, ["late"]), (5, True, ["late"]), (10, True, ["late", "copied"]), (40, False, ["late"]), (5, True, []),
    )  # fmt: skip
    for number, (rows, idle, expected) in enumerate(steps):
        a.store.put_many("t", [(1_000 * number + n, "x") for n in range(rows)])
        said.clear()
        assert meet(b, a)[0].in_sync
        if idle:
            b.store.tidy()
        assert said == expected, number
        if expected == ["late"]:  # So the note of the session, for which nobody waits longer, was late too.
            assert b.core.db.execute("PRAGMA wal_autocheckpoint").fetchone() == (UNHURRIED_PAGES,)
        b.store.set_home(f"ws://{number}")
        assert b.core.db.execute("PRAGMA wal_autocheckpoint").fetchone() == (CHECKPOINT_PAGES,)


def test_the_pace_is_told_where_it_changes_and_again_if_it_may_not_have_been_heard(tmp_path: Path) -> None:
    asked: list[str] = []
    failing = False

    class Late(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            asked.append(sql)
            done = super().execute(sql, *rest)
            if failing:
                raise KeyboardInterrupt
            return done

    with closing(connect(tmp_path / "a.db", create=True, factory=Late)) as db:
        pace = Pace(db)

        def keep() -> int:
            """How often it was told."""
            before = len(asked)
            pace.keep()
            return len(asked) - before

        assert [keep(), keep()] == [1, 0]
        with pace.unhurried():
            assert [keep(), keep()] == [1, 0]
            with pace.unhurried():
                assert keep() == 0
            assert keep() == 0
        assert [keep(), keep()] == [1, 0]
        failing = True
        with pace.unhurried(), pytest.raises(KeyboardInterrupt):
            keep()
        failing = False
        assert [keep(), keep()] == [1, 0]
        assert db.execute("PRAGMA wal_autocheckpoint").fetchone() == (CHECKPOINT_PAGES,)


def test_a_large_transaction_gives_its_cache_back(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k INTEGER PRIMARY KEY, v CHECK(v < 5));")
    sizes: list[int] = []

    def size() -> int:
        return int(m.core.db.execute("PRAGMA cache_size").fetchone()[0])

    def rows(value: int) -> Iterator[tuple[int, int]]:
        sizes.append(size())
        yield len(sizes), value

    m.store.put_many("t", rows(1))
    assert size() == -CACHE_KB
    with pytest.raises(RowRefused):
        m.store.put_many("t", rows(9))
    assert size() == -CACHE_KB
    assert sizes == [-BULK_KB] * 2


def test_a_node_loads_no_library_of_the_imports() -> None:
    """Each of them takes more memory than a sync."""
    heavy = "'numpy', 'pandas', 'pyarrow', 'duckdb', 'lxml', 'phonenumbers', 'cryptography', 'msgspec', 'ijson'"
    code = f"import sys, replica.node; print([n for n in ({heavy}) if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_writer_without_pause_lets_others_in(tmp_path: Path) -> None:
    """SQLite itself would ask 12 times in 300 ms, and less and less often."""
    asked: list[str] = []
    path = tmp_path / "a.db"

    class Counted(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            asked.append(sql)
            if sql == "BEGIN IMMEDIATE" and asked.count(sql) < 5:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY  # As after a crash of another program.
                raise error
            if sql == "BEGIN IMMEDIATE" and asked.count(sql) == 90:
                other.rollback()
            return super().execute(sql, *rest)

    with closing(connect(path, create=True, factory=Counted)) as db, closing(foreign(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        begin(db, 100 * TURN_MS)
        assert (db.in_transaction, asked.count("BEGIN IMMEDIATE")) == (True, 90)
        assert db.execute("PRAGMA busy_timeout").fetchone() == (100 * TURN_MS,)
        db.rollback()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            begin(db, 4 * TURN_MS)
        assert asked.count("BEGIN IMMEDIATE") == 94
        assert db.execute("PRAGMA busy_timeout").fetchone() == (4 * TURN_MS,)

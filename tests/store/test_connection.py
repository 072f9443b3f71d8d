"""What a store takes of memory: a small cache for all days, a large one for large transactions, and no library in vain."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from replica.errors import RowRefused
from replica.store.connection import BULK_KB, CACHE_KB, TURN_MS, begin, connect
from tests.store.harness import Machine, foreign

Make = Callable[..., Machine]


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

"""A user's database is left as it was."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from replica.errors import UsageError
from sim.theirs import left_out, theirs


def made(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA journal_mode = {mode}")
    db.execute("CREATE TABLE t(a)")
    db.execute("INSERT INTO t VALUES (1)")
    return db


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_nothing_is_left_beside_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a b.db"
    made(path, mode).close()
    before = path.read_bytes()
    with closing(theirs(path)) as db:
        assert db.execute("SELECT a FROM t").fetchall() == [(1,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("INSERT INTO t VALUES (2)")
    assert [file.name for file in tmp_path.iterdir()] == ["a b.db"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_what_another_program_writes_is_read(tmp_path: Path, mode: str) -> None:
    with closing(made(tmp_path / "a.db", mode)) as writer, closing(theirs(tmp_path / "a.db")) as db:
        assert db.execute("SELECT a FROM t").fetchall() == [(1,)]
        writer.execute("INSERT INTO t VALUES (2)")
        assert db.execute("SELECT a FROM t").fetchall() == [(1,), (2,)]


def test_what_is_no_database_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to be one" * 30)
    for name, said in (("none.db", "no such file"), ("", "no plain file"), ("text.db", "not a database")):
        with pytest.raises(UsageError, match=f"{re.escape(str(tmp_path / name))}: .*{said}"):
            theirs(tmp_path / name)


def test_tables_that_no_node_replicates_are_told_with_the_reason() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript("CREATE TABLE x(a); CREATE TABLE y(id TEXT PRIMARY KEY);")
        assert [*left_out(db)] == ["x"]
        assert "'x'" in left_out(db)["x"]

"""Outputs: what cannot be written, or must not be, is refused before the work."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from replica.errors import UsageError
from sim.outputs import check


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "folder"), (tmp_path / "no" / "x.html", "there is no folder")):
        with pytest.raises(UsageError, match=words):
            check({"--report": path}, {})
    with pytest.raises(UsageError, match="--report: it names no file"):
        check({"--report": ""}, {})
    check({"--report": tmp_path / "x.html", "--save": None}, {"--db": ""})


def test_nobodys_database_is_overwritten(tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    with closing(sqlite3.connect(own)) as db:
        db.execute("CREATE TABLE t(k)")
    with pytest.raises(UsageError, match="--db names the same file"):
        check({"--report": own}, {"--db": tmp_path / "." / "own.db"})
    with pytest.raises(UsageError, match="this is a database"):
        check({"--save": own}, {})
    with pytest.raises(UsageError, match="--report names the same file"):
        check({"--report": tmp_path / "a", "--save": tmp_path / "a"}, {})

"""A file made by copying keeps the promise of its header."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

from replica.store.store import Store, initialize
from sim.founding import copied
from sim.workload import CRM

NOW_MS = 1_800_000_000_000


def said(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [*db.iterdump(), *map(repr, db.execute("PRAGMA schema_version"))]


def test_a_copy_says_what_one_says_that_was_made_by_itself(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "tables.db")) as db:
        db.executescript(CRM + "CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, a);")
        db.execute("INSERT INTO counted(a) VALUES (1)")
        db.commit()
    own, secrets = [tmp_path / "hq.db", tmp_path / "own.db"], None
    chances = [Random(0), Random(1)]
    for number, path in enumerate(own):
        shutil.copyfile(tmp_path / "tables.db", path)
        initialize(path, f"node {number}", secrets, now_ms=lambda: NOW_MS, random=chances[number].randbytes)
        with Store(path) as store:
            store.adopt()
            secrets = store.secrets()
    random = Random(1)
    copied(own[0], tmp_path / "copy.db", "node 1", lambda: NOW_MS, random.randbytes)
    assert said(tmp_path / "copy.db") == said(own[1]) != said(own[0])
    assert random.getstate() == chances[1].getstate()
    with Store(tmp_path / "copy.db") as store:
        assert store.verify() == []

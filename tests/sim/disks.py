"""Disks for tests: with a table of numbers, or with the engine and forty rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from replica.store.store import Store, initialize
from sim.disk import Crash, Disk
from tests.store.harness import SECRETS

NOW = 1_800_000_000_123


def made(folder: Path, seed: int = 0, *, synced: bool = True) -> Disk:
    """A disk with one table in a file that uses write-ahead logging."""
    folder.mkdir(exist_ok=True)
    disk = Disk(folder, Random(seed), lambda: NOW, keep_synced=synced)
    disk.connect(create=True).execute("CREATE TABLE t(n INTEGER PRIMARY KEY, x)")
    return disk


def numbers(disk: Disk) -> list[int]:
    db = disk.foreign()
    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        return []  # The table was lost too.
    return [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]


def work(disk: Disk, db: sqlite3.Connection, upto: int) -> list[int]:
    """Commit numbers until the machine dies. Returns those whose commit returned."""
    done: list[int] = []
    try:
        for n in range(upto):
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO t VALUES (?, randomblob(?))", (n, 3_000 if n % 3 else 40))
            db.execute("COMMIT")
            done.append(n)
    except Crash:
        return done
    disk.crash("kill" if disk.calm else "power")
    return done


def whole(disk: Disk) -> bool:
    try:
        return bool(disk.foreign().execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    except sqlite3.DatabaseError:
        return False


def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Disk, Callable[[], Store]]:
    """The engine on a disk, with forty rows."""
    disk = Disk(folder, Random(3), lambda: NOW, keep_synced=True)
    for room in ("store", "port"):
        monkeypatch.setattr(f"replica.store.{room}.connect", disk.connect)
    disk.foreign().execute("CREATE TABLE c(id TEXT PRIMARY KEY, name TEXT, age INTEGER)")
    chance = Random(4)
    initialize(disk.path, "n", SECRETS, now_ms=lambda: NOW, random=chance.randbytes)

    def opened() -> Store:
        return Store(disk.path, now_ms=lambda: NOW, random=chance.randbytes)

    with opened() as one:
        one.adopt()
        one.put_many("c", [{"id": f"c{n}", "name": "Ada", "age": n} for n in range(40)])
    return disk, opened

"""The disk dies, fills up and fails as its header promises."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from replica.errors import DiskFull, StoreError, from_sqlite
from sim.disk import Crash, Disk
from tests.sim.disks import NOW, made, numbers, whole, work


def test_a_killed_process_loses_no_commit(tmp_path: Path) -> None:
    for seed in range(40):
        disk = made(tmp_path / str(seed), seed, synced=False)
        db = disk.connect()
        disk.crash_at("commit" if seed % 2 else "sql", 1 + seed, "kill")
        done = work(disk, db, 50)
        disk.recover()
        assert whole(disk)
        assert numbers(disk) in (done, [*done, len(done)])
        disk.close_all()


def test_a_dead_machine_runs_no_sql(tmp_path: Path) -> None:
    disk = made(tmp_path)
    db = disk.connect()
    disk.crash("kill")
    with pytest.raises(Crash):
        db.execute("SELECT n FROM t WHERE n = 12345")
    with pytest.raises(Crash):
        db.cursor().execute("SELECT 1")
    disk.recover()
    assert numbers(disk) == []


def real_full(folder: Path) -> sqlite3.Error:
    db = sqlite3.connect(folder / "real.db", isolation_level=None)
    db.execute("CREATE TABLE t(x)")
    db.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    db.close()
    return caught.value


def test_a_full_disk_fails_as_sqlite_does(tmp_path: Path) -> None:
    disk = made(tmp_path)
    engine, other = disk.connect(), disk.foreign()
    engine.execute("INSERT INTO t VALUES (1, 'a')")
    disk.fill(True)
    real = real_full(tmp_path)
    for statement in ("UPDATE t SET x = 'b'", "CREATE TABLE u(x)", "INSERT INTO t VALUES (2, zeroblob(50000))"):
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute(statement)
        found = caught.value
        assert (str(found), found.sqlite_errorcode, found.sqlite_errorname) == (str(real), 13, "SQLITE_FULL")
        assert isinstance(from_sqlite(found, ""), DiskFull)
    engine.execute("BEGIN IMMEDIATE")
    engine.execute("UPDATE t SET x = 'c' WHERE n = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        engine.execute("COMMIT")
    assert not engine.in_transaction
    engine.execute("BEGIN")
    assert engine.execute("SELECT x FROM t").fetchall() == [("a",)]
    engine.execute("COMMIT")
    disk.fill(False)
    engine.execute("INSERT INTO t VALUES (2, zeroblob(50000))")
    assert numbers(disk) == [1, 2]


@pytest.mark.parametrize("late", [False, True])
def test_a_failed_commit_is_rolled_back_or_done(tmp_path: Path, late: bool) -> None:
    disk = made(tmp_path)
    db = disk.connect()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES (1, 'a')")
    disk.fail_at(1, late, False)
    with pytest.raises(sqlite3.OperationalError) as caught:
        db.execute("COMMIT")
    assert (caught.value.sqlite_errorcode, caught.value.sqlite_errorname) == (10, "SQLITE_IOERR")
    assert type(from_sqlite(caught.value, "")) is StoreError
    assert not db.in_transaction
    assert disk.untold is late
    assert numbers(disk) == ([1] if late else [])


def test_a_sticky_failure_lasts_until_it_is_healed(tmp_path: Path) -> None:
    disk = made(tmp_path)
    db = disk.connect()
    disk.fail_at(2, False, True)
    db.execute("SELECT 1")
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            db.execute("SELECT 1")
    disk.heal()
    db.execute("SELECT 1")


def test_copies_are_whole(tmp_path: Path) -> None:
    disk = made(tmp_path / "a")
    db = disk.connect()
    db.execute("INSERT INTO t VALUES (1, 1)")
    image = disk.backup()
    db.execute("INSERT INTO t VALUES (2, 1)")
    (tmp_path / "b").mkdir()
    other = Disk(tmp_path / "b", Random(1), lambda: NOW, keep_synced=True)
    disk.copy_to(other)
    disk.restore(image)
    assert (numbers(disk), numbers(other)) == ([1], [1, 2])


def test_what_the_world_wrote_past_a_disk_may_be_lost_by_a_power_cut_but_not_after_sync(tmp_path: Path) -> None:
    for synced in (True, False):
        found = []
        for seed in range(12):
            disk = made(tmp_path / f"{synced}{seed}", seed)
            disk.close_all()
            with closing(sqlite3.connect(disk.path, isolation_level=None)) as past:
                past.execute("INSERT INTO t VALUES (7, 'past')")
            if synced:
                disk.sync()
            disk.crash("power")
            disk.recover()
            found.append(numbers(disk))
            disk.close_all()
        assert ([] in found) is not synced

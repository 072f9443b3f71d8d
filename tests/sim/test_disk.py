"""The disk dies, fills up, fails and rots as its header promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from replica.errors import DiskFull, StoreError, from_sqlite
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


def cuts(tmp_path: Path, level: str, seeds: int) -> tuple[int, int]:
    """How many cuts lost commits that had returned, and how many left a broken file."""
    lost = broken = 0
    for seed in range(seeds):
        disk = made(tmp_path / f"{level}{seed}", seed)
        db = disk.connect()
        db.execute(f"PRAGMA synchronous = {level}")
        db.execute("PRAGMA wal_autocheckpoint = 7")
        disk.crash_at("commit" if seed % 3 else "sql", 5 + seed, "power")
        done = work(disk, db, 60)
        disk.recover()
        if not whole(disk):
            broken += 1
        else:
            found = numbers(disk)
            assert found == list(range(len(found)))
            assert len(found) <= len(done) + 1
            lost += len(found) < len(done)
        disk.close_all()
    return lost, broken


def test_a_power_cut_under_full_loses_nothing(tmp_path: Path) -> None:
    assert cuts(tmp_path, "FULL", 60) == (0, 0)


def test_a_power_cut_under_normal_loses_the_last_commits_only(tmp_path: Path) -> None:
    lost, broken = cuts(tmp_path, "NORMAL", 40)
    assert lost > 0
    assert broken == 0


def test_a_power_cut_without_syncs_loses_and_breaks(tmp_path: Path) -> None:
    lost, broken = cuts(tmp_path, "OFF", 40)
    assert lost > 0
    assert broken > 0


def test_a_kill_syncs_nothing(tmp_path: Path) -> None:
    lost = 0
    for seed in range(20):
        disk = made(tmp_path / str(seed), seed)
        db = disk.connect()
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("INSERT INTO t VALUES (1, 2)")
        disk.crash("kill")
        disk.recover()
        assert numbers(disk) == [1]
        disk.crash("power")
        disk.recover()
        lost += numbers(disk) == []
        assert whole(disk)
        disk.close_all()
    assert lost


def test_cuts_repeat(tmp_path: Path) -> None:
    runs = []
    for n in range(2):
        (tmp_path / str(n)).mkdir()
        said: list[bytes] = []
        disk = Disk(tmp_path / str(n), Random(5), lambda: NOW, decide=said.append, keep_synced=True)
        db = disk.connect(create=True)
        db.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, x)")
        db.execute("PRAGMA synchronous = NORMAL")
        disk.crash_at("commit", 9, "power")
        done = work(disk, db, 20)
        disk.recover()
        runs.append((said, done, disk.steps, disk.commits, numbers(disk)))
    assert runs[0] == runs[1]
    assert runs[0][0]


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


def test_sql_has_the_clock_of_the_machine(tmp_path: Path) -> None:
    disk = made(tmp_path)
    db = disk.foreign()
    db.execute("CREATE TABLE o(at)")
    now = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
    db.execute(f"CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO o VALUES ({now}); END")
    db.execute("INSERT INTO t VALUES (1, 1)")
    assert db.execute("SELECT at FROM o").fetchall() == [(NOW,)]
    row = db.execute("SELECT julianday('2000-01-01'), datetime('now'), strftime('%s', 'now'), CURRENT_DATE").fetchone()
    assert row == (2451544.5, "2027-01-15 08:00:00", "1800000000", "2027-01-15")
    assert db.execute("SELECT julianday('now', '+1 day') - julianday('now')").fetchone() == (1.0,)


def test_steps_and_commits_are_counted_however_they_come(tmp_path: Path) -> None:
    disk = made(tmp_path, synced=False)
    db = disk.foreign()
    steps, commits = disk.steps, disk.commits
    db.execute("BEGIN")
    db.executemany("INSERT INTO t VALUES (?, 0)", [(1,), (2,)])
    db.cursor().execute(" end ; ")
    db.executescript("BEGIN; INSERT INTO t VALUES (3, 'a;b'); COMMIT")
    with db:
        db.execute("BEGIN")
    assert (disk.steps - steps, disk.commits - commits) == (8, 3)
    assert numbers(disk) == [1, 2, 3]


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


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Disk, Callable[[], Store]]:
    """The engine on a disk, with forty rows."""
    disk = Disk(tmp_path, Random(3), lambda: NOW, keep_synced=True)
    monkeypatch.setattr("replica.store.store.connect", disk.connect)
    disk.foreign().execute("CREATE TABLE c(id TEXT PRIMARY KEY, name TEXT, age INTEGER)")
    chance = Random(4)
    initialize(disk.path, "n", SECRETS, now_ms=lambda: NOW, random=chance.randbytes)

    def opened() -> Store:
        return Store(disk.path, now_ms=lambda: NOW, random=chance.randbytes)

    with opened() as one:
        one.adopt()
        one.put_many("c", [{"id": f"c{n}", "name": "Ada", "age": n} for n in range(40)])
    return disk, opened


@pytest.mark.parametrize("what", ["row", "digest", "trie"])
def test_rot_is_found_by_verify(store: tuple[Disk, Callable[[], Store]], what: str) -> None:
    disk, opened = store
    with opened() as one:
        assert one.verify() == []
    assert disk.rot(what)
    with opened() as one:
        assert one.verify() != []


def test_rot_of_a_page_is_one_bit(store: tuple[Disk, Callable[[], Store]]) -> None:
    disk, _ = store
    disk.close_all()
    before = disk.backup().db
    assert disk.rot("page")
    after = disk.backup().db
    assert sum((a ^ b).bit_count() for a, b in zip(before, after, strict=True)) == 1
    assert before[:100] == after[:100]


def test_the_engine_survives_a_cut_at_any_commit(store: tuple[Disk, Callable[[], Store]]) -> None:
    disk, opened = store
    for n in range(12):
        disk.crash_at("commit", 1 + n % 3, "power")
        with pytest.raises(Crash):  # noqa: SIM117
            with opened() as one:
                for k in range(5):
                    one.put_many("c", [{"id": f"d{n}", "name": "Bo", "age": k}])
        disk.recover()
        with opened() as one:
            assert one.verify() == []

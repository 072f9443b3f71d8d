"""A power cut leaves what was synced, and some of the rest, as the header of the module promises."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from sim.disk import Crash, Disk
from tests.sim.disks import NOW, engine, made, numbers, whole, work


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


@pytest.mark.parametrize("level", ["OFF", "NORMAL", "FULL"])
def test_to_read_in_a_transaction_changes_nothing_of_what_is_synced(tmp_path: Path, level: str) -> None:
    """After a SELECT the files are not looked at; after VALUES, which reads as much, they are."""

    def left(how: str, seed: int) -> tuple[int, int, list[int]]:
        chance, disk = Random(seed), made(tmp_path / f"{how}{seed}", seed)
        both = [disk.connect(), disk.connect()]
        for db in both:
            db.execute(f"PRAGMA synchronous = {level}")
            db.execute("PRAGMA wal_autocheckpoint = 5")
        for n in range(12):
            one, other = chance.sample(both, 2)
            one.execute("BEGIN IMMEDIATE")
            for db in chance.choices(both, k=3):
                db.execute(f"{how} ((SELECT count(*) FROM t))").fetchall()
            one.execute("INSERT INTO t VALUES (?, zeroblob(3000))", (n,))
            one.execute(f"{how} ((SELECT count(*) FROM t))").fetchall()
            one.execute(chance.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
            if chance.random() < 0.3:
                other.close()
                both = [one, disk.connect()]
        disk.crash("power")
        found = disk.backup()  # The log is salted by chance.
        disk.recover()
        return len(found.db), len(found.wal), numbers(disk) if whole(disk) else [-1]

    assert [left("SELECT", seed) for seed in range(8)] == [left("VALUES", seed) for seed in range(8)]


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


def test_the_engine_survives_a_cut_at_any_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, opened = engine(tmp_path, monkeypatch)
    for n in range(12):
        disk.crash_at("commit", 1 + n % 3, "power")
        with pytest.raises(Crash):  # noqa: SIM117
            with opened() as one:
                for k in range(5):
                    one.put_many("c", [{"id": f"d{n}", "name": "Bo", "age": k}])
        disk.recover()
        with opened() as one:
            assert one.verify() == []

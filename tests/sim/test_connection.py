"""A statement is a step, and now is the machine's, as the header of the module promises."""

from __future__ import annotations

from pathlib import Path

from tests.sim.disks import NOW, made, numbers


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

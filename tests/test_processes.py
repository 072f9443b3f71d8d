"""Real processes over real sockets and files: kill -9, two writers, the command line from outside."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protocol.hlc import unpack
from replica.store.store import Store
from tests.nodes import CONTACTS, make_pair, program, rows_of

ROOT = Path(__file__).parent.parent
KILLS = 25
"""In each of the two tests: 50 in all."""


def replica(*arguments: str | Path, code: int = 0) -> str:
    """Run the command line; return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "replica.cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A child process with its standard output, gone at the end."""
    child = subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@contextmanager
def server(file: Path) -> Iterator[str]:
    """`replica serve` on a free port; its address."""
    with started("-m", "replica.cli", "serve", file, "--listen", "127.0.0.1:0") as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.startswith("listening on "), line
        yield line.split()[-1]


def stamps(path: Path) -> set[bytes]:
    """The times of every stamp that this node issued, as far as the state still shows them."""
    with program(path) as db:
        rows = db.execute("SELECT stamps FROM _replica_record").fetchall()
    return {row[i : i + 16] for (row,) in rows for i in range(0, len(row), 16)}


def test_kill_9_during_bulk_writes_loses_nothing_acknowledged(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    seed = 20260101
    chance = random.Random(seed)
    greatest = b""
    for run in range(KILLS):
        acknowledged = -1
        with started("-m", "tests.crash_writer", hq, str(run)) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                acknowledged = int(child.stdout.readline())
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            for line in child.stdout:
                acknowledged = int(line) if line.endswith("\n") else acknowledged
        with program(hq) as db:
            (there,) = db.execute("SELECT count(*) FROM contacts WHERE id LIKE ?", [f"{run}-%"]).fetchone()
        assert there >= 40 * (acknowledged + 1), f"seed {seed}, run {run}: {there} rows of {acknowledged + 1} batches"
        assert there % 40 == 0, f"seed {seed}, run {run}: a batch was torn"
        new = {s for s in stamps(hq) if s > greatest}
        assert new, f"seed {seed}, run {run}: no stamp is above {unpack(greatest) if greatest else None}"
        greatest = max(new)
    with Store(hq) as store:
        assert store.verify() == []


def test_kill_9_during_sync_keeps_what_was_applied_and_goes_on(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=20_000)
    seed = 20260102
    chance = random.Random(seed)
    counts = []
    with server(hq) as url:
        for run in range(KILLS):
            with program(hq) as db:
                db.execute("UPDATE contacts SET notes = ? WHERE id LIKE ?", [f"run {run}", f"c0{run % 10:02}%"])
            with started("-m", "replica.cli", "sync", laptop, url) as child:
                try:
                    child.wait(timeout=chance.uniform(0.2, 0.9))
                except subprocess.TimeoutExpired:
                    os.kill(child.pid, signal.SIGKILL)
            with Store(laptop) as store:
                counts.append(store.root()[1])
        assert counts == sorted(counts), f"seed {seed}: something applied was lost: {counts}"
        replica("sync", laptop, url)
        replica("verify", laptop)
    assert rows_of(hq) == rows_of(laptop)


def test_kill_9_of_the_server_is_one_clear_message(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=10)
    with server(hq) as url:
        replica("sync", laptop, url)
    assert "cannot be reached" in replica("sync", laptop, url, code=3)
    replica("verify", hq)


def test_databases_that_were_adopted_apart_differ_and_that_is_the_exit_code(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    with program(laptop) as db:
        db.execute(CONTACTS)
        db.executemany("INSERT INTO contacts VALUES (?, 'other', '', '')", ((f"c{n:06}",) for n in range(20)))
    replica("adopt", laptop)
    with server(hq) as url:
        assert "different rows" in replica("sync", laptop, url, code=1)
        replica("sync", laptop, "--accept-different", url)
    assert rows_of(hq) == rows_of(laptop)


def test_two_processes_write_and_sync_one_file(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=100)
    with server(hq) as url:
        replica("sync", laptop, url)
        with started("-m", "tests.crash_writer", laptop, "other") as writer:
            assert writer.stdout is not None
            for _ in range(5):
                writer.stdout.readline()
                replica("sync", laptop, url)
        report = json.loads(replica("sync", laptop, url, "--json"))[0]
        assert report["outcome"] == "in sync"
    assert rows_of(hq) == rows_of(laptop)
    replica("verify", laptop)


def test_a_locked_file_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hq, _ = make_pair(tmp_path)
    monkeypatch.setattr("replica.store.connection.BUSY_MS", 50)
    other = sqlite3.connect(hq, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    from replica.cli import main

    assert main(["sql", str(hq), "DELETE FROM contacts"]) == 4
    other.execute("COMMIT")
    other.close()
    assert main(["sql", str(hq), "DELETE FROM contacts"]) == 0


def test_the_shell_of_sqlite_is_a_writer_like_any_other(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=5)
    script = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1])\n"
        "db.executescript(\"\"\"BEGIN; UPDATE contacts SET id = 'moved' WHERE id = 'c000001';\n"
        "INSERT OR REPLACE INTO contacts(id, name) VALUES ('c000002', 'replaced');\n"
        "DELETE FROM contacts WHERE id = 'c000003'; COMMIT;\n"
        'BEGIN; DELETE FROM contacts; ROLLBACK;""")\n'
    )
    subprocess.run([sys.executable, "-c", script, str(hq)], check=True)
    with server(hq) as url:
        replica("sync", laptop, url)
    assert [row[0] for row in rows_of(laptop)] == ["c000000", "c000002", "c000004", "moved"]
    assert rows_of(hq) == rows_of(laptop)

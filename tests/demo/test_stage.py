"""The promises of replica/demo/stage.py that need no replica, in order."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import sys
from pathlib import Path

import pytest

from replica.demo import stage
from replica.demo.stage import DemoError


def test_1_only_what_a_demonstration_made_is_deleted(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "hq.db").write_bytes(b"somebody's")
    with pytest.raises(DemoError, match="was not made by this demonstration"):
        stage.prepare(foreign, None)
    assert (foreign / "hq.db").exists()

    ours = tmp_path / "ours"
    stage.prepare(ours, None)
    for name in ("hq.db", "hq.db-wal", "laptop.log"):
        (ours / name).touch()
    stage.prepare(ours, None)
    assert [path.name for path in ours.iterdir()] == [stage.MARKER]
    (ours / "hq.db").touch()
    (ours / "letter.txt").touch()
    with pytest.raises(DemoError, match=r"holds letter\.txt"):
        stage.prepare(ours, None)
    with pytest.raises(DemoError, match="emptied first"):
        stage.prepare(ours, ours / "hq.db")
    assert (ours / "hq.db").exists()


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("in_use", [False, True])
def test_2_the_original_is_only_read(tmp_path: Path, mode: str, in_use: bool) -> None:
    (tmp_path / "theirs").mkdir()
    original = tmp_path / "theirs" / "crm.db"
    with contextlib.closing(sqlite3.connect(original)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        with connection:
            connection.execute("CREATE TABLE t (a TEXT)")
            connection.execute("INSERT INTO t VALUES ('é')")
        if not in_use:
            connection.close()
        names, digest = sorted(original.parent.iterdir()), hashlib.sha256(original.read_bytes()).digest()
        stage.copy_database(original, tmp_path / "copy.db")
        assert sorted(original.parent.iterdir()) == names
        assert hashlib.sha256(original.read_bytes()).digest() == digest
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT a FROM t").fetchall() == [("é",)]


def test_3_a_server_is_ready_when_it_says_so_and_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import time; print('hello'); print('listening on ws://127.0.0.1:1', flush=True); time.sleep(600)"
    monkeypatch.setattr(stage, "COMMAND", (sys.executable, "-c", program))
    with stage.Servers(tmp_path) as servers:
        assert servers.start("hq") == "ws://127.0.0.1:1"
        process = servers._running["hq"].process
        assert process.poll() is None
    assert process.poll() is not None

    monkeypatch.setattr(stage, "COMMAND", (sys.executable, "-c", "import sys; sys.exit('no port')"))
    with stage.Servers(tmp_path) as servers, pytest.raises(DemoError, match="no port"):
        servers.start("branch")


def test_4_an_invite_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; sys.exit(' '.join(sys.argv))"
    monkeypatch.setattr(stage, "COMMAND", (sys.executable, "-c", program))
    with pytest.raises(DemoError) as caught:
        stage.run("init", "a.db", "--join", "hush", secret="hush")
    assert "hush" not in str(caught.value)
    assert "--join INVITE" in str(caught.value)

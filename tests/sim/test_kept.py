"""The file of a swarm: it counts only what was found by this program, with these options, on this database."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import sim.kept as module
from replica.errors import UsageError
from sim.kept import kept

OPTIONS = {"nodes": 2, "faults": ("cut",)}
LINE = {"seed": 1, "ok": True, "invariant": "", "cpu_s": 0.5}


def lines(state: Path, db: str = "", options: dict[str, Any] = OPTIONS, add: Any = None) -> list[dict[str, Any]]:
    with kept(state, options, db) as (old, keep):
        if add:
            keep(add)
        return old


def test_a_torn_line_is_run_again(tmp_path: Path) -> None:
    state = tmp_path / "s.jsonl"
    assert lines(state, add=LINE) == []
    whole = state.read_bytes()
    state.write_bytes(whole + b'{"seed": 2, "o\xc3')
    assert lines(state) == [LINE]
    assert state.read_bytes() == whole


@pytest.mark.parametrize("damage", [
    b'{"seed": 2}', b"zz", b"[1]", b"\xff", b"[" * 100_000, json.dumps(LINE | {"ok": "yes"}).encode(),
])  # fmt: skip
def test_other_damage_is_told_with_its_line(damage: bytes, tmp_path: Path) -> None:
    state = tmp_path / "s.jsonl"
    lines(state, add=LINE)
    state.write_bytes(state.read_bytes() + damage + b"\n" + json.dumps(LINE).encode() + b"\n")
    before = state.read_bytes()
    with pytest.raises(UsageError, match="line 3 is no result of a seed"):
        lines(state)
    assert state.read_bytes() == before


@pytest.mark.parametrize("data", [b'{"my": "config"}', b'{"my": "config"}\n', b"zz\n", b"x" * 9])
def test_what_never_was_a_file_of_a_swarm_is_left_alone(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(data)
    with pytest.raises(UsageError, match="no file of a swarm"):
        lines(tmp_path / "config")
    assert (tmp_path / "config").read_bytes() == data


def test_a_torn_first_line_is_written_again(tmp_path: Path) -> None:
    state = tmp_path / "s.jsonl"
    lines(state)
    whole = state.read_bytes()
    state.write_bytes(whole[:9])
    assert lines(state, add=LINE) == []
    assert state.read_bytes().startswith(whole)


def test_two_swarms_do_not_write_one_file(tmp_path: Path) -> None:
    with kept(tmp_path / "s.jsonl", OPTIONS, ""), pytest.raises(UsageError, match="another swarm is writing it"):
        lines(tmp_path / "s.jsonl")


def test_the_file_of_another_swarm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, db = tmp_path / "s.jsonl", tmp_path / "a.db"
    made = sqlite3.connect(db, isolation_level=None)
    made.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t(a)")
    lines(state, str(db), add=LINE)
    before = state.read_bytes()
    assert lines(state, str(db)) == [LINE]
    with pytest.raises(UsageError, match="another swarm: other options;"):
        lines(state, str(db), {"nodes": 3})
    made.execute("PRAGMA wal_checkpoint")
    made.close()
    assert lines(state, str(db)) == [LINE]
    with closing(sqlite3.connect(db, isolation_level=None)) as made:
        made.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(UsageError, match="another swarm: another content of the database;"):
        lines(state, str(db))
    monkeypatch.setattr(module, "program", lambda: "later")
    with pytest.raises(UsageError, match="another swarm: another state of the program, another content"):
        lines(state, str(db))
    assert state.read_bytes() == before
    state.write_text(json.dumps({"swarm": OPTIONS}) + "\n")
    with pytest.raises(UsageError, match="another state of the program"):
        lines(state)


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/full"), tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="no plain file"):
            lines(path)

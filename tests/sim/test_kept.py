"""The file of a swarm: it counts only what was found by this program, with these options, on this database."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize(("damage", "said"), [
    (b'{"seed": 2}', "line 3: it has no 'ok'"), (b"zz", "line 3: it cannot be used"), (b"[1]", "line 3: .* no object"),
    (b"\xff", "line 3: it cannot be used"), (json.dumps(LINE | {"ok": "yes"}).encode(), "line 3: it has no 'ok'"),
])  # fmt: skip
def test_other_damage_is_told_with_its_line(damage: bytes, said: str, tmp_path: Path) -> None:
    state = tmp_path / "s.jsonl"
    lines(state, add=LINE)
    state.write_bytes(state.read_bytes() + damage + b"\n" + json.dumps(LINE).encode() + b"\n")
    before = state.read_bytes()
    with pytest.raises(UsageError, match=said):
        lines(state)
    assert state.read_bytes() == before


def test_the_file_of_another_swarm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, db = tmp_path / "s.jsonl", tmp_path / "a.db"
    db.write_bytes(b"one")
    lines(state, str(db), add=LINE)
    before = state.read_bytes()
    assert lines(state, str(db)) == [LINE]
    with pytest.raises(UsageError, match="another swarm: other options;"):
        lines(state, str(db), {"nodes": 3})
    (tmp_path / "a.db-wal").write_bytes(b"more")
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

"""The simulator's command line."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

import sim.cli as module
from replica.store.store import Store
from sim.bugs import BUGS
from sim.cli import main
from sim.shrink import once

TINY = ["--nodes", "2", "--minutes", "0.3", "--faults", "none"]


def test_a_world_passes_and_is_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "s.toml")
    assert main(["run", "--seed", "3", *TINY, "--save", file, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["replay"].startswith("python -m sim replay 3 --nodes 2")
    assert main(["run", "--scenario", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == first["digest"]
    assert main(["replay", file]) == 0
    assert capsys.readouterr().out.startswith("same trace\nPassed")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--faults", "nonsense"],
        ["run", "--db", "/nowhere.db"],
        ["run", "--scenario", "/dev/zero"],
        ["replay", ""],
        ["run", "--scenario", "/nowhere.toml"],
        ["run", "--scenario", "x.toml", "--seed", "1"],
        ["run", "--work", "office", "--minutes", "3"],
        ["replay", "x.toml", "--nodes", "3"],
        ["shrink", "3", *TINY],
    ],
)
def test_a_mistake_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("sim: ")
    assert said.err.count("\n") == 1


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    odd = [["run", "--minutes", text] for text in ("nan", "inf", "1e-9", "-1", "x")]
    odd += [["run", "--nodes", "0"], ["swarm"], ["bugs", "--only", "none-such"], ["run", "--bug", "none-such"]]
    for words in (*odd, []):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2


def test_the_users_database_is_not_overwritten_and_what_is_left_out_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.db"
    with closing(sqlite3.connect(own)) as db:
        db.executescript("CREATE TABLE good(id TEXT PRIMARY KEY, v); CREATE TABLE keyless(v)")
    before = own.read_bytes()
    assert main(["run", "--seed", "1", *TINY, "--db", str(own), "--report", str(own)]) == 2
    assert main(["run", "--seed", "1", *TINY, "--db", str(own)]) == 0
    assert "not tried: table 'keyless' has no primary key" in capsys.readouterr().out
    assert own.read_bytes() == before


def test_writes_that_the_users_database_refuses_are_told_by_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.db"
    with closing(sqlite3.connect(own)) as db:
        db.executescript("CREATE TABLE free(id TEXT PRIMARY KEY, v); CREATE TABLE frozen(id TEXT PRIMARY KEY, v)")
        db.execute("INSERT INTO frozen VALUES ('x', 1)")
        for event in ("INSERT", "UPDATE", "DELETE"):
            db.execute(f"CREATE TRIGGER no_{event} BEFORE {event} ON frozen BEGIN SELECT RAISE(ABORT, 'frozen'); END")
        db.commit()
    words = ["--nodes", "2", "--minutes", "1", "--faults", "none", "--db", str(own), "--json"]
    assert main(["run", "--seed", "1", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    bad, every = told["refused"]["frozen"]
    assert 0 < bad <= every
    assert bad == sum(not w["ok"] for w in told["work"] if "frozen" in w["tables"])
    assert any(w["ok"] for w in told["work"] if w["tables"] == ["free"])


def test_the_verdict_is_told_though_the_report_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_report", full)
    words = ["run", "--seed", "0", *TINY, "--report", str(tmp_path / "x.html")]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out.startswith("Passed")
    assert "the report was not written" in said.err
    monkeypatch.setattr(Store, "verify", lambda _: ["planted"])
    assert main(words) == 1


def test_the_report_is_there_before_anything_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page, seen = tmp_path / "x.html", list[bool]()
    monkeypatch.setattr(module, "_tell", lambda *_: seen.append(page.exists()))  # Who reads may be gone after a line.
    assert main(["run", "--seed", "0", *TINY, "--report", str(page)]) == 0
    assert seen == [True]


def test_sigterm_ends_a_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "once", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["run", "--seed", "0", *TINY]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Store, "verify", lambda _: ["planted"])
    assert main(["run", "--seed", "0", *TINY]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert "version " in out
    assert "again: python -m sim replay 0 --nodes 2 --minutes 0.3 --faults none" in out
    assert "the last " in out
    file = tmp_path / "small.toml"
    assert main(["shrink", "0", *TINY, "--out", str(file), "--seconds", "5", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["nodes_left"] == 1
    assert main(["replay", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["same"]


def test_a_hang_is_told_and_replayed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def absorb(_: Store) -> None:
        while True:
            pass

    monkeypatch.setattr(Store, "absorb", absorb)
    monkeypatch.setattr(module, "once", partial(once, still_s=0.2))
    assert main(["replay", "3", *TINY, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["violation"]["invariant"], said["same"]) == ("hang", True)
    assert "absorb, called by replica.node.Node._look" in said["verdict"]


def test_a_swarm_says_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(tmp_path / "s.jsonl")
    assert main(["swarm", "--seeds", "2", *TINY, "--state", state, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] == 2
    assert main(["swarm", "--seeds", "2", *TINY, "--state", state]) == 0
    assert capsys.readouterr().out.startswith("2 of 2 seeds passed")


def test_planted_bugs_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(iter(BUGS))

    def spread(_: object, __: object, tasks: object, ___: int, take: object) -> None:
        assert callable(take)
        take({"bug": name, "caught": False, "seeds": 2, "invariant": "", "expected": True, "unsound": []})

    monkeypatch.setattr(module, "spread", spread)
    assert main(["bugs", "--only", name, "--max-seeds", "2"]) == 1
    assert f"{name:<28} NOT caught in 2 seeds" in capsys.readouterr().out
    assert main(["bugs", "--only", name, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["caught"] == 0


def test_an_interrupt_has_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "once", once)
    assert main(["run", *TINY]) == 130

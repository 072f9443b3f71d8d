"""The table of peers compares what ran together, and our driver prints what the peers' runner reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.contacts import FIELDS, contacts
from tests.bench.peers.table import OURS, Result, figures, lines

ROOT = Path(__file__).parents[2]
RECORDS = 200

COMMON = """
import json, os, time
FIELDS = {fields}
ROWS = json.load(open({rows!r}))
IDS = [row[0] for row in ROWS]
EDITS = {edits}
def batches():
    yield [dict(zip(["id", *FIELDS], row)) for row in ROWS]
class Clock:
    def __enter__(self):
        self.began = time.perf_counter()
    def __exit__(self, *_):
        self.s = time.perf_counter() - self.began
    def res(self, **more):
        return {{"s": self.s, **more}}
def w3_ok(*sides):
    return sum(s.get(i, f) == v for s in sides for i, f, v in EDITS["w3_a"] + EDITS["w3_b"]) / len(sides)
def w5_both(*sides):
    return sum(s.get(i, "phone") == p and s.get(i, "status") == q for i, p, q in EDITS["w5"] for s in sides) / len(sides)
def size_of(path):
    return os.path.getsize(path)
def emit(peer, version, setup, **phases):
    print(json.dumps({{"peer": peer, "n": len(IDS), **phases}}))
"""


def seconds(phase: Result) -> float:
    return float(phase["s"])


def result(s: float, size: int = 1) -> Result:
    phase = {"s": s, "bytes": size, "rss_mb": 1}
    return {"n": 100, "w1_insert": phase, "w1_update": phase, "w2": phase, "w3": phase, "w4": phase, "w3_ok": 2}


def ratios(rounds: list[dict[str, Result]]) -> dict[str, float]:
    return {figure.name: figure.value for figure in figures(rounds, seconds, 100)}


def missed(rounds: list[dict[str, Result]]) -> list[str]:
    return [figure.name for figure in figures(rounds, seconds, 100) if not figure.ok]


def test_a_ratio_compares_what_ran_in_one_round() -> None:
    quick = {OURS: result(1, 50), "pouchdb-http": result(4, 500)}
    slow = {OURS: result(10, 50), "pouchdb-http": result(50, 500)}
    alone = {OURS: result(1000, 50)}
    found = ratios([quick, slow, alone])
    assert found["first sync, of pouchdb-http"] == 4.5
    assert found["edits, bytes of pouchdb-http"] == 10
    assert found["edits both ways, bytes"] == 0.5
    assert missed([quick, slow, alone]) == []
    assert missed([{OURS: result(1, 101), "pouchdb-http": result(3.9)}]) == [
        "first sync, of pouchdb-http", "edits both ways, bytes",
    ]  # fmt: skip


def test_who_is_missing_is_not_compared() -> None:
    assert set(ratios([{OURS: result(1, 50)}, {"pouchdb-http": result(9, 9)}])) == {"edits both ways, bytes"}
    assert ratios([{"floor-cells": result(1)}]) == {}
    head, ours, floor = lines([{OURS: result(1, 50)}, {"floor-cells": {"n": 9, "w1_insert": {"s": 3}}}], seconds, 25, 7)
    assert ours.split()[:3] == [OURS, "100", "7"]
    assert floor.split()[:4] == ["floor-cells", "3", "-", "-"]
    assert len({len(head), len(ours), len(floor)}) == 1


def test_our_driver_prints_what_the_readme_of_the_peers_names(tmp_path: Path) -> None:
    rows, each = list(contacts(RECORDS)), 5
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    edits = {
        "w1": [[i, "city", f"Oslo {i}"] for i in range(20)],
        "w3_a": [[i, "name", f"A {i}"] for i in range(each)],
        "w3_b": [[i, "name", f"B {i}"] for i in range(each, 2 * each)],
        "w5": [[i, f"+1 {i}", f"both {i}"] for i in range(20, 20 + each)],
    }
    text = COMMON.format(fields=list(FIELDS), rows=str(tmp_path / "rows.json"), edits=edits)
    (tmp_path / "common.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "bench" / "peers" / "driver.py", tmp_path],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (told["w3_ok"], told["w5_both"]) == (2 * each, each)
    assert told["disk"] > sum(len(value) for row in rows for value in row)
    for phase in ("w2", "w3", "w4", "w5"):
        assert told[phase]["bytes"] > told[phase]["payload"] > 0
        assert told[phase]["cpu"] > 0
        assert told[phase]["rss_mb"] > 0
    assert told["w4"]["msgs"] == 2
    assert told["w2"]["bytes"] > 5 * told["w3"]["bytes"]
    assert {"w1_insert", "w1_update"} <= told.keys()

"""Many seeds, with a toy in place of the world, and once with worlds in two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import sim.swarm as module
from replica.errors import UsageError
from replica.store.store import Store
from sim.bugs import BUGS
from sim.ground import Ground
from sim.loop import Loop
from sim.result import Result, Violation
from sim.scenario import Scenario
from sim.shrink import Run
from sim.shrink import once as run_once
from sim.swarm import Setup, catch, one, quantile, remember, spread, summed, swarm

TINY = Setup(nodes=2, duration_s=20.0, faults=())


def slow(_: Setup, task: int) -> dict[str, int]:
    """Task 0 is done at once; another makes a place for its world, says where, and would take a minute."""
    if task:
        if said := os.environ.get("WHERE"):
            made = Path(f"{said}.new")
            made.write_text(str(Ground().folder))
            made.rename(said)
        threading.Event().wait(60)
    return {"seed": task}


def test_an_interrupt_ends_the_workers_and_removes_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "where"
    monkeypatch.setenv("WHERE", str(where))
    taken: list[dict[str, int]] = []

    def take(line: dict[str, int]) -> None:
        taken.append(line)
        while not where.exists():
            threading.Event().wait(0.01)
        assert Path(where.read_text()).is_dir()
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        spread(slow, TINY, [1, 0], 2, take)
    assert taken == [{"seed": 0}]
    assert not Path(where.read_text()).exists()
    assert time.monotonic() - began < 30


def test_workers_whose_parent_was_killed_end() -> None:
    script = (
        "from tests.sim.test_swarm import TINY, slow\n"
        "from sim.swarm import spread\n"
        "spread(slow, TINY, [0, 1, 2], 2, lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        parent.kill()
        assert parent.communicate(timeout=30)[0] == b""  # Workers have the same output: it ends when they do.


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds that a toy world ran; seed 3 fails always, seed 4 if a bug is planted."""
    seeds: list[int] = []

    def once(scenario: Scenario) -> Run:
        seeds.append(scenario.seed)
        result = Result(scenario, "0", "d", ["a"], healed_at=10.0, equal_at=40.0, reach={"cut": {"idle": 2}})
        if scenario.seed == 3 or (scenario.seed == 4 and scenario.bug):
            result.violation = Violation("I4", 1.0, "a", "toy")
        return Run(result, [f"seed {scenario.seed}"], 60.0)

    monkeypatch.setattr(module, "once", once)
    return seeds


def test_a_stopped_swarm_goes_on(ran: list[int], tmp_path: Path) -> None:
    state = tmp_path / "s.jsonl"

    def stop(line: dict[str, Any]) -> None:
        if line["seed"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swarm(TINY, range(6), 0, state, stop)
    with state.open("a") as file:
        file.write('{"seed": 5, "ok"')
    lines = swarm(TINY, range(6), 0, state)
    assert ran == [0, 1, 2, 3, 4, 5]
    assert [line["seed"] for line in lines] == ran
    assert [line["seed"] for line in map(json.loads, state.read_text().splitlines()[1:])] == ran
    assert "seed 2" in lines[3]["parts"]


def test_a_file_of_another_swarm_is_refused(ran: list[int], tmp_path: Path) -> None:
    swarm(TINY, range(1), 0, tmp_path / "s.jsonl")
    with pytest.raises(UsageError, match="another swarm"):
        swarm(Setup(), range(2), 0, tmp_path / "s.jsonl")
    with pytest.raises(UsageError, match="no planted bug"):
        swarm(Setup(bug="none-such"), range(2), 0)


def test_processes_find_what_one_finds() -> None:
    many, alone = swarm(TINY, range(2), 2), swarm(TINY, range(2), 0)
    assert [line["digest"] for line in many] == [line["digest"] for line in alone]


def test_a_dead_world_is_gone_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[weakref.ref[Loop]] = []
    make = Loop.__init__

    def made(self: Loop, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        loops.append(weakref.ref(self))

    monkeypatch.setattr(Loop, "__init__", made)
    assert one(TINY, 0)["ok"]
    assert [loop() for loop in loops] == [None]


def test_lines_are_summed_up(ran: list[int], tmp_path: Path) -> None:
    lines = swarm(TINY, range(5), 0)
    said = summed([{**line, "cpu_s": 0.5} for line in lines])
    assert (said["seeds"], said["passed"], said["failures"]) == (5, 4, {"I4": [3]})
    assert said["reach"] == {"cut": {"idle": 10}}
    assert said["heal_p50"] == said["heal_p99"] == 0.5
    assert said["seeds_per_cpu_hour"] == 7200
    assert summed([])["heal_p50"] is None
    assert quantile([4, 1, 3, 2], 0.5) == 2
    seeds = tmp_path / "seeds.txt"
    assert [remember(seeds, words, lines) for words in ("", "", " --nodes 2", " --nodes 2")] == [1, 0, 1, 0]
    assert seeds.read_text() == "3  # I4\n3 --nodes 2  # I4\n"
    seeds.write_text("77")
    assert remember(seeds, "", lines) == 1
    assert seeds.read_text() == "77\n3  # I4\n"


def test_a_bug_is_caught_by_a_sound_seed(ran: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    bug = next(iter(BUGS))
    found = catch(TINY, (bug, 9, 60.0))
    assert (found["caught"], found["seeds"], found["seed"], found["unsound"]) == (True, 5, 4, [3])
    assert not catch(TINY, (bug, 2, 60.0))["caught"]


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_hang_ends(swallowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(scenario: Scenario) -> Run:
        try:
            while True:
                pass
        except BaseException:
            if not swallowed:
                raise
        return Run(Result(scenario, "0", "d", []), [], 1.0)

    monkeypatch.setattr(module, "once", once)
    assert one(TINY, 1, 0.05)["invariant"] == "hang"


def test_a_world_that_stands_still_hangs_with_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    def absorb(_: Store) -> None:
        while True:
            pass

    monkeypatch.setattr(Store, "absorb", absorb)
    monkeypatch.setattr(module, "once", partial(run_once, still_s=0.2))
    found = one(TINY, 1, 60.0)
    assert (found["invariant"], found["ok"]) == ("hang", False)
    assert found["at"] > 0
    assert found["cpu_s"] < 30
    assert "absorb" in found["text"]

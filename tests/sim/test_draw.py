"""Scenarios from a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from pathlib import Path

import pytest

from replica.errors import UsageError
from sim.allowed import HOSTILE, MISLEADING, ROT
from sim.describe import describe
from sim.draw import GROUPS, KINDS, draw
from sim.hostile import HOWS
from sim.office import DAY_S, clock, office_day
from sim.random_work import WRITES
from sim.scenario import EVERYWHERE, HINTS, PARAMETERS, WORKLOAD, Scenario
from sim.small import WORK_MAX

ROOT = Path(__file__).parents[2]
NORTHWIND = Path(__file__).parents[3] / "shared/data/northwind.db"
SHOW = """
from sim.draw import draw
from sim.office import office_day
print("".join(draw(n).to_toml() for n in range(6)) + office_day(3, 4, 1).to_toml())
"""


@cache
def many() -> list[Scenario]:
    return [draw(seed) for seed in range(300)]


def test_the_same_seed_draws_the_same_everywhere() -> None:
    prints = [
        subprocess.run(
            [sys.executable, "-c", SHOW],
            env={**os.environ, "PYTHONHASHSEED": h},
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        for h in ("1", "2")
    ]
    assert prints[0] == prints[1]
    here = "".join(draw(n).to_toml() for n in range(6)) + office_day(3, 4, 1).to_toml() + "\n"
    assert blake2b(here.encode()).digest() == blake2b(prints[0]).digest()


def test_every_kind_is_drawn() -> None:
    events = [e for world in many() for e in world.events]
    assert {e.kind for e in events} == set(PARAMETERS)
    assert {*KINDS, *WORKLOAD} == set(PARAMETERS)
    assert {e.with_["how"] for e in events if e.kind == "hostile"} == {*HOSTILE, *MISLEADING} == set(HOWS)
    assert {e.with_["what"] for e in events if e.kind == "rot"} == set(ROT)


def test_hints_move_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {world.hints for world in many()} == set(HINTS)
    for place, hints in enumerate(HINTS):
        monkeypatch.setattr("sim.draw.HINTED", [n == place for n in range(len(HINTS))])
        assert [draw(seed) for seed in range(9)] == [replace(world, hints=hints) for world in many()[:9]]


def test_every_scenario_fits_a_file() -> None:
    for world in many()[:60]:
        assert Scenario.from_toml(world.to_toml()) == world
    for world in many():
        assert [e.at for e in world.events] == sorted(e.at for e in world.events)
        for event in world.events:
            assert set(event.with_) == PARAMETERS[event.kind], event
            assert bool(event.node) == (event.kind not in EVERYWHERE)
            assert event.work or event.at <= world.duration_s * 0.9, event
        assert WRITES[0] <= sum(e.work for e in world.events) <= WORK_MAX


def test_faults_are_those_that_were_asked_for() -> None:
    assert all(e.work for e in draw(1, faults=[]).events)
    for group, kinds in GROUPS.items():
        found = {e.kind for seed in range(5) for e in draw(seed, faults=[group]).events if not e.work}
        assert found
        assert found <= set(kinds) | {"backup"}
    assert {e.kind for e in draw(2, faults=["cut"]).events} <= {"cut", *WORKLOAD}
    some = draw(1, faults=["crash:3", "drift:2"]).events
    assert sorted(e.kind for e in some if not e.work) == ["crash"] * 3 + ["drift"] * 2
    assert len([e for e in draw(1, faults=["crash:3", "network"]).events if e.kind == "crash"]) == 3
    for wrong in (
        {"faults": ["fire"]},
        {"faults": ["crash:few"]},
        {"faults": ["fire:2"]},
        {"work": "sleep"},
        {"nodes": 0},
    ):
        with pytest.raises(UsageError):
            draw(1, **wrong)


def test_the_worst_faults_are_rare_and_apart() -> None:
    for world in many():
        special = [e.node for kind in ("hostile", "rot", "clone") for e in world.events if e.kind == kind]
        assert len(special) == len(set(special))
        assert world.names[0] not in special
        for event in world.events:
            if event.kind == "restore":
                assert any(e.kind == "backup" and e.node == event.node and e.at <= event.at for e in world.events)
            if event.kind == "clone":
                assert event.with_["to"] not in world.names


def test_a_scenario_is_told() -> None:
    text = describe(draw(7))
    assert 3 <= len(text.splitlines()) <= 4
    assert text.startswith("seed 7: ")
    assert "faults: " in text


@pytest.mark.skipif(not NORTHWIND.exists(), reason="the sample database is not here")
def test_any_database_will_do() -> None:
    for seed in range(3):
        world = draw(seed, db=str(NORTHWIND), faults=["software", "copies"])
        assert world.db
        assert not world.schema
        assert Scenario.from_toml(world.to_toml()) == world


def test_an_office_day() -> None:
    world = office_day(1, 50, 1)
    assert 2_500 <= len(world.events) <= 3_500
    roles = {p.name: p.role for p in world.places}
    assert [*roles.values()].count("branch") == 5
    for place in world.places:
        if place.role == "seller":
            assert roles[place.peers[0]] == "branch"
            assert place.peers[1:] in {(), ("hq",)}
            assert all(a < b for a, b in place.online)
            assert all(one[1] < two[0] for one, two in zip(place.online, place.online[1:], strict=False))
        else:
            assert place.online == ()
            assert place.peers == (("hq",) if place.role == "branch" else ())
    night = [e for e in world.events if not clock(0, 8) <= e.at <= clock(0, 18)]
    assert [(e.node, e.kind) for e in night] == [("hq", "put")] * 3
    assert all(clock(0, 2) <= e.at < DAY_S for e in night)


def test_an_office_has_faults_too() -> None:
    world = draw(4, nodes=5, work="office", days=2)
    assert world.duration_s == 2 * DAY_S
    assert any(not e.work for e in world.events)
    assert Scenario.from_toml(world.to_toml()) == world

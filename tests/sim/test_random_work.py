"""Worlds of random work: who meets whom, and how often people write."""

from __future__ import annotations

from functools import cache

import pytest

from replica.errors import UsageError
from sim.random_work import EVERY_S, LOOKS, WRITES, random_work
from sim.scenario import Scenario

MORE = 4
"""Writes that make another one necessary, beside those that were told: a key that another node gives too, and the like."""


@cache
def many() -> list[Scenario]:
    return [random_work(seed, 5, 600.0) for seed in range(300)]


def test_all_are_connected() -> None:
    for world in [*many(), *(random_work(seed, n, 600.0) for seed in range(5) for n in (1, 2, 3, 9))]:
        reached = {world.names[0]}
        for _ in world.places:
            reached |= {q for p in world.places for q in (p.name, *p.peers) if reached & {p.name, *p.peers}}
        assert reached == set(world.names)


def test_people_write_and_nodes_dial_as_often_as_is_told() -> None:
    few = [random_work(seed, 3, 600.0, (0, 2), (1_000, 1_000)) for seed in range(40)]
    for worlds, writes, every_s in ((many(), WRITES, EVERY_S), (few, (0, 2), (1_000.0, 1_000.0))):
        alone = [sum(e.work for e in w.events if "in a rush" not in str(e.with_)) for w in worlds]
        assert writes[0] == min(alone)
        assert writes[1] - 1 <= max(alone) <= writes[1] + MORE
        often = [place.every_s for w in worlds for place in w.places]
        assert every_s[0] <= min(often) <= every_s[0] * 1.01
        assert every_s[1] * 0.99 <= max(often) <= every_s[1]
        assert {w.poll_s for w in worlds} == {every_s[0] / LOOKS}


def test_at_times_several_write_at_once() -> None:
    rushes = [[e for e in world.events if "in a rush" in str(e.with_)] for world in many()]
    assert 60 < sum(map(bool, rushes)) < 120
    assert {len(rush) for rush in rushes} == {0, 2, 3, 4}
    assert all(len({(e.at, e.node, e.kind) for e in rush}) < 2 for rush in rushes)


def test_a_world_needs_a_node_and_some_time() -> None:
    for nodes, seconds in ((0, 600.0), (1, 0.0), (1, float("nan"))):
        with pytest.raises(UsageError, match="needs a node and some time"):
            random_work(1, nodes, seconds)

"""Keepers: the next try always comes, soon after a first failure and then more and more rarely."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import Any, cast

import pytest

from protocol.errors import PeerFault
from replica import keep
from replica.bell import Bell
from replica.errors import StoreError
from replica.host import Host
from replica.node import Node
from replica.sync_report import SyncReport
from sim.scenario import Place
from tests.sim.worlds import run, small, write

SEEDS = 4
"""Of worlds that are compared: how nodes happen to be out of step, so long it takes."""


class Failing:
    """A node whose every meeting fails in another way."""

    host = Host(random_bytes=bytes)

    def __init__(self) -> None:
        self.errors = [PeerFault("gone"), StoreError("no disk"), sqlite3.OperationalError("no such column")]

    async def sync(self, url: str, *, tls: Any = None, stay: Any = None, over: Any = None) -> SyncReport:
        if not self.errors:
            raise asyncio.CancelledError
        raise self.errors.pop(0)


async def test_whatever_happens_the_next_try_comes() -> None:
    seen: list[str] = []
    with pytest.raises(asyncio.CancelledError):
        await keep.keep_in_sync(cast(Node, Failing()), "ws://x:1", 0.001, lambda done: seen.append(done.text))
    assert seen == ["gone", "no disk", "no such column"]


def test_a_failure_is_tried_again_soon_then_more_and_more_rarely() -> None:
    waits = [keep._wait(misses, 60.0, 0.5) for misses in range(1, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert keep._wait(0, 60.0, 0.5) == 60
    assert (keep._wait(0, 60.0, 0.0), keep._wait(0, 60.0, 1.0)) == (45, 75)


@pytest.mark.parametrize("end", [0, 11])
def test_news_travel_along_a_line_without_waiting_a_whole_interval_at_each_node(
    end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{number}" for number in range(12)]
    line = tuple(Place(name, tuple(names[number - 1 : number]), 60.0) for number, name in enumerate(names))
    news = write(180, names[end], "UPDATE t SET a = 6", "k0")
    scenario = replace(small(news), places=line, events=(news,), duration_s=181.0)

    def took(seed: int) -> float:
        done = run(replace(scenario, seed=seed))
        assert done.ok
        assert done.equal_at is not None
        return done.equal_at - done.healed_at

    called = [took(seed) for seed in range(SEEDS)]
    monkeypatch.setattr(Bell, "ring", lambda *_: None)
    assert min(called) > 60
    assert sum(called) < 0.7 * sum(took(seed) for seed in range(SEEDS))

"""A lying member against a real node on loopback. No attack may fail the node, change its records, or last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import replica
from protocol.keys import INSTANCE_BYTES
from replica import Node, system, transport
from replica.errors import UsageError
from replica.store.store import Store
from sim.hostile import HOWS, _threes, attack
from tests.nodes import make_pair, rows_of, serving

FEW = 40


@pytest.fixture(autouse=True)
def _short_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who floods a node is not heard saying goodbye: both would wait for that."""
    monkeypatch.setitem(transport._OPTIONS, "close_timeout", 0.1)


async def besiege(
    folder: Path,
    how: str,
    seeds: range,
    caplog: pytest.LogCaptureFixture,
    rows: int = FEW,
    now_ms: Callable[[], int] = system.now_ms,
) -> list[str]:
    """Attack a node once for each seed; then it must be what it was, and meet an honest one."""
    caplog.set_level(logging.WARNING)
    hq, laptop = make_pair(folder, rows)
    bad = folder / "bad.db"
    with Store(hq) as store:
        replica.initialize(bad, "bad", store.secrets())
    ends = []
    async with serving(hq) as (server, url), Node(laptop) as honest:
        async with Node(bad) as member:
            await member.sync(url)
        assert (await honest.sync(url)).in_sync
        before = await server.status()
        with Store(bad) as store:
            for seed in seeds:
                random = Random(f"{how} {seed}")
                async with asyncio.timeout(20):
                    instance = random.randbytes(INSTANCE_BYTES)
                    ends.append(await attack(url, store, how, random, now_ms, instance, system.now_ms))
        after = await server.status()
        assert (before["root"], before["count"], before["node"]) == (after["root"], after["count"], after["node"])
        await honest.execute("UPDATE contacts SET phone = 'after' WHERE id = 'c000001'")
        assert (await honest.sync(url)).in_sync
        assert await server.verify() == await honest.verify() == []
    assert rows_of(hq) == rows_of(laptop)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    return ends


@pytest.mark.parametrize("how", [how for how in HOWS if how != "mute"])
async def test_an_honest_node_outlasts_it(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    ends = await besiege(tmp_path, how, range(6), caplog)
    wanted = {"future": "were refused", "lies": "", "endless": "", "bomb": "thrown out", "garbage": "thrown out"}
    wanted["again"] = "thrown out"
    wanted |= {"knock": "left without a word", "disorder": "thrown out", "list": "thrown out", "cells": "thrown out"}
    assert all(wanted.get(how, "") in end for end in ends), ends
    assert all("and does not" not in end for end in ends), ends


async def test_more_records_than_a_leaf_compares_are_as_safe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for how in ("lies", "endless", "cells", "picks"):
        folder = tmp_path / how
        folder.mkdir()
        await besiege(folder, how, range(10, 12), caplog, rows=400)


async def test_the_future_is_that_of_honest_clocks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ends = await besiege(tmp_path, "future", range(6), caplog, now_ms=lambda: 0)
    assert all("records 0 were refused" not in end for end in ends), ends


async def test_a_mute_one_is_thrown_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HELLO_SECONDS", "RECEIVE_SECONDS", "SEND_SECONDS"):
        monkeypatch.setattr(transport, name, 0.15)
    monkeypatch.setattr("sim.hostile.SLACK_SECONDS", 0)
    ends = await besiege(tmp_path, "mute", range(12), caplog)
    assert len({end.partition(":")[0] for end in ends}) == 3
    assert all("thrown out" in end for end in ends), ends


async def test_who_cannot_get_in_says_so(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    replica.initialize(tmp_path / "other.db", "other")
    with Store(tmp_path / "other.db") as store:
        async with serving(hq) as (_, url):
            end = await attack(url, store, "lies", Random(1), system.now_ms, bytes(INSTANCE_BYTES))
            assert "another replication group" in end
        assert "cannot be reached" in await attack(url, store, "lies", Random(1), system.now_ms, bytes(INSTANCE_BYTES))
        with pytest.raises(UsageError, match="there are future"):
            await attack(url, store, "nonsense", Random(1), system.now_ms, bytes(INSTANCE_BYTES))


async def test_the_same_chance_makes_the_same_attack(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ends = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        ends.append(await besiege(folder, "garbage", range(20, 24), caplog))
    assert ends[0] == ends[1]


def test_a_flood_drawn_in_one_go_is_the_one_drawn_in_pieces() -> None:
    one, many = Random(7), Random(7)
    for count in (1, 16, 300):
        assert _threes(one, count) == [many.randbytes(3) for _ in range(count)]
    assert one.random() == many.random()

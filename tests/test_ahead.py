"""What a node does while nobody wants anything of it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from replica import Node, ahead
from replica.ahead import Ahead
from replica.errors import StoreError
from replica.store import sketched
from tests.nodes import make_pair, program, serving


async def test_1_it_is_done_in_parts_and_not_while_somebody_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "BUSY_SECONDS", 0)
    busy, begun, looks, looked, done = True, 0, 0, asyncio.Event(), asyncio.Event()

    async def part() -> bool:
        nonlocal begun
        begun += 1
        if begun == 5:
            done.set()
        return begun < 5

    def is_busy() -> bool:
        nonlocal looks
        looks += 1
        if looks == 10:
            looked.set()
        return busy

    work = Ahead(part, is_busy)
    work.begin()
    work.begin()
    await looked.wait()
    assert begun == 0
    busy = False
    await done.wait()
    await work.close()
    assert begun == 5
    work.begin()
    await asyncio.sleep(0)
    assert begun == 5, "it was ended for good"
    await Ahead(part, is_busy).close()


@pytest.mark.parametrize("error", [StoreError("the disk is full"), RuntimeError("a bug")])
async def test_2_a_part_that_fails_ends_it_in_words(caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    async def part() -> bool:
        raise error

    work = Ahead(part, lambda: False)
    with caplog.at_level(logging.WARNING):
        work.begin()
        assert work._task is not None
        await work._task
    assert str(error) in caplog.text


@pytest.mark.parametrize("grows", [False, True])
async def test_a_large_store_has_its_sketch_before_a_stranger_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    """Of what it has when it is opened, and of what another program writes while it serves."""
    monkeypatch.setattr(sketched, "AHEAD_FROM", 100)
    monkeypatch.setattr(sketched, "AHEAD_BYTES", 1_000)
    monkeypatch.setattr(sketched, "KEEP_AFTER", 100)
    made, run = asyncio.Event(), Ahead._run

    async def told(self: Ahead) -> None:
        await run(self)
        made.set()

    monkeypatch.setattr(Ahead, "_run", told)
    hq, laptop = make_pair(tmp_path, rows=10 if grows else 300)
    async with serving(hq) as (server, url):
        if grows:
            with program(hq) as db:
                db.executemany("INSERT INTO contacts(id) VALUES (?)", [(f"new {n}",) for n in range(300)])
        async with asyncio.timeout(20):
            while await server.query("SELECT count(*) FROM _replica_sketch") == [(0,)]:
                await made.wait()
                made.clear()
        async with Node(laptop) as node:
            assert (await node.sync(url)).in_sync
        assert await server.verify() == []


async def test_the_log_is_copied_into_the_file_when_the_session_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replica.store.store.COPY_AFTER", 50)
    monkeypatch.setattr("replica.store.port.COPY_AFTER", 50)
    copied, sessions = asyncio.Event(), list[int]()
    hq, laptop = make_pair(tmp_path, rows=60)
    async with serving(hq) as (_, url), Node(laptop) as node:
        loop = asyncio.get_running_loop()

        def copy(_: object) -> None:
            sessions.append(len(node.sessions))
            loop.call_soon_threadsafe(copied.set)

        monkeypatch.setattr("replica.store.port.copy_log", copy)
        assert (await node.sync(url)).changed >= 60
        async with asyncio.timeout(20):
            await copied.wait()
        await node.execute("UPDATE contacts SET phone = '1' WHERE id = 'c000007'")
        assert (await node.sync(url)).in_sync
    assert sessions == [0], "after the session, and not again after a small one"

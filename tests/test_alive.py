"""A slow line: what comes or leaves slowly keeps a connection, and what does not move at all ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replica.alive import SLOWEST, Alive, drained, received
from sim.hand import Hand

SCHEMA = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a TEXT)"
PERIOD = 0.01
ENOUGH = int(SLOWEST * PERIOD)


@pytest.mark.parametrize(("bytes_per_s", "arrives"), [(8_000, True), (1_500, True), (500, False)])
def test_a_batch_that_takes_minutes_arrives(bytes_per_s: float, arrives: bool) -> None:
    random = Random(7)
    with Hand(7) as world:
        a, b = world.node("a", SCHEMA), world.node("b", peers=["a"])
        for one, other in (("a", "b"), ("b", "a")):
            world.world.network.link(one, other).bytes_per_s = bytes_per_s
        for n in range(700):
            a.sql("INSERT INTO t VALUES (?, ?)", f"k{n}", random.randbytes(500).hex())
        world.run_for(600)
        assert len(b.rows("t")) == (700 if arrives else 0)


class Line:
    """A connection of which it is known how many bytes came, or are still under way, whenever somebody looks."""

    def __init__(self, counts: Iterator[int]) -> None:
        self.counts, self.over = counts, asyncio.Event()
        self.transport = SimpleNamespace(get_write_buffer_size=self.look)

    def look(self) -> int:
        count = next(self.counts)
        if count < 0:
            self.over.set()
        return abs(count)

    async def drain(self) -> None:
        await self.over.wait()


class Coming(Alive):
    """The same, of bytes that come."""

    def __init__(self, counts: Iterator[int]) -> None:
        self.line, self.failed, self.protocol = Line(counts), asyncio.Event(), cast(Any, self)
        self.ping_interval, self.ping_timeout = 0, PERIOD
        self.pings = 0

    @property
    def came(self) -> int:  # type: ignore[override]
        return self.line.look()

    async def recv(self, decode: bool | None = None) -> bytes:  # type: ignore[override]
        await self.line.over.wait()
        return b"frame"

    async def ping(self, ack_on_close: bool = False) -> asyncio.Future[float]:  # type: ignore[override]
        self.pings += 1
        return asyncio.ensure_future(self._pong())

    async def _pong(self) -> float:
        await self.line.over.wait()
        self.ping_interval = None
        return 0.0

    @asynccontextmanager
    async def send_context(self, **_: Any) -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    def fail(self, code: int, reason: str) -> None:
        assert (code, reason) == (1011, "keepalive ping timeout")
        self.failed.set()


async def test_1_a_pong_may_be_late_as_long_as_bytes_come() -> None:
    late = Coming(iter([0, 1, 1, 2, 2, 3, 3, -4, 4]))
    await late.keepalive()
    assert (late.pings, late.failed.is_set()) == (1, False)


async def test_1_without_bytes_its_time_is_its_time() -> None:
    silent = Coming(iter([7, 7]))
    task = asyncio.create_task(silent.keepalive())
    await silent.failed.wait()
    task.cancel()


async def test_2_a_frame_may_take_as_long_as_enough_of_it_comes() -> None:
    slowly = Coming(iter([n * ENOUGH for n in (0, 1, 1, 2, 2, 3, -4)]))
    assert await received(slowly, PERIOD, slow=True) == b"frame"
    for counts, slow in (((0, ENOUGH - 1), True), ((0, ENOUGH), False)):
        with pytest.raises(TimeoutError):
            await received(Coming(iter(counts)), PERIOD, slow=slow)


async def test_2_a_frame_may_take_as_long_as_enough_of_it_leaves() -> None:
    await drained(cast(Any, Line(iter([90 * ENOUGH, 89 * ENOUGH, 89 * ENOUGH, 80 * ENOUGH, -7]))), PERIOD)
    with pytest.raises(TimeoutError):
        await drained(cast(Any, Line(iter([90 * ENOUGH, 89 * ENOUGH + 1]))), PERIOD)

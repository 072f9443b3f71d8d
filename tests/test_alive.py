"""A slow line: what comes or leaves slowly keeps a connection, and what does not move at all ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from replica import alive
from replica.alive import BEAT_BYTES, PIECE, SLOWEST, Alive, Answered, Dialled, pieces, received
from sim.hand import Hand

SCHEMA = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a TEXT)"
PERIOD = 0.01
ENOUGH = int(SLOWEST * PERIOD)


@pytest.mark.parametrize("has_it", ["a", "b"])
@pytest.mark.parametrize(("bytes_per_s", "arrives"), [(8_000, True), (1_500, True), (200, False)])
def test_a_batch_that_takes_minutes_arrives(bytes_per_s: float, arrives: bool, has_it: str) -> None:
    random = Random(7)
    with Hand(7) as world:
        nodes = {"a": world.node("a", SCHEMA), "b": world.node("b", SCHEMA, peers=["a"])}
        world.run_for(60)
        for one, other in (("a", "b"), ("b", "a")):
            world.world.network.link(one, other).bytes_per_s = bytes_per_s
        for n in range(700):
            nodes[has_it].sql("INSERT INTO t VALUES (?, ?)", f"k{n}", random.randbytes(500).hex())
        world.run_for(600)
        there = nodes["b" if has_it == "a" else "a"].rows("t")
        assert len(there) == 700 if arrives else len(there) < 700


class Line:
    """A connection of which it is known how many bytes came, whenever somebody looks."""

    def __init__(self, counts: Iterator[int]) -> None:
        self.counts, self.over = counts, asyncio.Event()

    def look(self) -> int:
        count = next(self.counts)
        if count < 0:
            self.over.set()
        return abs(count)


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


async def test_2_who_reads_for_long_says_so_and_who_waits_for_news_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "BEAT_SECONDS", 0.0)
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handler(socket: Any) -> None:
        assert await socket.recv() == b"begin"
        before = socket.came
        for size in (BEAT_BYTES, 100, BEAT_BYTES, 200, 300, BEAT_BYTES):
            await socket.send(bytes(size))
        assert await socket.recv() == b"read"
        heard.set_result(socket.came - before)

    async with serve(handler, "127.0.0.1", 0, create_connection=Answered, ping_interval=None, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        own: dict[str, Any] = {"create_connection": Dialled, "ping_interval": None, "proxy": None, "compression": None}
        async with connect(f"ws://127.0.0.1:{port}", **own) as socket:
            await socket.send(b"begin")
            for _ in range(6):
                await socket.recv()
            await socket.send(b"read")
            pong, frame = 2 + 4, 2 + 4 + len(b"read")
            assert 1 <= (await heard - frame) / pong <= 3


async def test_3_a_frame_may_take_as_long_as_enough_of_it_comes() -> None:
    slowly = Coming(iter([n * ENOUGH for n in (0, 1, 1, 2, 2, 3, -4)]))
    assert await received(slowly, PERIOD, slow=True) == b"frame"
    for counts, slow in (((0, ENOUGH - 1), True), ((0, ENOUGH), False)):
        with pytest.raises(TimeoutError):
            await received(Coming(iter(counts)), PERIOD, slow=slow)


async def test_3_a_frame_may_take_as_long_as_each_piece_leaves_in_time() -> None:
    frame, loop = Random(1).randbytes(2 * PIECE + 7), asyncio.get_running_loop()
    async with asyncio.timeout(60) as limit:
        sent, until = list[bytes](), list[float]()
        for piece in pieces(frame, limit, 90):
            sent.append(piece)
            until.append((limit.when() or 0) - loop.time())
            await asyncio.sleep(0)
    assert (b"".join(sent), len(sent)) == (frame, 3)
    assert all(80 < seconds <= 90 for seconds in until)

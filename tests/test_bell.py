"""Promises of replica.bell, by number, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.protocol import CLIENT, Protocol

from replica import bell
from replica.bell import LEAST, NEWS, PING_SECONDS, Bell, Subscriber
from replica.parting import GRACE_SECONDS
from sim.hand import Hand
from sim.loop import Loop


class Socket:
    """A connection on which nothing is said any more."""

    def __init__(self) -> None:
        self.close_code: int | None = None
        self.keepalive_task = None
        self.slow_s = 0.0
        self.transport = SimpleNamespace(abort=lambda: self._end(1006))
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def recv(self) -> bytes:
        frame = await self._frames.get()
        if frame is None:
            raise ConnectionClosedOK(None, None)
        return frame

    async def close(self, code: int = 1000) -> None:
        await asyncio.sleep(self.slow_s)
        self._end(code)

    def say(self, frame: bytes) -> None:
        self._frames.put_nowait(frame)

    def _end(self, code: int) -> None:
        self.close_code = self.close_code or code
        self._frames.put_nowait(None)


def session(peer: bytes, changed: int = 1) -> Any:
    return SimpleNamespace(outcome=SimpleNamespace(peer=SimpleNamespace(instance=peer), changed=changed))


def listening(at: Bell, peer: bytes) -> tuple[Any, Subscriber]:
    socket: Any = Socket()
    subscriber = at.listen(socket, session(peer))
    assert subscriber is not None
    return socket, subscriber


def virtually(run: Callable[[Loop], Awaitable[None]]) -> None:
    with closing(Loop(Random(1))) as loop:

        async def main() -> None:
            await run(loop)

        loop.run_until_complete(main())


async def met_again(loop: Loop, subscriber: Subscriber) -> float:
    began = loop.time()
    await subscriber.wait(60.0, 1.0)
    return loop.time() - began


def test_1_news_call_all_but_those_from_whom_they_came() -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        sockets = {peer: listening(at, peer) for peer in (b"a", b"b", b"c")}
        serving = [asyncio.create_task(subscriber.serve()) for _, subscriber in sockets.values()]
        at.ring(session(b"c", changed=0))
        await asyncio.sleep(5)
        assert [socket.close_code for socket, _ in sockets.values()] == [None] * 3
        at.ring(session(b"a"))
        await asyncio.sleep(5)
        assert [socket.close_code for socket, _ in sockets.values()] == [None, NEWS, NEWS]
        await at.close()
        await asyncio.gather(*serving)
        assert not at.subscribers

    virtually(run)


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize(("called_at", "expected"), [(1, 60 * LEAST + 1), (50, 51), (59.5, 60), (999, 60)])
def test_2_who_is_called_comes_back_between_the_least_and_the_whole_of_its_wait(
    called_at: float, expected: float, *, here: bool
) -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        socket, subscriber = listening(at, b"a")
        if here:
            loop.call_later(called_at, at.ring, session(b"b"))
        else:
            loop.call_later(called_at, lambda: loop.create_task(socket.close(NEWS)))
        assert await met_again(loop, subscriber) == pytest.approx(expected)
        assert socket.close_code is not None
        assert not at.subscribers

    virtually(run)


def test_3_a_connection_that_ends_in_any_other_way_calls_nobody() -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        for code in (1000, 1001, 1006):
            socket, subscriber = listening(at, b"a")
            loop.call_later(1, lambda: loop.create_task(socket.close(code)))  # noqa: B023
            assert await met_again(loop, subscriber) == pytest.approx(60)
            socket, subscriber = listening(at, b"a")
            loop.call_later(1, lambda: loop.create_task(socket.close(code)))  # noqa: B023
            loop.call_later(50, at.ring, session(b"b"))
            assert await met_again(loop, subscriber) == pytest.approx(51)

    virtually(run)


def test_4_so_many_listen_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "SUBSCRIBERS_MAX", 2)

    async def run(loop: Loop) -> None:
        at = Bell()
        listening(at, b"a")
        _, second = listening(at, b"a")
        socket: Any = Socket()
        assert at.listen(socket, session(b"a")) is None
        await second.leave()
        assert at.listen(socket, session(b"a")) is not None

    virtually(run)


def test_5_who_says_something_is_cut_off() -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        served, there = listening(at, b"a")
        serving = asyncio.create_task(there.serve())
        dialled, subscriber = listening(at, b"b")
        for socket in (served, dialled):
            socket.say(b"x" * 4_000_000)
        assert await met_again(loop, subscriber) == 60
        await serving
        assert [socket.close_code for socket in (served, dialled)] == [1006, 1006]
        assert not at.subscribers

    virtually(run)


def test_6_all_are_left_at_once() -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        for peer in (b"a", b"b", b"c"):
            listening(at, peer)[0].slow_s = 5.0
        began = loop.time()
        await at.close()
        assert loop.time() - began == GRACE_SECONDS
        assert not at.subscribers

    virtually(run)


def test_7_on_a_silent_connection_the_server_pings_now_and_then_and_the_client_never(
    world: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    pings: list[tuple[bool, float]] = []
    ping = Protocol.send_ping

    def counted(self: Protocol, data: Any) -> None:
        pings.append((self.side is CLIENT, world.world.loop.time()))
        ping(self, data)

    monkeypatch.setattr(Protocol, "send_ping", counted)
    world.node("hq", "CREATE TABLE t(id TEXT PRIMARY KEY, a)", every=3600)
    world.node("laptop", every=3600)
    world.assert_converged()
    node = world.world.machines["hq"].node
    assert node is not None
    subscribers = node._bell.subscribers
    world.run_for(30)
    assert subscribers
    pings.clear()
    world.run_for(20 * PING_SECONDS)
    assert not any(client for client, _ in pings)
    assert 18 <= len(pings) <= 20
    assert all(later - earlier >= PING_SECONDS for (_, earlier), (_, later) in pairwise(pings))
    assert subscribers
    world.partition([["hq"], ["laptop"]])
    world.run_for(4 * PING_SECONDS)
    assert not subscribers

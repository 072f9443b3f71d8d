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

from protocol.frames import NEWS
from protocol.keys import Handshake
from replica import bell, transport
from replica.bell import COME_AGAIN, LASTING, LEAST, PING_SECONDS, Bell, Subscriber
from replica.parting import GRACE_SECONDS
from sim.hand import Hand
from sim.loop import Loop

IN_SESSION = 20.0
"""Seconds between two pings of a session."""


class Socket:
    """A connection on which nothing is said any more."""

    def __init__(self) -> None:
        self.close_code: int | None = None
        self.ping_interval: float | None = IN_SESSION
        self.slow_s = 0.0
        self.sent: list[bytes] = []
        self.transport = SimpleNamespace(abort=lambda: self._end(1006))
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def recv(self) -> bytes:
        frame = await self._frames.get()
        if frame is None:
            raise ConnectionClosedOK(None, None)
        return frame

    def start_keepalive(self) -> None:
        pass

    async def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    async def close(self, code: int = 1000) -> None:
        await asyncio.sleep(self.slow_s)
        self._end(code)

    def say(self, frame: bytes) -> None:
        self._frames.put_nowait(frame)

    def _end(self, code: int) -> None:
        self.close_code = self.close_code or code
        self._frames.put_nowait(None)


def session(peer: bytes, changed: int = 1, minor: int = LASTING) -> Any:
    outcome = SimpleNamespace(peer=SimpleNamespace(instance=peer), changed=changed)
    return SimpleNamespace(outcome=outcome, handshake=Handshake(b"c" * 16, b"s" * 16, minor, LASTING))


def listening(at: Bell, peer: bytes, minor: int = LASTING) -> tuple[Any, Subscriber]:
    socket: Any = Socket()
    subscriber = at.listen(socket, session(peer, minor=minor))
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
        assert [socket.sent for socket, _ in sockets.values()] == [[], [], []]
        for peer in (b"a", b"a", b"b"):
            at.ring(session(peer))
            await asyncio.sleep(5)
        assert [socket.sent for socket, _ in sockets.values()] == [[NEWS], [NEWS], [NEWS]]
        assert [socket.close_code for socket, _ in sockets.values()] == [None] * 3
        await at.close()
        await asyncio.gather(*serving)
        assert not at.subscribers

    virtually(run)


@pytest.mark.parametrize("how", ["here", "there", "by an older peer"])
@pytest.mark.parametrize(("called_at", "expected"), [(1, 60 * LEAST + 1), (50, 51), (59.5, 60), (999, 60)])
def test_2_who_is_called_comes_back_between_the_least_and_the_whole_of_its_wait(
    called_at: float, expected: float, how: str
) -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        older = how == "by an older peer"
        socket, subscriber = listening(at, b"a", LASTING - older)
        if how == "here":
            loop.call_later(called_at, at.ring, session(b"b"))
        elif older:
            loop.call_later(called_at, lambda: loop.create_task(socket.close(COME_AGAIN)))
        else:
            loop.call_later(called_at, socket.say, NEWS)
        assert await met_again(loop, subscriber) == pytest.approx(expected)
        assert (socket.close_code is None) == subscriber.lasts == (not older)
        assert socket.ping_interval == (None if older else IN_SESSION)

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


@pytest.mark.parametrize("said", ["text", b"", b"x" * 1_000_000])
@pytest.mark.parametrize("minor", [LASTING - 1, LASTING])
def test_5_who_says_what_may_not_be_said_is_cut_off(minor: int, said: bytes) -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        served, there = listening(at, b"a", minor)
        serving = asyncio.create_task(there.serve())
        dialled, subscriber = listening(at, b"b", minor)
        served.say(said if minor == LASTING else b"hello")
        dialled.say(said)
        assert await met_again(loop, subscriber) == 60
        assert await serving is None
        assert [socket.close_code for socket in (served, dialled)] == [1006, 1006]
        assert there not in at.subscribers

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


def test_8_a_frame_of_the_client_begins_the_next_session() -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        for rings in (False, True):
            socket, subscriber = listening(at, b"a")
            serving = asyncio.create_task(subscriber.serve())
            loop.call_later(5, at.ring, session(b"b", changed=rings))
            loop.call_later(10, socket.say, b"hello")
            assert await serving == b"hello"
            assert (socket.sent, socket.close_code) == ([NEWS] if rings else [], None)
            assert socket.ping_interval == IN_SESSION
            assert not at.subscribers
        assert subscriber.handshake == session(b"a").handshake.next()

    virtually(run)


@pytest.mark.parametrize("when", [1, 50])
def test_6_a_wait_that_is_cancelled_leaves_the_connection(when: float) -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        socket, subscriber = listening(at, b"a")
        waiting = asyncio.create_task(subscriber.wait(60.0))
        await asyncio.sleep(when)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert socket.close_code == 1000
        assert not at.subscribers

    virtually(run)


def test_8_nodes_that_keep_in_sync_connect_once(world: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    dials: list[object] = []
    dial = transport.dial

    async def counted(*args: Any) -> Any:
        dials.append(args)
        return await dial(*args)

    monkeypatch.setattr(transport, "dial", counted)
    world.node("hq", "CREATE TABLE t(id TEXT PRIMARY KEY, a)", every=60)
    laptop = world.node("laptop", every=60)
    world.run_for(300)
    laptop.sql("INSERT INTO t VALUES ('k', 1)")
    world.run_for(300)
    world.assert_converged()
    assert len(dials) == 1


def test_8_who_speaks_an_older_minor_version_is_left_when_it_is_called() -> None:
    async def run(loop: Loop) -> None:
        at = Bell()
        socket, subscriber = listening(at, b"a", LASTING - 1)
        loop.call_later(5, at.ring, session(b"b"))
        assert await subscriber.serve() is None
        assert (socket.sent, socket.close_code) == ([], COME_AGAIN)
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

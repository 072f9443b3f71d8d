"""One connection, session after session (SPEC section 13), over real sockets on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from websockets.exceptions import ConnectionClosedOK

from protocol import limits
from protocol.errors import Malformed, PeerRefused
from protocol.frames import NEWS, decode
from replica import Node, transport
from replica.bell import LASTING, Subscriber
from replica.store.store import Store
from replica.transport import HELLO_SECONDS, Gone, Unreachable
from tests.nodes import make_pair, program, rows_of, serving


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were dialled."""
    dialled: list[str] = []
    dial = transport.dial

    async def counted(url: str, *args: object) -> object:
        dialled.append(url)
        monkeypatch.setattr(transport, "HELLO_SECONDS", HELLO_SECONDS)  # A short one was meant for the connection before.
        return await dial(url, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(transport, "dial", counted)
    return dialled


def write(path: Path, text: str) -> None:
    with program(path) as db:
        db.execute("UPDATE contacts SET notes = ? WHERE id = 'c000001'", (text,))


async def subscriber_of(server: Node) -> Subscriber:
    """The other end of the connection, which its server keeps once it has noted the session: a client may be done before."""
    while not server._bell.subscribers:  # noqa: ASYNC110 (turns of the loop, no time)
        await asyncio.sleep(0)
    (there,) = server._bell.subscribers
    return there


async def test_3_a_connection_that_stayed_serves_the_next_session_too(tmp_path: Path, dials: list[str]) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    stayed: list[Subscriber] = []
    async with serving(hq) as (_, url), Node(laptop) as node:
        for turn in range(4):
            write(hq if turn % 2 else laptop, f"turn {turn}") if turn else None
            done = await node.sync(url, stay=stayed.append, over=stayed.pop() if stayed else None)
            assert done.in_sync
            assert rows_of(hq) == rows_of(laptop)
        assert dials == [url]
        idle = await node.sync(url, over=stayed.pop())
        assert (idle.in_sync, idle.round_trips, idle.bytes_in + idle.bytes_out <= 64 + 32 + 16) == (True, 1, True)
        assert dials == [url]
        assert (stayed, list(node._bell.subscribers)) == ([], [])


@pytest.mark.parametrize("minors", [(LASTING - 1, limits.MINOR), (limits.MINOR, LASTING - 1)])
async def test_3_with_an_older_peer_each_session_has_its_own(
    tmp_path: Path, dials: list[str], minors: tuple[int, int]
) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    stayed: list[Subscriber] = []
    async with Node(hq, minor=minors[0]) as server, Node(laptop, minor=minors[1]) as node:
        url = (await server.serve("127.0.0.1", 0)).url
        assert (await node.sync(url, stay=stayed.append)).in_sync
        old = stayed.pop()
        old.socket.send = None  # type: ignore[method-assign, assignment]
        assert (await node.sync(url, over=old)).in_sync
        assert dials == [url, url]
        assert old.socket.close_code is not None


@pytest.mark.parametrize("how", ["cut", "closed", "silent"])
async def test_3_if_it_is_gone_another_is_made_and_nobody_hears_of_it(
    tmp_path: Path, dials: list[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    stayed: list[Subscriber] = []
    async with serving(hq) as (server, url), Node(laptop) as node:
        assert (await node.sync(url, stay=stayed.append)).in_sync
        there = await subscriber_of(server)
        write(laptop, "new")
        match how:
            case "cut":
                there.socket.transport.abort()
            case "closed":
                await there.leave()
            case _:
                monkeypatch.setattr(transport, "HELLO_SECONDS", 0.05)
                there.socket.transport.pause_reading()
        done = await node.sync(url, over=stayed.pop())
        assert (done.in_sync, done.text) == (True, "")
        assert not node._bell.subscribers
        assert dials == [url, url]
        assert [peer["outcome"] for peer in (await node.status())["peers"]] == ["in sync"]
        there.socket.transport.abort()
    assert rows_of(hq) == rows_of(laptop)


async def test_3_only_as_many_members_meet_a_server_as_it_can_bear_and_strangers_keep_none_away(
    tmp_path: Path, dials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    stayed: list[Subscriber] = []
    async with serving(hq) as (_, url), Node(laptop) as node:
        assert (await node.sync(url, stay=stayed.append)).in_sync
        monkeypatch.setattr("replica.sessions.STRANGERS_MAX", 0)
        assert (await node.sync(url, stay=stayed.append, over=stayed.pop())).in_sync
        monkeypatch.setattr("replica.sessions.SESSIONS_MAX", 0)
        with pytest.raises(PeerRefused, match="too many sessions at once"):
            await node.sync(url, over=stayed.pop())
        assert dials == [url]


async def test_3_news_that_cross_the_clients_first_frame_are_ignored(tmp_path: Path, dials: list[str]) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    stayed: list[Subscriber] = []
    async with serving(hq) as (server, url), Node(laptop) as node:
        assert (await node.sync(url, stay=stayed.append)).in_sync
        there = await subscriber_of(server)
        there.called.set()
        await asyncio.sleep(0)
        assert (await node.sync(url, over=stayed.pop())).in_sync
        assert dials == [url]


async def test_3_a_note_that_fails_leaves_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)

    def fails(*_: object, **__: object) -> bool:
        raise MemoryError

    async with serving(hq) as (server, url), Node(laptop) as node:
        monkeypatch.setattr(Store, "note", fails)
        with pytest.raises(MemoryError):
            await node.sync(url, stay=lambda _: None)
        monkeypatch.undo()
        while server.sessions:  # noqa: ASYNC110 (turns of the loop, no time)
            await asyncio.sleep(0)
        assert not node._bell.subscribers
        assert (await node.sync(url)).in_sync


class Answering:
    """A connection on which the peer says this."""

    def __init__(self, *frames: bytes) -> None:
        self._frames = list(frames)

    async def recv(self) -> bytes:
        if not self._frames:
            raise ConnectionClosedOK(None, None)
        return self._frames.pop(0)


async def test_only_between_sessions_are_there_news_and_only_there_is_a_connection_gone() -> None:
    async def first(*frames: bytes, again: bool) -> bytes:
        return await transport._first(cast(Any, Answering(*frames)), None, transport.Traffic(), again=again)

    assert await first(NEWS, b"hello", again=True) == b"hello"
    assert await first(NEWS, b"hello", again=False) == NEWS
    with pytest.raises(Malformed):
        decode(NEWS)
    with pytest.raises(Gone):
        await first(again=True)
    with pytest.raises(Unreachable) as cut:
        await first(again=False)
    assert not isinstance(cut.value, Gone)


async def test_a_first_frame_of_the_session_before_proves_nothing(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    stayed: list[Subscriber] = []
    said: list[bytes] = []
    send = transport._send

    async def heard(socket: object, frame: bytes, traffic: object) -> None:
        said.append(frame)
        await send(socket, frame, traffic)  # type: ignore[arg-type]

    async with serving(hq) as (_, url), Node(laptop) as node:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transport, "_send", heard)
            assert (await node.sync(url, stay=stayed.append)).in_sync
        socket = stayed.pop().socket
        await socket.send(said[0])
        assert b"not-member" in await socket.recv()
        socket.transport.abort()
    with Store(laptop) as store:
        assert store.verify() == []

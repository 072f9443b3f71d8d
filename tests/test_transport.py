"""One session over one socket: cuts, strangers, and members that misbehave. Loopback only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zstandard
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from protocol import frames, limits, messages
from protocol.errors import Malformed, PeerFault
from protocol.keys import CLIENT
from protocol.messages import Bye, Cells, End, Hello, Listing, More, Nodes, Pick
from protocol.proofs import Proofs
from replica import Node, system, transport
from replica.errors import StoreError
from replica.store.store import Store
from replica.transport import Unreachable
from tests.nodes import make_pair, program, rows_of, serving


@asynccontextmanager
async def cutting_proxy(port: int, after: int) -> AsyncIterator[int]:
    """A way to the server that breaks after so many bytes, both ways together."""
    left = after

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, both: list[asyncio.StreamWriter]
    ) -> None:
        nonlocal left
        while left > 0 and (data := await reader.read(1_024)):
            writer.write(data[:left])
            left -= len(data)
            await writer.drain()
        for end in both:
            end.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        both = [writer, far_writer]
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(pump(reader, far_writer, both), pump(far_reader, writer, both))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("after", [0, 100, 400, 600, 900, 5_000, 20_000, 60_000, 100_000])
async def test_a_cut_at_any_byte_keeps_what_was_applied_and_the_next_session_goes_on(
    tmp_path: Path, after: int
) -> None:
    hq, laptop = make_pair(tmp_path, rows=3_000)
    with Store(laptop) as store:
        store.execute("CREATE TABLE visits(id INTEGER PRIMARY KEY, what TEXT)")
        store.adopt(["visits"])
        notes = [system.random_bytes(200).hex() for _ in range(500)]  # However small records are made, 100 kB of noise.
        store.put_many("visits", [{"id": n, "what": note} for n, note in enumerate(notes)])
    async with serving(hq) as (server, url), Node(laptop) as node:
        port = int(url.rpartition(":")[2])
        async with cutting_proxy(port, after) as broken:
            with pytest.raises(Unreachable):
                await node.sync(f"ws://127.0.0.1:{broken}")
        report = await node.sync(url)
        assert report.in_sync
        assert await node.verify() == await server.verify() == []
    assert rows_of(hq) == rows_of(laptop)
    assert len(rows_of(hq, "SELECT * FROM visits")) == 500


@pytest.mark.parametrize("end", ["cut", "nonsense", "cancelled"])
async def test_what_ends_a_session_before_the_turn_ends_keeps_the_records_that_came_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have something to send, so that the client keeps the last records waiting for the end of the turn."""
    caplog.set_level(logging.CRITICAL)
    hq, laptop = make_pair(tmp_path, rows=60)
    receive, syncing = transport._receive, asyncio.current_task()
    error: type[BaseException] = {"cut": Unreachable, "nonsense": Malformed}.get(end, asyncio.CancelledError)

    async def until_records(socket: ClientConnection | ServerConnection, *more: Any, **named: Any) -> bytes:
        frame = await receive(socket, *more, **named)
        if isinstance(socket, ClientConnection) and isinstance(frames.decode(frame), End):
            if end == "cut":
                raise Unreachable("the connection was cut")
            if end == "nonsense":
                return b"\xff"
            assert syncing is not None
            syncing.cancel()
            await asyncio.Event().wait()
        return frame

    async with serving(hq) as (server, url), Node(laptop) as node:
        assert (await node.sync(url)).in_sync
        await server.execute("UPDATE contacts SET phone = 'told' WHERE id = 'c000007'")
        await node.execute("UPDATE contacts SET phone = 'not told' WHERE id = 'c000008'")
        with monkeypatch.context() as cut:
            cut.setattr(transport, "_receive", until_records)
            with pytest.raises(error):
                await node.sync(url)
        if end == "cancelled":
            assert syncing is not None
            syncing.uncancel()
        told = [phone for (phone,) in rows_of(laptop, "SELECT phone FROM contacts WHERE phone LIKE '%told' ORDER BY id")]
        assert told == ["told", "not told"]
        assert (await node.sync(url)).in_sync
    assert rows_of(hq) == rows_of(laptop)


async def test_a_node_that_cannot_read_what_it_would_send_takes_what_the_peer_sends(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=60)
    async with serving(hq) as (server, url), Node(laptop) as node:
        assert (await node.sync(url)).in_sync
        await server.execute("UPDATE contacts SET phone = 'told' WHERE id < 'c000030'")
        await node.execute("UPDATE contacts SET name = 'mine' WHERE id > 'c000040'")
        await node.call(node.store.root)
        with program(laptop) as db:  # One record's registers name a stamp that it has not.
            one = "SELECT max(key) FROM _replica_record WHERE length(which) AND length(stamps) = 32"
            broken = db.execute(f"UPDATE _replica_record SET which = x'0900' || substr(which, 3) WHERE key = ({one})")
            assert broken.rowcount == 1
        with pytest.raises(StoreError, match="is damaged"):
            await node.sync(url)
        assert rows_of(laptop, "SELECT count(*) FROM contacts WHERE phone = 'told'") == [(30,)]


async def test_a_stranger_gets_neither_names_nor_digests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    hq, _ = make_pair(tmp_path, rows=3)
    with Store(hq) as store:
        with store.transaction() as core:  # Two letters are now and then in a nonce.
            core.set_meta("name", "the head office")
        root, group, name = store.root()[0], store.secrets().group, store.name.encode()
        sketch = store.counters(), store.cells(limits.SKETCH_WIDTH_MIN)
    async with serving(hq) as (_, url):
        headers = {"X-Replica-Version": "2.2", "X-Replica-Nonce": base64.b64encode(b"n" * 16).decode()}
        async with connect(url, additional_headers=headers, proxy=None, compression=None) as socket:
            assert socket.response is not None
            heard = str(socket.response.headers).encode()
            hello = Hello(2, b"p" * 32, b"n" * 8, "spy", 0, 0, bytes(16))
            await socket.send(frames.encode(hello))
            with contextlib.suppress(ConnectionClosed):
                while True:
                    frame = await socket.recv()
                    assert isinstance(frame, bytes)
                    heard += frame
    for secret in (root, group, name, *sketch):
        assert secret not in heard
        assert base64.b64encode(secret) not in heard


async def member(path: Path, url: str) -> tuple[ClientConnection, bytes]:
    """A member's connection and its HELLO, to do with as a test likes."""
    with Store(path) as store:
        keys, node = store.group_keys, store.node_id
    socket, handshake = await transport.dial(url, keys, system.random_bytes, None)
    hello = Hello(2, b"", node, "bad", system.now_ms(), 1, b"r" * 16)
    return socket, frames.encode(Proofs(keys, CLIENT, handshake).proved(hello))


def nest(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


BAD_FRAMES = {
    "garbage": b"\xc1\xff\x00garbage",
    "text": "text",
    "64 deep": nest(64),
    "100,000 deep": nest(100_000),
    "a 1 GiB claim": b"\x93\x06\x01\xc6\x40\x00\x00\x00",
    "unknown message": msgpack.packb([99, b""]),
    "wrong types": msgpack.packb([7, "root", 1, True, 0, 0]),
    "a map": msgpack.packb({"a": 1}),
    "records that are none": msgpack.packb([6, 1, zstandard.compress(bytes(64))]),
    "nodes of a later round": frames.encode(Nodes(5, ())),
    "more of a sketch that was not sent": frames.encode(More(8)),
    "another hello": None,
}
TWICE = {
    "a sketch of garbage": frames.encode(Cells(8, False, bytes(range(256)))),
    "a list": frames.encode(Listing(())),
    "all that can be picked": frames.encode(Pick((b"none",) * limits.PICKED_PER_FRAME_MAX)),
}


@pytest.mark.parametrize("name", [*BAD_FRAMES, *TWICE])
async def test_a_member_that_sends_nonsense_ends_its_own_session_alone(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    hq, laptop = make_pair(tmp_path, rows=50)
    async with serving(hq) as (server, url):
        socket, hello = await member(laptop, url)
        await socket.send(hello)
        await socket.recv()
        before = await server.status()
        for frame in [TWICE[name]] * 2 if name in TWICE else [BAD_FRAMES[name] or hello]:
            await socket.send(frame)
        answers: list[object] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                answers.append(frames.decode(await socket.recv(decode=False)))
        await socket.close()
        bye = answers[-1]
        assert isinstance(bye, Bye)
        assert bye.code in {"malformed", "limit"}
        after = await server.status()
        assert (before["root"], before["count"]) == (after["root"], after["count"])
        async with Node(laptop) as honest:
            assert (await honest.sync(url)).in_sync


async def test_a_peer_that_says_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HELLO_SECONDS", 0.2)
    hq, laptop = make_pair(tmp_path)
    async with serving(hq) as (_, url):
        socket, _ = await member(laptop, url)
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_a_peer_that_never_reads_is_dropped_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.5)
    hq, laptop = make_pair(tmp_path)
    with Store(hq) as store:
        noise = [system.random_bytes(500_000).hex() for _ in range(24)]
        store.put_many("contacts", [{"id": f"n{n}", "notes": text} for n, text in enumerate(noise)])
    ended = asyncio.Event()
    async with serving(hq) as (server, url):
        server.on_session = lambda _report: ended.set()
        socket, hello = await member(laptop, url)
        socket.transport.pause_reading()
        await socket.send(hello)
        await socket.send(frames.encode(Nodes(0, (messages.Described("", False, ()),))))
        await socket.send(frames.encode(End(bytes(16), 0, False, 0, 0)))
        async with Node(laptop) as honest:
            assert (await honest.sync(url)).in_sync
        await asyncio.wait_for(ended.wait(), 20)
        socket.transport.abort()


async def test_a_server_that_is_no_node_is_told_apart(tmp_path: Path) -> None:
    _, laptop = make_pair(tmp_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Node(laptop) as node:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PeerFault, match="200"):
            await node.sync(f"ws://127.0.0.1:{port}")


async def test_what_is_sent_without_a_time_limit_never_waits(tmp_path: Path) -> None:
    """Up to its low-water mark a transport is never paused: it takes what it is given at once."""
    hq, laptop = make_pair(tmp_path)
    async with serving(hq) as (server, url):
        socket, _ = await member(laptop, url)
        (other,) = (caller for listener in server._listeners for caller in listener.server.connections)
        for transports in (socket.transport, other.transport):
            low, high = transports.get_write_buffer_limits()
            assert transport.AT_ONCE <= low < high
        await socket.close()


def test_limits_of_the_transport_fit_those_of_the_protocol() -> None:
    assert transport._OPTIONS["max_size"] == limits.FRAME_BYTES_MAX
    assert transport._OPTIONS["compression"] is None

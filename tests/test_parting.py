"""Promises of replica.parting, by number, over real sockets; and how `serve` ends, in real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from replica import Node, transport
from replica.bell import Subscriber
from replica.store.store import Store
from tests.nodes import make_pair, rows_of

PATIENCE = 2.0
"""Seconds, on a busy machine: what is cut off takes 0.2, what waits for an answer 5."""

HANGS = """
import asyncio, sys
from replica.cli import main
from replica.node import Node

async def close(self):
    print("closing", flush=True)
    await asyncio.Event().wait()

Node.close = close
sys.exit(main(["serve", {file!r}, "--listen", "127.0.0.1:0"]))
"""


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A child process with its output, gone at the end."""
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


async def test_1_whoever_is_connected_a_node_that_closes_is_gone_soon(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=10)
    loop = asyncio.get_running_loop()
    kept: list[Subscriber] = []
    async with Node(laptop) as other:
        node = await Node(hq).start()
        listener = await node.serve("127.0.0.1", 0)
        assert (await other.sync(listener.url, stay=kept.append)).in_sync
        greeted, _ = await transport.dial(listener.url, other.store.group_keys, os.urandom, None)
        kept[0].socket.transport.pause_reading()
        greeted.transport.pause_reading()  # Both are asleep: one after its session, one in it.
        address = listener.sockets[0]
        with socket.create_connection(address) as silent, socket.create_connection(address) as half:
            half.sendall(b"GET / HTTP/1.1\r\n")
            while len(listener.callers._sockets) < 4:  # noqa: ASYNC110 (turns of the loop, no time)
                await asyncio.sleep(0)
            began = loop.time()
            await node.close()
            assert loop.time() - began < PATIENCE
            silent.settimeout(PATIENCE)
            assert silent.recv(1) == b""
        greeted.transport.abort()
        kept[0].socket.transport.abort()


async def test_1_a_caller_that_closes_is_gone_soon(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=10)
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        loop = asyncio.get_running_loop()
        async with Node(laptop) as node:
            meeting = asyncio.create_task(node.sync(f"ws://127.0.0.1:{silent.getsockname()[1]}"))
            accepted.append((await loop.sock_accept(silent))[0])
            began = loop.time()
            meeting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await meeting
            assert loop.time() - began < PATIENCE
    accepted[0].close()
    with Store(hq) as store:
        assert store.verify() == []


async def test_2_a_peer_that_answers_hears_the_close(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path)
    async with Node(laptop) as other:
        node = await Node(hq).start()
        listener = await node.serve("127.0.0.1", 0)
        dialled, _ = await transport.dial(listener.url, other.store.group_keys, os.urandom, None)
        await node.close()
        with pytest.raises(ConnectionClosed) as heard:
            await dialled.recv()
        assert heard.value.rcvd is not None
        assert heard.value.rcvd.code == 1001


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("calls", [True, False])
def test_1_serve_ends_at_once_while_its_peer_sleeps(number: signal.Signals, tmp_path: Path, *, calls: bool) -> None:
    hq, laptop = make_pair(tmp_path, rows=10)
    serve = "-m", "replica", "serve"
    with started(*serve, laptop, "--listen", "127.0.0.1:0") as first:
        url = said(first).split()[-1]
        with started(*serve, hq, "--listen", "127.0.0.1:0", "--sync", url) as second:
            assert "listening" in said(second)
            hub, peer = (second, first) if calls else (first, second)
            assert said(hub)  # Of the session that has ended.
            peer.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            hub.send_signal(number)
            _, errors = hub.communicate()
            assert time.monotonic() - began < PATIENCE
            assert (hub.returncode, errors) == (0, "")
    assert rows_of(hq) == rows_of(laptop)


def test_a_second_ctrl_c_ends_serve_where_it_is(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    with started("-c", HANGS.format(file=str(hq))) as child:
        assert "listening" in said(child)
        child.send_signal(signal.SIGINT)
        assert said(child) == "closing\n"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate()
        assert (child.returncode, errors) == (130, "ended at once: what was finished is kept, nothing is lost\n")

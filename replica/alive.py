"""A slow line is not a dead one: whatever arrives, or leaves, is a sign of life.

A batch of records may be minutes under way on a bad line, and the pong to a ping waits behind it. One test each:

1. A connection on which bytes come is kept, however late a pong is; one on which none do ends with its ping's time.
2. A frame may take as long as it takes, if SLOWEST bytes a second come or leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode

SLOWEST = 1_000
"""Bytes a second. Who takes or sends less for a while holds up a session for nothing: a batch would be an hour under way."""


class Alive(Connection):
    """Knows that bytes come, and waits for a pong as long as they do. `came`: how many."""

    came = 0

    def data_received(self, data: bytes) -> None:
        self.came += len(data)
        super().data_received(data)

    async def keepalive(self) -> None:
        latency = 0.0
        while self.ping_interval is not None:
            await asyncio.sleep(self.ping_interval - latency)
            latency = await self._ponged(await self.ping())

    async def _ponged(self, pong: Awaitable[float]) -> float:
        while True:
            came = self.came
            try:
                async with asyncio.timeout(self.ping_timeout):
                    return await asyncio.shield(pong)
            except TimeoutError:
                if self.came == came:
                    async with self.send_context():  # It waits for the end of the connection, which ends this task.
                        self.protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")


class Dialled(Alive, ClientConnection):
    """A client's."""


class Answered(Alive, ServerConnection):
    """A server's."""


async def drained(socket: Connection, seconds: float) -> None:
    """Wait until what is under way has left. Raises TimeoutError if within so many seconds less than SLOWEST does."""
    while True:
        left = socket.transport.get_write_buffer_size()
        try:
            async with asyncio.timeout(seconds):
                return await socket.drain()
        except TimeoutError:
            if left - socket.transport.get_write_buffer_size() < SLOWEST * seconds:
                raise


async def received(socket: Connection, seconds: float, *, slow: bool) -> str | bytes:
    """The next message. Raises ConnectionClosed; TimeoutError after so many seconds, or if it may be `slow`, after so many
    in which less than SLOWEST comes."""
    while True:
        came = _came(socket)
        try:
            async with asyncio.timeout(seconds):
                return await socket.recv()
        except TimeoutError:
            if not slow or _came(socket) - came < SLOWEST * seconds:
                raise


def _came(socket: Connection) -> int:
    return socket.came if isinstance(socket, Alive) else 0

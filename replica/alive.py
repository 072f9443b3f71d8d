"""A slow line is not a dead one: whatever arrives, or leaves, is a sign of life.

A batch of records may be minutes under way on a bad line, and the pong to a ping waits behind it, perhaps in buffers of
which neither side knows. One test each:

1. A connection on which bytes come is kept, however late a pong is; one on which none do ends with its ping's time.
2. Who reads for long says so: by pongs that nobody asked for (RFC 6455, section 5.5.3), since the sender hears nothing else.
3. A frame may take as long as it takes to come, if SLOWEST bytes a second do; and to leave, if each PIECE does in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import suppress

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State

SLOWEST = 500
"""Bytes a second. Who sends less for a while holds up a session for nothing: a batch would be an hour under way."""
PIECE = 16_384
"""Bytes of a frame that leave together. With what lies in buffers before them, a minute or two at 1,000 bytes a second."""
BEAT_SECONDS, BEAT_BYTES = 15.0, 4_096
"""Who reads says so as often, if so much came since: not where two only wait for news."""


class Alive(Connection):
    """Knows that bytes come, and waits for a pong as long as they do; and says so, where that may last. `came`: how many."""

    came = 0
    _told = 0
    _told_at: float | None = None

    def data_received(self, data: bytes) -> None:
        self.came += len(data)
        now = self.loop.time()
        if self._told_at is None:
            self._told_at = now
        elif now - self._told_at >= BEAT_SECONDS and self.came - self._told >= BEAT_BYTES:
            self._told, self._told_at = self.came, now
            if self.protocol.state is State.OPEN:
                self.protocol.send_pong(b"")  # It leaves with what the next line answers.
        super().data_received(data)

    async def keepalive(self) -> None:
        latency = 0.0
        with suppress(ConnectionClosed):
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


def pieces(frame: bytes, limit: asyncio.Timeout, seconds: float) -> Iterator[bytes]:
    """A frame in pieces, as many fragments of one message, each of which has so many seconds to leave. Pings go between."""
    clock = asyncio.get_running_loop().time
    for at in range(0, len(frame), PIECE):
        limit.reschedule(clock() + seconds)
        yield frame[at : at + PIECE]


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

"""The bell: who learnt something calls those who listen, so that news need not wait for the next interval.

A node that keeps in sync leaves its connection open when a session has ended, and says no more. When a session with
somebody else changes a record at the other end, that end closes the connection with the code NEWS: it is worth coming
back. What changes here by another peer's session is a call as good. No data travels so, and nothing depends on it: a call
that is not heard costs an interval. One test each:

1. News call all who listen, but for those from whom they came.
2. Who is called comes back no sooner than after LEAST of its wait, and no later than after all of it.
3. A connection that ends in any other way calls nobody.
4. At most SUBSCRIBERS_MAX listen.
5. Who says something on such a connection is cut off.
6. All are left at once, however slow they are to go.
7. On a silent connection the server pings each PING_SECONDS, and the client never.

SPEC section 13.
"""

from __future__ import annotations

import asyncio
import contextlib

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from protocol.session import Session
from replica.parting import part

NEWS = 4000
"""Close code, of those that are free for applications (RFC 6455, section 7.4.2)."""

SUBSCRIBERS_MAX = 256
"""Each holds some 50 kB and a file descriptor, of which a process often has 1,024; a frame that should not have come is read
to its end, at most 4 MiB, before it is cut off."""

PING_SECONDS = 50
"""Between two pings of the server to one who listens: many proxies drop a connection after a silent minute, and who vanished
gives up its place. The client, whose radio each of them wakes, sends none: when its wait ends it leaves anyway."""

LEAST = 2 / 3
"""Share of a wait before which no news end it: a busy group then meets at most half more often."""


class Subscriber:
    """One connection whose session has ended, and the peer at its other end. `called` is set by news of others."""

    def __init__(self, bell: Bell, socket: ClientConnection | ServerConnection, peer: bytes) -> None:
        self._bell, self._socket, self.peer = bell, socket, peer
        self.called = asyncio.Event()
        bell.subscribers[self] = None

    async def serve(self) -> None:
        """Wait until the other side leaves; call it back if there are news."""
        self._socket.ping_interval = PING_SECONDS
        try:
            await self._either(asyncio.create_task(self._end()))
        finally:
            self._bell.subscribers.pop(self, None)
        await self._socket.close(NEWS if self.called.is_set() else 1000)

    async def leave(self) -> None:
        """Close the connection."""
        self._bell.subscribers.pop(self, None)
        await part(self._socket)

    async def wait(self, seconds: float, late_s: float = 0.0) -> None:
        """Wait for news, here or there, for so long, and then leave; `late_s` after news: many are called at once."""
        if (pings := getattr(self._socket, "keepalive_task", None)) is not None:  # Not in websockets' documentation.
            pings.cancel()
        closed = asyncio.create_task(self._hear())
        try:
            await asyncio.sleep(seconds * LEAST)
            async with asyncio.timeout(seconds * (1 - LEAST)):
                await self._either(closed)
                await asyncio.sleep(late_s)
        except TimeoutError:
            pass
        finally:
            closed.cancel()
            await self.leave()

    async def _end(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._socket.recv()
            self._socket.transport.abort()

    async def _hear(self) -> None:
        await self._end()
        if self._socket.close_code != NEWS:
            await asyncio.Event().wait()  # It says nothing: what comes here may still end the wait.

    async def _either(self, other: asyncio.Task[None]) -> None:
        called = asyncio.create_task(self.called.wait())
        try:
            await asyncio.wait((called, other), return_when=asyncio.FIRST_COMPLETED)
        finally:
            called.cancel()
            other.cancel()


class Bell:
    """Those who listen at a node."""

    def __init__(self) -> None:
        self.subscribers: dict[Subscriber, None] = {}

    def listen(self, socket: ClientConnection | ServerConnection, session: Session) -> Subscriber | None:
        """Hear of news from now on that are not of this session's peer; None: there are too many who do."""
        peer = session.outcome.peer
        return Subscriber(self, socket, peer.instance) if peer and len(self.subscribers) < SUBSCRIBERS_MAX else None

    def ring(self, session: Session) -> None:
        """A session has ended: if it changed something here, that is news for all but its peer."""
        peer = session.outcome.peer
        if peer is None or not session.outcome.changed:
            return
        for subscriber in self.subscribers:
            if subscriber.peer != peer.instance:
                subscriber.called.set()

    async def close(self) -> None:
        """Leave all."""
        await asyncio.gather(*(subscriber.leave() for subscriber in list(self.subscribers)))

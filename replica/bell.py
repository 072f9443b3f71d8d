"""The bell: who learnt something calls those who listen, so that news need not wait for the next interval.

A node that keeps in sync leaves its connection open when a session has ended: its next session begins there, without a
new handshake. When a session with somebody else changes a record at the other end, that end says NEWS: it is worth coming
back. What changes here by another peer's session is a call as good. No data travels so, and nothing depends on it: a call
that is not heard costs an interval. One test each:

1. News call all who listen, but for those from whom they came.
2. Who is called comes back no sooner than after LEAST of its wait, and no later than after all of it.
3. A connection that ends in any other way calls nobody.
4. At most SUBSCRIBERS_MAX listen.
5. Who says what may not be said on such a connection is cut off.
6. All are left at once, however slow they are to go.
7. On a silent connection the server pings each PING_SECONDS, and the client never.
8. A client's frame begins the next session; who speaks an older minor version is left, and called by COME_AGAIN.

SPEC section 13.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from protocol import limits
from protocol.frames import NEWS
from protocol.keys import Handshake
from protocol.session import Session
from replica.parting import part

LASTING = 3
"""The minor version from which a connection serves one session after another."""

COME_AGAIN = 4000
"""Close code, of those that are free for applications (RFC 6455, section 7.4.2): NEWS to who does not know that frame."""

Socket = ClientConnection | ServerConnection

SUBSCRIBERS_MAX = 256
"""Each holds some 50 kB and a file descriptor, of which a process often has 1,024; a frame that should not have come is read
to its end, at most 4 MiB, before it is cut off."""

PING_SECONDS = 50
"""Between two pings of the server to one who listens: many proxies drop a connection after a silent minute, and who vanished
gives up its place. The client, whose radio each of them wakes, sends none until its next session."""

LEAST = 2 / 3
"""Share of a wait before which no news end it: a busy group then meets at most half more often."""


class Subscriber:
    """A connection whose session has ended, and the peer at its other end. `handshake`: of the next session on it; `called`
    is set by news of others."""

    def __init__(self, bell: Bell, socket: Socket, peer: bytes, handshake: Handshake) -> None:
        self._bell, self.socket, self.peer, self.handshake = bell, socket, peer, handshake
        self._session_pings = socket.ping_interval
        self.called = asyncio.Event()
        bell.subscribers[self] = None

    @property
    def lasts(self) -> bool:
        """Whether another session may begin on it, unless it is gone by then."""
        return self.handshake.minor >= LASTING

    async def serve(self) -> bytes | None:
        """Wait until the client begins another session, whose first frame this returns, or leaves; call it if there are
        news."""
        _ping(self.socket, PING_SECONDS)
        heard = asyncio.create_task(self._hear(lambda frame: 0 < len(frame) <= limits.HELLO_BYTES_MAX))
        try:
            await self._either(heard)
            if self.called.is_set() and self.lasts:
                await self.socket.send(NEWS)
                await asyncio.wait((heard,))
            if heard.done():
                _ping(self.socket, self._session_pings)
                return heard.result()
        except ConnectionClosed:
            return None
        finally:
            heard.cancel()
            self._bell.subscribers.pop(self, None)
        await self.socket.close(COME_AGAIN)
        return None

    async def leave(self) -> None:
        """Close the connection."""
        self._bell.subscribers.pop(self, None)
        await part(self.socket)

    async def wait(self, seconds: float, late_s: float = 0.0) -> None:
        """Wait for news, here or there, for so long; `late_s` after news: many are called at once. Leaves, unless it
        `lasts`."""
        _ping(self.socket, None)
        called = asyncio.create_task(self._called())
        async with or_left(self):
            try:
                await asyncio.sleep(seconds * LEAST)
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds * (1 - LEAST)):
                        await self._either(called)
                        await asyncio.sleep(late_s)
            finally:
                called.cancel()
            await asyncio.wait((called,))  # One at a time may receive.
        if self.lasts:
            _ping(self.socket, self._session_pings)
        else:
            await self.leave()

    async def _hear(self, may_be: Callable[[bytes], bool]) -> bytes | None:
        """The next frame; None: the other side left, or was cut off, as it said what may not be said."""
        with suppress(ConnectionClosed):
            frame = await self.socket.recv()
            if self.lasts and isinstance(frame, bytes) and may_be(frame):
                return frame
            self.socket.transport.abort()
        return None

    async def _called(self) -> None:
        news = await self._hear(lambda frame: frame == NEWS)
        if news is None and self.socket.close_code != COME_AGAIN:
            await asyncio.Event().wait()  # It says nothing: what comes here may still end the wait.

    async def _either(self, other: asyncio.Task[Any]) -> None:
        called = asyncio.create_task(self.called.wait())
        try:
            await asyncio.wait((called, other), return_when=asyncio.FIRST_COMPLETED)
        finally:
            called.cancel()


def _ping(socket: Socket, seconds: float | None) -> None:
    """From now on each so many seconds, or never."""
    if (pings := getattr(socket, "keepalive_task", None)) is not None:  # Not in websockets' documentation.
        pings.cancel()
    socket.ping_interval = seconds
    if socket.close_code is None:
        socket.start_keepalive()


@asynccontextmanager
async def or_left(kept: Subscriber | None) -> AsyncIterator[None]:
    """If anything goes wrong here, the connection does not stay."""
    try:
        yield
    except BaseException:
        if kept is not None:
            await kept.leave()
        raise


class Bell:
    """Those who listen at a node."""

    def __init__(self) -> None:
        self.subscribers: dict[Subscriber, None] = {}

    def listen(self, socket: Socket, session: Session) -> Subscriber | None:
        """Hear of news from now on that are not of this session's peer; None: there are too many who do."""
        peer = session.outcome.peer
        if peer is None or len(self.subscribers) >= SUBSCRIBERS_MAX:
            return None
        return Subscriber(self, socket, peer.instance, session.handshake.next())

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

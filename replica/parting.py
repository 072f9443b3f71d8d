"""Going away: a node that closes asks its peers to let go, and cuts off those who do not answer.

A peer may be asleep, and the library waits seconds for its answer, and longer for who connected and said nothing. Nobody
needs that answer: what was applied stays, and the next session goes on. One test each:

1. Whoever is connected, and whatever it does, a node that closes is gone soon after GRACE_SECONDS.
2. A peer that answers hears the close.
"""

from __future__ import annotations

import asyncio
from weakref import WeakSet

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server, ServerConnection

from replica.alive import Answered

GRACE_SECONDS = 0.2
"""For all who are connected together: many round trips in a house, one over most of the world."""


async def part(socket: ClientConnection | ServerConnection) -> None:
    """Close a connection; who does not answer in time is cut off."""
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            await socket.close()
    except TimeoutError:
        socket.transport.abort()


class Callers:
    """Who is connected to a server, from the first byte on. `kind`: the connections that the server has to make, so that
    they are known here; `handlers`: tasks that serve those who proved themselves."""

    def __init__(self) -> None:
        self._sockets: WeakSet[ServerConnection] = WeakSet()
        self.handlers: set[asyncio.Task[None]] = set()
        sockets = self._sockets

        class Caller(Answered):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                sockets.add(self)

        self.kind: type[ServerConnection] = Caller

    async def part(self, server: Server) -> None:
        """Stop a server, and end all of its connections; returns when no handler runs any more."""
        server.close()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await server.wait_closed()
        except TimeoutError:
            for socket in self._sockets:
                socket.transport.abort()
            if self.handlers:
                await asyncio.wait(self.handlers)

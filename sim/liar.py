"""How one that lies converses: it dials as any node does, then says and hears frames that it makes by hand.

It gives up by itself when the peer is silent for long. One test each:

1. Whoever it dials knows it for a member of the group.
2. What the peer says in its turn is heard to its END.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from protocol import frames, limits
from protocol.errors import PeerFault, PeerRefused
from protocol.keys import CLIENT, INSTANCE_BYTES, Handshake
from protocol.messages import Bye, End, Hello, Message, Probe, Same
from protocol.proofs import Proofs
from protocol.session import Self
from replica import transport
from replica.store.store import Store


class GaveUp(Exception):
    """The attack ends by itself: nobody had stopped it."""


class Liar:
    """One attack on one address: what it needs in all its conversations."""

    def __init__(
        self,
        url: str,
        store: Store,
        random: Random,
        now_ms: Callable[[], int],
        instance: bytes,
        true_ms: Callable[[], int] | None = None,
    ) -> None:
        self.url, self.store, self.random, self.now_ms = url, store, random, now_ms
        self.true_ms = true_ms or now_ms
        self.me = Self(store.node_id, store.name)
        self._instance = instance
        self.keys = store.group_keys
        self.did: list[str] = []
        self.heard: list[Message] = []

    async def dial(self) -> tuple[ClientConnection, Handshake]:
        """A connection that was let in, and its handshake. Raises PeerFault."""
        return await transport.dial(self.url, self.keys, self._nonce, None)

    def _nonce(self, size: int) -> bytes:
        return self._instance + self.random.randbytes(size - INSTANCE_BYTES)

    def hello(self, handshake: Handshake, **false: Any) -> Hello:
        """A true one without hints, but for a root that nobody has and what is `false`. It proves what it says."""
        root, me = self.random.randbytes(16), self.me
        hello = replace(Hello(limits.VERSION, b"", me.node, me.name, self.now_ms(), 1, root), **false)
        return Proofs(self.keys, CLIENT, handshake).proved(hello)

    def probe(self, handshake: Handshake, root: bytes) -> Probe:
        """One about this root."""
        return Proofs(self.keys, CLIENT, handshake).proved(Probe(b"", self.me.node, self.now_ms(), root))

    async def meet(self, probed: bytes = b"", **false: Any) -> ClientConnection:
        """A connection on which both have said HELLO and it is our turn; `heard` is what the peer said in its own. `probed`:
        say PROBE about this root instead. `false`: what our HELLO says, but for what is true. Raises PeerFault."""
        socket, handshake = await self.dial()
        try:
            hello = self.hello(handshake, **false)
            await say(socket, frames.encode(self.probe(handshake, probed) if probed else hello))
            self.heard = await turn(socket)
        except BaseException:
            socket.transport.abort()
            raise
        return socket


def _patience() -> float:
    """Seconds, longer than an honest node waits for anything."""
    return transport.HELLO_SECONDS + transport.SEND_SECONDS + transport.RECEIVE_SECONDS + 60


async def say(socket: ClientConnection, frame: bytes | str) -> None:
    """Send, or hear why not. Raises PeerFault or GaveUp."""
    try:
        async with asyncio.timeout(_patience()):
            await socket.send(frame)
    except ConnectionClosed:
        while True:
            await hear(socket)
    except TimeoutError:
        socket.transport.abort()
        raise GaveUp("the peer does not read, and does not throw out either") from None


async def hear(socket: ClientConnection) -> Message:
    """The next message. Raises PeerFault if it is a BYE or the connection ended, or GaveUp."""
    try:
        async with asyncio.timeout(_patience()):
            frame = await socket.recv(decode=False)
    except ConnectionClosed as error:
        close = error.rcvd or error.sent
        raise transport.Unreachable(f"cut, {close.code} {close.reason}" if close else "cut without a word") from None
    except TimeoutError:
        socket.transport.abort()
        raise GaveUp("the peer says nothing, and does not throw out either") from None
    message = frames.decode(frame)
    if isinstance(message, Bye):
        raise PeerRefused(message.code, message.text)
    return message


async def turn(socket: ClientConnection) -> list[Message]:
    """Everything that the peer says in its turn, or in its answer to a PROBE. Raises PeerFault or GaveUp."""
    heard = [await hear(socket)]
    while not isinstance(heard[-1], End | Same):
        heard.append(await hear(socket))
    return heard


async def whole_turn(socket: ClientConnection) -> End:
    """The END of the peer's turn. Raises PeerFault or GaveUp."""
    end = (await turn(socket))[-1]
    assert isinstance(end, End)
    return end


async def met(
    liar: Liar, action: Callable[[ClientConnection], Awaitable[None]], probed: bytes = b"", **false: Any
) -> str:
    """Meet as `Liar.meet` does, act, and hear what the peer says to it."""
    socket = await liar.meet(probed, **false)
    try:
        await action(socket)
        while True:
            await hear(socket)
    except PeerFault:
        socket.transport.abort()  # It owes nobody a closing handshake.
        raise
    finally:
        await socket.close()

"""The network of a world: TCP between machines, in memory, as bad as the scenario wants it.

A stream is reliable and ordered, as TCP is: what is lost on the way comes late, and what stays unacknowledged for too
long ends the connection (sim.transport). Whoever is cut off hears nothing, not even that it was cut off. Beside that,
websocket frames can be spoiled (sim.wire), as by a broken proxy or peer. One test each:

1. A blocked link delivers nothing; a short block only delays.
2. Nobody answers who dials over a blocked link; a port that nobody listens on refuses, and one is taken once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextvars import copy_context
from random import Random
from typing import Any

from sim.loop import CURRENT, Loop, Process
from sim.transport import End, Link


class Socket:
    """What a server says about where it listens."""

    family = socket.AF_INET

    def __init__(self, host: str, port: int) -> None:
        self._name = host, port

    def getsockname(self) -> tuple[str, int]:
        """Host and port."""
        return self._name


class Listener:
    """A listening port of one process."""

    def __init__(self, net: Network, host: str, port: int, factory: Callable[[], Any], process: Process | None) -> None:
        self._net, self._place = net, (host, port)
        self.factory, self.process, self.context = factory, process, copy_context()
        self.sockets = [Socket(host, port)]

    def close(self) -> None:
        """Take no more connections."""
        if self._net.listeners.get(self._place) is self:
            del self._net.listeners[self._place]

    def is_serving(self) -> bool:
        """Whether it takes connections."""
        return self._net.listeners.get(self._place) is self

    async def start_serving(self) -> None:
        """It does from the first moment."""

    async def wait_closed(self) -> None:
        """Closing takes no time."""


class Network:
    """All links and connections. A machine is a name here."""

    def __init__(self, loop: Loop, random: Random, decide: Callable[[bytes], None], latency_s: float) -> None:
        self.loop, self.random, self.decide = loop, random, decide
        self._latency_s = latency_s
        self._links: dict[tuple[str, str], Link] = {}
        self.listeners: dict[tuple[str, int], Listener] = {}
        self.ends: list[End] = []
        self.archive: list[bytes] = []
        self.off: set[str] = set()
        self.deaf: set[str] = set()
        self.other_version: set[str] = set()
        self.carried = 0
        self.reached: Callable[[str, str], None] = lambda _fault, _mark: None
        """Told when a fault did something."""

    def link(self, a: str, b: str) -> Link:
        """From `a` to `b`."""
        found = self._links.get((a, b))
        if found is None:
            found = self._links[a, b] = Link(self._latency_s)
        return found

    def absent(self, a: str, b: str) -> bool:
        """Whether one of the two is off the network."""
        return a in self.off or b in self.off

    def blocked(self, a: str, b: str) -> bool:
        """Whether nothing goes from `a` to `b`."""
        return self.absent(a, b) or self.link(a, b).blocks > 0

    # --- what the loop calls ------------------------------------------------------------------------------------------

    async def connect(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Open a connection from the current process. Raises OSError."""
        process = CURRENT.get()
        assert process is not None, "the world itself dials nobody"
        here = process.name
        if here in self.off:
            raise OSError(101, "Network is unreachable")
        if self.blocked(here, host) or self.blocked(host, here):
            self.reached("partition", "dial")
            await self.loop.create_future()  # Nobody answers: the caller's time limit ends it.
        await asyncio.sleep(self.link(here, host).latency_s + self.link(host, here).latency_s)
        listener = self.listeners.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(111, "Connection refused")
        mine = End(self, here, host, process, copy_context())
        theirs = End(self, host, here, listener.process, listener.context)
        mine.peer, theirs.peer = theirs, mine
        self.ends += [mine, theirs]
        self.loop.call_soon(theirs.accept, listener.factory, context=listener.context)
        protocol = factory()
        mine.accept(lambda: protocol)
        return mine, protocol

    def listen(self, factory: Callable[[], Any], port: int) -> Listener:
        """Let the current process take connections. Raises OSError if another does."""
        process = CURRENT.get()
        assert process is not None
        place = process.name, port
        if place in self.listeners:
            raise OSError(98, "Address already in use")
        self.listeners[place] = listener = Listener(self, *place, factory, process)
        return listener

    # --- what the world does to it ------------------------------------------------------------------------------------

    def block(self, links: Iterable[tuple[str, str]]) -> None:
        """Nothing goes over these links."""
        for a, b in links:
            self.link(a, b).blocks += 1

    def unblock(self, links: Iterable[tuple[str, str]]) -> None:
        """Undo one `block`."""
        for a, b in links:
            link = self.link(a, b)
            link.blocks = max(0, link.blocks - 1)
            if not link.blocks:
                self.release(link)

    def release(self, link: Link) -> None:
        """What waited goes on."""
        for end in list(link.ends):
            end.go_on()

    def cut(self, links: Iterable[tuple[str, str]]) -> None:
        """Each of these links cuts its connections, in the middle of what is sent over it next."""
        for a, b in links:
            self.link(a, b).cut_after = int(10 ** self.random.uniform(0, 4.3))

    def turn_off(self, name: str) -> None:
        """The machine has no network: cable out, or powered off."""
        self.off.add(name)

    def turn_on(self, name: str) -> None:
        """It has one again."""
        self.off.discard(name)
        for (a, b), link in self._links.items():
            if name in {a, b} and not link.blocks:
                self.release(link)

    def kill(self, process: Process, *, silent: bool) -> None:
        """A process died. Unless the whole machine did, its kernel tells the peers."""
        for place in [place for place, listener in self.listeners.items() if listener.process is process]:
            del self.listeners[place]
        for end in [e for e in self.ends if e.process is process]:
            end.die(silent)

    def hang_up(self, name: str) -> None:
        """All connections of a machine end, and both sides know it."""
        for end in [e for e in self.ends if e.here == name]:
            end.abort()

    def hear(self, name: str) -> None:
        """A machine that did not read does so again."""
        self.deaf.discard(name)
        for end in [e for e in self.ends if e.here == name]:
            end.drain()

    def heal(self) -> None:
        """Every link is well; what waited goes on."""
        self.deaf.clear()
        self.other_version.clear()
        self.off.clear()
        for link in self._links.values():
            link.latency_s, link.bytes_per_s, link.blocks = self._latency_s, float("inf"), 0
            link.how, link.cut_after = None, 0
        for link in self._links.values():
            self.release(link)
        for end in list(self.ends):
            end.drain()

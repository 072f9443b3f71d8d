"""The network of a world: TCP between machines, in memory, as bad as the scenario wants it.

A stream is reliable and ordered, as TCP is: what is lost on the way comes late, and what stays unacknowledged for too
long ends the connection. Whoever is cut off hears nothing, not even that it was cut off. Beside that, websocket frames
can be spoiled (sim.wire), as by a broken proxy or peer. One test each:

1. Bytes arrive whole and in order, or the connection ends.
2. A blocked link delivers nothing; a short block only delays.
3. A writer is told to wait when its peer does not read.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sim.loop import CURRENT, Loop, Process
from sim.wire import Tap

HIGH, LOW = 65_536, 16_384
"""Bytes under way at which a writer must wait, and may go on."""

GIVE_UP_S = (20.0, 120.0)
"""How long a sender waits for an acknowledgement before the connection counts as lost."""

STALL_SHARE, STALL_S = 0.1, 3.0
"""On a slow link, packets get lost: so many writes wait up to so long for their retransmission."""


@dataclass(slots=True)
class Link:
    """One way between two machines."""

    latency_s: float
    bytes_per_s: float = float("inf")
    blocks: int = 0
    how: str | None = None
    share: float = 0.0
    cut_after: int = 0
    """Bytes after which every connection over this link is cut; 0: never."""
    ends: list[End] = field(default_factory=list)
    """Who sends over it."""


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

    def blocked(self, a: str, b: str) -> bool:
        """Whether nothing goes from `a` to `b`."""
        return a in self.off or b in self.off or self.link(a, b).blocks > 0

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


class End(asyncio.Transport):
    """One end of a connection, as a protocol sees it."""

    def __init__(
        self, net: Network, here: str, there: str, process: Process | None, context: contextvars.Context
    ) -> None:
        super().__init__()
        self._net, self.here, self.there, self.process, self._context = net, here, there, process, context
        self.peer: End | None = None
        self._link = net.link(here, there)
        self._link.ends.append(self)
        self._tap = Tap(net.random, None, 0.0, net.archive)
        self._protocol: Any = None
        self._closing = self._lost_already = self._dead = False
        self._reading = True
        self._must_wait = False
        self._under_way = 0
        self._busy_until = self._last_arrival = 0.0
        self._held: deque[tuple[str, bytes]] = deque()
        self._flight: deque[tuple[asyncio.Handle, str, bytes]] = deque()
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def accept(self, factory: Callable[[], Any]) -> None:
        """The connection stands."""
        self._protocol = factory()
        self._protocol.connection_made(self)
        self.drain()

    # --- sending ------------------------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send bytes."""
        if self._closing or self._lost_already:
            return
        data = bytes(data)
        net, link = self._net, self._link
        if net.other_version and (self.here in net.other_version) != (self.there in net.other_version):
            data = data.replace(b"X-Replica-Version: 1\r\n", b"X-Replica-Version: 2\r\n")
        self._tap.how, self._tap.share = link.how, link.share
        for chunk in self._tap.feed(data):
            self._send("data", chunk)
        if self._under_way > HIGH and not self._must_wait and not self._lost_already:
            self._must_wait = True
            self._protocol.pause_writing()

    def _send(self, kind: str, data: bytes) -> None:
        net, link = self._net, self._link
        self._under_way += len(data)
        if link.cut_after and kind == "data":
            if len(data) >= link.cut_after:
                part, link.cut_after = data[: link.cut_after], 0
                net.reached("cut", "frame")
                self._fly("data", part)
                net.loop.call_soon(self._cut_off)
                return
            link.cut_after -= len(data)
        assert self.peer is not None
        if net.blocked(self.here, self.there) or self.peer._silent:
            net.reached("partition", "sending")
            self._held.append((kind, data))
            self._wait_for_acknowledgement()
            return
        if net.blocked(self.there, self.here):
            self._wait_for_acknowledgement()
        self._fly(kind, data)

    def _fly(self, kind: str, data: bytes) -> None:
        net, link = self._net, self._link
        now = net.loop.time()
        delay = link.latency_s
        if link.bytes_per_s < float("inf"):
            self._busy_until = max(now, self._busy_until) + len(data) / link.bytes_per_s
            delay += self._busy_until - now
            if net.random.random() < STALL_SHARE:
                delay += net.random.uniform(0, STALL_S)
        delay += net.random.random() * link.latency_s
        arrival = self._last_arrival = max(now + delay, self._last_arrival)
        net.decide(f"{self.here}>{self.there}{kind}{len(data)}@{arrival:.6f}".encode())
        net.carried += len(data)
        assert self.peer is not None
        handle = net.loop.call_at(arrival, self.peer.arrive, context=self.peer._context)
        self._flight.append((handle, kind, data))

    def _wait_for_acknowledgement(self) -> None:
        if self._timer is None:
            self._timer = self._net.loop.call_later(self._net.random.uniform(*GIVE_UP_S), self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        self._net.reached("partition", "connection given up")
        self._held.clear()
        self._schedule_lost(ConnectionResetError("timed out"))

    def go_on(self) -> None:
        """The link works again."""
        if self._net.blocked(self.here, self.there) or self._lost_already or (self.peer and self.peer._silent):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._last_arrival = max(self._last_arrival, self._net.loop.time() + self._net.random.uniform(0, STALL_S))
        held, self._held = self._held, deque()
        for kind, data in held:
            self._fly(kind, data)

    def _cut_off(self) -> None:
        assert self.peer is not None
        for end in (self, self.peer):
            for handle, _, _ in list(end._flight)[1:] if end is self else end._flight:
                handle.cancel()
            end._schedule_lost(ConnectionResetError("connection reset by the network"))

    # --- receiving ----------------------------------------------------------------------------------------------------

    def arrive(self) -> None:
        """The next of what the peer sent is here."""
        assert self.peer is not None
        if not self.peer._flight:
            return
        _, kind, data = self.peer._flight.popleft()
        if self._lost_already:
            if kind == "data" and not self.peer._lost_already:
                self._send("reset", b"")
            return
        self._inbox.append((kind, data))
        if self.here in self._net.deaf:
            self._net.reached("deaf", "receiving")
        self.drain()

    def drain(self) -> None:
        """Give the protocol what is here, as far as it reads."""
        while self._inbox and self._protocol is not None and not self._lost_already:
            kind, data = self._inbox[0]
            if kind == "reset":
                self._inbox.clear()
                self._lost(ConnectionResetError("connection reset by peer"))
                return
            if not self._reading or self.here in self._net.deaf:
                return
            self._inbox.popleft()
            if kind == "data":
                self._protocol.data_received(data)
                assert self.peer is not None
                self.peer.acknowledged(len(data))
            else:
                self._protocol.eof_received()
                self.close()

    def acknowledged(self, size: int) -> None:
        """The peer has read so much."""
        self._under_way -= size
        if self._must_wait and self._under_way < LOW and not self._lost_already:
            self._must_wait = False
            self._net.loop.call_soon(self._protocol.resume_writing, context=self._context)

    # --- ending -------------------------------------------------------------------------------------------------------

    @property
    def _silent(self) -> bool:
        """A machine that vanished: nobody is there to say so."""
        return self._dead and self._lost_already

    def die(self, silent: bool) -> None:
        """Our process is no more."""
        if self._lost_already:
            return
        if not silent:
            self._send("reset", b"")
        self._dead = silent
        self._lost_already = True
        self._forget()

    def close(self) -> None:
        """Send what is left, then say that nothing follows."""
        if self._closing or self._lost_already:
            return
        for chunk in self._tap.flush():
            self._send("data", chunk)
        self._closing = True
        self._send("eof", b"")
        self._schedule_lost(None)

    def abort(self) -> None:
        """End it at once."""
        if self._lost_already:
            return
        self._closing = True
        self._held.clear()
        self._send("reset", b"")
        self._schedule_lost(None)

    def _schedule_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._net.loop.call_soon(self._lost, error, context=self._context)

    def _lost(self, error: Exception | None) -> None:
        if self._lost_already:
            return
        self._lost_already = self._closing = True
        self._forget()
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def _forget(self) -> None:
        if self._timer is not None and not self._held:
            self._timer.cancel()
        self._link.ends.remove(self)
        self._net.ends.remove(self)
        for held in self._held:
            if held[0] == "eof" and not self._net.blocked(self.here, self.there):
                self._fly(*held)

    # --- what else a protocol may ask -----------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses."""
        return {"peername": (self.there, 1), "sockname": (self.here, 1)}.get(name, default)

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        """Whom to tell."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Who is told."""
        return self._protocol

    def pause_reading(self) -> None:
        """Keep what comes."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on."""
        self._reading = True
        self._net.loop.call_soon(self.drain, context=self._context)

    def is_reading(self) -> bool:
        """Whether the protocol gets what comes."""
        return self._reading

    def get_write_buffer_size(self) -> int:
        """Bytes that the peer has not read."""
        return self._under_way

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are the network's."""

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Nothing follows from this side."""
        if not self._closing:
            self._send("eof", b"")

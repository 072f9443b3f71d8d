"""One end of a connection between two machines: an asyncio transport over a link that may be slow, cut or blocked.

Of each end it is known what is held back by a blocked link, what is in flight, and what has arrived but was not read yet.
One test each:

1. Bytes arrive whole and in order, or the connection ends.
2. A writer is told to wait when its peer does not read.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from protocol import limits
from sim.loop import Process
from sim.wire import Tap

if TYPE_CHECKING:
    from sim.network import Network

HIGH, LOW = 65_536, 16_384
"""Bytes under way at which a writer must wait, and may go on."""

OURS, THEIRS = (f"X-Replica-Version: {limits.VERSION + n}.".encode() for n in (0, 1))
"""What a node says of its version, and what one of another major version does."""

GIVE_UP_S = (20.0, 120.0)
"""How long a sender waits for an acknowledgement before the connection counts as lost."""

PIECE = 16_384
"""Bytes of a write that arrive together over a slow link."""
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


class End(asyncio.Transport):
    """One end of a connection, as a protocol sees it."""

    def __init__(
        self, net: Network, here: str, there: str, process: Process | None, context: contextvars.Context
    ) -> None:
        super().__init__()
        self._net, self.here, self.there, self.process, self._context = net, here, there, process, context
        self.peer: End | None = None
        self._link, self._back = net.link(here, there), net.link(there, here)
        self._link.ends.append(self)
        self._tap = Tap(net.random, None, 0.0, net.archive)
        self._protocol: Any = None
        self._closing = self._said_all = self._lost_already = self._dead = False
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
        if self._closing or self._said_all or self._lost_already:
            return
        data = bytes(data)
        net, link = self._net, self._link
        if net.other_version and (self.here in net.other_version) != (self.there in net.other_version):
            if OURS in data:
                net.reached("version", "told")
            data = data.replace(OURS, THEIRS)
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
        if net.absent(self.here, self.there) or link.blocks or self.peer._silent:
            net.reached("partition", "sending")
            self._held.append((kind, data))
            self._wait_for_acknowledgement()
            return
        if self._back.blocks:
            self._wait_for_acknowledgement()
        self._fly(kind, data)

    def _fly(self, kind: str, data: bytes) -> None:
        net, link = self._net, self._link
        now = net.loop.time()
        delay = link.latency_s
        if link.bytes_per_s < float("inf"):
            if len(data) > PIECE:
                for at in range(0, len(data), PIECE):
                    self._fly(kind, data[at : at + PIECE])
                return
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
        self.write_eof()
        self._closing = True
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
        if not self._closing and not self._said_all:
            self._said_all = True
            for chunk in self._tap.flush():
                self._send("data", chunk)
            self._send("eof", b"")

"""One websocket connection as seen from outside: every byte that passes, told apart.

`Stream` reads one direction: first the HTTP upgrade, then frames (RFC 6455, section 5.2), without extensions. `Talk` is
both directions of one connection. It knows nothing of sessions but that the second byte of a message is its number
(SPEC section 9). One test each:

1. However the bytes are cut, the counts are the same.
2. Upgrade, framing and payload together are every byte that passed.
3. What was found by counting here is what both ends counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

RECORDS = 6
NAMES = {
    1: "hello", 2: "probe", 3: "nodes", 4: "have", 5: "want", RECORDS: "records", 7: "end", 8: "bye", 9: "same", 10: "cells",
    11: "more", 12: "list", 13: "pick",
}  # fmt: skip
"""Number of a message -> how it is called here."""

_END = b"\r\n\r\n"
_CONTROL = 8
_PEEK = 2
"""Bytes at the start of a message that tell what it is."""


class Heard(NamedTuple):
    """A frame that carries data: the side that said it (0 client, 1 server), the number of its message (-1: none; a
    continued message counts under its first frame's), and its payload in bytes."""

    side: int
    kind: int
    size: int


class _Head(NamedTuple):
    opcode: int
    size: int
    length: int
    first: bytes


def _head(data: bytes) -> _Head | None:
    """The head of the frame that begins here, and the first bytes of its payload; None if some are still to come."""
    if len(data) < 2:
        return None
    masked, length, at = data[1] & 0x80, data[1] & 0x7F, 2
    if length >= 126:
        at = 4 if length == 126 else 10
        length = int.from_bytes(data[2:at], "big")
    size = at + (4 if masked else 0)
    if len(data) < size + min(_PEEK, length):
        return None
    mask = data[at:size] if masked else bytes(4)
    first = bytes(a ^ b for a, b in zip(data[size : size + min(_PEEK, length)], mask, strict=False))
    return _Head(data[0] & 0x0F, size, length, first)


class Stream:
    """One direction of a connection. All counts are bytes; control frames count as framing."""

    def __init__(self, side: int, log: list[Heard]) -> None:
        """`log`: gets each frame with data when it begins; both directions may share one."""
        self.upgrade = self.framing = self.payload = 0
        self._side, self._log = side, log
        self._pending = b""
        self._left = 0
        self._control = False
        self._kind = -1

    def feed(self, data: bytes) -> None:
        """Take in what passed."""
        data, self._pending = self._pending + data, b""
        at = 0
        if not self._upgraded(data):
            return
        if not self.upgrade:
            at = self.upgrade = data.index(_END) + len(_END)
        while at < len(data):
            if self._left:
                at += self._skip(len(data) - at)
            elif head := _head(data[at : at + 16]):
                self._begin(head)
                at += head.size
            else:
                self._pending = data[at:]
                return

    def _upgraded(self, data: bytes) -> bool:
        if self.upgrade or _END in data:
            return True
        self._pending = data
        return False

    def _begin(self, head: _Head) -> None:
        self.framing += head.size
        self._left, self._control = head.length, head.opcode >= _CONTROL
        if not self._control:
            if head.opcode:
                self._kind = head.first[1] if len(head.first) == _PEEK else -1
            self._log.append(Heard(self._side, self._kind, head.length))

    def _skip(self, room: int) -> int:
        step = min(self._left, room)
        self._left -= step
        if self._control:
            self.framing += step
        else:
            self.payload += step
        return step

    @property
    def total(self) -> int:
        """Every byte."""
        return self.upgrade + self.framing + self.payload + len(self._pending)


@dataclass(slots=True)
class Talk:
    """Both directions of one connection. `log`: the frames in the order in which they passed."""

    log: list[Heard] = field(default_factory=list)
    out: Stream = field(init=False)
    back: Stream = field(init=False)

    def __post_init__(self) -> None:
        self.out, self.back = Stream(0, self.log), Stream(1, self.log)

    @property
    def total(self) -> int:
        """Every byte of both directions: upgrade, framing, payload. What TCP and IP add is not in it."""
        return self.out.total + self.back.total

    @property
    def upgrade(self) -> int:
        """Bytes of the HTTP upgrade, request and answer."""
        return self.out.upgrade + self.back.upgrade

    @property
    def payload(self) -> int:
        """Bytes of websocket payload after the upgrade."""
        return self.out.payload + self.back.payload

    def by_kind(self) -> dict[str, int]:
        """Payload bytes by the name of the message."""
        sizes: Counter[str] = Counter()
        for heard in self.log:
            sizes[NAMES.get(heard.kind, f"message {heard.kind}")] += heard.size
        return dict(sizes)

    def finding(self) -> int:
        """Payload bytes until both sides know what to send: all that stands before the last records, but records. All of it
        if none were sent."""
        last = max((i for i, heard in enumerate(self.log) if heard.kind == RECORDS), default=len(self.log))
        return sum(heard.size for heard in self.log[:last] if heard.kind != RECORDS)

    def round_trips(self) -> float:
        """Turns of either side, in pairs: the first word of one side and its answer are one."""
        return (_changes(self.log) + 1) / 2 if self.log else 0

    def round_trips_before_records(self) -> float:
        """The same, before the first records flow either way; all of them if none do."""
        first = next((i for i, heard in enumerate(self.log) if heard.kind == RECORDS), None)
        return self.round_trips() if first is None else _changes(self.log[: first + 1]) / 2


def _changes(log: list[Heard]) -> int:
    return sum(a.side != b.side for a, b in pairwise(log))

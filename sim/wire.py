"""A wire that spoils websocket frames: what no TCP does, but a broken proxy or a man in the middle may.

A tap sits in one direction of a byte stream between two real endpoints. It always knows where frames begin, so that it
may be switched on and off in the middle of a connection. One test each:

1. Switched off, and during the HTTP upgrade, every byte passes as it came and when it came.
2. What it makes is well-formed: an endpoint reads spoiled messages, but never a broken frame.
3. Nothing that is held back is lost: `flush` at the end gives it out, switching off does too.
4. However the bytes are cut, the same frames are spoiled in the same way, in time linear in their size.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from replica.errors import UsageError

ARCHIVE_FRAMES = 64
ARCHIVE_BYTES = 1 << 20
"""What an archive holds at most."""

HEAD_BYTES_MAX = 1 << 16
"""An upgrade that is longer is none: the stream passes for good."""

_END_OF_HEAD = b"\r\n\r\n"


class _Frame(NamedTuple):
    """A data frame as it travels: the first byte (FIN and opcode), the mask (empty: none), the payload still masked."""

    first: int
    mask: bytes
    payload: bytes

    def wire(self) -> bytes:
        size, bit = len(self.payload), 0x80 if self.mask else 0
        if size < 126:
            head = bytes((self.first, bit | size))
        elif size < 1 << 16:
            head = bytes((self.first, bit | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((self.first, bit | 127)) + size.to_bytes(8, "big")
        return head + self.mask + self.payload


class Tap:
    """One direction of one connection. `spoiled` counts what it did, by kind."""

    def __init__(self, random: Random, how: str | None, share: float, archive: list[bytes]) -> None:
        """`how`: one of HOWS, or None for nothing; `share`: of the data frames that are drawn. `archive`: frames that
        this tap and others saw, for "replay" and "splice"; taps of one world share it."""
        self._random = random
        self.share = share
        self.how = how
        self.spoiled: dict[str, int] = {}
        self._archive = archive
        self._greeting: bytearray | None = bytearray()
        self._blind = False
        self._left = 0
        """Payload bytes to come of a frame whose beginning was passed on."""
        self._head = b""
        """A frame's header as far as it was passed on."""
        self._buffer = bytearray()
        self._held = b""

    @property
    def how(self) -> str | None:
        """What is done to the frames that are drawn; None: nothing at all. May be set at any time."""
        return self._how

    @how.setter
    def how(self, how: str | None) -> None:
        if how is not None and how not in HOWS:
            raise UsageError(f"{how!r} is no way to spoil frames; there are {', '.join(HOWS)}")
        self._how = how

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they were written; returns the chunks to deliver, now."""
        if not data:
            return []
        if self._greeting is not None:
            return self._greet(data, self._greeting)
        if self._blind:
            return [data]
        if self._how is None:
            out = self.flush() if self._held or self._buffer else []
            self._track(data)
            return [*out, data]
        at = self._pass(data, 0) if self._left or self._head else 0
        out = [data[:at]] if at else []
        self._buffer += data[at:]
        return out + self._frames()

    def flush(self) -> list[bytes]:
        """What is held back, be it whole frames or the beginning of one: the stream ends, or goes on unspoiled."""
        out = [part for part in (self._held, bytes(self._buffer)) if part]
        self._track(bytes(self._buffer))
        self._held = b""
        self._buffer.clear()
        return out

    # --- borders ------------------------------------------------------------------------------------------------------

    def _greet(self, data: bytes, head: bytearray) -> list[bytes]:
        old = len(head)
        head += data
        end = head.find(_END_OF_HEAD, max(0, old - 3))
        if end < 0:
            self._blind = len(head) > HEAD_BYTES_MAX
        else:
            line = bytes(head[: head.find(b"\r\n")])
            # After any other answer comes a page for people, not frames.
            self._blind = line.startswith(b"HTTP/") and b" 101" not in line
        if end >= 0 or self._blind:
            self._greeting = None
        if end < 0 or self._blind:
            return [data]
        cut = end + len(_END_OF_HEAD) - old
        return [data[:cut], *self.feed(data[cut:])]

    def _track(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            at = self._pass(data, at)

    def _pass(self, data: bytes, at: int) -> int:
        """Follow one frame from data[at], where it begins or goes on. Returns where it ends, or the data does."""
        if not self._left:
            head = self._head + data[at : at + 14]
            sizes = _measure(head)
            if sizes is None:
                self._head = head
                return len(data)
            at += sizes[0] - len(self._head)
            self._head, self._left = b"", sizes[1]
        step = min(self._left, len(data) - at)
        self._left -= step
        return at + step

    def _frames(self) -> list[bytes]:
        """Take whole frames out of the buffer."""
        out: list[bytes] = []
        at = 0
        while sizes := _measure(self._buffer[at : at + 14]):
            body = at + sizes[0]
            end = body + sizes[1]
            if end > len(self._buffer):
                break
            held, self._held = self._held, b""
            first = self._buffer[at]
            if first & 0x0F <= 2:
                mask = bytes(self._buffer[body - 4 : body]) if self._buffer[at + 1] & 0x80 else b""
                frame = _Frame(first, mask, bytes(self._buffer[body:end]))
                out += self._data(frame, held)
            else:
                out.append(bytes(self._buffer[at:end]))
            if held:
                out.append(held)
            at = end
        del self._buffer[:at]
        return out

    # --- spoiling -----------------------------------------------------------------------------------------------------

    def _data(self, frame: _Frame, held: bytes) -> list[bytes]:
        """What becomes of a data frame. One at a time is held back, so the one after it is left alone."""
        out = [frame.wire()]
        if self._how is not None and not held and self._random.random() < self.share:
            spoilt = HOWS[self._how](self, frame)
            if spoilt is not None:
                out = spoilt
                self.spoiled[self._how] = self.spoiled.get(self._how, 0) + 1
        self._record(frame)
        return out

    def _record(self, frame: _Frame) -> None:
        if not frame.first & 0x80 or not frame.first & 0x0F or len(frame.payload) >= ARCHIVE_BYTES:
            return
        archive = self._archive
        archive.append(bytes((frame.first,)) + masked(frame.payload, frame.mask))
        size = sum(map(len, archive))
        while len(archive) > ARCHIVE_FRAMES or size > ARCHIVE_BYTES:
            size -= len(archive.pop(0))

    def _drop(self, _: _Frame) -> list[bytes]:
        return []

    def _duplicate(self, frame: _Frame) -> list[bytes]:
        return [frame.wire(), frame.wire()]

    def _swap(self, frame: _Frame) -> list[bytes]:
        self._held = frame.wire()
        return []

    def _flip(self, frame: _Frame) -> list[bytes] | None:
        if not frame.payload:
            return None
        payload = bytearray(frame.payload)  # A flipped bit is a flipped bit, masked or not.
        bit = self._random.randrange(8 * len(payload))
        payload[bit >> 3] ^= 1 << (bit & 7)
        return [frame._replace(payload=bytes(payload)).wire()]

    def _truncate(self, frame: _Frame) -> list[bytes] | None:
        if not frame.payload:
            return None
        # The mask goes by place, so the head of a masked payload is the masked head.
        return [frame._replace(payload=frame.payload[: self._random.randrange(len(frame.payload))]).wire()]

    def _replay(self, frame: _Frame) -> list[bytes] | None:
        if not self._archive:
            return None
        old = self._random.choice(self._archive)
        mask = self._random.randbytes(4) if frame.mask else b""
        return [_Frame(old[0], mask, masked(old[1:], mask)).wire(), frame.wire()]

    def _splice(self, frame: _Frame) -> list[bytes] | None:
        mine = masked(frame.payload, frame.mask)
        # Of frames of one size, which are often of one kind, something may come that can be read; of others never.
        alike = [old for old in self._archive if len(old) == 1 + len(mine) and old[1:] != mine]
        if not alike:
            return None
        other = self._random.choice(alike)[1:]
        payload = mine[: len(mine) // 2] + other[len(other) // 2 :]
        return [frame._replace(payload=masked(payload, frame.mask)).wire()]


HOWS: dict[str, Callable[[Tap, _Frame], list[bytes] | None]] = {
    "drop": Tap._drop,
    "duplicate": Tap._duplicate,
    "swap": Tap._swap,
    "flip": Tap._flip,
    "truncate": Tap._truncate,
    "replay": Tap._replay,
    "splice": Tap._splice,
}
"""Ways to spoil a frame."""


def masked(payload: bytes, mask: bytes) -> bytes:
    """A payload under a mask of 4 bytes, or out of it again; no mask: as it is."""
    size = len(payload)
    if not mask or not size:
        return payload
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def _measure(head: bytes | bytearray) -> tuple[int, int] | None:
    """Bytes of a frame's header and of its payload, or None if the header goes on."""
    if len(head) < 2:
        return None
    size = head[1] & 0x7F
    more = {126: 2, 127: 8}.get(size, 0)
    length = 2 + more + (4 if head[1] & 0x80 else 0)
    if len(head) < length:
        return None
    return length, int.from_bytes(head[2 : 2 + more], "big") if more else size

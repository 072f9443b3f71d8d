"""Hybrid logical clock: the order in which all replicas agree that things happened.

A stamp is (millis, counter, node) packed in 16 big-endian bytes: 6 of Unix milliseconds, 2 of counter, 8 of node id.
Comparing the bytes compares the stamps, in Python, in SQLite and on the wire alike, so stamps stay packed everywhere
but in front of people. Nothing here reads the time: the caller passes `now_ms`. One test each:

1. Stamps from one clock strictly increase, even while wall time runs backwards.
2. After `observe(stamp)`, the next stamp is greater than `stamp`.
3. A full counter borrows a millisecond, so that no burst and no peer can stop the clock.
4. `last` restores a clock exactly: a restart never repeats a stamp.
5. Every stamp of a clock is above every base stamp, even if the wall clock stands at 1970.

Source: Kulkarni et al., "Logical Physical Clocks" (2014). Wire form: SPEC section 3. Vectors: tests/vectors/hlc.json.
"""

from itertools import repeat
from struct import Struct
from typing import NamedTuple, NewType

from protocol.errors import Malformed

Millis = NewType("Millis", int)
"""Unix milliseconds."""

STAMP_BYTES = 16
NODE_BYTES = 8
MILLIS_MAX = (1 << 48) - 1
COUNTER_MAX = (1 << 16) - 1
_PACKED = Struct(f">Q{NODE_BYTES}s")
BASE_MILLIS = Millis(0)
"""Rows that were there before the engine are stamped at this time, below every later write (SPEC section 8)."""


class Stamp(NamedTuple):
    """A stamp in parts, for people and for tests."""

    millis: Millis
    counter: int
    node: bytes

    def pack(self) -> bytes:
        """The 16 bytes that sort as this stamp does."""
        return pack(self.millis, self.counter, self.node)


def pack(millis: int, counter: int, node: bytes) -> bytes:
    """Packed stamp. Raises Malformed when a part does not fit."""
    if not 0 <= millis <= MILLIS_MAX or not 0 <= counter <= COUNTER_MAX or len(node) != NODE_BYTES:
        raise Malformed(f"no such stamp: {millis} ms, counter {counter}, node of {len(node)} bytes")
    return ((millis << 16) | counter).to_bytes(8, "big") + node


def unpack(stamp: bytes) -> Stamp:
    """The parts of a packed stamp. Raises Malformed unless it has 16 bytes."""
    if len(stamp) != STAMP_BYTES:
        raise Malformed(f"a stamp has {STAMP_BYTES} bytes, not {len(stamp)}")
    time = int.from_bytes(stamp[:8], "big")
    return Stamp(Millis(time >> 16), time & COUNTER_MAX, stamp[8:])


def millis(stamp: bytes) -> Millis:
    """The wall part of a packed stamp."""
    return Millis(int.from_bytes(stamp[:6], "big"))


def base_stamp(content: bytes) -> bytes:
    """Stamp of a row adopted with `content` (8 bytes of its hash): equal rows get equal stamps everywhere."""
    return pack(BASE_MILLIS, 1, content)


def lowest(floor: bytes) -> bytes:
    """The first stamp that a register above `floor` (b"": none) can have: every write and every adopted row is above it."""
    return (int.from_bytes(floor, "big") + 1).to_bytes(16, "big") if floor else base_stamp(bytes(8))


def is_base(stamp: bytes) -> bool:
    """Whether the stamp was given by adoption, not by a write."""
    return stamp[:8] == b"\0\0\0\0\0\0\0\1"


class Clock:
    """Issues stamps for one node. An object, never a global: a simulation owns many."""

    __slots__ = ("_issued", "_time", "node")

    def __init__(self, node: bytes, last: bytes = b"") -> None:
        """`last`: the greatest stamp ever issued or observed, as stored (empty for a new clock)."""
        if len(node) != NODE_BYTES:
            raise Malformed(f"a node id has {NODE_BYTES} bytes, not {len(node)}")
        self.node = node
        self._time = int.from_bytes(last[:8], "big")
        self._issued = 0

    @property
    def issued(self) -> bytes:
        """Time of the last stamp that this object issued (empty: none). A greater one with our node id is a clone's."""
        return self._issued.to_bytes(8, "big") if self._issued else b""

    @property
    def last(self) -> bytes:
        """What to store, so that a restart goes on from here."""
        return self._time.to_bytes(8, "big")

    @property
    def last_ms(self) -> Millis:
        """The wall part of `last`."""
        return Millis(self._time >> 16)

    def tick(self, now_ms: int) -> bytes:
        """The next stamp: the wall clock if it is ahead, else one more than the last."""
        self._time = self._issued = max(self._time + 1, now_ms << 16, 1 << 16)
        return self._time.to_bytes(8, "big") + self.node

    def ticks(self, now_ms: int, count: int) -> list[bytes]:
        """The next so many stamps, of things that happen at one time."""
        first = max(self._time + 1, now_ms << 16, 1 << 16)
        if count:
            self._time = self._issued = first + count - 1
        return list(map(_PACKED.pack, range(first, first + count), repeat(self.node)))

    def observe(self, stamp: bytes) -> None:
        """Move past `stamp`. The caller has put off what is too far ahead (limits.DRIFT_MS_MAX)."""
        self._time = max(self._time, int.from_bytes(stamp[:8], "big"))

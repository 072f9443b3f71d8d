"""Meetings of two strangers with a million records each, in memory: what they say until both know what to send.

What both have is in both sketches and vanishes, so that it need not be there but in the count.
"""

from __future__ import annotations

from random import Random

from protocol import frames
from protocol.hlc import pack
from protocol.keys import CLIENT
from protocol.messages import End, More, Records
from protocol.outcome import IN_SYNC
from tests.protocol.memory_store import NOW_MS, MemoryStore, Talk, sync

COMMON = 1_000_000
FLOORS = {10: 450, 100: 2_500, 1_000: 19_000, 10_000: 180_000}
"""Items that differ, half on each side -> payload bytes until both know what to send, beside the proof: in the mean, since
the estimate that sizes a sketch errs."""


class Vast(MemoryStore):
    """A store that has so many more records than it shows."""

    def root(self) -> tuple[bytes, int]:
        root, count = super().root()
        return root, COMMON + count


def meeting(differ: int, seed: int) -> Talk:
    """Two that differ in so many items, half of them on each side, until both are in sync."""
    random, stores = Random(seed), (Vast(), Vast())
    for number in range(differ):
        stamp = pack(NOW_MS - random.randrange(1 << 20), number & 0xFFFF, random.randbytes(8))
        stores[number % 2].insert(random.getrandbits(60), stamp, {"name": "x"})
    talk = sync(*stores)
    assert [outcome.code for outcome in talk.outcomes] == [IN_SYNC, IN_SYNC]
    assert stores[0].state == stores[1].state
    return talk


def finding(talk: Talk) -> dict[str, int]:
    """Kind of message -> its bytes until both know what to send, beside the proof: all before the last records, but
    records."""
    said = [(frames.decode(frame), role, len(frame)) for role, frame in talk.frames]
    last = max(at for at, (message, _, _) in enumerate(said) if isinstance(message, Records))
    sizes: dict[str, int] = {}
    for message, role, size in said[:last]:
        if not isinstance(message, Records):
            kind = f"{type(message).__name__} of the {role}"
            sizes[kind] = sizes.get(kind, 0) + size
    sizes[f"Hello of the {CLIENT}"] -= 32
    return sizes


def round_trips(talk: Talk) -> float:
    """Turns of either side, in pairs, before the first records flow; the client's HELLO is the first half."""
    said = [frames.decode(frame) for _, frame in talk.frames]
    first = next(at for at, message in enumerate(said) if isinstance(message, Records))
    return (1 + sum(isinstance(message, End) for message in said[:first])) / 2


def widened(talk: Talk) -> bool:
    """Whether the sketch was too small at first."""
    return any(isinstance(frames.decode(frame), More) for _, frame in talk.frames)

"""Lies that fit into an honest conversation: a store that lies, for a real session to speak of.

It never offers anything that an honest node may take and that is not true: what it sends is a record of its store, or no
record at all. One test each:

1. What it sends is true, or no record.
2. What it lists ends.
3. An END that lies is still an END.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from protocol import frames, limits, messages, sketch
from protocol.descent import Applied
from protocol.messages import End
from protocol.reading import Items
from protocol.record import Delta, Record
from protocol.trie import NIBBLES, Entry, Inner, Leaf, Node, key_range
from replica.store.store import Store


class Lies:
    """A store that lies at random: its root, its hints, its trie, what it has and what it sends."""

    def __init__(self, store: Store, random: Random) -> None:
        self._store, self._random = store, random
        self._noise = random.choice((0.0, 0.0, 0.02, 0.3))
        """How often what it sends is no record at all: then it is thrown out at once."""

    def root(self) -> tuple[bytes, int]:
        """Another each time."""
        return self._random.randbytes(16), self._random.choice((0, 1, 1 << 20, (1 << 63) - 1))

    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        """Inner nodes and leaves that never were."""
        return {prefix: self._node(prefix) for prefix in prefixes}

    def _node(self, prefix: str) -> Node:
        random = self._random
        if random.random() < 0.1:
            return self._store.nodes([prefix])[prefix]
        if random.random() < 0.6:
            return Inner(tuple(random.randbytes(16) if random.random() < 0.7 else b"" for _ in NIBBLES))
        return Leaf(tuple(self.entries(prefix, b"", random.randrange(limits.LEAF_MAX + 1))))

    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        """True entries, and ones that never were."""
        if after:
            return []  # What is listed must end, or nothing would ever be said.
        entries = self._store.entries(prefix, b"", limit) if self._random.random() < 0.5 else []
        low, high = (int.from_bytes(key, "big") for key in key_range(prefix))
        for _ in range(self._random.randrange(limit - len(entries) + 1) if limit <= limits.LEAF_MAX else 0):
            entries.append((self._random.randint(low, high).to_bytes(16, "big"), self._random.randbytes(16)))
        return sorted(entries)

    def keys(self, heads: Sequence[bytes]) -> dict[bytes, bytes]:
        """It knows all that it is asked for, or nothing of it."""
        return {h: h.ljust(16, b"\0") for h in heads if self._random.random() < 0.7}

    def stamps(self, keys: Sequence[bytes]) -> dict[bytes, set[bytes]]:
        """It has seen whatever stamps."""
        return {key: {self._random.randbytes(16) for _ in range(self._random.randrange(4))} for key in keys}

    def records(self, keys: Sequence[bytes]) -> list[Record]:
        """True ones, but not all."""
        return self._store.records([key for key in keys if self._random.random() < 0.7])

    def _unasked(self) -> list[Record]:
        return self._store.records([key for key, _ in self._store.entries("", b"", self._random.randrange(1, 8))])

    def deltas(self, keys: Sequence[bytes]) -> list[Delta]:
        """True ones that nobody asked for; now and then what is no record."""
        del keys
        random, true = self._random, [record.delta() for record in self._unasked()]
        if random.random() >= self._noise:
            return true
        one = random.choice(true or [Record("x", b"\x91\x01", b"", bytes(15) + b"\1").delta()])
        # A record that is still one would be a lawful write under an arbitrary name.
        match random.randrange(4):
            case 0:
                return [one._replace(id=one.id[: random.randrange(len(one.id))])]
            case 1:
                return [one._replace(id=one.id + random.randbytes(random.randrange(1, 9)))]
            case 2:
                return [one._replace(collection="")]
        return [one._replace(floor=b"", born=b"", names=(), stamps=b"", which=b"", values=())]

    def apply(self, *_: object) -> Applied:
        """It takes nothing."""
        return Applied(self._random.randrange(2), 0, [])

    def sample(self, *_: object) -> list[Entry]:
        """It has no rows of its own."""
        return []

    def compare_sample(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """It finds all the same."""
        return len(entries), 0

    def node_name(self, _: bytes) -> str:
        """It calls everybody the same."""
        return "nobody"

    def came_since(self, _: bytes) -> int | None:
        """It remembers every root, or none, and what came since is much or nothing."""
        return self._random.choice((None, 0, 1, 70, 1 << 40))

    def news(self, _: bytes) -> Items:
        """Items that never were, in records that are there and in others."""
        found = [key for key, _ in self.entries("", b"", self._random.randrange(1, 40))]
        return {key: {self._random.randbytes(16)} for key in found}

    def counters(self, _: bytes = b"") -> bytes:
        """An estimator of nothing, or of anything."""
        size = limits.SKETCH_COUNTERS
        return self._random.choice((bytes(size), self._random.randbytes(size)))

    def cells(self, width: int, _: bytes = b"") -> bytes:
        """A sketch of nothing, or of no set at all."""
        size = sketch.cells_size(width)
        return self._random.choice((bytes(size), self._random.randbytes(size)))

    def extension(self, width: int, since: bytes = b"") -> bytes:
        """What widens one of another set."""
        wide = sketch.wider(width)
        assert wide is not None, "nobody is asked to widen the widest"
        return self.cells(wide, since)[sketch.cells_size(width) :]

    def recent(self, _: int) -> Sequence[int]:
        """Nothing came."""
        return ()

    def heads(self, _: int) -> list[bytes]:
        """Fingerprints of nothing."""
        return sorted(self._random.randbytes(messages.LISTED) for _ in range(self._random.choice((0, 1, 300))))

    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """What it is asked for is something else."""
        some = [key for key, _ in self._store.entries("", b"", 50)] or [bytes(16)]
        asked = [head for head in heads[:300] if self._random.random() < 0.5]
        return {head: [(self._random.choice(some), self._random.randbytes(16))] for head in asked}


def tamper(frame: bytes, random: Random) -> bytes:
    """An END that lies about how the turn went."""
    message = frames.decode(frame)
    if not isinstance(message, End) or random.random() < 0.7:
        return frame
    big = random.choice((0, 1, (1 << 63) - 1))
    reasons = ("\x1b[2J\r\nall is well\0", "x" * 10_000)[: random.randrange(3)]
    return frames.encode(replace(message, idle=random.random() < 0.5, applied=big, refused=big, reasons=reasons))

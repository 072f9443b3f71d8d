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

from protocol import limits, messages
from protocol.descent import Applied
from protocol.messages import End
from protocol.record import Delta, Record
from protocol.trie import NIBBLES, Entry, Inner, Leaf, Node, key_range
from replica.store.store import Store


class Lies:
    """A store that lies at random: its root, its trie, what it has and what it sends."""

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

    def records(self, _: Sequence[bytes]) -> list[Record]:
        """True ones that nobody asked for, or none."""
        return self._store.records([key for key, _ in self._store.entries("", b"", self._random.randrange(1, 8))])

    def deltas(self, keys: Sequence[bytes]) -> list[Delta]:
        """Nothing of what it claimed; now and then what is no record."""
        random, true = self._random, [record.delta() for record in self.records(keys)]
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


def tamper(frame: bytes, random: Random) -> bytes:
    """An END that lies about how the turn went."""
    message = messages.decode(frame)
    if not isinstance(message, End) or random.random() < 0.7:
        return frame
    big = random.choice((0, 1, (1 << 63) - 1))
    reasons = ("\x1b[2J\r\nall is well\0", "x" * 10_000)[: random.randrange(3)]
    return messages.encode(replace(message, idle=random.random() < 0.5, applied=big, refused=big, reasons=reasons))

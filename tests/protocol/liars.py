"""Stores whose hints are false: memory, estimator, cells, list and places. Their records and digests are true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from hypothesis import strategies as st

from protocol import limits, sketch
from protocol.hlc import Clock
from protocol.reading import Items
from tests.protocol.memory_store import MemoryStore
from tests.protocol.strategies import change, fill

LIES: dict[str, list[str]] = {
    "memory": ["true", "none", "incomplete", "of anything"],
    "counters": ["true", "zeros", "random", "the other's"],
    "cells": ["true", "zeros", "random", "the other's", "one twice"],
    "heads": ["true", "none", "random", "half"],
    "places": ["true", "none", "random"],
    "count": ["true", "none", "many"],
}
"""What may be said of what: the truth first, so that examples shrink to it."""

lies = st.fixed_dictionaries({what: st.sampled_from(["true", *ways]) for what, ways in LIES.items()})
honest = st.just(dict.fromkeys(LIES, "true"))


class Lying(MemoryStore):
    """A store that lies in some ways. `other`: whose hints it may pass for its own."""

    def __init__(self, records: Iterable[bytes], lies: Mapping[str, str], seed: int) -> None:
        super().__init__(records)
        self._lies, self._random, self.other = lies, Random(seed), MemoryStore()

    def _part(self) -> Items:
        found: Items = {}
        for key, stamp in self.items():
            if self._random.random() < 0.5:
                found.setdefault(key, set()).add(stamp)
        return found

    def root(self) -> tuple[bytes, int]:
        root, count = super().root()
        return root, {"true": count, "none": 0, "many": 1 << 40}[self._lies["count"]]

    def came_since(self, root: bytes) -> int | None:
        match self._lies["memory"]:
            case "true":
                return super().came_since(root)
            case "none":
                return None
            case "incomplete" if super().came_since(root) is None:
                return None
        return self._random.choice([0, 1, 50, 1_000, 1 << 40])

    def news(self, root: bytes) -> Items:
        return super().news(root) if self._lies["memory"] in {"true", "none"} else self._part()

    def counters(self, since: bytes = b"") -> bytes:
        match self._lies["counters"]:
            case "true":
                return super().counters(since)
            case "zeros":
                return bytes(limits.SKETCH_COUNTERS)
            case "random":
                return self._random.randbytes(limits.SKETCH_COUNTERS)
        return MemoryStore.counters(self.other, since)

    def cells(self, width: int, since: bytes = b"") -> bytes:
        true = super().cells(width, since)
        match self._lies["cells"]:
            case "true":
                return true
            case "zeros":
                return bytes(len(true))
            case "random":
                return self._random.randbytes(len(true))
            case "one twice":
                return true[len(true) // 2 :] * 2
        return MemoryStore.cells(self.other, width, since)

    def extension(self, width: int, since: bytes = b"") -> bytes:
        wide = sketch.wider(width)
        assert wide is not None
        return sketch.beyond(self.cells(wide, since), width)

    def heads(self, limit: int) -> list[bytes]:
        true = super().heads(limit)
        match self._lies["heads"]:
            case "true":
                return true
            case "none":
                return []
            case "half":
                return true[::2]
        return [self._random.randbytes(5) for _ in true]

    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        true = super().locate(heads)
        if self._lies["places"] == "true":
            return true
        items = self.items()
        if self._lies["places"] == "none" or not items:
            return {}
        return {head: self._random.sample(items, 1) for head in heads if self._random.random() < 0.5}


def couple(
    seed: int,
    common: int,
    edits: tuple[int, int],
    lies: tuple[Mapping[str, str], Mapping[str, str]],
    shared: int = 0,
) -> tuple[Lying, Lying, list[bytes]]:
    """Two stores that were equal once, changed in two steps each; and the roots of the past, the common one first. Both
    got `shared` events from a third in the meantime."""
    base, random = MemoryStore(), Random(seed)
    fill(base, Clock(b"founder."), common)
    records = [record.encode() for record in base.state.values()]
    a, b = (Lying(records, how, seed) for how in lies)
    a.other, b.other = b, a
    roots = [MemoryStore.root(a)[0], MemoryStore.root(b)[0]]
    third = MemoryStore(records)
    change(third, Clock(b"third..."), random, shared, common)
    for store in (a, b) if shared else ():
        for record in third.state.values():
            store.take(record.encode())
    for _ in range(2):
        for store, count, name in ((a, edits[0], b"node-a.."), (b, edits[1], b"node-b..")):
            change(store, Clock(name), random, count // 2 + count % 2, common)
            roots.append(MemoryStore.root(store)[0])
    return a, b, roots

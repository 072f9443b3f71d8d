"""Chance of a world: one seed, and from it a stream for each purpose, so that one more draw in one moves no other. One
test each:

1. Streams are independent: what one draws does not depend on how much others drew.
2. A trace of the same decisions has the same hash, in every process and under every PYTHONHASHSEED.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from random import Random
from typing import NamedTuple

RECENT = 50
"""Events shown with a failure."""


def stream(seed: int, name: str) -> Random:
    """The stream of this name."""
    return Random(int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=16).digest(), "big"))


class Line(NamedTuple):
    """One event of a run: virtual seconds since the start, who, what kind, and the rest in words."""

    at: float
    node: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:14.3f} s  {self.node:<10} {self.kind:<10} {self.text}"


class Trace:
    """Every decision of a run, in order, as a hash; the events among them also as lines."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self.lines: list[Line] = []
        self.recent: deque[Line] = deque(maxlen=RECENT)
        self.keep = True
        """Whether lines are kept for a report; the hash and the recent ones always are."""
        self.skeleton: list[str] = []
        """Who did what, without times: what two runs are compared by."""

    def decide(self, data: bytes) -> None:
        """A decision too small for a line."""
        self._hash.update(data)

    def event(self, at: float, node: str, kind: str, text: str = "", said: str = "") -> None:
        """Something that happened. `said`: the same for people, if they would not say it so."""
        line = Line(at, node, kind, said or text)
        self._hash.update(f"{at:.6f}|{node}|{kind}|{text}\n".encode())
        self.recent.append(line)
        self.skeleton.append(f"{node} {kind}")
        if self.keep:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        """The hash so far, in hex."""
        return self._hash.hexdigest()

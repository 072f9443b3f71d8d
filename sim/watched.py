"""What the judge knows of one disk: what it saw there last, and what its owner was told. See sim.oracle.

One test each:

1. A disk that begins as a copy of another is known as far as that one, and from then on by itself.
"""

from __future__ import annotations

from protocol.record import Record
from replica.store.core import Core
from replica.store.store import Store
from sim.diary import Diary
from sim.truth import Look, Rid


class Watched:
    """See above."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.seen: dict[Rid, tuple[float, Record]] = {}
        self.learnt: dict[Rid, Record] = {}
        """As they were when the truth last took them in from here: what they say is known."""
        self.late: dict[Rid, None] = {}
        """Changed, but could not be judged then."""
        self.clock = b""
        self.issued: dict[bytes, bytes] = {}
        self.limit_ms = 0
        """What it stamps in this commit is no later."""
        self.held: frozenset[bytes] = frozenset()
        self.schema = -1
        self.store: Store | None = None
        self.whole: tuple[Core, tuple[int, int, int], Look] | None = None
        """The last look at all of it, and at what."""
        self.forgiven: float | None = None
        """Since when what stood on the disk may be gone, if anything may."""
        self.diary = Diary()

    def begin_as(self, other: Watched) -> None:
        """It is a copy of the other, from now on."""
        self.ids, self.seen, self.late, self.issued = [*other.ids], {**other.seen}, {**other.late}, {**other.issued}
        self.clock, self.schema, self.held = other.clock, other.schema, other.held

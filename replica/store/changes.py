"""What listeners will hear of a transaction once it is committed. One test each:

1. They hear of each record that changed, of one record in order, and of nothing that was taken back.
2. Of a transaction that changes very many, what waits to be told is bounded: then they hear that they missed some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

CHANGES_MAX = 100_000
"""Changes that wait to be told: some 20 MB."""


class Change(NamedTuple):
    """One record that changed, for `changes()`: what happened to it, and whether a peer's data did it."""

    collection: str
    id: bytes
    kind: str
    remote: bool


MISSED = Change("", b"", "missed", False)
"""Changes before this one were not told: look at the tables."""

Listener = Callable[[list[Change]], None]
Mark = tuple[list[Change], int]


class Changes:
    """See above. Nothing is kept while nobody listens."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self._noted: list[Change] = []

    def extend(self, changes: Iterable[Change]) -> None:
        """Note these; they are only made if somebody listens."""
        if self.listener is not None:
            self._noted.extend(changes)
            if len(self._noted) > CHANGES_MAX:
                self._noted = [MISSED]  # Another list: a savepoint may have marked the one before.

    def mark(self) -> Mark:
        """Where it stands now."""
        return self._noted, len(self._noted)

    def back(self, mark: Mark) -> None:
        """Take back what was noted after a mark."""
        self._noted, told = mark
        del self._noted[told:]

    def merge(self, mark: Mark, how: Callable[[list[Change]], list[Change]]) -> None:
        """Tell what was noted after a mark in another way, if all of it is still known."""
        noted, told = mark
        if noted is self._noted:
            noted[told:] = how(noted[told:])

    def clear(self) -> None:
        """The transaction failed."""
        self._noted = []

    def tell(self) -> None:
        """The transaction is committed."""
        noted, self._noted = self._noted, []
        if noted and self.listener is not None:
            self.listener(noted)

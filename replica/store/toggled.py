"""The items that came and went in a transaction, as `history` will store them.

An item is a record key and one stamp in that record's state, 32 bytes: it stands for all that one event wrote there. They
are noted where shadows are written, so nothing has to be looked at again; past ITEMS_MAX they are let go, since whoever
writes so much at once does not need a memory of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from protocol.hlc import STAMP_BYTES
from protocol.prints import ITEM_BYTES

ITEMS_MAX = 65_536
"""Items of one transaction that are remembered: 2 MB."""


def distinct(floor: bytes, born: bytes, stamps: bytes) -> set[bytes]:
    """Every stamp in a record's state, from its stored form."""
    found = {stamps[at : at + STAMP_BYTES] for at in range(0, len(stamps), STAMP_BYTES)}
    found |= {floor, born}
    found.discard(b"")
    return found


class Toggled:
    """What one transaction did to the set of items. `lost`: too much, or not known."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.went: list[bytes] = []
        self.lost = False
        self.due = False
        """The history must hear of this transaction."""
        self._items = 0

    def born(self, items: Iterable[Sequence[bytes]], count: int) -> None:
        """(key, stamp) of so many new records. They are read only if they are to be remembered."""
        if self._items + count > ITEMS_MAX:
            self.lose()
        elif not self.lost:
            self._note(self.came, b"".join(chain.from_iterable(items)))

    def changed(self, key: bytes, before: set[bytes], after: set[bytes]) -> None:
        """The stamps of a record before and after it was written."""
        if not self.lost and before != after:
            self._note(self.came, b"".join([key + stamp for stamp in after - before]))
            self._note(self.went, b"".join([key + stamp for stamp in before - after]))

    def _note(self, where: list[bytes], items: bytes) -> None:
        if items:
            where.append(items)
            self._items += len(items) // ITEM_BYTES
            if self._items > ITEMS_MAX:
                self.lose()

    def lose(self) -> None:
        """Forget them all: what this transaction does will not be remembered one by one."""
        self.came, self.went, self.lost, self._items = [], [], True, 0

    def clear(self) -> None:
        """Begin anew."""
        self.came, self.went, self.lost, self.due, self._items = [], [], False, False, 0

    def mark(self) -> tuple[int, int, int, bool]:
        """Where it stands now, for `back`."""
        return len(self.came), len(self.went), self._items, self.due

    def back(self, mark: tuple[int, int, int, bool]) -> None:
        """Take back what came after a mark. What was let go meanwhile stays so, and is told."""
        if not self.lost:
            came, went, self._items, self.due = mark
            del self.came[came:], self.went[went:]

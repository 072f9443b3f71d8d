"""The change feed: each listener has a queue of its own, and a slow one is told what it missed, not waited for.

One test each:

1. Each listener hears of each change, of one record in order, as its program names it: by table and key.
2. What is too much for a queue is left out, and "missed" says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from protocol.record import unpack_id
from replica.store.changes import CHANGES_MAX, MISSED, Change


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What `changes()` yields. `kind`: insert, update, delete (a record that surfaces in its table is an insert, one that
    gives way to another a delete), or "missed": what came before was not told, for it was too much or too much waits."""

    table: str
    key: tuple[object, ...]
    kind: str
    remote: bool


_MISSED = RecordChange("", (), "missed", False)

Queue = asyncio.Queue[RecordChange]


class Feed:
    """What a node tells those who listen."""

    def __init__(self) -> None:
        self._queues: set[Queue] = set()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self) -> Queue:
        """One more."""
        queue: Queue = asyncio.Queue(CHANGES_MAX)
        self._queues.add(queue)
        return queue

    def remove(self, queue: Queue) -> None:
        """One less."""
        self._queues.discard(queue)

    def tell(self, changes: Iterable[Change]) -> None:
        """Tell all of these; what the engine keeps for itself is nobody's news."""
        for change in changes if self._queues else ():
            if change.collection.startswith("_replica."):
                continue
            key = unpack_id(change.id)[0] if change is not MISSED else ()
            item = RecordChange(change.collection, key, change.kind, change.remote)
            for queue in self._queues:
                late = queue.full() or change is MISSED
                while late and not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(_MISSED if late else item)

"""Absorption off the writers' way: what statements left in the outbox is stamped soon after them, not within them.

What waits is durable, and whoever reads state or meets a peer absorbs it first; so only those wait who listen for changes,
and only for what follows here. One test each:

1. It is absorbed when no write came for QUIET_SECONDS or a little longer; if writes keep coming, after LATE times as long.
2. Where nothing was written, nothing runs.
3. If it fails, that is logged once, and the next write brings the next try.
4. At the end, what still waits is absorbed, after a failure too, and if who wrote it did not stay to hear of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from replica.words import Telling

QUIET_SECONDS = 0.02
"""A pause of writers who go on by themselves is shorter; one of a person, who waits for nothing, is longer."""

LATE = 5
"""What writers without a pause leave in 0.1 s takes about as long to be absorbed, in which they wait."""


class Soon:
    """When to absorb what one node's writes left. `absorb` does it."""

    def __init__(self, absorb: Callable[[], Awaitable[object]]) -> None:
        self._absorb = absorb
        self._writes = self._absorbed = 0
        self._closed = False
        self._telling = Telling("absorbing what was written failed; it stays in the outbox")
        self._task: asyncio.Task[None] | None = None

    def wrote(self) -> None:
        """A write may be committed."""
        self._writes += 1
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Absorb now what waits."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._absorbed != self._writes:
            await self._once()

    async def _run(self) -> None:
        tried = -1
        while tried != self._writes:
            for _ in range(LATE):
                before = self._writes
                await asyncio.sleep(QUIET_SECONDS)
                if self._writes == before:
                    break
            tried = self._writes
            await self._once()
        self._task = None

    async def _once(self) -> None:
        writes = self._writes
        with self._telling:
            await self._absorb()
            self._absorbed = writes

"""Work that is better done before anybody waits for it: while a node is open and has no session, in short parts.

It is what a first meeting with a stranger needs of a large store (`store.sketched`), and to copy SQLite's log into the file
after syncs. One test each:

1. It is done in parts, between which the store's thread serves whoever waits; while there is a session none is begun, but
   for one whose peer has not greeted: that may be a stranger, who needs it.
2. A part that fails ends it, in words; the node goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from replica.words import Telling

BUSY_SECONDS = 0.1
"""How long it waits before it looks again whether there is a session."""


class Ahead:
    """The task that does it."""

    def __init__(self, part: Callable[[], Awaitable[bool]], busy: Callable[[], bool]) -> None:
        """`part` does some of it and says whether there is more; `busy` says whether somebody else wants something."""
        self._part, self._busy = part, busy
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._telling = Telling("what is better done ahead failed; it is done when somebody wants it")

    def begin(self) -> None:
        """Do it, unless it is being done or was ended."""
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        with self._telling:
            while True:
                if self._busy():
                    await asyncio.sleep(BUSY_SECONDS)
                elif not await self._part():
                    return

    async def close(self) -> None:
        """End it for good."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

"""A thread in which one connection is used: aiosqlite's, with public ways to run a function there. A node has one for its
store, and one for what is only read."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import aiosqlite

from replica.errors import UsageError
from replica.store.connection import STEPS

_T = TypeVar("_T")
_CLOSED = "the node is closed"


class StoreThread(aiosqlite.Connection):
    """A connection in a thread of its own, which runs what it is told in the order in which it is told."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, 64)
        # Python waits at its end for every thread that is no daemon: for ever, if a second Ctrl-C kept it from being closed.
        # What is under way is then rolled back, as by a kill; what was acknowledged is on the disk.
        self._thread.daemon = True
        self._closing = False

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def check_open(self) -> None:
        """Raise UsageError if it was closed."""
        if not self._running or self._connection is None:
            raise UsageError(_CLOSED)

    async def call(self, function: Callable[..., _T], *args: Any) -> _T:
        """Run a function there; returns when it has ended."""
        return await self.post(partial(function, *args))

    def post(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        """Queue a function now, behind all calls so far; its result is to come."""
        self.check_open()
        result: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((result, function))
        return result

    async def rows(self, sql: str, parameters: Sequence[object]) -> list[Any]:
        """Rows of a query. One whose caller gives up ends, or never begins: those behind it need not wait for it. Raises
        UsageError if this thread is closed meanwhile."""
        given_up = False

        def ended() -> bool:
            return given_up or self._closing

        def fetch() -> list[Any]:
            if given_up:
                return []
            # Not `interrupt`: that is lost on a statement that is still being compiled.
            self._conn.set_progress_handler(ended, STEPS)
            try:
                return self._conn.execute(sql, parameters).fetchall()
            except sqlite3.OperationalError as error:
                if self._closing:
                    raise UsageError(_CLOSED) from error
                raise

        try:
            return await self.post(fetch)
        except asyncio.CancelledError:
            given_up = True
            raise

    async def close(self) -> None:
        """End the query that runs, wait for all else, and close the connection."""
        self._closing = True
        await super().close()

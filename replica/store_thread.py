"""A thread in which one connection is used: aiosqlite's, with public ways to run a function there. A node has one for its
store, and one for what is only read."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import aiosqlite

from replica.errors import UsageError

_T = TypeVar("_T")


class StoreThread(aiosqlite.Connection):
    """A connection in a thread of its own, which runs what it is told in the order in which it is told."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, 64)
        # Python waits at its end for every thread that is no daemon: for ever, if a second Ctrl-C kept it from being closed.
        # What is under way is then rolled back, as by a kill; what was acknowledged is on the disk.
        self._thread.daemon = True
        self._lock = threading.Lock()
        self._query: object = None
        """What `rows` runs now; to be read and written under the lock."""

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def check_open(self) -> None:
        """Raise UsageError if it was closed."""
        if not self._running or self._connection is None:
            raise UsageError("the node is closed")

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
        """Rows of a query. One whose caller gives up ends, or never begins: those behind it need not wait for it."""
        mine = object()
        given_up = False

        def fetch() -> list[Any]:
            with self._lock:
                if given_up:
                    return []
                self._query = mine
            try:
                return self._conn.execute(sql, parameters).fetchall()
            finally:
                with self._lock:
                    self._query = None

        try:
            return await self.post(fetch)
        except asyncio.CancelledError:
            with self._lock:
                given_up = True
                if self._query is mine:
                    self._conn.interrupt()
            raise

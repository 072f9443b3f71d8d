"""The thread of a store: aiosqlite's, with a public way to run one function there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite

_T = TypeVar("_T")


class StoreThread(aiosqlite.Connection):
    """See the module."""

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    async def call(self, function: Callable[..., _T], *args: Any) -> _T:
        """The function's result."""
        result: _T = await self._execute(function, *args)  # type: ignore[no-untyped-call]
        return result

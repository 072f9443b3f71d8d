"""Writes that wait for the store's thread: whoever's turn comes first takes along all that wait by then.

So one writer alone waits for nobody, and many share a commit. One test each:

1. Writes run in the order in which they were asked for, before and after other calls too.
2. A write whose caller gave up before its turn does not run; of one that runs, the caller may give up, nobody else.
3. If running them fails, each of them raises that error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from replica.store.core import Core
from replica.store.together import Done

_T = TypeVar("_T")

TOGETHER_MAX = 256
"""Writes of one transaction: others wait for it."""


class _Ticket(Generic[_T]):
    """A write that waits, and then how it ended."""

    __slots__ = ("after", "done", "withdrawn", "write")

    def __init__(self, write: Callable[[Core], _T], after: int) -> None:
        self.write, self.after = write, after
        self.withdrawn = False
        self.done: Done | None = None


class Waiting:
    """The writes that wait for one store."""

    def __init__(
        self,
        call: Callable[..., Awaitable[Any]],
        run: Callable[[Sequence[Callable[[Core], Any]]], list[Done]],
    ) -> None:
        """`call` runs a function in the store's thread, in the order of the calls; `run` runs writes there, as
        `Store.together`."""
        self._call, self._run = call, run
        self._tickets: deque[_Ticket[Any]] = deque()
        self._others = 0

    def stand_back(self) -> None:
        """Another call is about to be queued in the store's thread: no later write overtakes it."""
        self._others += 1

    async def write(self, write: Callable[[Core], _T]) -> _T:
        """Run a write, perhaps with others; returns when it is committed. Raises what it raises."""
        ticket = _Ticket(write, self._others)
        self._tickets.append(ticket)
        try:
            result: _T = await self._call(self._result, ticket)
        finally:
            ticket.withdrawn = True
        return result

    def _take(self) -> list[_Ticket[Any]]:
        """The first that wait, with no other call between them. Only the store's thread takes any."""
        some: list[_Ticket[Any]] = []
        while self._tickets and len(some) < TOGETHER_MAX and not (some and self._tickets[0].after > some[0].after):
            ticket = self._tickets.popleft()
            if not ticket.withdrawn:
                some.append(ticket)
        return some

    def _result(self, ticket: _Ticket[_T]) -> _T | None:
        """Runs in the store's thread."""
        while ticket.done is None and not ticket.withdrawn:
            some = self._take()
            try:
                for one, done in zip(some, self._run([one.write for one in some]), strict=True):
                    one.done = done
            except BaseException as error:  # Nobody else will take these along any more.
                for one in some:
                    one.done = one.done or Done(error=error)
        if ticket.done is None:
            return None
        if ticket.done.error is not None:
            raise ticket.done.error
        value: _T = ticket.done.value
        return value

"""Writes that wait for the store's thread: whoever's turn comes first takes along all that wait by then.

So one writer alone waits for nobody, and many share a commit and a change of threads. One test each:

1. Writes run in the order in which they were asked for, before and after other calls too.
2. A write whose caller gave up before its turn does not run; of one that runs, the caller may give up, nobody else.
3. If running them fails, each of them raises that error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from replica.store.core import Core
from replica.store.together import Done

_T = TypeVar("_T")

TOGETHER_MAX = 256
"""Writes of one transaction: others wait for it."""


class _Ticket(Generic[_T]):
    """A write that waits, and then how it ended."""

    __slots__ = ("after", "done", "told", "withdrawn", "write")

    def __init__(self, write: Callable[[Core], _T], after: int, told: asyncio.Future[_T]) -> None:
        self.write, self.after, self.told = write, after, told
        self.withdrawn = False
        self.done = Done()

    def tell(self) -> None:
        """In the loop's thread: wake the caller, if he still waits."""
        if self.told.done():
            return
        if self.done.error is not None:
            self.told.set_exception(self.done.error)
            self.told.exception()  # It was heard of, even if the caller gives up just now.
        else:
            self.told.set_result(self.done.value)


class _Turn:
    """A call that waits for the store's thread on behalf of some writes. `after`: how many other calls come before it."""

    __slots__ = ("after", "begun", "count", "ran")

    def __init__(self, after: int) -> None:
        self.after = after
        self.count = 0
        self.begun = False
        self.ran: list[_Ticket[Any]] = []


class Waiting:
    """The writes that wait for one store."""

    def __init__(
        self,
        post: Callable[[Callable[[], None]], asyncio.Future[None]],
        run: Callable[[Sequence[Callable[[Core], Any]]], list[Done]],
    ) -> None:
        """`post` queues a function for the store's thread, in the order of all calls; `run` runs writes there, as
        `Store.together`."""
        self._post, self._run = post, run
        self._tickets: deque[_Ticket[Any]] = deque()
        self._others = 0
        self._last: _Turn | None = None
        """The turn that was posted last."""

    def stand_back(self) -> None:
        """Another call is about to be queued in the store's thread: no later write overtakes it."""
        self._others += 1

    async def write(self, write: Callable[[Core], _T]) -> _T:
        """Run a write, perhaps with others; returns when it is committed. Raises what it raises."""
        ticket: _Ticket[_T] = _Ticket(write, self._others, asyncio.get_running_loop().create_future())
        try:
            # In this order: a turn that begins after the look finds it, and one that began before does no harm.
            self._tickets.append(ticket)
            turn = self._last
            if turn is None or turn.begun or turn.after < self._others or turn.count == TOGETHER_MAX:
                turn = _Turn(self._others)
                self._post(partial(self._take_turn, turn)).add_done_callback(partial(_tell, turn))
                self._last = turn
            turn.count += 1
            return await ticket.told
        finally:
            ticket.withdrawn = True

    def _take(self, after: int) -> list[_Ticket[Any]]:
        """The first that wait, but for those that come after another call. Only the store's thread takes any."""
        some: list[_Ticket[Any]] = []
        while self._tickets and len(some) < TOGETHER_MAX and self._tickets[0].after <= after:
            ticket = self._tickets.popleft()
            if not ticket.withdrawn:
                some.append(ticket)
        return some

    def _take_turn(self, turn: _Turn) -> None:
        """Runs in the store's thread."""
        turn.begun = True
        some = turn.ran = self._take(turn.after)
        if not some:
            return
        try:
            for one, done in zip(some, self._run([one.write for one in some]), strict=True):
                one.done = done
        except BaseException as error:  # Nobody else will take these along any more.
            for one in some:
                one.done = Done(error=error)
            raise


def _tell(turn: _Turn, call: asyncio.Future[None]) -> None:
    """The call of a turn ended, well or not."""
    if not call.cancelled():
        call.exception()  # Each of the writes raises it.
    for ticket in turn.ran:
        ticket.tell()
    turn.ran = []  # The last turn is remembered; its rows need not be.

"""An asyncio loop in virtual time: when nothing can run, the clock jumps to the next timer.

Each callback belongs to the process in whose context it was made. Callbacks of one process run in the order in which
asyncio would run them; which process goes first is drawn. A process can be stopped for a while, and can die between any
two of its callbacks; then none of them ever runs again. There are no threads, sockets, signals or sleeps: whoever asks
for one gets Fenced. One test each:

1. Ten virtual hours take no real time, and the same seed gives the same order.
2. A dead process runs nothing more, not even its `finally`; a stopped one goes on where it stood.
3. Threads, sockets and real sleeps raise.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import socket
import threading
import time
from asyncio import events, format_helpers
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, NoReturn, Protocol
from weakref import WeakSet


class Fenced(RuntimeError):
    """Something in a simulated world reached for the real one."""


TASKS = 256
"""Tasks are forgotten, when they have ended, in lots of at least so many."""


class Process:
    """A running program: what its callbacks share. `on_step` is called before each of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stopped = False
        self.steps = 0
        self.dies_at = 0
        self.die: Callable[[], None] | None = None
        self.parked: list[asyncio.Handle] = []
        self.unheard: WeakSet[asyncio.Future[Any]] = WeakSet()
        """Errors that its callbacks have still to hear of, perhaps."""


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process that runs; None: the world itself."""


class Net(Protocol):
    """What the loop asks of the network."""

    async def connect(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Open a connection from the current process."""

    def listen(self, factory: Callable[[], Any], port: int) -> Any:
        """Let the current process take connections."""


def _owner(handle: asyncio.Handle) -> Process | None:
    context: Context = handle._context  # type: ignore[attr-defined]
    return context.get(CURRENT)


class _Handle(asyncio.Handle):
    """As asyncio's, without asking the loop each time whether it is in debug mode. A world makes thousands."""

    __slots__ = ()

    def __init__(self, callback: Any, args: Any, loop: Loop, context: Context | None) -> None:
        place: Any = self
        place._context = copy_context() if context is None else context
        place._loop, place._callback, place._args = loop, callback, args
        place._cancelled, place._source_traceback = False, None

    def cancel(self) -> None:
        """It will not be called."""
        place: Any = self
        place._cancelled, place._callback, place._args = True, None, None


class _Timer(_Handle, asyncio.TimerHandle):
    """As asyncio's. The loop leaves cancelled ones out when their time comes."""

    __slots__ = ()

    def __init__(self, when: float, callback: Any, args: Any, loop: Loop, context: Context | None) -> None:
        place: Any = self
        place._context = copy_context() if context is None else context
        place._loop, place._callback, place._args = loop, callback, args
        place._cancelled, place._source_traceback = False, None
        place._when, place._scheduled = when, False


class Loop(asyncio.BaseEventLoop):
    """See the module."""

    def __init__(
        self, random: Random, *, shuffle: bool = True, decide: Callable[[bytes], None] = lambda _: None
    ) -> None:
        super().__init__()
        self._random, self._shuffle, self._decide = random, shuffle, decide
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []
        """Kept from the garbage collector, which would end those of a dead process at any time."""
        self._tasks_max = TASKS
        self.net: Net | None = None
        self.broken: BaseException | None = None
        """What the world itself raised in a callback: it ends the run."""

    get_debug: Any = staticmethod(bool)
    """Never, said without a step of Python: each future asks."""

    # --- time -------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """As asyncio does. Those of one moment come in the order in which they were made."""
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._made), timer))
        return timer

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """As asyncio does."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """As asyncio does."""
        task = super().create_task(coro, **options)
        if len(self._tasks) >= self._tasks_max:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._tasks_max = max(TASKS, 2 * len(self._tasks))
        self._tasks.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        """As asyncio does, but for what it checks in debug mode."""
        if self._closed:  # type: ignore[attr-defined]
            raise RuntimeError("Event loop is closed")
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _run_once(self) -> None:
        timers, ready, pop = self._timers, self._ready, heapq.heappop  # type: ignore[attr-defined]
        while True:
            while timers and timers[0][2]._cancelled:
                pop(timers)
            if not ready:
                if not timers:
                    raise Fenced("nothing will ever happen any more in this world")
                when, _, first = pop(timers)
                self._now = max(self._now, when)
                ready.append(first)
            now = self._now
            while timers and timers[0][0] <= now:
                ready.append(pop(timers)[2])
            if len(ready) > 1 or self._stopping:  # type: ignore[attr-defined]
                break
            self._run(ready.popleft())
            if self._stopping:  # type: ignore[attr-defined]
                return
        batch = list(ready)
        ready.clear()
        if len(batch) > 1 and self._shuffle:
            batch = self._order(batch)
        for place, handle in enumerate(batch):
            if self._stopping:  # type: ignore[attr-defined]
                ready.extendleft(reversed(batch[place:]))
                return
            self._run(handle)

    def _order(self, batch: list[asyncio.Handle]) -> list[asyncio.Handle]:
        owners: dict[Process | None, list[asyncio.Handle]] = {}
        for handle in batch:
            owners.setdefault(_owner(handle), []).append(handle)
        if len(owners) == 1:
            return batch
        order = list(owners)
        self._random.shuffle(order)
        self._decide("".join(p.name if p else "-" for p in order).encode())
        return [handle for owner in order for handle in owners[owner]]

    def _run(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:
            return
        process = handle._context.get(CURRENT)  # type: ignore[attr-defined]
        if process is not None:
            if process.dead:
                return
            if process.stopped:
                process.parked.append(handle)
                return
            process.steps += 1
            if process.steps == process.dies_at and process.die is not None:
                process.die()
                return
        try:
            handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._failed(handle, error)

    def _failed(self, handle: asyncio.Handle, error: BaseException) -> None:
        """As asyncio tells it."""
        place: Any = handle
        said = format_helpers._format_callback_source(place._callback, place._args)
        self.call_exception_handler({"message": f"Exception in callback {said}", "exception": error, "handle": handle})

    def resume(self, process: Process) -> None:
        """Let a stopped process go on."""
        process.stopped = False
        parked, process.parked = process.parked, []
        self._ready.extend(parked)  # type: ignore[attr-defined]

    def _asyncgen_firstiter_hook(self, agen: Any) -> None:
        """Nobody asks for the end of all generators: they need not be known."""

    # --- the outside ------------------------------------------------------------------------------------------------

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        """There is one thread."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # noqa: ARG002
        """Runs at once, in the one thread: for functions that wait for nothing."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        """Over the world's network."""
        assert self.net is not None
        return await self.net.connect(factory, str(host), int(port))

    async def create_server(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]  # noqa: ARG002
        """Over the world's network."""
        assert self.net is not None
        return self.net.listen(factory, int(port))

    def _write_to_self(self) -> None:
        pass

    def _process_events(self, event_list: Any) -> NoReturn:
        raise Fenced(f"events of the real world: {event_list}")

    def add_signal_handler(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """There are no signals."""
        raise Fenced("a signal handler in a simulated world")


def _forbidden(what: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise Fenced(f"{what} in a simulated world")

    return refuse


@contextlib.contextmanager
def fence(replacements: dict[tuple[object, str], object]) -> Iterator[None]:
    """While a world runs: no thread, no socket, no sleep, no outside time; and these attributes replaced."""
    every = {
        (threading.Thread, "start"): _forbidden("a thread"),
        (socket.socket, "connect"): _forbidden("a socket"),
        (socket.socket, "bind"): _forbidden("a socket"),
        (time, "sleep"): _forbidden("a real sleep"),
        **replacements,
    }
    saved = {place: getattr(*place) for place in every}
    outer = events._get_running_loop()
    events._set_running_loop(None)
    try:
        for (owner, name), value in every.items():
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name), value in saved.items():
            setattr(owner, name, value)
        events._set_running_loop(outer)

"""A world alone in its process: its one thread does all work, its seed gives all chance, and nobody else hears its log.

    with alone(world, log):
        world.loop.run_forever()

One test each:

1. Whoever in a world reaches for the real one is fenced; outside all is as it was.
2. A world lives inside a running loop too.
3. An error that nobody expected is a violation, wherever it shows: in a callback or in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any, Protocol

import aiosqlite.core
import websockets.asyncio.connection
import websockets.client
import websockets.frames
import websockets.utils

from sim.disk import Crash
from sim.loop import CURRENT, Loop, Process, fence
from sim.machine import Machine

GARBAGE = (50_000, 20, 20)
"""Python's collector looks more rarely: a world holds many objects that live long, and makes little garbage in circles."""


class World(Protocol):
    """What is fenced."""

    loop: Loop
    machines: dict[str, Machine]

    def stream(self, name: str, /) -> Random:
        """Chance of its own, from the seed."""

    def note(self, node: str, kind: str, text: str = "") -> None:
        """An event, for the trace."""

    def fail(self, invariant: str, node: str, text: str) -> None:
        """A promise is broken."""


class _Chance:
    """What websockets takes for `random` and `secrets`."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.random, self.getrandbits = random.random, random.getrandbits

    def token_bytes(self, size: int) -> bytes:
        """Masks and keys."""
        return self._random.randbytes(size)


class _NoThread:
    """What aiosqlite takes for a thread: the world's one thread does the work."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def start(self) -> None:
        """There is nothing to start."""

    def join(self) -> None:
        """It has ended."""


class _Queue:
    """What aiosqlite takes for the queue of its thread: the machine does what is put in, when it can."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self._machines, self._process = machines, CURRENT.get()

    def put_nowait(self, item: tuple[Any, Callable[[], Any]]) -> None:
        """A future, and the function whose result it waits for."""
        process = self._process
        if process is None or process.dead or process.name not in self._machines:
            return
        machine = self._machines[process.name]
        machine.submit(partial(_execute, machine, process, *item))


def _execute(machine: Machine, process: Process, future: Any, function: Callable[[], Any]) -> None:
    if process.dead:
        return
    machine.jobs += 1
    try:
        result = function()
    except Crash:
        machine.died("a statement")
        return
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if future is not None and not future.done():
            future.set_exception(error)
            process.unheard.add(future)
    else:
        if future is not None and not future.done():
            future.set_result(result)


@contextlib.contextmanager
def rare_collection() -> Iterator[None]:
    """Python's collector looks as GARBAGE says. Going back to the usual makes it look at once: so not too often."""
    usual = gc.get_threshold()
    gc.set_threshold(*GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextlib.contextmanager
def alone(world: World, log: Log) -> Iterator[None]:
    """In here nothing but this world runs."""
    chance = _Chance(world.stream(f"websockets {world.loop.time()}"))

    def unhandled(_: Any, context: dict[str, Any]) -> None:
        world.fail("crash", "", f"{context['message']}: {context.get('exception')!r}")

    with (
        fence({
            (aiosqlite.core, "Thread"): _NoThread,
            (aiosqlite.core, "SimpleQueue"): partial(_Queue, world.machines),
            (websockets.frames, "secrets"): chance,
            (websockets.utils, "secrets"): chance,
            (websockets.asyncio.connection, "random"): chance,
            (websockets.client, "random"): chance,
        }),
        log,
    ):  # fmt: skip
        asyncio.events._set_running_loop(None)
        world.loop.set_exception_handler(unhandled)
        with rare_collection():
            yield


class Log(logging.Handler):
    """What the nodes log: a warning is an event, an unexpected exception a violation."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._logger = logging.getLogger("replica")
        self._level: int | None = None

    def open(self) -> None:
        """Hear more than warnings. Once a world: it is slow."""
        self._level = self._logger.level
        self._logger.setLevel(logging.INFO)

    def close(self) -> None:
        """Hear no more."""
        if self._level is not None:
            self._logger.setLevel(self._level)
        super().close()

    def __enter__(self) -> None:
        self._propagate = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagate

    def emit(self, record: logging.LogRecord) -> None:
        """See the class."""
        process = CURRENT.get()
        name = process.name if process else ""
        if record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            self._world.fail("crash", name, f"{record.getMessage()}: {error!r}")
        else:
            self._world.note(name, "log", record.getMessage())

"""Two machines on a network, and two protocols that only count bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from random import Random
from typing import Any

from sim.loop import CURRENT, Loop, Process, fence
from sim.network import Network

BOTH = [("a", "b"), ("b", "a")]
UPGRADE = b"GET / HTTP/1.1\r\n" + b"x" * 70_000
"""No upgrade: what follows is a stream of bytes to the tap."""


class Peer(asyncio.Protocol):
    """One that remembers what it was told."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.lost: list[Exception | None] = []
        self.told: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> None:
        self.told.append("eof")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Pair:
    """Two machines on a network, one dialling the other."""

    def __init__(self, seed: int) -> None:
        self.loop = Loop(Random(seed))
        self.net = self.loop.net = Network(self.loop, Random(seed + 1), lambda _: None, 0.02)
        self.client, self.server = Peer(), Peer()
        self.a, self.b = Process("a"), Process("b")
        self.errors: list[OSError] = []

    def inside(self, process: Process, action: Callable[[], Any]) -> Any:
        context = copy_context()
        context.run(CURRENT.set, process)
        return context.run(action)

    def listen(self) -> None:
        self.inside(self.b, lambda: self.net.listen(lambda: self.server, 1))

    def dial(self) -> None:
        async def work() -> None:
            try:
                await self.loop.create_connection(lambda: self.client, "b", 1)
            except OSError as error:
                self.errors.append(error)

        self.task = self.inside(self.a, lambda: self.loop.create_task(work()))

    def run(self, seconds: float) -> None:
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run_forever()


@contextmanager
def pair(seed: int = 0, *, meet: bool = True) -> Iterator[Pair]:
    with fence({}):
        two = Pair(seed)
        with closing(two.loop):
            if meet:
                two.listen()
                two.dial()
                two.run(1)
            yield two
            if not two.task.done():
                two.task.cancel()
                two.run(1)

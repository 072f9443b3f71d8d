"""The network of a world, between two protocols that only count bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from random import Random
from typing import Any

import pytest

from sim.loop import CURRENT, Loop, Process, fence
from sim.network import GIVE_UP_S, HIGH, STALL_S, Network

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


@pytest.mark.parametrize("seed", range(12))
def test_bytes_arrive_whole_and_in_order_or_the_connection_ends(seed: int) -> None:
    """Over links that are slow, blocked, cut and healed at random."""
    chance = Random(seed)
    with pair(seed) as two:
        sent = bytearray()
        for _ in range(40):
            data = chance.randbytes(int(10 ** chance.uniform(0, 4)))
            two.client.transport.write(data)
            if not two.client.lost:
                sent += data
            fate = chance.randrange(8)
            if fate == 0:
                two.net.block([chance.choice(BOTH)])
            elif fate in {1, 2}:
                two.net.unblock(BOTH)
            elif fate == 3:
                two.net.link("a", "b").bytes_per_s = 10 ** chance.uniform(3, 6)
            elif fate == 4 and seed % 3 == 0:
                two.net.cut([chance.choice(BOTH)])
            two.run(chance.choice([0, 0.01, 1, 5]))
            assert sent.startswith(two.server.got)
        two.net.heal()
        two.run(3_000)
        assert two.client.lost or two.server.got == sent
        assert not two.server.lost or two.client.lost or two.client.transport.is_closing()


def test_what_is_sent_before_closing_arrives_before_the_end() -> None:
    with pair() as two:
        two.client.transport.write(UPGRADE)
        two.client.transport.close()
        two.run(10)
        assert two.server.got == UPGRADE
        assert two.server.told == ["eof"]
        assert two.server.lost == [None]
        assert two.client.lost == [None]
        assert not two.net.ends


def test_a_cut_link_ends_the_connection_on_both_sides_in_the_middle() -> None:
    with pair() as two:
        two.net.cut([("a", "b")])
        two.client.transport.write(UPGRADE)
        two.run(10)
        assert UPGRADE.startswith(two.server.got)
        assert len(two.server.got) < len(UPGRADE)
        assert isinstance(two.client.lost[0], ConnectionResetError)
        assert isinstance(two.server.lost[0], ConnectionResetError)


def test_a_blocked_link_delivers_nothing_and_a_short_block_only_delays() -> None:
    with pair() as two:
        two.net.block([("a", "b")])
        two.client.transport.write(b"hello")
        two.server.transport.write(b"back")
        two.run(GIVE_UP_S[0] - 2)
        assert not two.server.got
        assert two.client.got == b"back"
        two.net.unblock([("a", "b")])
        two.run(STALL_S + 1)
        assert two.server.got == b"hello"
        assert not two.client.lost


def test_a_block_twice_must_be_undone_twice() -> None:
    with pair() as two:
        two.net.block(BOTH)
        two.net.block(BOTH)
        two.client.transport.write(b"x")
        two.net.unblock(BOTH)
        two.run(5)
        assert not two.server.got
        two.net.unblock(BOTH)
        two.run(5)
        assert two.server.got == b"x"


def test_whoever_is_cut_off_for_long_gives_up_and_the_other_is_not_told() -> None:
    with pair() as two:
        two.net.block(BOTH)
        two.client.transport.write(b"x")
        two.run(GIVE_UP_S[1] + 1)
        assert isinstance(two.client.lost[0], ConnectionResetError)
        assert not two.server.lost


def test_dialling_over_a_blocked_link_waits_and_a_closed_port_refuses() -> None:
    with pair(meet=False) as two:
        two.dial()
        two.run(1)
        assert isinstance(two.errors[0], ConnectionRefusedError)
        two.listen()
        two.net.block([("b", "a")])
        two.dial()
        two.run(1_000)
        assert not two.task.done()
        assert len(two.errors) == 1


def test_a_machine_without_power_says_nothing_and_a_killed_process_is_reset() -> None:
    for silent in (True, False):
        with pair() as two:
            two.b.dead = True
            two.net.kill(two.b, silent=silent)
            two.run(5)
            assert bool(two.client.lost) != silent
            two.client.transport.write(b"x")
            two.run(GIVE_UP_S[1] + 5)
            assert isinstance(two.client.lost[0], ConnectionResetError)
            assert not two.net.listeners


def test_a_writer_must_wait_while_its_peer_does_not_read() -> None:
    with pair() as two:
        two.server.transport.pause_reading()
        two.client.transport.write(bytes(HIGH + 1))
        two.run(60)
        assert two.client.told == ["pause"]
        assert not two.server.got
        assert two.client.transport.get_write_buffer_size() == HIGH + 1
        two.server.transport.resume_reading()
        two.run(5)
        assert two.client.told == ["pause", "resume"]
        assert len(two.server.got) == HIGH + 1


def test_a_deaf_machine_reads_nothing_until_it_hears() -> None:
    with pair() as two:
        two.net.deaf.add("b")
        two.client.transport.write(bytes(HIGH + 1))
        two.run(600)
        assert not two.server.got
        two.net.hear("b")
        two.run(1)
        assert len(two.server.got) == HIGH + 1


def test_a_port_is_taken_once() -> None:
    with pair() as two:
        with pytest.raises(OSError, match="in use"):
            two.listen()
        assert not two.errors


def test_a_slow_link_takes_the_time_that_its_width_says() -> None:
    with pair() as two:
        two.net.link("a", "b").bytes_per_s = 1_000
        two.client.transport.write(bytes(10_000))
        two.run(9.9)
        assert len(two.server.got) < 10_000
        two.run(0.5 + 11 * STALL_S)
        assert len(two.server.got) == 10_000

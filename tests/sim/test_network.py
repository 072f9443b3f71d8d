"""The network of a world, between two protocols that only count bytes."""

from __future__ import annotations

import pytest

from sim.transport import GIVE_UP_S, STALL_S
from tests.sim.pairs import BOTH, pair


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


def test_a_port_is_taken_once() -> None:
    with pair() as two:
        with pytest.raises(OSError, match="in use"):
            two.listen()
        assert not two.errors

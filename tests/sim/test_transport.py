"""One end of a connection, between two protocols that only count bytes."""

from __future__ import annotations

from random import Random

import pytest

from sim.transport import GIVE_UP_S, HIGH, STALL_S
from tests.sim.pairs import BOTH, UPGRADE, pair


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


def test_whoever_is_cut_off_for_long_gives_up_and_the_other_is_not_told() -> None:
    with pair() as two:
        two.net.block(BOTH)
        two.client.transport.write(b"x")
        two.run(GIVE_UP_S[1] + 1)
        assert isinstance(two.client.lost[0], ConnectionResetError)
        assert not two.server.lost


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


def test_a_slow_link_takes_the_time_that_its_width_says() -> None:
    with pair() as two:
        two.net.link("a", "b").bytes_per_s = 1_000
        two.client.transport.write(bytes(10_000))
        two.run(9.9)
        assert len(two.server.got) < 10_000
        two.run(0.5 + 11 * STALL_S)
        assert len(two.server.got) == 10_000

"""The clock keeps its promises whatever the wall clock does."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.hlc import COUNTER_MAX, MILLIS_MAX, Clock, Millis, Stamp, base_stamp, is_base, millis, pack, unpack
from tests.protocol.strategies import stamps
from tests.vectors import vectors

NODE = b"laptop-7"
walls = st.integers(0, MILLIS_MAX - 1_000)


@given(st.integers(0, MILLIS_MAX), st.integers(0, COUNTER_MAX), st.binary(min_size=8, max_size=8))
def test_packing_loses_nothing(ms: int, counter: int, node: bytes) -> None:
    packed = pack(ms, counter, node)
    assert len(packed) == 16
    assert unpack(packed) == Stamp(Millis(ms), counter, node)
    assert unpack(packed).pack() == packed
    assert millis(packed) == ms


@given(stamps, stamps)
def test_comparing_bytes_compares_stamps(a: bytes, b: bytes) -> None:
    assert (a < b) == (tuple(unpack(a)) < tuple(unpack(b)))


@given(st.lists(walls, min_size=2, max_size=20))
def test_1_stamps_strictly_increase_even_while_wall_time_runs_backwards(nows: Sequence[int]) -> None:
    clock = Clock(NODE)
    issued = [clock.tick(now) for now in nows]
    assert all(a < b for a, b in itertools.pairwise(issued))


@given(st.lists(walls, min_size=1, max_size=5), stamps.filter(lambda s: millis(s) < MILLIS_MAX), walls)
def test_2_after_observe_the_next_stamp_is_greater(nows: Sequence[int], seen: bytes, now: int) -> None:
    clock = Clock(NODE)
    issued = [clock.tick(n) for n in nows]
    clock.observe(seen)
    assert clock.tick(now) > max(seen, *issued)


def test_3_a_full_counter_borrows_a_millisecond() -> None:
    clock = Clock(NODE, pack(1_000, COUNTER_MAX, NODE))
    assert unpack(clock.tick(1_000)) == Stamp(Millis(1_001), 0, NODE)
    assert clock.last_ms == 1_001


@given(st.lists(walls, max_size=5), walls)
def test_4_a_restart_goes_on_from_last(nows: Sequence[int], now: int) -> None:
    clock = Clock(NODE)
    for n in nows:
        clock.tick(n)
    restarted = Clock(NODE, clock.last)
    assert restarted.last == clock.last
    assert restarted.tick(now) == clock.tick(now)


@given(st.integers(-10, 3), st.binary(min_size=8, max_size=8))
def test_5_every_stamp_is_above_every_base_stamp_even_in_1970(now: int, content: bytes) -> None:
    stamp = Clock(b"\0" * 8).tick(now)
    assert stamp > base_stamp(content)
    assert is_base(base_stamp(content))
    assert not is_base(stamp)


@given(st.lists(st.tuples(walls, st.integers(0, 5)), max_size=5))
def test_many_stamps_at_once_are_those_that_come_one_by_one(steps: list[tuple[int, int]]) -> None:
    once, one_by_one = Clock(NODE), Clock(NODE)
    for now, count in steps:
        assert once.ticks(now, count) == [one_by_one.tick(now) for _ in range(count)]
        assert once.last == one_by_one.last


def test_a_clock_knows_what_it_issued_itself() -> None:
    """So that a later stamp with its node id, seen at a peer, is told to be a clone's."""
    clock = Clock(NODE, pack(9_000, 0, b"someone."))
    assert clock.issued == b""
    stamp = clock.tick(1_000)
    clock.observe(pack(99_000, 0, b"someone."))
    assert clock.issued == stamp[:8]


def test_wall_time_in_the_past_leaves_the_clock_where_it_is() -> None:
    clock = Clock(NODE, pack(5_000, 3, NODE))
    assert unpack(clock.tick(4_000)) == Stamp(Millis(5_000), 4, NODE)
    assert unpack(clock.tick(6_000)) == Stamp(Millis(6_000), 0, NODE)


@pytest.mark.parametrize(
    ("ms", "counter", "node"),
    [(-1, 0, NODE), (MILLIS_MAX + 1, 0, NODE), (0, -1, NODE), (0, COUNTER_MAX + 1, NODE), (0, 0, b"short")],
)
def test_a_stamp_whose_parts_do_not_fit_is_refused(ms: int, counter: int, node: bytes) -> None:
    with pytest.raises(Malformed, match="no such stamp"):
        pack(ms, counter, node)


def test_a_stamp_or_node_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed, match="a stamp has 16 bytes, not 15"):
        unpack(b"x" * 15)
    with pytest.raises(Malformed, match="a node id has 8 bytes, not 3"):
        Clock(b"abc")


def test_vectors() -> None:
    cases = vectors("hlc")
    packed = []
    for case in cases["stamps"]:
        stamp = pack(case["millis"], case["counter"], bytes.fromhex(case["node"]))
        assert stamp.hex() == case["bytes"], case["name"]
        packed.append(stamp)
    assert packed == sorted(packed), "the vectors stand in ascending order"
    clock = Clock(bytes.fromhex(cases["node"]))
    for step in cases["steps"]:
        if "observe" in step:
            clock.observe(bytes.fromhex(step["observe"]))
        else:
            assert clock.tick(step["now"]).hex() == step["bytes"], step

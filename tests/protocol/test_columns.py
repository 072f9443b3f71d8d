"""A column is read as it was packed, and what is none is refused before it costs anything."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.columns import (
    FEW,
    PLAIN,
    SAME,
    TURNED,
    Reader,
    Room,
    pack_column,
    pack_numbers,
    pack_stamps,
    read_column,
    read_numbers,
    read_stamps,
    turn,
    turn_back,
    varint,
)
from protocol.errors import LimitExceeded, Malformed, PeerFault
from protocol.values import IllFormedText, Value, pack_value, pack_values
from tests.protocol.strategies import few_stamps, stamps, values

MIB = 1 << 20

columns = st.one_of(
    st.lists(values, min_size=1, max_size=40),
    st.lists(st.sampled_from([None, 0, 1, 1.0, "", "a", b"a", IllFormedText(b"\xff"), 256.5]), min_size=1, max_size=40),
    st.lists(st.sampled_from(["Bonn", "Köln", None]), min_size=1, max_size=600),
    st.lists(st.text("0123", min_size=3, max_size=3), min_size=1, max_size=40),
    st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=300),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=40),
)


def read(packed: bytes, count: int, room: int = MIB) -> list[Value]:
    reader = Reader(packed)
    found = read_column(reader, count, Room(room))
    assert not reader.more
    return found


def kind(packed: bytes) -> int:
    return Reader(packed).varint() & 3


@settings(max_examples=300)
@given(columns)
def test_1_what_is_read_is_what_was_packed(column: list[Value]) -> None:
    found = read(pack_column(column), len(column))
    assert pack_values(found) == pack_values(column)
    assert [type(value) for value in found] == [type(value) for value in column]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (["a"], SAME), ([None] * 9, SAME), (["a", "b"] * 9, FEW), ([1, None] * 9, FEW), (["ab", "cd", "ef"], TURNED),
        ([b"ab", b"cd"], TURNED), ([0.5, 1.5], TURNED), (["a", "bc"], PLAIN), (["é", "ab"], PLAIN), ([1, 1.0] * 9, PLAIN),
        ([b"a", IllFormedText(b"a\xff")], PLAIN), ([7, 300, 70_000], PLAIN), (["", "a", "bc"], PLAIN),
    ],
)  # fmt: skip
def test_1_a_column_is_told_in_the_way_that_fits_it(column: list[Value], told: int) -> None:
    packed = pack_column(column)
    assert kind(packed) == told
    assert pack_values(read(packed, len(column))) == pack_values(column)


@pytest.mark.parametrize("distinct", [2, 256, 257, 4_000])
def test_1_few_values_are_told_once(distinct: int) -> None:
    column: list[Value] = [f"city number {i % distinct}" for i in range(8_000)]
    packed = pack_column(column)
    assert kind(packed) == FEW
    assert read(packed, 8_000) == column
    assert len(packed) < 20 * distinct + (8_100 if distinct <= 256 else 16_100)


@given(st.lists(st.integers(0, 70_000), max_size=20), st.sampled_from([1, 256, 257, 65_536, 65_537, 70_001]))
def test_1_numbers_are_read_as_packed(numbers: list[int], below: int) -> None:
    numbers = [number % below for number in numbers]
    reader = Reader(pack_numbers(numbers, below))
    assert list(read_numbers(reader, len(numbers), below)) == numbers
    assert not reader.more


@given(st.binary(max_size=60), st.integers(1, 7))
def test_1_turned_twice_is_as_before(data: bytes, width: int) -> None:
    data = data[: len(data) // width * width]
    assert turn_back(turn(data, width), width) == data


@given(st.one_of(st.lists(stamps, max_size=20), st.lists(few_stamps, max_size=20)))
def test_1_stamps_are_read_as_packed(column: list[bytes]) -> None:
    nodes = {node: number for number, node in enumerate(sorted({stamp[8:] for stamp in column}))}
    packed = b"".join(pack_stamps(column, nodes))
    reader = Reader(packed)
    assert read_stamps(reader, len(column), list(nodes)) == column
    assert not reader.more


def test_1_stamps_near_each_other_differ_in_few_bytes() -> None:
    column = [struct.pack(">QQ", (1_800_000_000_000 + 50 * i) << 16, 7) for i in range(100)]
    times, steps = pack_stamps(column, {column[0][8:]: 0})
    assert times[1:100] == times[101:200] == bytes(99)
    assert times[501:600] == bytes([100]) * 99
    assert times[601:] == bytes(199)
    assert steps == bytes(100)


# --- 2. what it costs ---------------------------------------------------------------------------------------------


@given(columns)
def test_2_what_is_spent_is_the_canonical_size(column: list[Value]) -> None:
    room = Room(MIB)
    read_column(Reader(pack_column(column)), len(column), room)
    assert room.whole - room.left == sum(map(len, pack_values(column)))


@pytest.mark.parametrize(
    "packed",
    [
        varint(60_003 << 2 | SAME) + pack_value("x" * 60_000),
        varint(60_004 << 2 | FEW) + pack_value("x" * 60_000) + b"\xc0" + b"\x02" + bytes(8_000),
        varint(80_000 << 2 | TURNED) + bytes(80_000),
        varint(80_000 << 2 | PLAIN) + bytes(80_000),
        varint(400_000 << 2 | PLAIN) + b"\xdd\x7f\xff\xff\xff" * 80_000,
        varint(24_000 << 2 | PLAIN) + b"\xdc\x1f\x40" * 8_000,
    ],
)  # fmt: skip
def test_2_what_is_too_much_is_refused_before_it_is_made(packed: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(PeerFault):
        read(packed, 8_000, 500_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MIB


def test_2_a_room_that_is_full_says_how_large_it_was() -> None:
    with pytest.raises(LimitExceeded, match="records that take over 5 bytes"):
        read(b"\x07\xc0", 6, 5)
    assert read(b"\x07\xc0", 6, 6) == [None] * 6


# --- 3. what is none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packed", "count", "why"),
    [
        (b"", 1, "cut short"),
        (b"\x80\x80\x80\x80\x00", 1, "a number of more than 4 bytes"),
        (b"\x04", 1, "cut short"),
        (b"\x08\x01\x02", 1, "a column that does not hold 1 values"),
        (b"\x04\x01", 2, "a column that does not hold 2 values"),
        (b"\x00", 1, "a column that does not hold 1 values"),
        (b"\x04\xa2", 1, "does not hold 1"),
        (b"\x08\x01\xa1", 1, "no valid msgpack"),
        (b"\x0c\x01\xcd\x01", 1, "does not hold 1"),
        (b"\x08\x01\xc0", 1, "does not hold 1"),
        (b"\x08\xa1\xff", 1, "no valid msgpack"),
        (b"\x04\xc1", 1, "no valid msgpack"),
        (b"\x04\x80", 1, "a map"),
        (b"\x08\x81\x01", 1, "no valid msgpack"),
        (b"\x04\x90", 1, "a field cannot hold tuple"),
        (b"\x08\x91\x01", 1, "max_array_len"),
        (b"\x04\xc3", 1, "a field cannot hold bool"),
        (b"\x0c\xd4\x05\x00", 1, "unknown extension type 5"),
        (b"\x0c\xd4\x01a", 1, "that is well-formed"),
        (varint(9 << 2) + b"\xcf" + b"\xff" * 8, 1, "does not fit into 64 bits"),
        (varint(9 << 2) + b"\xcb\x80" + bytes(7), 1, "not canonical"),
        (b"\x05\xc0", 2, "no multiple of its count"),
        (b"\x01", 1, "no multiple of its count"),
        (b"\x06\xc0\x00", 1, "a column of 1 values with 0 distinct ones"),
        (b"\x06\xc0\x02", 1, "a column of 1 values with 2 distinct ones"),
        (b"\x0a\xc0\x01\x02\x00", 2, "cut short"),
        (b"\x0a\xc0\x01\x02\x00\x02", 2, "an index in a batch points nowhere"),
        (b"\x0b\xc0\xc0", 3, "a column that does not hold 1 values"),
    ],
)
def test_3_what_is_no_column_is_refused_in_words(packed: bytes, count: int, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read_column(Reader(packed), count, Room(MIB))


def test_3_what_follows_a_column_is_left() -> None:
    reader = Reader(b"\x07\xc0\xc0")
    assert read_column(reader, 3, Room(MIB)) == [None] * 3
    assert reader.take(1) == b"\xc0"


def test_3_stamps_of_no_node_are_refused() -> None:
    with pytest.raises(Malformed, match="an index in a batch points nowhere"):
        read_stamps(Reader(bytes(8) + b"\x01"), 1, [b"node-one"])
    with pytest.raises(Malformed, match="an index in a batch points nowhere"):
        read_stamps(Reader(bytes(9)), 1, [])
    with pytest.raises(Malformed, match="cut short"):
        read_stamps(Reader(bytes(8)), 1, [b"node-one"])


@settings(max_examples=300)
@given(columns, st.integers(1, 50), st.data())
def test_3_a_column_that_was_bent_raises_peer_fault_or_is_another_column(
    column: list[Value], count: int, data: st.DataObject
) -> None:
    packed = bytearray(pack_column(column))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PeerFault):
        found = read_column(Reader(bytes(packed)), count, Room(MIB))
        assert len(found) == count
        assert pack_values(read(pack_column(found), count)) == pack_values(found)


@given(st.binary(max_size=40), st.integers(1, 20))
def test_3_random_bytes_raise_nothing_but_peer_fault(packed: bytes, count: int) -> None:
    with suppress(PeerFault):
        assert len(read_column(Reader(packed), count, Room(MIB))) == count

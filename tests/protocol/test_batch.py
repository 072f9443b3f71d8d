"""A batch brings the records that were packed, whatever they are, and costs no more than they do."""

from __future__ import annotations

import itertools
import tracemalloc
from contextlib import suppress
from random import Random
from unittest import mock

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import batch, limits
from protocol.batch import BIRTH, BIRTH_BORN, BORN, BORN_FIRST, FLOOR, pack, unpack
from protocol.columns import Room, varint
from protocol.errors import LimitExceeded, Malformed, PeerFault
from protocol.hlc import Clock
from protocol.hlc import pack as stamp
from protocol.record import Delta, Record, decode, gather, pack_id
from protocol.values import Value, pack_value
from tests.bench.contacts import FIELDS, contacts, edits
from tests.protocol.memory_store import HANDSHAKE, KEYS, NOW_MS
from tests.protocol.strategies import few_stamps, names, records, values

MIB = 1 << 20
ONE, TWO, THREE = (stamp(ms, 0, b"node-one") for ms in (1, 2, 3))


def content(deltas: list[Delta]) -> bytes:
    """What is in the frame."""
    return zstandard.decompress(pack(deltas))


def read(data: bytes, count: int) -> list[Delta]:
    """What a frame with this in it brings."""
    return unpack(zstandard.ZstdCompressor().compress(data), count)


def canonical(deltas: list[Delta]) -> list[bytes]:
    """In an order that does not depend on theirs."""
    return sorted(delta.encode() for delta in deltas)


@st.composite
def alike(draw: st.DrawFn) -> list[Delta]:
    """Records of few shapes, as a table makes them, and fragments of them."""
    fields: list[str] = sorted(draw(st.sets(names, max_size=4)))
    made: list[Delta] = []
    for number in range(draw(st.integers(1, 30))):
        born = draw(few_stamps)
        id_ = pack_id([number], born if draw(st.booleans()) else b"")
        record = Record("table", id_, b"", born, {name: (born, pack_value(draw(values))) for name in fields})
        changed: bool = draw(st.booleans())
        if fields and changed:
            record.registers[draw(st.sampled_from(fields))] = draw(few_stamps), pack_value(draw(values))
        stamps = sorted(record.stamps())
        made.append(record.delta(draw(st.one_of(st.none(), st.just({stamps[-1]})))))
    return made


anything = st.one_of(
    st.lists(records().map(Record.delta), min_size=1, max_size=12),
    st.lists(records(few_stamps).map(Record.delta), min_size=1, max_size=12),
    alike(),
)


# --- 1. what is read ----------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(anything)
def test_1_what_is_read_are_the_records_that_were_packed(deltas: list[Delta]) -> None:
    found = unpack(pack(deltas), len(deltas))
    assert canonical(found) == canonical(deltas)
    assert sorted(map(repr, found)) == sorted(repr(decode(delta.encode())) for delta in deltas)


@given(anything)
def test_1_a_batch_of_what_was_read_is_the_same_batch(deltas: list[Delta]) -> None:
    once = content(deltas)
    assert content(read(once, len(deltas))) == once


def test_1_a_value_may_be_minus_zero_before_it_is_packed() -> None:
    deltas = [Delta("t", pack_id([i]), b"", ONE, ("a",), ONE, b"", [-0.0]) for i in range(3)]
    assert [delta.encode() for delta in unpack(pack(deltas), 3)] == [delta.encode() for delta in deltas]
    assert deltas[0].encode().endswith(b"\xcb" + bytes(8))


@pytest.mark.parametrize("count", [1, 2, 256, 257, 1_999])
def test_1_records_of_many_stamps(count: int) -> None:
    stamps = [stamp(i + 1, 0, b"%08d" % i) for i in range(count)]
    fields = tuple(f"f{i:04}" for i in range(count))
    distinct, which = gather(Random(count).sample(stamps, count))
    delta = Delta("wide", pack_id([1]), b"", stamps[0], fields, distinct, which, tuple(range(count)))
    assert unpack(pack([delta, delta._replace(born=b"")]), 2) == [delta, delta._replace(born=b"")]


def test_1_fields_that_are_too_many_for_a_part_come_in_several() -> None:
    deltas = [
        Delta("t", pack_id([i]), b"", ONE, tuple(f"f{i}.{n:04}" for n in range(900)), ONE, b"", (None,) * 900)
        for i in range(4)
    ]
    assert canonical(unpack(pack(deltas), 4)) == canonical(deltas)


def test_1_ids_that_look_as_if_they_ended_in_a_birth() -> None:
    for tail in (b"", ONE, ONE[:-1], b"x" + ONE):
        deltas = [
            Delta("t", b"\xd8\x02" + tail, b"", ONE, (), b"", b"", ()),
            Delta("t", b"\x91\1", ONE, b"", (), b"", b"", ()),
        ]
        assert canonical(unpack(pack(deltas), 2)) == canonical(deltas)


@pytest.mark.parametrize("seed", range(3))
def test_1_contacts_and_their_edits(seed: int) -> None:
    """As the tables of a CRM are: with all ways of telling a column, and 6,000 records in a batch."""
    clock, random = Clock(b"node-one"), Random(seed)
    whole: list[Record] = []
    for id_, *row in contacts(2_000):
        at = clock.tick(NOW_MS + len(whole))
        whole.append(
            Record(
                "contacts", pack_id([id_]), b"", at, {n: (at, pack_value(v)) for n, v in zip(FIELDS, row, strict=True)}
            )
        )
    changed = []
    for field, value, id_ in edits([r.id.hex() for r in whole], 500, 1, seed)[0]:
        changed.append(
            Record("contacts", bytes.fromhex(id_), registers={field: (clock.tick(NOW_MS), pack_value(value))})
        )
    deltas = [record.delta() for record in [*whole, *changed]]
    random.shuffle(deltas)
    packed = pack(deltas)
    assert canonical(unpack(packed, 2_500)) == canonical(deltas)
    payload = sum(len(id_) + sum(map(len, row)) for id_, *row in contacts(2_000))
    assert len(packed) < 0.35 * payload
    assert len(pack([record.delta() for record in changed])) < 500 * 27


# --- 2. what it costs ---------------------------------------------------------------------------------------------


@given(anything)
def test_2_what_is_counted_is_what_the_records_take(deltas: list[Delta]) -> None:
    """But for a byte, if a birth makes an id longer than 255."""
    sizes = sum(len(delta.encode()) for delta in deltas)
    room = Room(sizes)
    with mock.patch.object(batch, "Room", return_value=room):
        unpack(pack(deltas), len(deltas))
    assert room.left == 0


@given(anything)
def test_2_a_size_is_never_too_small(deltas: list[Delta]) -> None:
    for delta in deltas:
        assert len(delta.encode()) <= delta.size() <= len(delta.encode()) + 2


@pytest.mark.parametrize(
    ("fields", "column", "ids"),
    [
        (1, varint(60_003 << 2 | 3) + pack_value("x" * 60_000), None),
        (1, varint(60_004 << 2 | 2) + pack_value("x" * 60_000) + b"\xc0\x02" + bytes(8_192), None),
        (limits.FIELDS_MAX, b"\x07\xc0", None),
        (1, b"\x07\xc0", varint(60_003 << 2 | 3) + pack_value(bytes(60_000))),
    ],
)
def test_2_a_small_frame_that_grows_is_refused(fields: int, column: bytes, ids: bytes | None) -> None:
    part = [b"\1node-one\1t", varint(fields), *[b"\4%04d" % i for i in range(fields)], b"\1", varint(8_192), b"\6\1\0"]
    data = b"".join([*part, bytes(9 * 8_192), ids or b"\x13\xc4\2\x91\1", *[column] * fields])
    assert len(zstandard.compress(data)) < 10_000
    tracemalloc.start()
    with pytest.raises(LimitExceeded, match="a batch of records that take over 4210688 bytes"):
        read(data, 8_192)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MIB


def test_2_as_many_records_as_there_is_room_for_are_read() -> None:
    column: list[Value] = ["x" * 500] * 8_192
    deltas = [Delta("t", b"\x91\1", b"", ONE, ("f",), ONE, b"", (value,)) for value in column]
    with pytest.raises(LimitExceeded):
        unpack(pack(deltas), 8_192)
    fit = limits.BATCH_BYTES_MAX // len(deltas[0].encode())
    assert len(unpack(pack(deltas[:fit]), fit)) == fit
    with pytest.raises(LimitExceeded):
        unpack(pack(deltas[: fit + 1]), fit + 1)


def test_2_the_largest_record_of_the_most_fields_and_stamps_is_read_and_a_larger_one_is_not() -> None:
    count = limits.FIELDS_MAX
    stamps = [stamp(NOW_MS + 977 * i % 65_521, i, b"%08d" % i) for i in range(count)]
    distinct, which = gather(stamps)
    fields = tuple(f"field {i:04}" for i in range(count))
    noise = b"".join(KEYS.proof(str(i), HANDSHAKE) for i in range(limits.RECORD_BYTES_MAX // 32))
    each = 2_065
    parts = tuple(noise[i * each : (i + 1) * each] for i in range(count))
    delta = Delta("wide", pack_id([1]), b"", b"", fields, distinct, which, parts)
    rest = limits.RECORD_BYTES_MAX - len(delta.encode())
    assert 0 <= rest < 4_096
    full = delta._replace(values=(parts[0] + bytes(rest), *parts[1:]))
    assert len(full.encode()) == limits.RECORD_BYTES_MAX
    frame = pack([full])
    assert len(frame) + 64 <= limits.FRAME_BYTES_MAX
    assert unpack(frame, 1) == [full]
    over = full._replace(values=(parts[0] + bytes(rest + 1), *parts[1:]))
    with pytest.raises(LimitExceeded, match="a record of 4194305 bytes: at most 4194304"):
        unpack(pack([over]), 1)


# --- 3. what is none ----------------------------------------------------------------------------------------------


def part(
    *,
    fields: bytes = b"\1\1f",
    shape: bytes = b"\1\1\6\1\0",
    stamps: bytes = bytes(9),
    rest: bytes = b"\x13\xc4\2\x91\1\7\xc0",
) -> bytes:
    """A part of one record with one field, or something like it."""
    return b"\1c" + fields + shape + stamps + rest


def pair(which: bytes) -> bytes:
    """A part of one record with two fields, and a column that says which stamp each has."""
    stamps, values = bytes(18), b"\7\xc0\7\xc0"
    return part(fields=b"\2\1f\1g", shape=b"\1\1\0\2\0", stamps=stamps, rest=b"\x13\xc4\2\x91\1" + which + values)


NODES = b"\1node-one"
GOOD = NODES + part()


def test_3_the_batch_that_the_others_are_made_of_is_one() -> None:
    assert read(GOOD, 1) == [
        Delta("c", b"\x91\1", b"", bytes(8) + b"node-one", ("f",), bytes(8) + b"node-one", b"", (None,))
    ]
    assert len(read(GOOD + part(), 2)) == 2


@pytest.mark.parametrize(
    ("data", "count", "why"),
    [
        (b"\2node-one", 1, "cut short"),
        (NODES, 1, "a batch of 1 records that holds 0"),
        (GOOD, 2, "a batch of 2 records that holds 1"),
        (GOOD + part(), 1, "do not add up to its records"),
        (GOOD + b"\0", 1, "belongs to a collection with a name"),
        (NODES + b"\0\1" + part()[2:], 1, "belongs to a collection with a name"),
        (NODES + b"\x81\x08" + b"x" * 1_025 + part()[2:], 1, "belongs to a collection with a name"),
        (NODES + b"\1\xff" + part()[2:], 1, "not UTF-8"),
        (NODES + part(fields=b"\1\1\xff"), 1, "not UTF-8"),
        (NODES + part(fields=b"\1\0"), 1, "a name of 1 to 1024 bytes"),
        (NODES + part(fields=b"\2\1f\1f"), 1, "sorted by name and distinct"),
        (NODES + part(fields=b"\2\1g\1f"), 1, "sorted by name and distinct"),
        (NODES + part(shape=b"\0"), 1, "without a record"),
        (NODES + part(shape=b"\1\0\6\1\0"), 1, "do not add up to its records"),
        (NODES + part(shape=b"\1\2\6\1\0"), 1, "do not add up to its records"),
        (NODES + part(shape=b"\1\1\x26\1\0"), 1, "do not fit together"),
        (NODES + part(shape=b"\1\1\6\2\0"), 1, "do not fit together"),
        (NODES + part(shape=b"\1\1\6\0\0"), 1, "do not fit together"),
        (NODES + part(shape=b"\1\1\2\1\1"), 1, "do not fit together"),
        (NODES + part(shape=b"\1\1\4\1\0"), 1, "refers to a stamp that is not there"),
        (NODES + part(shape=b"\1\1\x10\1\0"), 1, "refers to a stamp that is not there"),
        (NODES + part(shape=b"\1\1\x12\1\0"), 1, "refers to a stamp that is not there"),
        (NODES + part(shape=b"\1\1\x18\1\0"), 1, "refers to a stamp that is not there"),
        (NODES + part(shape=b"\1\1\6\0\1"), 1, "refers to a stamp that is not there"),
        (NODES + part(shape=b"\1\1\0\0\1"), 1, "with no floor, born or register does not exist"),
        (NODES + part(shape=b"\1\1\6\1\2\1"), 1, "a field that is not there"),
        (NODES + part(shape=b"\1\1\2\0\1"), 1, "a field that no record has"),
        (NODES + part(stamps=bytes(8) + b"\1"), 1, "points nowhere"),
        (b"\0" + part(), 1, "points nowhere"),
        (NODES + part(rest=b"\7\1\7\xc0"), 1, "travel as bytes"),
        (NODES + part(rest=b"\x0b\xc4\0\7\xc0"), 1, "an id of 1 to 65536 bytes"),
        (NODES + part(rest=varint(65_542 << 2) + pack_value(bytes(65_537)) + b"\7\xc0"), 1, "an id of 1 to 65536 bytes"),
        (NODES + part(shape=b"\1\1\x1e\1\0", rest=varint(65_523 << 2) + pack_value(bytes(65_520)) + b"\7\xc0"), 1,
         "an id of 1 to 65536 bytes"),
        (NODES + part(shape=b"\1\1\1\1\0", stamps=bytes(18)), 1, "at or below the floor"),
        (NODES + pair(b"\x13\xc4\2\0\1"), 1, "distinct and ascending"),
        (NODES + pair(b"\x0f\xc4\1\0"), 1, "do not fit together"),
        (NODES + pair(b"\7\xc0"), 1, "travel as bytes"),
    ],
)  # fmt: skip
def test_3_what_is_no_batch_is_refused_in_words(data: bytes, count: int, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read(data, count)


@pytest.mark.parametrize(
    ("data", "count", "why"),
    [
        (GOOD, 0, "0 records in one batch: 1 to 8192"),
        (GOOD, 8_193, "8193 records in one batch: 1 to 8192"),
        (NODES + part(fields=varint(2_001) + b"\4%04d" * 2_001), 1, "with 2001 fields: at most 2000"),
    ],
)
def test_3_what_is_too_much_is_refused_in_words(data: bytes, count: int, why: str) -> None:
    with pytest.raises(LimitExceeded, match=why):
        read(data, count)


def proper(delta: Delta) -> None:
    """What comes out of a batch is as if it had been decoded from its canonical bytes."""
    assert repr(decode(delta.encode())) == repr(delta)


@settings(max_examples=250)
@given(anything, st.integers(1, 13), st.data())
def test_3_a_batch_that_was_bent_raises_peer_fault_or_holds_records(
    deltas: list[Delta], count: int, data: st.DataObject
) -> None:
    bent = bytearray(content(deltas))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(bent) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                bent[at] = data.draw(st.integers(0, 255))
            case 1:
                bent[at] ^= 1 << data.draw(st.integers(0, 7))
            case 2:
                bent[at : at + 1] = data.draw(st.binary(max_size=3)) or b"\0"
    with suppress(PeerFault):
        for delta in read(bytes(bent), data.draw(st.sampled_from([len(deltas), count]))):
            proper(delta)


@settings(max_examples=300)
@given(st.binary(max_size=80), st.integers(1, 5))
def test_3_random_bytes_raise_nothing_but_peer_fault(data: bytes, count: int) -> None:
    for some in (data, NODES + data, NODES + part()[:6] + data):
        with suppress(PeerFault):
            for delta in read(some, count):
                proper(delta)


# --- 4. small ones ------------------------------------------------------------------------------------------------


@given(records().map(Record.delta))
def test_4_one_record_costs_little_more_than_itself(delta: Delta) -> None:
    stamps = len({delta.floor, delta.born, *delta.register_stamps()})
    assert len(content([delta])) <= len(delta.encode()) + 6 + 2 * stamps


def test_4_a_contact_alone_is_smaller_than_its_encoding() -> None:
    ((id_, *row),) = contacts(1)
    at = Clock(b"node-one").tick(NOW_MS)
    record = Record(
        "contacts", pack_id([id_]), b"", at, {n: (at, pack_value(v)) for n, v in zip(FIELDS, row, strict=True)}
    )
    assert len(content([record.delta()])) < len(record.encode())


def test_layouts_are_the_bits_of_the_specification() -> None:
    deltas = [
        (Delta("t", b"\x91\1", ONE, b"", (), b"", b"", ()), FLOOR),
        (Delta("t", b"\x91\1", b"", ONE, (), b"", b"", ()), BORN),
        (Delta("t", b"\x91\1", b"", ONE, ("a",), ONE, b"", (1,)), BORN | BORN_FIRST),
        (Delta("t", b"\x91\1", ONE, TWO, ("a",), THREE, b"", (1,)), FLOOR | BORN),
        (Delta("t", pack_id([1], ONE), b"", b"", ("a",), TWO, b"", (1,)), BIRTH),
        (Delta("t", pack_id([1], ONE), b"", ONE, ("a",), ONE, b"", (1,)), BORN | BORN_FIRST | BIRTH | BIRTH_BORN),
    ]
    assert [1 << bit for bit in range(5)] == [FLOOR, BORN, BORN_FIRST, BIRTH, BIRTH_BORN]
    for delta, layout in deltas:
        assert batch._layout(delta) == layout
    for some in itertools.combinations([delta for delta, _ in deltas], 3):
        assert canonical(unpack(pack(some), 3)) == canonical(list(some))

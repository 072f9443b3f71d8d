"""A column: values that stand below each other in a batch, packed together, since what is alike then lies side by side.

A column is told in one of four ways: by one value, if all are the same; by its distinct values and an index into them
for each, if they are few; by the bytes of its encodings turned (all first bytes, then all second ones, ...) if all are
equally long, as ids, moments and phone numbers are; else by one encoding after another. The sender chooses, and what is
read is the same. Stamps have a column of their own kind: they are told by their differences. One test each:

1. What is read is what was packed, value for value and type for type.
2. A reader makes no more values than it expects, and spends their canonical sizes before it makes them many.
3. What is no column is Malformed, and nothing else is raised.

SPEC section 9.1.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

import msgpack

from protocol.errors import LimitExceeded, Malformed
from protocol.record import array_header
from protocol.values import Value, check_received, pack_plain, pack_values, value_ext

PLAIN, TURNED, FEW, SAME = range(4)
VARINT_BYTES_MAX = 4
"""28 bits: more than any size in a frame."""

_END = b"\xc0"
"""A nil behind the last value: one that was cut short would take it in."""

_ONE_WIDTH = frozenset({str, bytes})
_MILLIS, _COUNT = (1 << 48) - 1, (1 << 16) - 1


class Room:
    """Bytes that a batch may still take. Values that are told once and stand for many are paid for one by one."""

    __slots__ = ("left", "whole")

    def __init__(self, whole: int) -> None:
        self.whole = self.left = whole

    def spend(self, size: int) -> None:
        """Take so much of it. Raises LimitExceeded if there is not so much."""
        self.left -= size
        if self.left < 0:
            raise LimitExceeded(f"a batch of records that take over {self.whole} bytes")


class Reader:
    """Walks the bytes of a batch. Every read past the end is Malformed."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def more(self) -> bool:
        """Whether something follows."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next so many bytes."""
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise Malformed("a batch is cut short")
        self._at += size
        return part

    def varint(self) -> int:
        """The next number: 7 bits a byte, the low ones first, the last byte below 128."""
        number = 0
        for shift in range(0, 7 * VARINT_BYTES_MAX, 7):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise Malformed(f"a number of more than {VARINT_BYTES_MAX} bytes in a batch")


def varint(number: int) -> bytes:
    """What `Reader.varint` reads."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def turn(data: bytes, width: int) -> bytes:
    """Rows of so many bytes -> their columns, one after the other."""
    return b"".join([data[place::width] for place in range(width)])


def turn_back(data: bytes, width: int) -> bytes:
    """Inverse of `turn`. The size of `data` is a multiple of `width`."""
    count, rows = len(data) // width, bytearray(len(data))
    for place in range(width):
        rows[place::width] = data[place * count : (place + 1) * count]
    return bytes(rows)


def pack_column(values: Sequence[Value]) -> bytes:
    """A column of at least one value, which are canonical but for -0.0."""
    kinds = set(map(type, values))
    if float in kinds:
        values = [v + 0.0 if type(v) is float else v for v in values]
    if len(kinds) == 1 or (len(kinds) == 2 and type(None) in kinds):  # Of one type: 1 and 1.0 are equal to Python.
        distinct = dict.fromkeys(values)
        if len(distinct) == 1:
            return _told(SAME, _join([*distinct]))
        if 2 * len(distinct) <= len(values):
            index = {value: number for number, value in enumerate(distinct)}
            numbers = [index[value] for value in values]
            return _told(FEW, _join([*distinct])) + varint(len(distinct)) + pack_numbers(numbers, len(distinct))
    packed = _join(values)
    if _of_one_width(values, kinds, len(packed)):
        return _told(TURNED, turn(packed, len(packed) // len(values)))
    return _told(PLAIN, packed)


def _told(kind: int, packed: bytes) -> bytes:
    return varint(len(packed) << 2 | kind) + packed


def _join(values: Sequence[Value]) -> bytes:
    try:
        return pack_plain([*values])[len(array_header(len(values))) :]
    except TypeError:
        return b"".join(pack_values(values))


def _of_one_width(values: Sequence[Value], kinds: set[type], size: int) -> bool:
    """Whether the encodings are equally long; a wrong yes would only compress badly."""
    if len(values) < 2 or size % len(values) or len(kinds) > 1:
        return False
    if kinds <= _ONE_WIDTH:
        lengths = set(map(len, values))  # type: ignore[arg-type]
        return len(lengths) == 1 and size == len(values) * len(pack_plain(values[0]))
    return kinds == {float}


def pack_numbers(numbers: Sequence[int], below: int) -> bytes:
    """Numbers below a bound that both sides know, each in as many bytes as the greatest may need, turned."""
    width = _width(below)
    if width == 1:
        return bytes(numbers)
    rows = struct.pack(f">{len(numbers)}I", *numbers)
    return b"".join([rows[place::4] for place in range(4 - width, 4)])


def read_numbers(reader: Reader, count: int, below: int) -> Sequence[int]:
    """Inverse of `pack_numbers`. Raises Malformed for one out of bounds."""
    width = _width(below)
    data = reader.take(count * width)
    numbers: Sequence[int] = data
    if width > 1:
        numbers = struct.unpack(f">{count}I", turn_back(bytes((4 - width) * count) + data, 4))
    if count and max(numbers) >= below:
        raise Malformed("an index in a batch points nowhere")
    return numbers


def _width(below: int) -> int:
    return max(1, ((below - 1).bit_length() + 7) // 8)


def read_column(reader: Reader, count: int, room: Room) -> list[Value]:
    """A column of so many values, at least one; what they take in their canonical encodings is spent. Raises Malformed,
    and LimitExceeded beyond the room."""
    size = reader.varint()
    kind, packed = size & 3, reader.take(size >> 2)
    if kind == FEW:
        return _read_few(reader, packed, count, room)
    room.spend(len(packed) * (count if kind == SAME else 1))
    if kind == SAME:
        return _read_values(packed, 1) * count
    if kind == TURNED:
        if not packed or len(packed) % count:
            raise Malformed("a column of one width whose size is no multiple of its count")
        packed = turn_back(packed, len(packed) // count)
    return _read_values(packed, count)


def _read_few(reader: Reader, packed: bytes, count: int, room: Room) -> list[Value]:
    size = reader.varint()
    if not 0 < size <= count:
        raise Malformed(f"a column of {count} values with {size} distinct ones")
    distinct = _read_values(packed, size)
    index = read_numbers(reader, count, size)
    sizes = list(map(len, pack_values(distinct)))
    room.spend(sum(map(sizes.__getitem__, index)))
    return list(map(distinct.__getitem__, index))


def _read_values(packed: bytes, count: int) -> list[Value]:
    """Encodings one after another: no array around them, so that nothing nested can claim memory."""
    unpacker = msgpack.Unpacker(
        use_list=False,
        ext_hook=value_ext,
        object_pairs_hook=_no_map,
        max_array_len=0,
        max_map_len=0,
        max_buffer_size=len(packed) + 1,
    )
    unpacker.feed(packed)
    unpacker.feed(_END)
    try:
        values = list(itertools.islice(unpacker, count + 2))
    except Malformed:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed(f"no valid msgpack: {type(error).__name__}: {str(error)[:200]}") from None
    if len(values) != count + 1 or values.pop() is not None:
        raise Malformed(f"a column that does not hold {count} values")
    check_received(values)
    return values


def _no_map(_: object) -> object:
    raise Malformed("a map: the protocol has none")


# --- stamps -----------------------------------------------------------------------------------------------------


def pack_stamps(stamps: Sequence[bytes], nodes: dict[bytes, int]) -> tuple[bytes, bytes]:
    """Differences of millis and counter, each modulo its range and with the sign in the lowest bit; and of node numbers."""
    times, before = [], 0
    for (time,) in struct.iter_unpack(">Q8x", b"".join(stamps)):
        millis, count = ((time >> 16) - (before >> 16)) & _MILLIS, (time - before) & _COUNT
        millis = millis << 1 if millis <= _MILLIS >> 1 else (_MILLIS - millis) << 1 | 1
        count = count << 1 if count <= _COUNT >> 1 else (_COUNT - count) << 1 | 1
        times.append(millis << 16 | count)
        before = time
    numbers = [nodes[stamp[8:]] for stamp in stamps]
    steps = [(b - a) % len(nodes) for a, b in itertools.pairwise([0, *numbers])]
    return turn(struct.pack(f">{len(times)}Q", *times), 8), pack_numbers(steps, len(nodes))


def read_stamps(reader: Reader, size: int, nodes: Sequence[bytes]) -> list[bytes]:
    """Inverse of `pack_stamps`."""
    millis = count = node = 0
    times, packed = [], turn_back(reader.take(8 * size), 8)
    for (step,) in struct.iter_unpack(">Q", packed):
        up, on = step >> 16, step & _COUNT
        millis = millis + (up >> 1 ^ -(up & 1)) & _MILLIS
        count = count + (on >> 1 ^ -(on & 1)) & _COUNT
        times.append(millis << 16 | count)
    steps = read_numbers(reader, size, len(nodes))
    packed, stamps = struct.pack(f">{size}Q", *times), []
    for at, on in enumerate(steps):
        node = (node + on) % len(nodes)
        stamps.append(packed[8 * at : 8 * at + 8] + nodes[node])
    return stamps

"""A batch of records as it travels: what they share is said once, the rest column by column, in one zstd frame.

Records of one collection with the same fields and the same pattern of stamps have one shape, so that a shape is told
once and its records are so many rows: ids, stamps and values each become a column. Stamps are told by their differences;
within a shape the records lie in the order of time. One test each:

1. What is read are the canonical records that were packed, each as often, in some order.
2. A frame is refused before it takes more memory than BATCH_BYTES_MAX of records in canonical form would.
3. What is no batch is Malformed or LimitExceeded, and nothing else is raised.
4. A batch of one record is not larger than the record, but for a frame around it.

SPEC section 9.1; vectors: tests/vectors/messages.json.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import zstandard

from protocol import limits
from protocol.collector import uncollected
from protocol.columns import Reader, Room, pack_column, pack_stamps, read_column, read_stamps, varint
from protocol.errors import LimitExceeded, Malformed
from protocol.hlc import NODE_BYTES, STAMP_BYTES
from protocol.record import EXT_BIRTH, Delta, array_header, check_names
from protocol.values import Value, pack_plain

LEVEL = 3
FLUSH_BYTES = 512
"""A column of this size gets a block of its own: letters of names and digits of ids are told shorter apart."""

FLOOR, BORN, BORN_FIRST, BIRTH, BIRTH_BORN = 1, 2, 4, 8, 16
"""Bits of a layout: there is a floor; a born; it is the first of the stamps; the id ends in a birth; which is the born."""

_BIRTH_HEAD = bytes((0xD8, EXT_BIRTH))


class _Shape(NamedTuple):
    """What records have in common: their number, a layout, how many stamps their registers have, and their names."""

    records: int
    layout: int
    stamps: int
    names: tuple[str, ...]

    @property
    def own(self) -> int:
        """Stamps of the registers that are told, of each record."""
        return self.stamps - bool(self.layout & BORN_FIRST)


# --- packing ----------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """Records of one collection, by shape. `fields`: all names in it, ascending."""

    collection: str
    fields: tuple[str, ...]
    shapes: list[tuple[_Shape, list[Delta]]]


@uncollected()
def pack(deltas: Sequence[Delta]) -> bytes:
    """The zstd frame of records or fragments, at least one. Each is as `record.decode` would give it, but may hold -0.0."""
    parts = list(_parts(deltas))
    stamps = [_stamps(part) for part in parts]
    nodes = {node: number for number, node in enumerate(dict.fromkeys([s[8:] for some in stamps for s in some]))}
    bits = [varint(len(nodes)) + b"".join(nodes)]
    for part, some in zip(parts, stamps, strict=True):
        bits += [_pack_head(part), *pack_stamps(some, nodes), *_pack_columns(part)]
    return _compress(bits)


def _compress(bits: Sequence[bytes]) -> bytes:
    zstd = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, write_checksum=True)
    stream = zstd.compressobj(size=sum(map(len, bits)))
    out = []
    for bit in bits:
        out.append(stream.compress(bit))
        if len(bit) >= FLUSH_BYTES:
            out.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    out.append(stream.flush())
    return b"".join(out)


def _parts(deltas: Sequence[Delta]) -> Iterator[_Part]:
    """The records by collection and shape. A collection with more fields than a part may have comes in several."""
    collections: dict[str, dict[tuple[int, int, tuple[str, ...]], list[Delta]]] = {}
    for delta in deltas:
        shapes = collections.setdefault(delta.collection, {})
        shapes.setdefault((_layout(delta), len(delta.stamps) // STAMP_BYTES, delta.names), []).append(delta)
    for collection, by_shape in collections.items():
        fields: set[str] = set()
        part: list[tuple[_Shape, list[Delta]]] = []
        for (layout, stamps, names), some in by_shape.items():
            if part and len(fields.union(names)) > limits.FIELDS_MAX:
                yield _Part(collection, tuple(sorted(fields)), part)
                fields, part = set(), []
            fields.update(names)
            some.sort(key=_order)
            part.append((_Shape(len(some), layout, stamps, names), some))
        yield _Part(collection, tuple(sorted(fields)), part)


def _layout(delta: Delta) -> int:
    _, id_, floor, born, _, stamps, _, _ = delta
    layout = FLOOR if floor else 0
    if born:
        layout |= BORN | BORN_FIRST if stamps[:STAMP_BYTES] == born else BORN
    if id_[-STAMP_BYTES - 2 : -STAMP_BYTES] == _BIRTH_HEAD:
        layout |= BIRTH | BIRTH_BORN if id_[-STAMP_BYTES:] == born else BIRTH
    return layout


def _order(delta: Delta) -> bytes:
    """By time, and what has one time (adopted rows, SPEC section 8) by id."""
    return (delta.born or delta.stamps[:STAMP_BYTES] or delta.floor)[:8] + delta.id


def _stamps(part: _Part) -> list[bytes]:
    """All stamps that are told of a part: births, floors, borns, those of registers; each in the order of records."""
    told: list[bytes] = []
    for shape, some in part.shapes:
        if shape.layout & (BIRTH | BIRTH_BORN) == BIRTH:
            told += [d.id[-STAMP_BYTES:] for d in some]
    for shape, some in part.shapes:
        if shape.layout & FLOOR:
            told += [d.floor for d in some]
    for shape, some in part.shapes:
        if shape.layout & BORN:
            told += [d.born for d in some]
    for shape, some in part.shapes:
        first = STAMP_BYTES * (shape.stamps - shape.own)
        if shape.own == 1:
            told += [d.stamps[first:] for d in some]
        elif shape.own:
            told += [d.stamps[i : i + STAMP_BYTES] for d in some for i in range(first, len(d.stamps), STAMP_BYTES)]
    return told


def _pack_head(part: _Part) -> bytes:
    place = {name: number for number, name in enumerate(part.fields)}
    texts = [text.encode() for text in (part.collection, *part.fields)]
    bits = [varint(len(texts[0])), texts[0], varint(len(part.fields))]
    for text in texts[1:]:
        bits += [varint(len(text)), text]
    bits.append(varint(len(part.shapes)))
    for shape, _ in part.shapes:
        bits += [varint(shape.records), bytes((shape.layout,)), varint(shape.stamps)]
        if shape.names == part.fields:
            bits.append(b"\0")
        else:
            places = [-1, *(place[name] for name in shape.names)]
            bits.append(varint(len(places)))
            bits += [varint(b - a - 1) for a, b in itertools.pairwise(places)]
    return b"".join(bits)


def _pack_columns(part: _Part) -> Iterator[bytes]:
    ids: list[bytes] = []
    which: list[bytes] = []
    values: dict[str, list[Value]] = {name: [] for name in part.fields}
    for shape, some in part.shapes:
        ids += [d.id[: -STAMP_BYTES - 2] for d in some] if shape.layout & BIRTH else [d.id for d in some]
        if shape.stamps > 1:
            which += [d.which for d in some]
        for name, column in zip(shape.names, zip(*[d.values for d in some], strict=True), strict=True):
            values[name].extend(column)
    yield pack_column(ids)
    if which:
        yield pack_column(which)
    yield from map(pack_column, values.values())


# --- reading ----------------------------------------------------------------------------------------------------


@uncollected()
def unpack(frame: bytes, count: int) -> list[Delta]:
    """The records of a peer's frame, so many. Raises Malformed and LimitExceeded."""
    if not 0 < count <= limits.BATCH_RECORDS_MAX:
        raise LimitExceeded(f"{count} records in one batch: 1 to {limits.BATCH_RECORDS_MAX}")
    reader, room = Reader(_decompress(frame)), Room(limits.BATCH_BYTES_MAX)
    size = reader.varint()
    packed = reader.take(NODE_BYTES * size)
    nodes = [packed[i : i + NODE_BYTES] for i in range(0, len(packed), NODE_BYTES)]
    deltas: list[Delta] = []
    while reader.more:
        deltas += _read_part(reader, nodes, count - len(deltas), room)
    if len(deltas) != count:
        raise Malformed(f"a batch of {count} records that holds {len(deltas)}")
    if room.whole - room.left > limits.RECORD_BYTES_MAX:
        size = max(len(delta.encode()) for delta in deltas)
        if size > limits.RECORD_BYTES_MAX:
            raise LimitExceeded(f"a record of {size} bytes: at most {limits.RECORD_BYTES_MAX}")
    return deltas


def _decompress(frame: bytes) -> bytes:
    try:
        # The library trusts the size that the frame claims, whatever bound it is given: look before it allocates.
        size = zstandard.frame_content_size(frame)
        if not 0 <= size <= limits.BATCH_BYTES_MAX:
            raise LimitExceeded(f"a batch that claims {size} bytes: at most {limits.BATCH_BYTES_MAX}")
        data = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Malformed(f"a batch that does not decompress: {str(error)[:100]}") from None
    if len(data) != size:
        raise Malformed(f"a batch that claims {size} bytes and holds {len(data)}")
    return data


def _read_part(reader: Reader, nodes: Sequence[bytes], left: int, room: Room) -> list[Delta]:
    collection = _text(reader)
    if not 0 < len(collection.encode()) <= limits.NAME_BYTES_MAX:
        raise Malformed("a record belongs to a collection with a name")
    fields = _read_fields(reader)
    shapes = _read_shapes(reader, fields, left)
    head = len(pack_plain(collection))
    for shape in shapes:
        room.spend(shape.records * (head + _frame_bytes(shape)))
    roles = _read_roles(reader, shapes, nodes)
    total = sum(shape.records for shape in shapes)
    ids = iter(_bytes(read_column(reader, total, room)))
    several = sum(shape.records for shape in shapes if shape.stamps > 1)
    which = iter(_bytes(read_column(reader, several, room)) if several else ())
    rows = _read_rows(reader, fields, shapes, room)
    deltas: list[Delta] = []
    for shape, (births, floors, borns, stamps), values in zip(shapes, roles, rows, strict=True):
        some = list(itertools.islice(ids, shape.records))
        if shape.layout & BIRTH:
            some = [id_ + _BIRTH_HEAD + birth for id_, birth in zip(some, births, strict=True)]
        index = list(itertools.islice(which, shape.records)) if shape.stamps > 1 else [b""] * shape.records
        place, names = itertools.repeat(collection), itertools.repeat(shape.names)
        made = list(map(_make, zip(place, some, floors, borns, names, stamps, index, values, strict=False)))
        _check(shape, made)
        deltas += made
    return deltas


_make: Callable[[tuple[object, ...]], Delta] = partial(tuple.__new__, Delta)
"""`Delta._make` without its Python: this is the hot path of a first sync."""


def _check(shape: _Shape, deltas: Sequence[Delta]) -> None:
    """What the layout of a batch does not make true of a record by itself."""
    sizes = [len(delta.id) for delta in deltas]
    if not min(sizes) or max(sizes) > limits.ID_BYTES_MAX:
        raise Malformed(f"a record has an id of 1 to {limits.ID_BYTES_MAX} bytes")
    if shape.stamps > 1:
        for delta in deltas:
            delta.register_stamps()
    if shape.layout & FLOOR and shape.stamps and any(d.stamps[:STAMP_BYTES] <= d.floor for d in deltas):
        raise Malformed("a register at or below the floor does not exist")


def _text(reader: Reader) -> str:
    try:
        return reader.take(reader.varint()).decode()
    except UnicodeDecodeError:
        raise Malformed("a name in a batch is not UTF-8") from None


def _read_fields(reader: Reader) -> tuple[str, ...]:
    size = reader.varint()
    if size > limits.FIELDS_MAX:
        raise LimitExceeded(f"a part of a batch with {size} fields: at most {limits.FIELDS_MAX}")
    fields = tuple([_text(reader) for _ in range(size)])
    check_names(fields)
    return fields


def _read_shapes(reader: Reader, fields: tuple[str, ...], left: int) -> list[_Shape]:
    shapes: list[_Shape] = []
    for _ in range(reader.varint()):
        count, layout, stamps, some = reader.varint(), reader.take(1)[0], reader.varint(), reader.varint()
        left -= count
        if not count or left < 0:
            raise Malformed("the shapes in a batch do not add up to its records")
        names = fields
        if some:
            places = itertools.accumulate([reader.varint() + 1 for _ in range(some - 1)], initial=-1)
            names = tuple([fields[place] for place in itertools.islice(places, 1, None) if place < len(fields)])
            if len(names) != some - 1:
                raise Malformed("a shape in a batch has a field that is not there")
        shape = _Shape(count, layout, stamps, names)
        _check_shape(shape)
        shapes.append(shape)
    if not shapes:
        raise Malformed("a part of a batch without a record")
    return shapes


def _check_shape(shape: _Shape) -> None:
    layout = shape.layout
    if layout >= 2 * BIRTH_BORN or shape.stamps > len(shape.names) or bool(shape.stamps) != bool(shape.names):
        raise Malformed("registers and their stamps do not fit together")
    if (layout & BORN_FIRST and not (layout & BORN and shape.stamps)) or (
        layout & BIRTH_BORN and not (layout & BORN and layout & BIRTH)
    ):
        raise Malformed("a shape in a batch refers to a stamp that is not there")
    if not (layout & (FLOOR | BORN) or shape.names):
        raise Malformed("a record with no floor, born or register does not exist")


def _frame_bytes(shape: _Shape) -> int:
    """What a record of this shape takes in canonical form beside its collection, its values, and what of its id and of
    `which` is in columns."""
    stamps = STAMP_BYTES * shape.stamps
    size = 1 + len(pack_plain([*shape.names])) + len(array_header(len(shape.names)))
    size += stamps + (2 if stamps < 256 else 3) + (2 if shape.stamps < 2 else 0)
    for bit in (FLOOR, BORN):
        size += STAMP_BYTES + 2 if shape.layout & bit else 1
    return size + (STAMP_BYTES + 2 if shape.layout & BIRTH else 0)


_Roles = tuple[list[bytes], list[bytes], list[bytes], list[bytes]]


def _read_roles(reader: Reader, shapes: Sequence[_Shape], nodes: Sequence[bytes]) -> list[_Roles]:
    """For each shape: births, floors, borns, and the stamps of registers, of each record."""
    apart = [s.layout & (BIRTH | BIRTH_BORN) == BIRTH for s in shapes]
    told = [s.own + a + bool(s.layout & FLOOR) + bool(s.layout & BORN) for s, a in zip(shapes, apart, strict=True)]
    size = sum(shape.records * each for shape, each in zip(shapes, told, strict=True))
    stamps = iter(read_stamps(reader, size, nodes))

    def role(there: bool, count: int) -> list[bytes]:
        return list(itertools.islice(stamps, count)) if there else [b""] * count

    births = [role(there, s.records) for s, there in zip(shapes, apart, strict=True)]
    floors = [role(bool(s.layout & FLOOR), s.records) for s in shapes]
    borns = [role(bool(s.layout & BORN), s.records) for s in shapes]
    out: list[_Roles] = []
    for shape, birth, floor, born in zip(shapes, births, floors, borns, strict=True):
        own = list(itertools.islice(stamps, shape.own * shape.records))
        if shape.own != 1:
            own = (
                [b"".join(own[i : i + shape.own]) for i in range(0, len(own), shape.own)]
                if own
                else [b""] * shape.records
            )
        if shape.layout & BORN_FIRST:
            own = [first + more for first, more in zip(born, own, strict=True)] if shape.own else born
        out.append((born if shape.layout & BIRTH_BORN else birth, floor, born, own))
    return out


def _bytes(values: list[Value]) -> list[bytes]:
    if set(map(type, values)) != {bytes}:
        raise Malformed("ids, and which stamp a register has, travel as bytes")
    return values  # type: ignore[return-value]


def _read_rows(
    reader: Reader, fields: tuple[str, ...], shapes: Sequence[_Shape], room: Room
) -> list[Iterable[tuple[Value, ...]]]:
    """For each shape: the values of each record."""
    counts = dict.fromkeys(fields, 0)
    for shape in shapes:
        for name in shape.names:
            counts[name] += shape.records
    if not all(counts.values()):
        raise Malformed("a part of a batch has a field that no record has")
    columns = {name: iter(read_column(reader, count, room)) for name, count in counts.items()}
    rows: list[Iterable[tuple[Value, ...]]] = []
    for shape in shapes:
        some = [list(itertools.islice(columns[name], shape.records)) for name in shape.names]
        rows.append(zip(*some, strict=True) if some else itertools.repeat((), shape.records))
    return rows

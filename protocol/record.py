"""A record, its canonical encoding, and the merge that makes all copies equal.

The state of a record is three joins: `floor`, the greatest delete stamp; `born`, the greatest insert stamp; and per
field the greatest (stamp, value) above `floor`. The record is live iff born > floor. The value breaks ties, so that
even two nodes with one id cannot make copies differ. One test each:

1. `join` is commutative, associative and idempotent, over any batching, with any fragment of a record.
2. A record has one encoding: what `decode` accepts, encoded again, is that one.
3. A delta made for a peer's known stamps, joined there, gives what the whole record would give.

A `Delta` is a fragment as it travels; a whole record is the largest one. SPEC sections 4-6; vectors:
tests/vectors/records.json.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import msgpack

from protocol import limits
from protocol.errors import LimitExceeded, Malformed, ValueRefused
from protocol.hlc import STAMP_BYTES
from protocol.values import (
    Value,
    check,
    check_received,
    pack_any,
    pack_plain,
    pack_values,
    unpack,
    unpack_values,
    value_ext,
)

EXT_BIRTH = 2
IDS, SHORT_ID_BYTES = 4_096, 256
"""So many ids that are not longer are remembered once they are unpacked."""

Register = tuple[bytes, bytes]
"""(stamp, canonical value): the greater one wins."""


class Delta(NamedTuple):
    """A fragment of one record, decoded. `stamps` holds the distinct stamps of the registers, ascending, 16 bytes each;
    `which` says for each name the index of its stamp: empty if there is but one, a byte each up to 256, else two."""

    collection: str
    id: bytes
    floor: bytes
    born: bytes
    names: tuple[str, ...]
    stamps: bytes
    which: bytes
    values: Sequence[Value]

    def register_stamps(self) -> list[bytes]:
        """The stamp of each register, in the order of `names`."""
        return spread(self.stamps, self.which, len(self.names))

    def registers(self) -> dict[str, Register]:
        """Name -> (stamp, canonical value)."""
        packed = pack_values(self.values)
        return dict(zip(self.names, zip(self.register_stamps(), packed, strict=True), strict=True))

    def encode(self) -> bytes:
        """Its canonical bytes."""
        return encode(*self[:4], self.names, self.stamps, self.which, pack_values(self.values))

    def size(self) -> int:
        """The size of its canonical bytes, or up to two more."""
        try:
            return len(pack_plain([*self[:4], [*self.names], self.stamps, self.which, [*self.values]]))
        except TypeError:
            return len(self.encode())

    def seen(self) -> set[bytes]:
        """Every stamp in it."""
        found = {self.stamps[at : at + STAMP_BYTES] for at in range(0, len(self.stamps), STAMP_BYTES)}
        return found | {stamp for stamp in (self.floor, self.born) if stamp}

    def greatest(self) -> bytes:
        """The greatest stamp in it."""
        return max(self.floor, self.born, self.stamps[-STAMP_BYTES:])


@dataclass(slots=True)
class Record:
    """The joined state of one record. Empty bytes stand for an absent floor or born."""

    collection: str
    id: bytes
    floor: bytes = b""
    born: bytes = b""
    registers: dict[str, Register] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether the record exists for its users."""
        return self.born > self.floor

    def join(self, delta: Delta) -> bool:
        """Take in a fragment. Returns whether anything changed."""
        before = self.floor, self.born
        self.floor = max(self.floor, delta.floor)
        self.born = max(self.born, delta.born)
        changed = before != (self.floor, self.born)
        for name, register in delta.registers().items():
            if register[0] > self.floor and register > self.registers.get(name, (b"", b"")):
                self.registers[name] = register
                changed = True
        if self.floor != before[0]:
            self.registers = {n: r for n, r in self.registers.items() if r[0] > self.floor}
        return changed

    def size(self) -> int:
        """The bytes of its values, which is nearly all that a large record takes."""
        return sum([len(value) for _, value in self.registers.values()])

    def stamps(self) -> set[bytes]:
        """Every stamp in the state: what this copy has seen of the record."""
        seen = {stamp for stamp, _ in self.registers.values()}
        return seen | {stamp for stamp in (self.floor, self.born) if stamp}

    def delta(self, missing: set[bytes] | None = None) -> Delta:
        """What `encode` says, decoded: the same as `decode(encode(missing))` of a record that keeps the limits. Raises
        Malformed if a value is not canonical msgpack."""
        floor, born, names, stamps, which, packed = self._part(missing)
        values = unpack_values(array_header(len(names)) + b"".join(packed))
        return Delta(self.collection, self.id, floor, born, tuple(names), stamps, which, values)

    def encode(self, missing: set[bytes] | None = None) -> bytes:
        """Canonical bytes: of all of it, or of what carries a stamp in `missing`. A delta with `born` is always whole,
        so that no peer ever shows a row with half of its fields."""
        return encode(self.collection, self.id, *self._part(missing))

    def _part(self, missing: set[bytes] | None) -> tuple[bytes, bytes, list[str], bytes, bytes, list[bytes]]:
        """What goes into `encode` after the id."""
        whole = missing is None or (self.born in missing and bool(self.born))
        chosen = self.registers
        if not whole and missing is not None:
            chosen = {n: r for n, r in chosen.items() if r[0] in missing}
        names = sorted(chosen)  # By code points, which is the order of their UTF-8.
        stamps, which = gather([chosen[n][0] for n in names])
        floor = self.floor if whole or missing is None or self.floor in missing else b""
        return floor, self.born if whole else b"", names, stamps, which, [chosen[n][1] for n in names]


def gather(stamps: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Stamps of registers -> (distinct stamps ascending, index of each). Inverse of `spread`."""
    distinct = sorted(set(stamps))
    if len(distinct) <= 1:
        return b"".join(distinct), b""
    index = {stamp: i for i, stamp in enumerate(distinct)}
    if len(distinct) <= 256:
        return b"".join(distinct), bytes([index[stamp] for stamp in stamps])
    return b"".join(distinct), b"".join([index[stamp].to_bytes(2, "big") for stamp in stamps])


def spread(stamps: bytes, which: bytes, count: int) -> list[bytes]:
    """(distinct stamps, index of each) -> the stamp of each of `count` registers. Raises Malformed."""
    distinct = [stamps[i : i + STAMP_BYTES] for i in range(0, len(stamps), STAMP_BYTES)]
    if not which:
        if len(stamps) != (STAMP_BYTES if count else 0):
            raise Malformed("one stamp serves all registers, or each names its own")
        return distinct * count
    width = 1 if len(distinct) <= 256 else 2
    index = list(which) if width == 1 else [int.from_bytes(which[i : i + 2], "big") for i in range(0, len(which), 2)]
    if len(stamps) % STAMP_BYTES or len(which) != count * width or set(index) != set(range(len(distinct))):
        raise Malformed("registers and their stamps do not fit together")
    if len(distinct) < 2 or sorted(set(distinct)) != distinct:
        raise Malformed("the stamps of a record are distinct and ascending")
    return [distinct[i] for i in index]


def encode(
    collection: str,
    id_: bytes,
    floor: bytes,
    born: bytes,
    names: Sequence[str],
    stamps: bytes,
    which: bytes,
    values: Iterable[bytes],
) -> bytes:
    """Canonical bytes of a record or fragment; `values` are already canonical, in the order of `names`."""
    return b"".join(
        (
            b"\x98",
            pack_plain(collection),
            pack_plain(id_),
            pack_plain(floor or None),
            pack_plain(born or None),
            pack_plain(list(names)),
            pack_plain(stamps),
            pack_plain(which),
            array_header(len(names)),
            *values,
        )
    )


array_header: Callable[[int], bytes] = msgpack.Packer().pack_array_header
"""msgpack's header of an array, shortest form."""


def decode(data: bytes) -> Delta:
    """Inverse of `encode`, for a peer's bytes. Raises Malformed unless they have the shape of a record, LimitExceeded
    for one too large.

    Not checked here: that every number is in its shortest form. Digests are made of what was decoded and encoded again,
    so a peer that sends a longer form gains nothing."""
    if len(data) > limits.RECORD_BYTES_MAX:
        raise LimitExceeded(f"a record of {len(data)} bytes: at most {limits.RECORD_BYTES_MAX}")
    parts = unpack(data, arrays_max=limits.ARRAYS_PER_RECORD_MAX, array_max=limits.FIELDS_MAX)
    if type(parts) is not tuple or len(parts) != 8:
        raise Malformed("a record is an array of 8")
    collection, id_, floor, born, names, stamps, which, values = parts
    if type(collection) is not str or not 0 < len(collection.encode()) <= limits.NAME_BYTES_MAX:
        raise Malformed("a record belongs to a collection with a name")
    if type(id_) is not bytes or not 0 < len(id_) <= limits.ID_BYTES_MAX:
        raise Malformed("a record has an id in bytes")
    floor, born = _stamp_or_none(floor), _stamp_or_none(born)
    if type(names) is not tuple or type(values) is not tuple or len(names) != len(values):
        raise Malformed("a record has as many values as names")
    if type(stamps) is not bytes or type(which) is not bytes:
        raise Malformed("stamps travel as bytes")
    check_names(names)
    check_received(values)
    delta = Delta(collection, id_, floor, born, names, stamps, which, values)
    if which or len(stamps) != STAMP_BYTES or not names:
        delta.register_stamps()
    if not (floor or born or names):
        raise Malformed("a record with no floor, born or register does not exist")
    if stamps and floor and stamps[:STAMP_BYTES] <= floor:
        raise Malformed("a register at or below the floor does not exist")
    return delta


def _stamp_or_none(stamp: object) -> bytes:
    if stamp is None:
        return b""
    if type(stamp) is not bytes or len(stamp) != STAMP_BYTES:
        raise Malformed("a stamp has 16 bytes")
    return stamp


_names_seen: set[tuple[object, ...]] = set()
"""Names that were found good: most records of a table have the same. Bounded in number and in size."""


def check_names(names: tuple[object, ...]) -> None:
    """Raise Malformed unless these can be the fields of a record: names of 1 to 1024 bytes, ascending as UTF-8."""
    if names in _names_seen:
        return
    encoded = [n.encode() for n in names if type(n) is str]
    if len(encoded) != len(names) or any(not 0 < len(n) <= limits.NAME_BYTES_MAX for n in encoded):
        raise Malformed("a field has a name of 1 to 1024 bytes")
    if any(a >= b for a, b in itertools.pairwise(encoded)):
        raise Malformed("the fields of a record are sorted by name and distinct")
    if len(names) <= 256 and sum(map(len, encoded)) <= 16_384:
        if len(_names_seen) >= 1_024:
            _names_seen.clear()
        _names_seen.add(names)


def fold(name: str) -> str:
    """A table's or column's name as it travels: SQLite compares names by ASCII letters without case, and so do we."""
    return name.translate(_FOLD)


_FOLD = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def pack_id(key: Sequence[object], birth: bytes = b"") -> bytes:
    """Canonical id of a record from its key values, and for a made-up key the stamp of its birth.

    SQLite takes 1 and 1.0 for one key, so a whole double within 64 bits becomes an integer. Raises ValueRefused for
    NULL, for no key at all, or for an id over the limit."""
    if not birth and key and _PLAIN_KEY.issuperset(map(type, key)):
        try:
            return _checked_id(pack_plain([*key]))
        except UnicodeEncodeError:
            pass  # The careful way says what is wrong with it.
    parts: list[object] = []
    for value in map(check, key):
        if value is None:
            raise ValueRefused("NULL in a key: such a row cannot be told from another")
        whole = type(value) is float and value.is_integer() and -(2.0**63) <= value < 2.0**63
        parts.append(int(value) if whole else value)
    if birth:
        parts.append(msgpack.ExtType(EXT_BIRTH, birth))
    if not parts:
        raise ValueRefused("a record without a key cannot be told from another")
    return _checked_id(array_header(len(parts)) + b"".join(map(_pack_part, parts)))


_PLAIN_KEY = frozenset({str, bytes})
"""What msgpack packs canonically, whatever the value."""


def pack_ids(columns: Sequence[Sequence[object]]) -> list[bytes]:
    """`pack_id` of many keys without births, given column by column."""
    if all(_PLAIN_KEY.issuperset(map(type, column)) for column in columns):
        try:
            packed = list(map(pack_plain, map(list, zip(*columns, strict=True))))
            if max(map(len, packed), default=0) <= limits.ID_BYTES_MAX:
                return packed
        except UnicodeEncodeError:
            pass
    # The careful way says what is wrong with it.
    return [pack_id(key) for key in zip(*columns, strict=True)]


def _checked_id(packed: bytes) -> bytes:
    if len(packed) > limits.ID_BYTES_MAX:
        raise ValueRefused(f"a key of {len(packed)} bytes: at most {limits.ID_BYTES_MAX}")
    return packed


def _pack_part(part: object) -> bytes:
    return msgpack.packb(part) if type(part) is msgpack.ExtType else pack_any(part)


class Birth(bytes):
    """The birth stamp in the id of a record whose key SQLite made up."""

    __slots__ = ()


def _id_ext(code: int, data: bytes) -> object:
    if code == EXT_BIRTH and len(data) == STAMP_BYTES:
        return Birth(data)
    return value_ext(code, data)


def unpack_id(data: bytes) -> tuple[tuple[Value, ...], bytes]:
    """Key values and birth stamp (empty for a natural key). Raises Malformed unless `data` is a canonical id."""
    return _unpack_id(data) if len(data) > SHORT_ID_BYTES else _unpack_short_id(data)


def _unpack_id(data: bytes) -> tuple[tuple[Value, ...], bytes]:
    try:
        plain = msgpack.unpackb(data, use_list=False, max_map_len=0)
        if type(plain) is tuple and _PLAIN_KEY.issuperset(map(type, plain)) and pack_plain([*plain]) == data and plain:
            return plain, b""
    except (ValueError, TypeError):
        pass  # The careful way says what is wrong with it.
    parts = unpack(data, arrays_max=1, array_max=limits.FIELDS_MAX, ext=_id_ext)
    if type(parts) is not tuple or not parts:
        raise Malformed("an id is an array of key values")
    birth = parts[-1] if type(parts[-1]) is Birth else b""
    key = parts[:-1] if birth else parts
    try:
        canonical = pack_id(key, birth)
    except ValueRefused as error:
        raise Malformed(f"no valid id: {error}") from None
    if canonical != data:
        raise Malformed("an id is not in its canonical encoding")
    return key, bytes(birth)


_unpack_short_id = lru_cache(IDS)(_unpack_id)

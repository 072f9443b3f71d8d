"""Field values and their one canonical encoding.

A value is what SQLite can hold: NULL, a 64-bit integer, a double, text, or bytes. Two nodes hash the same value only
if they encode it to the same bytes, so each value has exactly one encoding: msgpack with the shortest integer, doubles
always in 64 bits. One test each:

1. Encoding is a bijection between the values we accept and the encodings we accept.
2. -0.0 is 0.0, because SQLite does not keep the difference in every column; NaN is refused, because it stores NULL.
3. Text that is not UTF-8 (SQLite stores it happily) is kept, byte for byte, as `IllFormedText` (ext type 1).

SPEC section 4.1; vectors: tests/vectors/values.json.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgpack

from protocol.errors import Malformed, ValueRefused

EXT_ILL_FORMED_TEXT = 1
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1


class IllFormedText(bytes):
    """Text whose bytes are not UTF-8, as SQLite holds it."""

    __slots__ = ()


Value = int | float | str | bytes | IllFormedText | None

SCALARS = frozenset({int, float, str, bytes, type(None), IllFormedText})


def _extend(value: object) -> object:
    if type(value) is IllFormedText:
        return msgpack.ExtType(EXT_ILL_FORMED_TEXT, bytes(value))
    raise ValueRefused(f"a field cannot hold a {type(value).__name__}: use int, float, str, bytes or None")


pack_plain: Callable[[object], bytes] = msgpack.Packer(strict_types=True, use_bin_type=True).pack
"""msgpack of what holds no ill-formed text. It calls no Python while it packs, so threads may share its one buffer."""


def pack_any(value: object) -> bytes:
    """Raw msgpack of anything the protocol sends; values go through `pack_value`, which checks them."""
    try:
        return pack_plain(value)
    except (TypeError, OverflowError):
        return msgpack.packb(value, default=_extend, strict_types=True, use_bin_type=True)  # type: ignore[no-any-return]


def check(value: Any) -> Value:
    """The value in canonical form. Raises ValueRefused for NaN, an integer over 64 bits, or a foreign type."""
    match value:
        case None:
            return None
        case str():
            return _well_formed(value)
        case IllFormedText():
            return _text(bytes(value))
        case bytes() | bytearray() | memoryview():
            return bytes(value)
        case bool():
            return int(value)
        case int():
            if INT_MIN <= value <= INT_MAX:
                return int(value)
            raise ValueRefused(f"{value} does not fit into 64 bits: store it as text")
        case float():
            if math.isnan(value):
                raise ValueRefused("NaN is no value in SQLite: use NULL (None)")
            return float(value) + 0.0
    raise ValueRefused(f"a field cannot hold a {type(value).__name__}: use int, float, str, bytes or None")


def _well_formed(text: str) -> str:
    try:
        return text.encode().decode()
    except UnicodeEncodeError:
        raise ValueRefused(f"text with half of a surrogate pair is not Unicode: {text[:40]!a}") from None


def _text(data: bytes) -> str | IllFormedText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return IllFormedText(data)


_ZERO, _MINUS_ZERO = msgpack.packb(0.0), msgpack.packb(-0.0)


def pack_value(value: object) -> bytes:
    """Canonical bytes of one value. Raises ValueRefused."""
    return pack_any(check(value))


def pack_values(values: Sequence[Value], kinds: Collection[type] = ()) -> list[bytes]:
    """Canonical bytes of each value read from SQLite, which holds no NaN and no wide integer. `kinds`: the types among them,
    if the caller knows them."""
    try:
        packed = list(map(pack_plain, values))
    except TypeError:
        packed = list(map(pack_any, values))
    # A comparison of bytes is cheaper than a look at each value's type.
    if (not kinds or float in kinds) and _MINUS_ZERO in packed:
        packed = [_ZERO if value == _MINUS_ZERO else value for value in packed]
    return packed


def value_ext(code: int, data: bytes) -> IllFormedText:
    """Decode an extension type in a value. Raises Malformed for all but ill-formed text."""
    if code != EXT_ILL_FORMED_TEXT:
        raise Malformed(f"unknown extension type {code} in a value")
    text = _text(data)
    if isinstance(text, str):
        raise Malformed("text that is well-formed must not travel as ill-formed text")
    return text


def unpack(data: bytes, *, arrays_max: int, array_max: int, ext: Callable[[int, bytes], object] = value_ext) -> object:
    """Decode peer's msgpack with tuples for arrays. Raises Malformed on anything odd: maps, trailing bytes, more than
    `arrays_max` arrays, an array longer than `array_max`, an extension type that `ext` does not know."""
    left = arrays_max

    def count(items: tuple[object, ...]) -> tuple[object, ...]:
        nonlocal left
        left -= 1
        if left < 0:
            raise Malformed(f"more than {arrays_max} arrays in one item: nested too deep or too wide")
        return items

    try:
        return msgpack.unpackb(
            data,
            use_list=False,
            list_hook=count,
            ext_hook=ext,
            max_array_len=array_max,
            object_pairs_hook=_no_map,
            max_map_len=0,
        )
    except Malformed:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed(f"no valid msgpack: {type(error).__name__}: {str(error)[:200]}") from None


def _no_map(_: object) -> object:
    raise Malformed("a map: the protocol has none")


def unpack_value(data: bytes) -> Value:
    """Inverse of `pack_value`. Raises Malformed unless `data` is exactly one canonical value."""
    value = unpack(data, arrays_max=0, array_max=0)
    check_received((value,))
    if pack_any(value) != data:
        raise Malformed("a value is not in its canonical encoding")
    return value  # type: ignore[return-value]


def unpack_values(data: bytes) -> tuple[Value, ...]:
    """Values from an array of them that this node packed itself. Raises Malformed if it is none."""
    values = unpack(data, arrays_max=1, array_max=len(data))
    if type(values) is not tuple:
        raise Malformed("values are in an array")
    return values


def check_received(values: Iterable[object]) -> None:
    """Raise Malformed unless each is a canonical value: what msgpack can say is more than what we accept."""
    kinds = set(map(type, values))
    if not kinds <= SCALARS:
        raise Malformed(f"a field cannot hold {', '.join(sorted(k.__name__ for k in kinds - SCALARS))}")
    if int in kinds or float in kinds:
        for value in values:
            if type(value) is int and not INT_MIN <= value <= INT_MAX:
                raise Malformed(f"the integer {value} does not fit into 64 bits")
            if type(value) is float and (math.isnan(value) or (value == 0 and math.copysign(1, value) < 0)):
                raise Malformed("NaN and -0.0 are not canonical")

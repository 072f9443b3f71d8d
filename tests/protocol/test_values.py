"""Each value has one encoding, and nothing else is accepted."""

import decimal
import enum
import math
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import values
from protocol.errors import Malformed, ValueRefused
from protocol.values import IllFormedText, Value, check, pack_any, pack_value, pack_values, unpack, unpack_value
from tests.protocol.strategies import values as any_value
from tests.vectors import vectors


class Colour(str, enum.Enum):  # noqa: UP042 - the older idiom, whose str() is not its value
    """What an application may hand over as text."""

    RED = "red"


class Level(enum.IntEnum):
    """What an application may hand over as an integer."""

    HIGH = 3


def same(a: Value, b: Value) -> bool:
    """Equal, and of one type: 1, 1.0, '1' and x'31' are four values."""
    return type(a) is type(b) and a == b


@given(any_value)
def test_1_what_is_encoded_decodes_to_the_same_value(value: Value) -> None:
    assert same(unpack_value(pack_value(value)), value)
    assert pack_values([value]) == [pack_value(value)]


@given(st.one_of(st.binary(max_size=12), any_value.map(pack_value)), st.data())
def test_1_what_decodes_was_the_encoding_of_its_value(data: bytes, draw: st.DataObject) -> None:
    if data:
        at = draw.draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    try:
        value = unpack_value(data)
    except Malformed:
        return
    assert pack_value(value) == data


@given(any_value, any_value)
def test_1_different_values_have_different_encodings(a: Value, b: Value) -> None:
    assert same(a, b) == (pack_value(a) == pack_value(b))


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("cc05", "canonical"),  # 5 in two bytes
        ("d3 0000000000000005", "canonical"),
        ("ca 3f800000", "canonical"),  # 1.0 in 32 bits
        ("d901 61", "canonical"),  # 'a' with a long header
        ("cb 8000000000000000", "-0.0"),
        ("cb 7ff8000000000000", "NaN"),
        ("cf ffffffffffffffff", "64 bits"),
        ("c3", "bool"),
        ("80", "map"),
        ("81 a161 01", "ValueError"),
        ("90", "array"),
        ("d6ff 00000000", "Timestamp"),
        ("c705ff 0000000000", "timestamp"),
        ("d4 05 61", "unknown extension type 5"),
        ("d4 01 61", "well-formed"),
        ("a1 ff", "UnicodeDecodeError"),
        ("a3 eda080", "UnicodeDecodeError"),  # a surrogate, spelled in UTF-8
        ("01 02", "ExtraData"),
        ("", "incomplete"),
        ("c1", "msgpack"),
        ("c6 40000000 00", "exceeds|incomplete"),  # claims 1 GiB
        ("db 40000000 61", "exceeds|incomplete"),
        ("dd 40000000", "exceeds"),
        ("df 40000000", "exceeds"),
    ],
)
def test_1_nothing_else_is_a_value(encoded: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        unpack_value(bytes.fromhex(encoded))


def test_2_minus_zero_is_zero_and_nan_is_refused() -> None:
    assert pack_value(-0.0) == pack_value(0.0) == pack_values([-0.0])[0]
    with pytest.raises(ValueRefused, match="NaN is no value in SQLite: use NULL"):
        pack_value(math.nan)


def test_3_text_that_is_not_utf8_is_kept_byte_for_byte() -> None:
    text = IllFormedText(b"caf\xe9")
    assert pack_value(text) == bytes.fromhex("d6 01 636166e9") == pack_values([1, text])[1]
    assert same(unpack_value(pack_value(text)), text)
    assert pack_value(b"caf\xe9") != pack_value(text), "bytes are not text"


def test_3_text_that_turns_out_well_formed_is_text() -> None:
    assert same(check(IllFormedText("café".encode())), "café")


@pytest.mark.parametrize(
    ("given", "canonical"),
    [(True, 1), (Level.HIGH, 3), (Colour.RED, "red"), (bytearray(b"x"), b"x"), (memoryview(b"x"), b"x")],
)
def test_what_means_a_value_becomes_that_value(given: object, canonical: Value) -> None:
    assert same(check(given), canonical)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1 << 63, "does not fit into 64 bits: store it as text"),
        (-(1 << 63) - 1, "does not fit into 64 bits"),
        (decimal.Decimal("1.5"), "cannot hold a Decimal: use int, float, str, bytes or None"),
        ([1], "cannot hold a list"),
        ({}, "cannot hold a dict"),
        ("\ud800", "half of a surrogate pair"),
    ],
)
def test_what_is_no_value_is_refused_in_words(value: object, why: str) -> None:
    with pytest.raises(ValueRefused, match=why):
        pack_value(value)


def test_packing_survives_another_packing_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share the packer: what one has packed so far must not leak into the bytes of another."""
    extend = values._extend

    def interrupted(value: object) -> object:
        assert pack_any("another thread") == b"\xaeanother thread"
        return extend(value)

    monkeypatch.setattr(values, "_extend", interrupted)
    assert pack_any([1, IllFormedText(b"\xff"), 2]) == bytes.fromhex("93 01 d401ff 02")


@pytest.mark.parametrize("data", [b"\x91" * 64 + b"\xc0", b"\x91" * 100_000 + b"\xc0", b"\xdc\x07\xd0" * 1_000])
def test_nesting_is_cut_off(data: bytes) -> None:
    with pytest.raises(Malformed, match=r"nested|StackError|incomplete"):
        unpack(data, arrays_max=3, array_max=2_000)


@given(st.binary(max_size=60))
def test_unpack_raises_nothing_but_malformed(data: bytes) -> None:
    with suppress(Malformed):
        unpack(data, arrays_max=3, array_max=5)


READ: dict[str, Callable[[str], Value]] = {
    "null": lambda _: None,
    "integer": int,
    "real": float,
    "text": str,
    "blob": bytes.fromhex,
    "ill-formed text": lambda digits: IllFormedText(bytes.fromhex(digits)),
}


def test_vectors() -> None:
    cases = vectors("values")
    for case in cases["accepted"]:
        value = READ[case["type"]](case["value"])
        assert pack_value(value).hex() == case["bytes"], case["name"]
        assert same(unpack_value(bytes.fromhex(case["bytes"])), value), case["name"]
    for case in cases["refused"]:
        with pytest.raises(Malformed):
            unpack_value(bytes.fromhex(case["bytes"]))

"""A dictionary of a column's values never changes what comes out. The numbers are those of `encoder`'s promises."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.values import IllFormedText, Value, pack_values
from replica.store import encoder
from replica.store.encoder import BLOCK_MIN, DISTINCT_MAX, NEW_IN, PACKED_BYTES_MAX, Encoder, Encoders

FEW = st.sampled_from(["", "a", "b", b"", b"a", None, 0, 1, 1.0, 0.0, -0.0, "x" * PACKED_BYTES_MAX, IllFormedText(b"\xff")])
MANY = st.none() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=3) | st.binary(max_size=3)


def encoded(one: Encoder, values: Sequence[Value], *, told: bool = False) -> list[tuple[bytes, int]]:
    packed, checks = one.encode(values, {type(v) for v in values} if told else ())
    return list(zip(packed, checks, strict=True))


def plainly(values: Sequence[Value]) -> list[tuple[bytes, int]]:
    packed = pack_values(values)
    return list(zip(packed, map(zlib.crc32, packed), strict=True))


@given(
    blocks=st.lists(st.lists(FEW, min_size=1, max_size=12) | st.lists(MANY, min_size=1, max_size=12), max_size=6),
    times=st.integers(1, BLOCK_MIN),
    told=st.booleans(),
)
def test_1_and_3_every_value_comes_out_as_it_does_by_itself(blocks: list[list[Value]], times: int, told: bool) -> None:
    one = Encoder()
    for block in blocks:
        values = block * times
        assert encoded(one, values, told=told) == plainly(values)


def test_1_a_column_of_few_values_is_packed_once() -> None:
    one = Encoder()
    first = encoded(one, ["lead", "active", None] * 100)
    again = encoded(one, ["active", "lead", None] * 100)
    assert first == plainly(["lead", "active", None] * 100)
    assert again[1][0] is first[0][0], "not packed again"


@pytest.mark.parametrize("one", [1.0, True, 1, IllFormedText(b"a")])
def test_3_what_equals_a_known_value_is_told_apart(one: Value) -> None:
    column = Encoder()
    encoded(column, ["a", b"a", None] * 30)
    mixed: list[Value] = ["a", one, 1, 0, 0.0, b"a"] * 30
    assert encoded(column, mixed) == plainly(mixed)


LONGEST = "x" * (PACKED_BYTES_MAX - 2)  # Two bytes say that it is text, and how long.


@pytest.mark.parametrize(
    ("blocks", "pays"),
    [
        ([[f"{block} {n % 64}" for n in range(512)] for block in range(DISTINCT_MAX // 64)], True),
        ([[f"{block} {n % 64}" for n in range(512)] for block in range(DISTINCT_MAX // 64 + 1)], False),
        ([["short", LONGEST] * 40], True),
        ([["short", LONGEST + "x"] * 40], False),
        ([["a"] * (NEW_IN * 9 - 9) + [f"new {n}" for n in range(8)] + ["a"]], True),
        ([["a"] * (NEW_IN * 9 - 9) + [f"new {n}" for n in range(9)]], False),
        ([["a", "b"] * 40, ["a", "b"] * (BLOCK_MIN // 2)], True),
        ([["a", "b"] * 40, ["a", "b"] * (BLOCK_MIN // 2 - 1)], True),
        ([["a", "b"] * 40, [1] * 99], False),
    ],
    ids=["many", "too many", "long", "too long", "few new", "too many new", "small block", "too small to tell", "numbers"],
)
def test_2_a_dictionary_is_kept_while_it_pays(blocks: list[list[Value]], pays: bool) -> None:
    one = Encoder()
    after: list[Value] = ["a", "c"] * 40
    for values in [*blocks, after]:
        assert encoded(one, values) == plainly(values)
        assert len(one._packed) <= DISTINCT_MAX
        assert not any(len(packed) > PACKED_BYTES_MAX for packed in one._packed.values())
        assert one._packed.keys() == one._checks.keys()
        if values is blocks[-1]:
            assert bool(one._packed) == pays, "nothing is kept for a column that is packed value by value"
    if not pays:
        assert not one._packed, "what did not pay once is not tried again"


def test_4_what_was_learned_outlasts_a_small_block() -> None:
    one = Encoder()
    first = encoded(one, ["lead", "active"] * BLOCK_MIN)
    few: list[Value] = ["lead", 1, "x" * 99]
    assert encoded(one, few) == plainly(few)
    assert encoded(one, ["active", "lead"] * BLOCK_MIN)[0][0] is first[1][0], "not packed again"


def test_4_encoders_are_kept_for_the_table_that_was_written_last() -> None:
    encoders = Encoders()
    kept = encoders.of(1, 2)
    assert [type(one) for one in kept] == [Encoder] * 2
    assert encoders.of(1, 2) == kept
    assert len(encoders.of(1, 3)) == 3, "a column more"
    kept = encoders.of(1, 3)
    others = encoders.of(2, 3)
    assert not any(one is other for one in kept for other in others), "another table"


def test_4_what_did_not_pay_is_tried_again_by_the_next_batch() -> None:
    encoders = Encoders()
    good, bad = encoders.of(1, 2)
    encoded(good, ["lead", "active"] * BLOCK_MIN)
    encoded(bad, [str(n) for n in range(BLOCK_MIN)])
    assert (good.pays, bad.pays) == (True, False)
    first, second = encoders.of(1, 2)
    assert first is good
    assert second.pays


def test_4_who_is_interrupted_has_not_learned_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    one, checked = Encoder(), list[bytes]()

    def interrupted(packed: bytes) -> int:
        checked.append(packed)
        if len(checked) == 2:
            raise KeyboardInterrupt
        return zlib.crc32(packed)

    values: list[Value] = ["lead", "active", "lost"] * BLOCK_MIN
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "zlib", SimpleNamespace(crc32=interrupted))
        with pytest.raises(KeyboardInterrupt):
            encoded(one, values)
    assert one._packed.keys() <= one._checks.keys()
    assert encoded(one, values) == plainly(values)

"""A fragment that is made of a record is the one that its bytes decode to, and is not made by way of them."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import record
from protocol.errors import Malformed
from protocol.hlc import pack
from protocol.record import Record, decode, pack_id
from protocol.values import pack_value
from tests.protocol.strategies import few_stamps, records

ONE, TWO = pack(1, 0, b"node-one"), pack(2, 0, b"node-two")


@settings(max_examples=300)
@given(st.one_of(records(), records(few_stamps)), st.data())
def test_a_delta_is_what_its_bytes_decode_to(whole: Record, data: st.DataObject) -> None:
    some = data.draw(st.sets(st.sampled_from(sorted(whole.stamps())), min_size=1))
    for missing in (None, some, {*some, ONE}):
        made, packed = whole.delta(missing), whole.encode(missing)
        assert made == decode(packed)
        assert made.encode() == packed, "of the same types, too"
        assert [type(value) for value in made.values] == [type(value) for value in decode(packed).values]


def test_a_delta_of_many_stamps_is_what_its_bytes_decode_to() -> None:
    """Over 256, each index takes two bytes."""
    stamps = [pack(7, count, b"node-one") for count in range(300)]
    whole = Record(
        "contacts", pack_id([7]), ONE, stamps[0], {f"f{n}": (s, pack_value(n)) for n, s in enumerate(stamps)}
    )
    for missing in (None, set(stamps[1:280]), {ONE}):
        assert whole.delta(missing) == decode(whole.encode(missing))


def test_a_delta_is_made_without_its_bytes() -> None:
    whole = Record("contacts", pack_id([7]), b"", ONE, {"a": (ONE, pack_value("x")), "b": (TWO, pack_value(None))})
    with mock.patch.object(record, "decode", side_effect=AssertionError):
        assert whole.delta({TWO}).values == (None,)
        assert whole.delta().values == ("x", None)


@pytest.mark.parametrize("packed", [b"", b"\x01\x02", b"\xc1", b"\x80", b"\x91\x01", b"\xd4\x07x"])
def test_a_value_that_is_none_is_malformed(packed: bytes) -> None:
    with pytest.raises(Malformed):
        Record("contacts", pack_id([7]), b"", ONE, {"a": (ONE, packed)}).delta()

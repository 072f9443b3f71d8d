"""Rows as JSON Lines: whatever SQLite holds comes back as it was."""

from __future__ import annotations

import itertools
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.values import IllFormedText
from replica.backup import cells
from replica.errors import FileRefused

ILL_FORMED = st.binary(min_size=1, max_size=9).map(lambda b: IllFormedText(b + b"\xff"))
VALUES = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    ILL_FORMED,
)


def exactly(value: Any) -> tuple[str, Any]:
    return type(value).__name__, struct.pack(">d", value) if isinstance(value, float) else value


def same(one: list[Any], two: list[Any]) -> bool:
    return [[exactly(v) for v in row] for row in one] == [[exactly(v) for v in row] for row in two]


@given(rows=st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n), min_size=1, max_size=8)))
@example(rows=[(0.0, -0.0, 1.0, 1), (math.inf, -math.inf, 5e-324, 1 << 53), (1.7976931348623157e308, 1e16, 0.1, "")])
@example(rows=[("\0", "\n\r\u2028\ufeff", '{"bytes": "AA=="}', b'{"bytes"')])
def test_1_rows_come_back(rows: list[tuple[Any, ...]]) -> None:
    lines = cells.encode(rows)
    assert lines.count(b"\n") == len(rows)
    assert same(cells.decode(lines, len(rows[0]), "f"), [list(row) for row in rows])
    for line in lines.splitlines():  # Any other program reads them too.
        assert isinstance(json.loads(line), list)


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=9))
def test_lines_are_whole_wherever_the_parts_end(data: bytes, cuts: list[int]) -> None:
    data += b"\n"
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(places)]
    found = list(cells.whole_lines(parts, 1_000, "f"))
    assert b"".join(found) == data
    assert all(part.endswith(b"\n") for part in found)


@pytest.mark.parametrize(
    "line",
    [
        b"[1,", b"{}", b"1", b"[1]", b"[1,2,3]", b"[true,1]", b"[[],1]", b'[{"bytes":"?"},1]', b'[{"bytes":1},1]',
        b'[{"bytes":"","text":""},1]', b'[{"real":"nan"},1]', b'[{"real":"1"},1]', b"[{},1]", b"[NaN,1]", b"[Infinity,1]",
        b"[9223372036854775808,1]", b"[-9223372036854775809,1]", b"[1" + b"0" * 5_000 + b",1]", b'["\\ud800",1]',
        b'["\xff",1]', b"[" * 100_000,
    ],
    ids=range(21),
)  # fmt: skip
def test_2_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(FileRefused, match=r"^f: "):
        cells.decode(line + b"\n", 2, "f")


def test_2_lines_have_a_limit_and_an_end() -> None:
    with pytest.raises(FileRefused, match="more than 10 bytes"):
        list(cells.whole_lines([b"[1]\n", b"x" * 6, b"x" * 6], 10, "f"))
    with pytest.raises(FileRefused, match="no end"):
        list(cells.whole_lines([b"[1]\n[2"], 10, "f"))

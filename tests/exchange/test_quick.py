"""Quick lines are the library's lines."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replica.exchange.formats.quick import QuickLines
from tests.bench.contacts import FIELDS, contacts

CELLS = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["", ",", ";", '"', "\n", "\r", "a,b", " "]),
)
TEXTS = st.sampled_from(["", "a", ",", ";", '"', "\n", "\r", "\r\n", " ", "é"])


def library(rows: list[tuple[Any, ...]], delimiter: str, end: str) -> str:
    """The same by the csv library, which must know of both line ends to quote them."""
    text = io.StringIO(newline="")
    lines = []
    for row in rows:
        csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(row)
        lines.append(text.getvalue()[:-2] + end)
        text.seek(0)
        text.truncate()
    return "".join(lines)


@given(st.data(), st.integers(1, 4), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_text_is_that_of_the_library(data: Any, width: int, delimiter: str, end: str, texts: bool) -> None:
    rows = data.draw(st.lists(st.tuples(*[TEXTS if texts else CELLS] * width), max_size=6))
    kinds = {type(cell) for row in rows for cell in row}
    made = "".join(QuickLines(width, delimiter, end).texts(rows, kinds))
    assert made == library(rows, delimiter, end)
    assert list(csv.reader(io.StringIO(made, newline=""), delimiter=delimiter)) == [
        ["" if c is None else str(c) for c in row] for row in rows
    ]


class _Sink:
    """Forgets what is written."""

    def write(self, text: str) -> None:
        pass


def test_a_plain_table_takes_less_than_half_of_the_time() -> None:
    rows = list(contacts(4_000))
    quick = QuickLines(1 + len(FIELDS), ",", "\n")
    times: tuple[list[float], list[float]] = [], []
    for _ in range(15):
        begin = time.process_time()
        assert sum(map(len, quick.texts(rows, {str}))) > 800_000
        between = time.process_time()
        csv.writer(_Sink(), lineterminator="\n").writerows(rows)
        times[0].append(between - begin)
        times[1].append(time.process_time() - between)
    assert min(times[0]) < min(times[1]) / 2

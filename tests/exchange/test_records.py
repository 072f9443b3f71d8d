"""Delimited text to records: the promises of replica/exchange/formats/records.py, by number."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replica.exchange.formats import records as room
from replica.exchange.formats.records import ROW_MAX, Dialect, Piece, records

CELL = st.text(st.sampled_from(list("ab ,;\"'\n\r\\é\x0b\x85")), max_size=5)


def cut(text: str, size: int) -> Iterator[str]:
    for i in range(0, len(text), size):
        yield text[i : i + size]


def joined(pieces: Iterator[Piece]) -> tuple[list[list[str]], list[int], list[tuple[int, str, str]]]:
    rows: list[list[str]] = []
    starts: list[int] = []
    broken: list[tuple[int, str, str]] = []
    final = []
    for piece in pieces:
        rows, starts, broken = rows + piece.rows, starts + piece.starts, broken + piece.broken
        final.append(piece.final)
    assert final == [False] * (len(final) - 1) + [True]
    return rows, starts, broken


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=12), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40))
def test_1_well_formed_text_is_read_as_the_standard_library_reads_it_however_cut(
    table: list[tuple[str, str, str]], end: str, size: int
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(table)
    text = out.getvalue()
    rows, starts, broken = joined(records(cut(text, size), Dialect(), 3, 0))
    assert rows == [list(row) for row in table]
    assert not broken
    lines, want = io.StringIO(text, newline="").readlines(), []
    reader, last = csv.reader(lines), 0
    for _ in reader:
        want.append(last + 1)
        last = reader.line_num
    assert starts == want


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(list('ab,,"\n\r\udcff')), max_size=60), st.integers(1, 3))
def test_2_whatever_the_text_every_line_is_accounted_for_once(text: str, width: int) -> None:
    rows, starts, broken = joined(records(cut(text, 7), Dialect(), width, 0))
    assert len(rows) == len(starts)
    assert all(len(row) == width for row in rows)
    places = [*starts, *(line for line, _, _ in broken)]
    assert len(set(places)) == len(places)
    lines = io.StringIO(text, newline="").readlines()
    first = next((i for i, line in enumerate(lines, 1) if line.strip("\r\n")), 0)
    assert min(places, default=0) == first


@pytest.mark.parametrize("size", [5, 1 << 18])
def test_2_damage_costs_its_own_lines(size: int) -> None:
    text = 'a,b\n1,"x\n2,y\n3,"p\nq"\n4\n5,\udcffz\n6,"u"v\n7,"w"\n8,"end\n'
    rows, starts, broken = joined(records(cut(text, size), Dialect(), 2, 1))
    assert list(zip(starts, rows, strict=True)) == [(3, ["2", "y"]), (4, ["3", "p\nq"]), (9, ["7", "w"])]
    assert [(line, raw) for line, raw, _ in broken] == [
        (2, '1,"x'), (6, "4"), (7, "5,\ufffdz"), (8, '6,"u"v'), (10, '8,"end'),
    ]  # fmt: skip


def test_2_a_line_without_end_is_one_broken_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ROW_MAX", 5000)
    text = "1,a\n2," + "x" * 50_000 + "\n3,c\n4," + "y" * 50_000 + ",\n5,e\n"
    rows, starts, broken = joined(records(cut(text, 1000), Dialect(), 2, 0))
    assert rows == [["1", "a"], ["3", "c"], ["5", "e"]]
    assert starts == [1, 3, 5]
    assert [line for line, _, _ in broken] == [2, 4]
    assert all(len(raw) <= room.RAW_MAX for _, raw, _ in broken)


def test_3_time_is_linear_where_a_quote_is_never_closed() -> None:
    took = []
    for count in (20_000, 80_000):
        text = '1,"never closed\n' + "2,y\n" * count
        times = []
        for _ in range(3):  # The best: a neighbour on this core may slow any one of them.
            began = time.process_time()
            rows, _, broken = joined(records(cut(text, 1 << 14), Dialect(), 2, 0))
            times.append(time.process_time() - began)
            assert len(rows) == count
            assert len(broken) == 1
        took.append(min(times))
    assert took[1] < 12 * took[0] + 0.05
    assert ROW_MAX == 16 << 20


def test_3_a_record_of_too_many_lines_is_given_up_and_pieces_stay_small() -> None:
    text = '1,"never closed\n' + "2,y\n" * 300_000
    kept = broken = 0
    for piece in records(cut(text, 1 << 18), Dialect(), 2, 0):
        assert len(piece.rows) <= 150_000
        kept, broken = kept + len(piece.rows), broken + len(piece.broken)
    assert (kept, broken) == (300_000, 1)
    long = '1,"' + "x\n" * 60_000 + '"\n2,y\n'
    rows, starts, damaged = joined(records(cut(long, 1 << 14), Dialect(), 2, 0))
    assert rows == [["1", "x\n" * 60_000], ["2", "y"]]
    assert (starts, damaged) == ([1, 60_002], [])

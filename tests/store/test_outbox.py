"""A load is read from the outbox column by column; row by row comes to the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from protocol.values import IllFormedText
from replica.store import capture, outbox
from tests.store.harness import NOW_MS, Machine

Make = Callable[..., Machine]

TABLES = "CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE TABLE p(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID;"


def both(
    m: Machine, rows: list[tuple[Any, ...]]
) -> tuple[dict[int, list[outbox.Entry]], dict[int, list[outbox.Entry]]]:
    """What both ways make of the same rows, from the same clock."""
    found = []
    ends = {tbl: 4 + len(table.shape.key) for tbl, table in m.core.tables.items() if table.shape is not None}
    for way in (outbox._once_each, outbox._one_by_one):
        with m.store.transaction() as core:
            found.append(way(core, rows, ends, core.now_ms()))
            core.clock = type(core.clock)(core.clock.node, core.meta("clock"))
    return found[0], found[1]


@pytest.mark.parametrize("table", ["t", "p"])
def test_a_load_is_read_as_row_by_row(machine: Make, table: str) -> None:
    m, random = machine("m", TABLES), Random(3)
    tbl = m.core.by_name[table].tbl
    moments = [NOW_MS - 5, NOW_MS - 5, NOW_MS, NOW_MS + 9, -4, 0, NOW_MS - 5]
    ops = [capture.INSERT, capture.UPDATE, capture.VICTIM]
    keys = random.sample(range(1_000), 200)
    rows = [(n, tbl, random.choice(ops), moments[n // 30], f"k{key}", key) for n, key in enumerate(keys)]
    fast, slow = both(m, rows)
    assert fast == slow
    assert len(fast[tbl]) == 200
    assert outbox.entries(m.core, rows).keys() == {tbl}
    assert outbox.entries(m.core, []) == {}


def test_an_insert_long_before_an_edit_has_a_stamp_of_its_own_in_the_order_of_all(machine: Make) -> None:
    m = machine("m", TABLES)
    t = m.core.by_name["t"].tbl
    late = NOW_MS - 5 + outbox.APART_MS
    written = [
        (capture.INSERT, NOW_MS - 5_000, "a"),
        (capture.INSERT, NOW_MS - 5_000, "b"),
        (capture.UPDATE, NOW_MS - 4_500, "b"),
        (capture.INSERT, NOW_MS - 4_000, "c"),
        (capture.DELETE, NOW_MS - 3_000, "c"),
        (capture.INSERT, NOW_MS - 2_000, "c"),
        (capture.UPDATE, NOW_MS - 1_000, "a"),
        (capture.UPDATE, NOW_MS - 9_000, "d"),
        (capture.UPDATE, late, "d"),
    ]
    rows = [(n, t, op, at, key, None) for n, (op, at, key) in enumerate(written)]
    with m.store.transaction() as core:
        found = {entry.pk[0]: entry for entry in outbox.entries(core, rows)[t]}
    assert [key for key, entry in found.items() if entry.born] == ["a"]
    assert found["a"].born < found["b"].stamps[0] < found["c"].stamps[0] < found["a"].stamps[0] < found["d"].stamps[0]
    assert [int.from_bytes(found["a"].born[:6], "big"), int.from_bytes(found["a"].stamps[0][:6], "big")] == [
        NOW_MS - 5_000,
        NOW_MS - 1_000,
    ]


def test_what_is_no_plain_load_is_read_row_by_row(machine: Make) -> None:
    m = machine("m", TABLES)
    t, p = m.core.by_name["t"].tbl, m.core.by_name["p"].tbl
    row: tuple[Any, ...] = (1, t, capture.INSERT, NOW_MS, "a", None)
    for other in [
        (2, t, capture.INSERT, NOW_MS, "a", None),
        (2, t, capture.DELETE, NOW_MS, "b", None),
        (2, t, capture.LEFT, NOW_MS, "b", None),
        (2, p, capture.INSERT, NOW_MS, "b", None),
        (2, 99, capture.INSERT, NOW_MS, "b", None),
        (2, t, capture.INSERT, NOW_MS / 1, "b", None),
        (2, t, capture.INSERT, NOW_MS, IllFormedText(b"\xff"), None),
    ]:
        fast, slow = both(m, [row, other])
        assert fast == {}
        assert t in slow
    assert both(m, [(1, 99, capture.INSERT, NOW_MS, "a", None)]) == ({}, {})

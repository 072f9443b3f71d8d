"""Promises of replica.store.lists, by number."""

from __future__ import annotations

import sqlite3

import pytest

from replica.store.lists import CHUNK, filled, length, places


@pytest.mark.parametrize("values", [[1], [b"a", "a", 1, 1.5, None], [b"x"] * 5, list(range(CHUNK))])
def test_1_a_list_says_what_its_values_say(values: list[object]) -> None:
    full = filled(values)
    assert len(full) == length(len(values))
    (found,) = zip(*sqlite3.connect(":memory:").execute(f"VALUES {places(len(full), '(?)')}", full), strict=True)
    assert list(found[: len(values)]) == values
    assert set(found[len(values) :]) <= {values[-1]}


def test_2_lists_of_all_lengths_have_few() -> None:
    lengths = [length(count) for count in range(1, CHUNK + 1)]
    assert len(set(lengths)) <= 20
    assert all(count <= long <= 1.5 * count for count, long in enumerate(lengths, 1))
    assert max(lengths) == CHUNK

"""Paths: names that nest become one name, and come back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import FileRefused
from replica.exchange.formats.paths import DEPTH_MAX, Names, escape, flatten, join, split, text_of, unflatten
from replica.exchange.rows import MISSING

name = st.text(st.sampled_from(".[\\]ab 号"), max_size=4)
cell = st.one_of(st.none(), st.integers(), st.text(max_size=3))
trees = st.recursive(cell, lambda below: st.dictionaries(name, below, min_size=1, max_size=3), max_leaves=8)


@given(st.lists(name, min_size=1, max_size=4))
def test_a_path_leads_back_to_its_names(names: list[str]) -> None:
    assert split(join(names)) == tuple(names)


@given(st.dictionaries(name, trees, max_size=4))
def test_a_tree_comes_back_from_its_flat_row(tree: dict[str, object]) -> None:
    assert unflatten(flatten(tree)) == tree


def test_lists_are_text_in_the_flat_view_always_the_same() -> None:
    tree = {"a": {"tags": ["é", 1, None], "of": [{"x": {"y": b"\0"}}]}, "none": {}}
    flat = flatten(tree)
    assert flat == {"a.tags": '["é",1,null]', "a.of": '[{"x":{"y":{"$bytes":"AA=="}}}]', "none": "{}"}


def test_a_literal_dot_survives_beside_the_path_spelled_like_it() -> None:
    names = Names(10)
    rows: list[dict[str, Any]] = [{"a.b": 1, "c": 2}, {"a": {"b": 3}, "a.b": 4}]
    for row in rows:
        names.tree(row)
    names.done()
    assert names.fields == ["a\\.b", "c", "a.b"]
    assert [names.row(row) for row in rows] == [(1, 2, MISSING), (4, MISSING, 3)]


def test_flat_names_stay_themselves() -> None:
    names = Names(10)
    names.flat(["a.b", "No.", "x[0]", "back\\slash"])
    names.done()
    assert names.fields == ["a.b", "No.", "x[0]", "back\\slash"]


def test_depth_is_capped() -> None:
    tree: dict[str, object] = {}
    for _ in range(DEPTH_MAX + 1):
        tree = {"a": tree, "b": 1}
    with pytest.raises(FileRefused, match="deeper"):
        flatten(tree)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(FileRefused, match="deeper"):
        text_of(deep)


def test_a_path_through_a_value_is_told() -> None:
    with pytest.raises(ValueError, match="leads through"):
        unflatten({"a": 1, "a.b": 2})
    with pytest.raises(ValueError, match="below"):
        unflatten({"a.b": 2, "a": 1})
    assert escape("a.b") == "a\\.b"


def test_a_file_of_nothing_but_names_is_refused_and_takes_no_memory() -> None:
    names = Names(10)
    for i in range(1_000):
        names.flat([f"a{i}"])
        names.tree({f"b{i}": {"c": 1}})
    assert len(names._seen) < 20
    with pytest.raises(FileRefused, match="different names"):
        names.done()

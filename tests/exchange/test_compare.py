"""Comparisons: counts and measures against a plain model, and what equal means."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import FileRefused, UsageError
from replica.exchange.quality.compare import Asked, Result, compare, is_filled, same_loosely
from replica.exchange.quality.side import Side
from replica.exchange.rows import Row

FIELDS = ["id", "name", "city"]


def side(name: str, rows: list[Row], fields: list[str] = FIELDS, *, store: bool = False) -> Side:
    """A side in memory, in parts of three rows."""

    def parts() -> Iterator[list[Row]]:
        for start in range(0, len(rows), 3):
            yield rows[start : start + 3]

    return Side(name, list(fields), store, parts)


def run(a: list[Row], b: list[Row], *, store: bool = False, **asked: Any) -> Result:
    """A comparison by id."""
    asked.setdefault("key", ("id",))
    return compare(side("A", a, store=store), side("B", b, store=store), Asked(**asked))


def model(a: list[Row], b: list[Row], same: Callable[[Any, Any], bool]) -> dict[str, Any]:
    """The same by dicts of whole records."""
    firsts: list[dict[str, Row]] = []
    for rows in (a, b):
        first: dict[str, Row] = {}
        for row in rows:
            if row[0] is not None and row[0].strip():
                first.setdefault(row[0], row)
        firsts.append(first)
    one, two = firsts
    common = one.keys() & two.keys()
    found: dict[str, Any] = {
        "common": len(common),
        "missing": len(two.keys() - one.keys()),
        "extra": len(one.keys() - two.keys()),
        "differing": sum(any(not same(x, y) for x, y in zip(one[k], two[k], strict=True)) for k in common),
        "consistency": len(common) / len(one.keys() | two.keys()) if one or two else None,
        "completeness": len(common) / len(two) if two else None,
    }
    for i, name in enumerate(FIELDS):
        both = sum(same(one[k][i], two[k][i]) and is_filled(one[k][i]) for k in common)
        only = sum(is_filled(r[k][i]) and not same(one[k][i], two[k][i]) for r in (one, two) for k in common)
        filled = sum(is_filled(one[k][i]) for k in common)
        found[name] = (
            sum(same(one[k][i], two[k][i]) for k in common),
            both / (both + only) if both + only else None,
            sum(is_filled(row[i]) for row in one.values()) / len(one) if one else None,
            sum(is_filled(row[i]) for row in two.values()) / len(two) if two else None,
            both / filled if filled else None,
        )
    return found


KEYS = st.sampled_from(["a", "b", "c", "d", "B", "", " ", "é", None])
VALUES = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "\u3000", "x", "X", "5", "5.0", "05", "1e3", "\0", "-0", "x'78'"]),
    st.sampled_from([5, 5.0, 0, -0.0, 1.5, 1000, 1 << 62, math.inf, b"", b"x", b" "]),
    st.text(max_size=3),
)
ROWS = st.lists(st.tuples(KEYS, VALUES, VALUES), max_size=9)


def strictly(a: Any, b: Any) -> bool:
    """How two stores compare."""
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    return a == b and (type(a) is type(b) or numbers)


@given(ROWS, ROWS, st.booleans())
def test_counts_and_measures_are_those_of_a_plain_model(a: list[Row], b: list[Row], store: bool) -> None:
    result = run(a, b, store=store)
    expected = model(a, b, strictly if store else same_loosely)
    for name in ("common", "missing", "extra", "differing", "consistency", "completeness"):
        assert getattr(result, name) == expected[name], name
    for f in result.fields:
        assert (f.equal, f.consistency, f.completeness_a, f.completeness_b, f.accuracy) == expected[f.name]
        assert f.equal + f.differing == result.common
    for s, rows in ((result.a, a), (result.b, b)):
        assert s.rows == len(rows) == s.records + s.repeated + s.keyless
    keyed = [[r[0] for r in rows if r[0] and r[0].strip()] for rows in (a, b)]
    unique = all(len(set(k)) == len(k) == len(rows) for k, rows in zip(keyed, (a, b), strict=True))
    assert result.equal == (unique and expected["missing"] == expected["extra"] == expected["differing"] == 0)


@given(ROWS)
def test_a_side_equals_itself_but_for_its_keys(rows: list[Row]) -> None:
    result = run(rows, rows)
    assert (result.missing, result.extra, result.differing) == (0, 0, 0)
    assert all(f.consistency in {1.0, None} and f.accuracy in {1.0, None} for f in result.fields)


def test_values_are_told_as_a_file_says_them() -> None:
    alike: list[tuple[Any, Any]] = [
        (5, "5"),
        (1.5, "1.50"),
        (None, ""),
        (1000, "1e3"),
        (True, 1),
        (1 << 62, str(1 << 62)),
        ("x", "x"),
    ]
    for a, b in alike:
        assert same_loosely(a, b)
        assert same_loosely(b, a)
    unlike: list[tuple[Any, Any]] = [
        (123, "00123"),
        ("5", "5.0"),
        (0, ""),
        (0, None),
        ("x", "X"),
        ("x", b"x"),
        (5, " 5"),
        (b"", ""),
    ]
    for a, b in unlike:
        assert not same_loosely(a, b)
        assert not same_loosely(b, a)


def test_measures_mean_something() -> None:
    a: list[Row] = [("1", "Ada", ""), ("2", "Bo", "Rome"), ("3", "Cy", None), ("9", "Zed", "Oslo")]
    b: list[Row] = [("1", "Ada", "Pisa"), ("2", "Bob", "Rome"), ("3", "Cy", ""), ("4", "Di", "Bonn")]
    result = run(a, b)
    assert (result.common, result.missing, result.extra, result.differing) == (3, 1, 1, 2)
    assert result.consistency == 3 / 5
    assert result.completeness == 3 / 4
    name, city = result.fields[1:]
    assert (name.consistency, name.accuracy) == (2 / 4, 2 / 3)
    assert (city.completeness_a, city.completeness_b) == (2 / 4, 3 / 4)
    assert (city.consistency, city.accuracy) == (1 / 2, 1.0)
    assert result.missing_keys == [["4"]]
    assert result.extra_keys == [["9"]]
    assert result.differences == [(["1"], "city", "", "Pisa"), (["2"], "name", "Bo", "Bob")]


def test_a_measure_of_nothing_is_nothing() -> None:
    result = run([], [])
    assert result.equal
    assert result.consistency is None
    assert [f.accuracy for f in result.fields] == [None] * 3


def test_lists_are_bounded_and_totals_exact() -> None:
    a: list[Row] = [(f"{i:05}", "x", "y") for i in range(5000)]
    b: list[Row] = [(f"{i:05}", "z", "y") for i in range(2500, 9000)]
    result = run(a, b, limit=7)
    assert (result.extra, result.missing, result.differing) == (2500, 4000, 2500)
    assert [len(x) for x in (result.extra_keys, result.missing_keys, result.differences)] == [7, 7, 7]
    assert run(a, b, limit=0).differences == []


def test_rows_of_one_key_are_told_and_the_first_is_compared() -> None:
    result = run([("1", "Ada", ""), ("1", "Bo", ""), ("1", "Cy", "")], [("1", "Ada", "")])
    assert (result.a.repeated, result.a.duplicates, result.differing, result.equal) == (2, [["1"]], 0, False)


def test_a_record_without_a_whole_key_is_told() -> None:
    result = run([("1", None, ""), ("2", "x", "")], [("2", "x", "")], key=("id", "name"))
    assert (result.a.keyless, result.common, result.extra, result.equal) == (1, 1, 0, False)


def test_nothing_is_normalised_unless_asked_for() -> None:
    a: list[Row] = [("A1", " Ada ", "Köln")]
    b: list[Row] = [("a1 ", "ADA", "KÖLN")]
    assert run(a, b).common == 0
    assert run(a, b, ignore_case=True).common == 0
    result = run(a, b, ignore_case=True, trim=True)
    assert (result.common, result.differing, result.equal) == (1, 0, True)


def test_numbers_of_a_store_match_the_text_of_a_file() -> None:
    a, b = side("s", [(5, 1.5, None)], store=True), side("f", [("5", "1.50", "")])
    assert compare(a, b, Asked(("id",))).equal
    zeros = compare(side("s", [(123, "", "")], store=True), side("f", [("00123", "", "")]), Asked(("id",)))
    assert zeros.common == 0
    both = compare(side("s", [(1, "5", "")], store=True), side("t", [(1, 5, "")], store=True), Asked(("id",)))
    assert both.differing == 1


def test_fields_match_by_name_and_others_are_told() -> None:
    a, b = side("A", [("1", "x")], ["ID", "Name"]), side("B", [("y", "1", "x")], ["more", "id", "name"])
    result = compare(a, b, Asked(("id",)))
    assert (result.b.only_fields, result.differing, result.equal) == (["more"], 0, False)
    assert compare(a, b, Asked(("id",), ("name",))).equal
    for asked in (Asked(("no",)), Asked(("id",), ("no",))):
        with pytest.raises(UsageError, match="'no'"):
            compare(a, b, asked)


def test_accuracy_counts_what_breaks_a_rule_as_wrong() -> None:
    rows: list[Row] = [("1", "ada@x.io", ""), ("2", "nonsense", ""), ("3", "", ""), ("4", "bo@x.io", "")]
    other = [*rows[:3], ("4", "else@x.io", "")]
    result = run(rows, other, rules={"NAME": lambda v: "@" in str(v)})
    assert result.fields[1].accuracy == 1 / 3


def test_odd_text_stops_nothing() -> None:
    rows: list[Row] = [("1", "fine", ""), ("2", "half \ud800 pair", "\0"), ("3", "x", "y")]
    result = run(rows, rows)
    assert (result.common, result.equal) == (3, True)


def test_very_many_fields() -> None:
    fields = ["id", *(f"f{i}" for i in range(899))]
    rows: list[Row] = [("1", *range(899))]
    other: list[Row] = [("1", *range(898), -1)]
    result = compare(side("A", rows, fields), side("B", other, fields), Asked(("id",)))
    assert [d[1] for d in result.differences] == ["f898"]
    with pytest.raises(FileRefused, match="--fields"):
        compare(side("A", [], [*fields, "more"]), side("B", [], [*fields, "more"]), Asked(("id",)))


_FLAT = """
import resource
from replica.exchange.quality.compare import Asked, compare
from replica.exchange.quality.profile import profile
from replica.exchange.quality.side import Side
def side(name, end):
    def parts():
        for start in range(0, 150_000, 5_000):
            yield [(f"{i * 7919 % 150_000:08}", f"{i:0300}", end) for i in range(start, start + 5_000)]
    return Side(name, ["id", "text", "end"], False, parts)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = compare(side("A", "x"), side("B", "y"), Asked(("id",)))
found = profile(side("A", "x"))
print(result.differing, found.fields[1].distinct, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_flat() -> None:
    done = subprocess.run([sys.executable, "-c", _FLAT], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    differing, distinct, kilobytes = map(int, done.stdout.split())
    assert (differing, distinct) == (150_000, 150_000)
    assert kilobytes < 50_000  # Of 50 MB on each side, sorted several times.

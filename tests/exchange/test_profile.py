"""Profiles: counts against a plain model, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import UsageError
from replica.exchange.quality.compare import is_filled
from replica.exchange.quality.measures import folded, kind, marks
from replica.exchange.quality.profile import TOP, FieldProfile, profile
from replica.exchange.rows import Row
from tests.exchange.test_compare import side


def one(values: list[Any]) -> FieldProfile:
    """The profile of one column."""
    return profile(side("A", [(v,) for v in values], ["f"])).fields[0]


VALUES = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "a", "A", " a", "N/A", "5", "05", "2026-01-02", "是", "x@y.z", b"", b"a", "Ã¼", "\0"]),
    st.integers(-3, 3),
    st.sampled_from([0.5, 2.5]),
    st.text(max_size=2),
)


@given(st.lists(VALUES, max_size=30))
def test_counts_are_those_of_a_plain_model(values: list[Any]) -> None:
    p = one(values)
    filled = [v for v in values if is_filled(v)]
    counts = Counter(filled)
    assert (p.records, p.filled, p.nulls) == (len(values), len(filled), values.count(None))
    assert p.distinct == len(counts)
    assert p.completeness == (len(filled) / len(values) if values else None)
    assert p.uniqueness == (len(counts) / len(filled) if filled else None)
    kinds = Counter(map(kind, filled))
    if len(kinds) > 1 and "boolean" in kinds:
        kinds["text"] += kinds.pop("boolean")
    assert p.kinds == kinds
    assert [n for _, n in p.top] == sorted(counts.values(), reverse=True)[:TOP]
    texts = [v for v in filled if isinstance(v, str)]
    assert (p.length_least, p.length_most) == ((min(map(len, texts)), max(map(len, texts))) if texts else (None, None))
    assert {s.mark: s.rows for s in p.suspicions} == Counter(m for v in filled for m in marks(v))
    groups = Counter(folded(v) for v in counts if isinstance(v, str))
    assert p.variant_groups == sum(n > 1 for n in groups.values())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12", "integer"), ("00123", "code"), ("1.5", "decimal"), ("1,234.56", "decimal"), ("1.234,56", "decimal comma"),
        ("2026-11-20", "date"), ("2026-11-20T08:30:00Z", "time"), ("12/03/2021", "other date"), ("是", "boolean"),
        ("yes", "boolean"), ("ada@例子.公司", "e-mail"), ("+49 (30) 1234-567", "phone"), ("https://x.io", "web"),
        ("Ada", "text"), (5, "integer"), (5.5, "real"), (b"x", "bytes"), ("2021年3月12日", "other date"), ("12-34", "text"),
    ],
)  # fmt: skip
def test_a_value_has_one_kind(value: object, expected: str) -> None:
    assert kind(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("MÃ¼ller", ["mojibake"]), ("锟斤拷", ["mojibake"]), ("a\ufffd", ["mojibake"]), ("?????", ["mojibake"]),
        ("Children‚Äôs", ["mojibake"]), ("√2", []),
        ("â€œhiâ€\x9d", ["mojibake"]), ("a\x00b", ["control"]), ("a\u200bb", ["invisible"]), (" a", ["space"]),
        ("a  b", ["space"]), ("a\u3000", ["space"]), ("n/A", ["placeholder"]), ("-", ["placeholder"]),
        ("无", ["placeholder"]), ("8.61380E+12", ["spreadsheet"]), ("#REF!", ["spreadsheet"]), ("=1+1", ["formula"]),
        ("@sum", ["formula"]), ("+8613800000000", []), ("-5", []), ("Müller", []), ("李雷", []), ("Ñandú Ångström", []),
        ("Владимир", []), ("São Tomé", []), ("Â", []), ("a b", []), ("Nan Ana", []), (5, []), ("line\nbreak", []),
        ("L’Été – 5 €", []), ("Zoë? Yes.", []), ("NÃO", []), ("עברית", []), ("한국어", []),
    ],
)  # fmt: skip
def test_marks_are_set_on_what_they_name(value: object, expected: list[str]) -> None:
    assert marks(value) == expected


def test_values_that_read_alike_are_shown() -> None:
    p = one(["Berlin"] * 3 + ["berlin", "BERLIN ", "Ｂｅｒｌｉｎ", "Bonn", "Cafe\u0301", "Café"])
    assert p.variant_groups == 2
    assert {name for name, _ in p.variants[0]} == {"Berlin", "berlin", "BERLIN ", "Ｂｅｒｌｉｎ"}


def test_what_repeats_in_nearly_a_key_is_shown() -> None:
    p = one([f"{i}@x.io" for i in range(50)] + ["7@x.io"])
    assert (p.repeats, p.repeated) == (1, [("7@x.io", 2)])
    assert one(["a"] * 20 + ["b"]).repeats is None


def test_rows_that_repeat_the_key_are_told() -> None:
    rows: list[Row] = [("1", "x"), ("1", "y"), ("2", "x"), ("", "x"), (None, "x"), ("1", "x")]
    p = profile(side("A", rows, ["id", "v"]), ["ID"])
    assert (p.key, p.key_repeats, p.keyless, p.key_examples) == (["id"], 2, 2, [(["1"], 3)])
    with pytest.raises(UsageError, match="'no'"):
        profile(side("A", rows, ["id", "v"]), ["no"])


def test_validity_is_by_rule_and_of_filled_values() -> None:
    p = profile(side("A", [("5",), ("x",), ("",), ("7",)], ["f"]), (), {"F": lambda v: str(v).isdigit()}).fields[0]
    assert (p.validity, p.invalid, p.completeness) == (2 / 3, ["x"], 3 / 4)
    assert one(["x"]).validity is None


def test_least_and_most_are_of_numbers_where_all_are_numbers() -> None:
    assert (one(["9", "10", "-2"]).least, one(["9", "10", "-2"]).most) == ("-2", "10")
    assert (one(["9", "10", "a"]).least, one(["9", "10", "a"]).most) == ("10", "a")
    assert (one([3, 20.5]).least, one([3, 20.5]).most) == (3, 20.5)


def test_norway_is_no_boolean() -> None:
    assert one(["NO", "SE", "NO"]).kinds == {"text": 3}
    assert one(["no", "yes", "NO"]).kinds == {"boolean": 3}


def test_nothing_at_all() -> None:
    p = profile(side("A", [], []))
    assert (p.records, p.completeness, p.fields) == (0, None, [])
    assert one([]).completeness is None
    assert one(["\ud800"]).filled == 1

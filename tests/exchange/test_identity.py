"""Which record a row is about, the keys of a run, and when the source changed a row."""

from __future__ import annotations

import json
import unicodedata
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hlc import millis
from replica.exchange.importing.asof import author, moment, stamps
from replica.exchange.importing.identity import NAMESPACE, Namespace, external, externals, made_id
from replica.exchange.importing.seen import Seen
from replica.exchange.rows import MISSING


@given(st.text(), st.text(min_size=1))
def test_ids_are_uuid5_of_source_and_key(source: str, key: str) -> None:
    if any("\ud800" <= c <= "\udfff" for c in source + key):
        return
    (found,) = Namespace(source).ids([key])
    assert found is not None
    assert UUID(found) == uuid5(uuid5(NAMESPACE, source), key)


def test_ids_never_change() -> None:
    """Stores in the field depend on them."""
    assert Namespace("erp").ids(["4711", "", "陈"]) == [
        "36e08781-3ef9-54ca-9060-fb388ba30362",
        None,
        "e75b0379-a43f-57d3-ac47-cff8eef93e8c",
    ]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ((" a@x ",), "a@x"), (("\u3000七\u00a0",), "七"), ((unicodedata.normalize("NFD", "José"),), "José"), ((5,), "5"),
        ((5.0,), "5"), ((5.5,), "5.5"), ((True,), "true"), ((b"\x01",), "01"), ((None,), ""), ((MISSING,), ""), (("",), ""),
        (("a", 1), '["a", "1"]'), (("a", ""), ""), (("a,b", "c"), '["a,b", "c"]'),
    ],
)  # fmt: skip
def test_an_external_key_compares_trimmed_and_composed(cells: tuple[object, ...], expected: str) -> None:
    assert external(cells) == expected
    assert externals([[cell] for cell in cells]) == [expected]


def test_keys_of_several_parts_are_never_taken_for_one_another() -> None:
    assert external(("a", 'b", "c')) != external(('a", "b', "c"))
    assert json.loads(external(('a"', "b"))) == ['a"', "b"]


def test_the_column_of_ids_is_one_that_the_file_does_not_use() -> None:
    assert made_id(["name"]) == "id"
    assert made_id(["ID"]) == "record_id"
    assert made_id(["id", "Record_Id"]) == "record_id_1"
    assert made_id(["id", "record_id", "record_id_1"]) == "record_id_2"


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.integers(1, 9))
def test_keys_are_known_wherever_they_are_kept(keys: list[str], limit: int) -> None:
    first: dict[str, int] = {}
    seen = Seen(limit)
    try:
        for start in range(0, len(keys), 3):
            part = keys[start : start + 3]
            lines = range(start, start + len(part))
            found = seen.look(part)
            for key, known in zip(part, found, strict=True):
                assert (known.line if known else None) == first.get(key)
            new = [(key, line) for key, line, known in zip(part, lines, found, strict=True) if known is None]
            seen.keep([key for key, _ in new], [line for _, line in new], [0] * len(new))
            for key, line in zip(part, lines, strict=True):
                first.setdefault(key, line)
    finally:
        seen.close()


def test_an_empty_key_is_never_known() -> None:
    seen = Seen()
    seen.keep(["", ""], [1, 2], [0, 0])
    assert seen.look(["", ""]) == [None, None]
    seen.close()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2023-05-01", 1_682_899_200_000), ("2023-05-01T02:00:00+02:00", 1_682_899_200_000),
        ("2023/05/01 00:00", 1_682_899_200_000), ("Mon, 01 May 2023 00:00:00 +0000", 1_682_899_200_000),
        (1_682_899_200, 1_682_899_200_000), ("1682899200000", 1_682_899_200_000), (1_682_899_200.5, 1_682_899_200_500),
        ("2023-05-01T00:00:00Z", 1_682_899_200_000), ("20230501", 1_682_899_200_000),
    ],
)  # fmt: skip
def test_times_of_sources(cell: object, expected: int) -> None:
    assert moment(cell) == expected


@pytest.mark.parametrize("cell", [None, "", MISSING, "soon", "12/03/2021", "2023-13-01", 44_927, "20261301"])
def test_what_is_no_time_is_told(cell: object) -> None:
    with pytest.raises(ValueError, match="time"):
        moment(cell)


def test_stamps_are_of_the_source_and_never_in_the_future() -> None:
    soon = 1_700_000_001_000
    found, reasons = stamps(["2023-05-01", "2999-01-01", "1950-01-01", "x", "9" * 30, soon], "erp", 1_700_000_000_000)
    assert [millis(s) for s in found if s] == [1_682_899_200_000, 1, 1_700_000_000_000]
    assert {s[8:] for s in found if s} == {author("erp")}
    assert reasons.keys() == {1, 3, 4}
    assert "still to come" in reasons[1]

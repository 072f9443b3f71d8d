"""What a column says over the whole file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replica.errors import Unsure
from replica.exchange.maps.columns import kinds, profile
from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.mapping import Mapping
from replica.exchange.rows import BATCH_ROWS, Batch
from tests.exchange.listed import Listed

MAP = """
version = 1
[[collection]]
name = "c"
key = "id"
[collection.fields]
id = "id"
born = { type = "date" }
amount = { type = "number" }
"""


def mapping(read: str = "") -> Mapping:
    return parse(MAP.replace("[[", f"[read]\n{read}\n[[", 1), "m.toml", None)


def rows(*pairs: tuple[str, str]) -> Listed:
    return Listed(["id", "born", "amount"], [(str(i), *pair) for i, pair in enumerate(pairs)])


def test_a_column_is_decided_over_all_its_values() -> None:
    file = rows(*[("03/04/2021", "1.234")] * 5_000, ("13/04/2021", "0,5"), ("2021-01-02", ""))
    made, findings = mapping().settle(file)
    assert [(f.what, f.value) for f in findings] == [
        ('order of dates of "born"', "DMY"),
        ('decimal mark of "amount"', ","),
    ]
    assert all(f.confidence >= 0.7 for f in findings)
    (mapped,), problems = made.mapper(file.fields).map(next(file.batches()))
    assert not problems
    assert [column[0] for column in mapped.columns] == ["0", "2021-04-03", 1234.0]


def test_nothing_is_guessed_when_every_value_is_ambiguous() -> None:
    file = rows(("03/04/2021", "5"), ("01/02/2021", "6"))
    with pytest.raises(Unsure) as unsure:
        mapping().settle(file)
    assert unsure.value.choices == ("DMY", "MDY")
    assert "03/04/2021" in str(unsure.value)
    assert "--date" in unsure.value.option
    made, _ = mapping().settle(file, "MDY")
    assert made.mapper(file.fields).map(next(file.batches()))[0][0].columns[1] == ["2021-03-04", "2021-01-02"]
    told = mapping('date = "DMY"').mapper(file.fields)
    assert told.map(next(file.batches()))[0][0].columns[1] == ["2021-04-03", "2021-02-01"]
    assert mapping('date = "DMY"').settle(file)[0].collections[0].fields[1].format == "DMY"
    with pytest.raises(Unsure) as unsure:
        mapping().settle(rows(("", "1,234")))
    assert unsure.value.choices == (".", ",")


def test_years_of_two_digits() -> None:
    with pytest.raises(Unsure) as unsure:
        mapping().settle(rows(("21-03-04", "")))
    assert unsure.value.choices == ("DMY", "YMD")
    with pytest.raises(Unsure) as unsure:
        mapping().settle(rows(("01-02-03", "")))
    assert unsure.value.choices == ("DMY", "MDY", "YMD")
    made, (finding,) = mapping().settle(rows(("21-03-04", ""), ("03-04-99", "")))  # 99 is no day, 21 is no month.
    assert (finding.what, finding.value) == ('order of dates of "born"', "DMY")
    assert made.collections[0].fields[1].format == "DMY"
    with pytest.raises(Unsure, match="contradict"):
        mapping().settle(rows(("21-03-04", ""), ("03-21-04", "")))


def test_the_values_speak_louder_than_what_is_told_for_a_tie() -> None:
    made, _ = mapping().settle(rows(*[("13/04/2021", "")] * 3), "MDY")
    assert made.collections[0].fields[1].format == "DMY"


def test_contradictions() -> None:
    few = rows(*[("13/04/2021", "")] * 50, ("04/13/2021", ""))
    made, findings = mapping().settle(few)
    assert 0.9 < findings[0].confidence < 1
    assert findings[0].others == ("MDY",)
    _, problems = made.mapper(few.fields).map(next(few.batches()))
    assert "no date as DMY" in problems[50][0].message
    with pytest.raises(Unsure, match="contradict each other"):
        mapping().settle(rows(("13/04/2021", ""), ("04/13/2021", "")))


def test_the_file_is_read_once_more_only_if_something_is_open() -> None:
    told = parse(
        MAP.replace('"date"', '"date", format = "DMY"').replace('"number"', '"number", decimal = "."'), "m", None
    )
    file = rows(("03/04/2021", "5"))
    assert told.settle(file) == (told, [])
    assert file.passes == 0
    assert mapping().settle(rows(("2021-01-02", "5")))[1] == []


def test_profiles() -> None:
    names = ["id", "zip", "mail", "tel", "born", "vip", "sum", "when", "empty", "lost"]
    file = Listed(
        names,
        [
            (f"c{i}", f"{i:05d}", f"a{i}@b.de", f"+4930{i:06d}", "13.02.2021", "是" if i % 2 else "否", f"{i},5",
             "2021-02-13 10:00", "", "8.6E+12")
            for i in range(200)
        ],
    )  # fmt: skip
    found = {p.name: p for p in profile(file)}
    types = {name: p.type()[0] for name, p in found.items()}
    assert types == {
        "id": "", "zip": "", "mail": "email", "tel": "phone", "born": "date", "vip": "boolean", "sum": "number",
        "when": "datetime", "empty": "", "lost": "",
    }  # fmt: skip
    assert found["id"].distinct == 200
    assert not found["id"].repeats
    assert found["vip"].repeats
    assert found["empty"].fill == 0
    assert found["mail"].fill == 1
    assert found["lost"].share("lost") == 1
    assert found["id"].samples == ["c0", "c1", "c2", "c3"]


class Endless(Listed):
    """A file of very many distinct values."""

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        for number in range(20):
            numbers = range(number * size, (number + 1) * size)
            yield Batch(numbers, numbers, [(f"value {n}",) for n in numbers])


def test_memory_does_not_grow_with_the_file() -> None:
    (found,) = profile(Endless(["x"], []))
    assert found.rows == 20 * BATCH_ROWS
    assert found.more
    assert len(found._seen) == found.distinct == 20_000


@pytest.mark.parametrize(
    ("texts", "kind"),
    [(["x", ""], "boolean"), (["Y", "N"], "boolean"), (["X", "Y"], ""), (["no", "0"], "")],
)
def test_a_column_of_two_words_for_yes_is_no_answer(texts: list[str], kind: str) -> None:
    (found,) = profile(Listed(["x"], [(text,) for text in texts * 5]))
    assert found.type()[0] == kind


def test_a_long_decimal_is_no_phone_number() -> None:
    assert "phone" not in kinds("12345678901234567.89")
    assert "phone" in kinds("+49 (0)30 901820-12345")

"""What a delimited text is: the promises of replica/exchange/formats/sniff.py and headers.py, by number."""

from __future__ import annotations

import pytest

from replica.errors import FileRefused, Unsure, UsageError
from replica.exchange.formats.headers import header_odds, kind, unique_names
from replica.exchange.formats.sniff import Sniffed, delimiter_of, sniff
from replica.exchange.rows import SURE, ReadOptions
from tests.exchange.damage import FIELDS, table, text


def sniffed(data: str, **options: object) -> Sniffed:
    return sniff(data, ReadOptions(**options), "the file")  # type: ignore[arg-type]


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "\x1f", "~", "^"])
def test_1_delimiter_and_quote_are_found_out(delimiter: str, quote: str) -> None:
    got = sniffed(text(table(), delimiter=delimiter, quote=quote, every=True))
    assert (got.dialect.delimiter, got.dialect.quote, got.fields) == (delimiter, quote, FIELDS)
    assert all(SURE <= f.confidence <= 1 for f in got.findings)
    assert {"delimiter", "quote", "header"} == {f.what for f in got.findings}


def test_1_what_the_user_says_is_taken_one_by_one() -> None:
    data = "id;name\n1;Lee, Ann\n2;Ray, Bob\n"
    assert sniffed(data).dialect.delimiter == ";"
    got = sniffed(data, delimiter=",", header=0)
    assert (got.dialect.delimiter, got.fields, got.findings[0].confidence) == (",", None, 1.0)
    assert [delimiter_of(said) for said in ("tab", "\\t", "semicolon", "|", "\\x1f")] == ["\t", "\t", ";", "|", "\x1f"]
    for wrong in ("", "ab", "\n", '"'):
        with pytest.raises(UsageError):
            delimiter_of(wrong)


def test_1_backslashes_that_escape_and_those_that_do_not() -> None:
    escaped = sniffed('id,note\n1,"say \\"hi\\", please"\n2,"x"\n3,"y"\n')
    assert escaped.dialect.backslash
    paths = sniffed('id,path\n1,"C:\\dir\\"\n2,"D:\\"\n3,"x, y"\n')
    assert not paths.dialect.backslash


def test_1_spaces_before_quotes_are_skipped_only_where_quotes_need_it() -> None:
    assert sniffed('id, name, note\n1, Ann, "x, y"\n2, Ben, "z"\n').dialect.spaced
    assert not sniffed("id, name\n1, Ann\n2, Ben\n").dialect.spaced
    assert not sniffed('id,note\n1,"say, ""hi"", please"\n2,"a, ""b"""\n').dialect.spaced


def test_2_damage_does_not_decide_the_dialect() -> None:
    lines = text([[c.replace("\n", " ") for c in row] for row in table()]).splitlines(keepends=True)
    for at in (1, 20, 60):
        for spoilt in ('9,"x;y;z,\n', "a;b;c;d;e;f;g\n", '"\n', "one,two\n"):
            got = sniffed("".join([*lines[:at], spoilt, *lines[at:]]))
            assert (got.dialect.delimiter, got.dialect.quote, got.width, got.fields) == (",", '"', 6, FIELDS)
    got = sniffed("A; strange; preamble\n\n" + "".join(lines) + "\n;;;;;\nTotal;5\n")
    assert (got.dialect.delimiter, got.fields, got.skip) == (",", FIELDS, 3)


@pytest.mark.parametrize(
    ("head", "rows", "has"),
    [
        (["id", "name"], [["1", "Ann"], ["2", "Ben"]], True),
        (["姓名", "电话"], [["张三", "13800000000"]], True),
        (["Vorname", "Nachname", "Ort"], [["Ann", "Lee", "Graz"]], True),
        (["first_name", "last_name"], [], True),
        (["a", "b", "c"], [["1", "2", "3"]], True),
        (["name", "2019", "2020"], [["Ann", "5", "6"], ["Ben", "7", "8"]], True),
        (["1", "Ann", "ann@example.com"], [["2", "Ben", "ben@example.com"]], False),
        (["2024-01-02", "5.0"], [["2024-01-03", "6.1"]], False),
        (["张三", "13800000001", "zs@example.com"], [["李四", "13800000000", "ls@example.com"]], False),
    ],
)
def test_3_and_headers_1_a_header_is_told_from_rows(head: list[str], rows: list[list[str]], has: bool) -> None:
    odds = header_odds(head, rows)
    assert (odds >= SURE) if has else (odds <= 1 - SURE)


def test_3_a_preamble_is_a_finding() -> None:
    got = sniffed("Report\nmade by me\n\nid,name,city\n1,a,b\n2,c,d\n")
    assert (got.header_line, got.skip, got.fields) == (4, 4, ["id", "name", "city"])
    assert "3 lines" in next(f.value for f in got.findings if f.what == "preamble")
    got = sniffed('"id\nof it",name\n1,x\n')
    assert (got.fields, got.skip) == (["id\nof it", "name"], 2)


def test_4_sep_is_obeyed_and_a_trailing_delimiter_is_no_column() -> None:
    got = sniffed("sep=|\nid|a,b\n1|x,y\n")
    assert (got.dialect.delimiter, got.fields, got.skip, got.header_line) == ("|", ["id", "a,b"], 2, 2)
    for head in ("id,name,", "id,name"):
        got = sniffed(f"{head}\n1,x,\n2,y,\n")
        assert (got.fields, got.width, got.wider) == (["id", "name"], 2, True)
    kept = sniffed("id,name,note\n1,x,\n2,y,\n")
    assert (kept.fields, kept.wider) == (["id", "name", "note"], False)


def test_5_what_cannot_be_told_is_asked_with_choices() -> None:
    with pytest.raises(Unsure) as unsure:
        sniffed(
            "this, is prose with marks\nand, some, more of it\nnothing here\nso, then, again, here\nthe end\nof it\n"
        )
    assert (unsure.value.what, unsure.value.option) == ("delimiter", "--delimiter")
    assert unsure.value.choices
    with pytest.raises(Unsure) as unsure:
        sniffed("Ann Lee 3,Graz 4\nBen Ray 5,Wien 2\n")
    assert (unsure.value.what, unsure.value.choices, unsure.value.option) == ("header", ("1", "0"), "--header")
    with pytest.raises(FileRefused, match="columns"):
        sniffed("," * 20_000 + "\n")
    with pytest.raises(FileRefused, match="empty"):
        sniffed("sep=;\n\n")


def test_headers_1_kinds_of_cells() -> None:
    cells = [
        "",
        "5",
        "1.234,50",
        "€ 5",
        "2024-01-02",
        "a@b.at",
        "https://x.y",
        "+43 (1) 555-00",
        "是",
        "Yes",
        "A-10045",
        "Ann",
    ]
    kinds = ["", "number", "number", "number", "date", "mail", "link", "phone", "truth", "truth", "code", "text"]
    assert [kind(cell) for cell in cells] == kinds


def test_headers_2_names_are_unique_and_none_is_empty() -> None:
    names, findings = unique_names(["a", " a ", "", "a (2)", "a", "column 3", "x"])
    assert len(set(names)) == len(names) == 7
    assert names[0] == "a"
    assert names[3] == "a (2)"
    assert names[6] == "x"
    assert {f.what for f in findings} == {"duplicate headers", "empty headers"}
    assert unique_names(["a", "b"]) == (["a", "b"], [])

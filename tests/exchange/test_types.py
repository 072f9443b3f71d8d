"""Types of a map: numbers, dates, phones, e-mails, yes and no; and the text steps before them."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import email_validator
import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replica.exchange.maps import contact_types, dates, numbers
from replica.exchange.maps.mapmodel import Bad
from replica.exchange.maps.steps import NORMAL, normaliser, title
from replica.exchange.rows import MISSING
from tests.exchange.listed import one


def refused(field: str, cell: Any) -> str:
    _, problems = one(field, [cell])
    assert len(problems[0]) == 1, cell
    return problems[0][0][1]


def values(field: str, cells: list[Any]) -> list[Any]:
    made, problems = one(field, cells)
    assert not any(problems), problems
    return made


# Numbers.


@pytest.mark.parametrize(
    ("decimal", "text", "value"),
    [
        (".", "1,234.56", 1234.56), (",", "1.234,56", 1234.56), (".", "1,234", 1234.0), (",", "1.234", 1234.0),
        (",", "1 234 567,5", 1234567.5), (".", "1'234.5", 1234.5), (".", "12,34,567.8", 1234567.8), (".", "€ 5", 5.0),
        (".", "5 USD", 5.0), (".", "-$5.50", -5.5), (".", "$-5.50", -5.5), (".", "(1,000.00)", -1000.0),
        (".", "5-", -5.0),
        (".", "12.5 %", 0.125), (".", "１２．５", 12.5), (".", "¥1,234", 1234.0), (".", "−3", -3.0), (".", "1.5E3", 1500.0),
        (".", ".5", 0.5), (",", ",5", 0.5), (".", "+7", 7.0), (".", 7, 7.0), (".", True, 1.0), (",", 2.5, 2.5),
        (",", "R$ 1.234,50", 1234.5), (".", "99元", 99.0), (".", "1\u202f234", 1234.0), (".", "00123", 123.0),
    ],
)  # fmt: skip
def test_numbers_with_a_told_mark(decimal: str, text: Any, value: float) -> None:
    made = values(f'type = "number"\ndecimal = "{decimal}"', [text])
    assert made == [value]
    assert made[0].__class__ is float


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3", "1.2.3", "1_000", "nan", "inf", "-inf", "abc", "--5", "1,23.4", "0x10", "1e999", "5 5", "%", "$",
        "1,2345.6", "1..2",
    ],
)  # fmt: skip
def test_what_is_no_number(text: str) -> None:
    assert ":" in refused('type = "number"\ndecimal = "."', text)


def test_a_number_that_would_be_rounded_is_refused() -> None:
    assert "more digits than a number can hold" in refused('type = "number"\ndecimal = "."', "12345678901234567.89")
    assert values('type = "number"\ndecimal = "."', ["0.1", "1234567890123456"]) == [0.1, 1234567890123456.0]
    assert "64 bits" in refused('type = "integer"', str(2**63))
    assert values('type = "integer"', [str(2**63 - 1), "-5", "5.0", 5.0, "1e3"]) == [2**63 - 1, -5, 5, 5, 1000]
    assert "no whole number" in refused('type = "integer"', "5.5")


def test_without_a_mark_only_what_has_one_reading_is_read() -> None:
    assert values('type = "number"', ["1.234,56", "1,234.56", "12.5", "12,5", "1234", "0.125", "1.234.567"]) == [
        1234.56, 1234.56, 12.5, 12.5, 1234.0, 0.125, 1234567.0,
    ]  # fmt: skip
    for text in ("1,234", "1.234", "-12.345", "€ 1.000"):
        assert 'say decimal = "."' in refused('type = "number"', text)
    assert "another decimal mark" in refused('type = "number"\ndecimal = "."', "1.234,56")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12))
def test_numbers_written_in_any_locale_come_back(value: Any) -> None:
    english = f"{value:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    for text, mark in (
        (english, "."),
        (german, ","),
        (german.replace(".", "\u00a0"), ","),
        (english.replace(",", "'"), "."),
    ):
        assert numbers.number(mark)(text) == float(value)
        if numbers.reading(text) not in ("", "?"):
            assert numbers.reading(text) == mark


def test_lost_digits() -> None:
    assert all(map(numbers.lost_digits, ["8.61380E+12", "8,6138E+12", "1e15", " 8.6e+12 "]))
    assert not any(map(numbers.lost_digits, ["8E", "E5", "1e2x", "0x1E5", "12e", "ABC1E5"]))


# Dates.


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (None, "2021-03-12", "2021-03-12"), (None, "2021/3/2", "2021-03-02"), (None, "2021年3月2日", "2021-03-02"),
        (None, "20210312", "2021-03-12"), (None, "13/03/2021", "2021-03-13"), (None, "03/13/2021", "2021-03-13"),
        (None, "12 Mar 2021", "2021-03-12"), (None, "March 12, 2021", "2021-03-12"),
        (None, "12. März 2021", "2021-03-12"),
        (None, "12-Mar-21", "2021-03-12"), (None, "Fri, 12 Mar 2021", "2021-03-12"), (None, "3/3/2021", "2021-03-03"),
        ("DMY", "12/03/2021", "2021-03-12"), ("MDY", "12/03/2021", "2021-12-03"), ("DMY", "12.3.21", "2021-03-12"),
        ("YMD", "21-03-12", "2021-03-12"), ("DMY", "1.1.68", "2068-01-01"), ("DMY", "1.1.69", "1969-01-01"),
        ("dd/MM/yyyy", "12/03/2021", "2021-03-12"), ("d MMM yy", "2 Jan 99", "1999-01-02"),
        ("excel", "44267", "2021-03-12"), ("excel", 44267.0, "2021-03-12"), ("excel", "59", "1900-02-28"),
        ("excel", "61", "1900-03-01"), ("excel-1904", "42805", "2021-03-12"), ("unix", "1615507200", "2021-03-12"),
        ("unix-ms", "1615507200000", "2021-03-12"), (None, "2021-03-12 00:00:00", "2021-03-12"),
        (None, "2021-03-11T24:00", "2021-03-12"), (None, "29.2.2020", "2020-02-29"),
    ],
)  # fmt: skip
def test_dates(form: str | None, text: Any, value: str) -> None:
    assert values('type = "date"' + (f'\nformat = "{form}"' if form else ""), [text]) == [value]


@pytest.mark.parametrize(
    ("form", "text", "why"),
    [
        (None, "12/03/2021", 'can be 2021-03-12 or 2021-12-03: say format = "DMY"'),
        (None, "30.2.2021", "no day of the calendar"),
        (None, "2021-02-30", "no day of the calendar"), (None, "0000-00-00", "no day"), (None, "soon", "is no date"),
        (None, "44267", 'format = "excel"'), (None, "1615507200", 'format = "unix"'),
        ("DMY", "03/13/2021", "no date as DMY"),
        ("excel", "60", "no calendar"), ("excel", "x", "no number"), ("dd/MM/yyyy", "1/1/2021", "does not look like"),
        (None, "2021-03-12 10:00", 'say type = "datetime"'), (None, "01/02/03", "can be"),
        ("unix", "9" * 14, "outside"),
    ],
)  # fmt: skip
def test_what_is_no_date(form: str | None, text: str, why: str) -> None:
    assert why in refused('type = "date"' + (f'\nformat = "{form}"' if form else ""), text)


@pytest.mark.parametrize(
    ("more", "text", "value"),
    [
        ("", "2021-03-12T10:20:30", "2021-03-12T10:20:30"), ("", "2021-03-12 10:20", "2021-03-12T10:20:00"),
        ("", "2021-03-12T10:20:30Z", "2021-03-12T10:20:30Z"), ("", "2021-03-12T10:20:30+08:00", "2021-03-12T02:20:30Z"),
        ("", "2021-03-12T10:20:30.123456789Z", "2021-03-12T10:20:30.123456789Z"),
        ("", "13.3.2021 24:00", "2021-03-14T00:00:00"),
        ("", "3/13/2021 1:05 PM", "2021-03-13T13:05:00"), ("", "3/13/2021 12:05 am", "2021-03-13T00:05:00"),
        ("", "2021-03-12", "2021-03-12T00:00:00"),
        ("", "20210312T102030Z", "2021-03-12T10:20:30Z"), ("", "20210312102030", "2021-03-12T10:20:30"),
        ("", "20210312T1020+0100", "2021-03-12T09:20:00Z"), ("", "2021年3月12日 10时20分", "2021-03-12T10:20:00"),
        ('zone = "Asia/Shanghai"', "2021-03-12 10:20:30", "2021-03-12T02:20:30Z"),
        ('zone = "Europe/Berlin"', "2021-07-01T00:00", "2021-06-30T22:00:00Z"),
        ('zone = "Europe/Berlin"', "2021-07-01T00:00Z", "2021-07-01T00:00:00Z"),
        ('format = "dd.MM.yyyy HH:mm:ss"', "12.03.2021 10:20:30", "2021-03-12T10:20:30"),
        ('format = "yyyyMMdd\'T\'HHmmssXXX"', "20210312T102030Z", "2021-03-12T10:20:30Z"),
        ('format = "M/d/yyyy h:mm a"', "3/12/2021 1:05 PM", "2021-03-12T13:05:00"),
        ('format = "excel"', "44267.5", "2021-03-12T12:00:00"),
        ('format = "unix-ms"', "1615507200123", "2021-03-12T00:00:00.123Z"),
    ],
)  # fmt: skip
def test_times(more: str, text: str, value: str) -> None:
    assert values(f'type = "datetime"\n{more}', [text]) == [value]


@pytest.mark.parametrize(
    "text",
    [
        "2021-03-12 25:00", "2021-03-12 10:60", "2021-03-12 24:01", "2021-03-12 13:00 PM", "2021-03-12 10:20:61",
        "2021-03-12T10:20+99:00", "9999-12-31 24:00", "0001-01-01T00:00+08:00",
    ],
)  # fmt: skip
def test_what_no_clock_shows(text: str) -> None:
    assert ":" in refused('type = "datetime"', text)


FORMS = ["%d/%m/%Y", "%d.%m.%y", "%m-%d-%Y", "%m/%d/%y", "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d %b %Y", "%B %d, %Y"]


@given(st.dates(min_value=date(1969, 1, 1), max_value=date(2068, 12, 31)), st.sampled_from(FORMS))
def test_a_date_is_among_its_readings(day: date, form: str) -> None:
    order = "" if "%b" in form or "%B" in form or form.startswith("%Y") else "DMY" if form.startswith("%d") else "MDY"
    assert dates.readings(day.strftime(form))[order] == day


@given(st.integers(61, 80_000))
def test_excel_counts_days(serial: int) -> None:
    assert dates.reader("date", "excel")(serial) == (date(1899, 12, 30) + timedelta(days=serial)).isoformat()


# Phones.

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


@st.composite
def dialled(draw: st.DrawFn) -> tuple[str, str | None]:
    """A number near a real one of some country, as people write it, and the country that it is read with."""
    region = draw(st.sampled_from([*REGIONS, "CN", "US", "DE", "GB", "IT", "BR", "AR", "MX"]))
    meta: Any = phonenumbers.PhoneMetadata.metadata_for_region(region)
    kinds = (meta.fixed_line, meta.mobile, meta.toll_free, meta.premium_rate, meta.uan, meta.voip)
    examples = [k.example_number for k in kinds if k is not None and k.example_number] or ["12345678"]
    digits = list(draw(st.sampled_from(examples)))
    for at, digit in draw(
        st.lists(st.tuples(st.integers(0, len(digits) - 1), st.sampled_from("0123456789")), max_size=4)
    ):
        digits[at] = digit
    code = str(meta.country_code)
    prefixes = [
        "",
        "",
        meta.national_prefix or "0",
        f"+{code}",
        f"+{code}0",
        f"+{code} (0)",
        f"00{code}",
        code,
        "+",
        "1",
    ]
    before = draw(st.sampled_from(prefixes))
    text = before + "".join(digits) + draw(st.sampled_from(["", "", "", "5", " x12"]))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(" -().")) + text[at:]
    return text, draw(st.sampled_from([region, region, None, "CN", "US"]))


def by_library(text: str, country: str | None) -> str | None:
    try:
        made = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(made):
        return None
    plain = phonenumbers.format_number(made, phonenumbers.PhoneNumberFormat.E164)
    return f"{plain};ext={made.extension}" if made.extension else plain


@settings(max_examples=1_500, deadline=None)
@given(dialled())
def test_phones_are_what_the_library_answers(number: tuple[str, str | None]) -> None:
    text, country = number
    try:
        ours: Any = contact_types.phone(country)(text)
    except Bad:
        ours = None
    assert ours == by_library(text, country)


def test_phones() -> None:
    field = 'type = "phone"\ncountry = "CN"'
    assert values(field, ["138 0013 8000", "+49 (0)30 901820", 13800138000, 8613800138000.0, "", MISSING]) == [
        "+8613800138000", "+4930901820", "+8613800138000", "+8613800138000", None, MISSING,
    ]  # fmt: skip
    assert values('type = "phone"', ["+1 312 555 1234 ext. 7"]) == ["+13125551234;ext=7"]
    assert "export the column as text" in refused(field, "8.6138E+12")
    assert "has no country code" in refused('type = "phone"', "138 0013 8000")
    assert "no valid phone number of CN" in refused(field, "12345")
    assert "no phone number" in refused(field, "call me")


def test_words_beside_a_phone_number_are_no_digits_of_it() -> None:
    field = 'type = "phone"\ncountry = "DE"'
    assert values(field, ["Tel. +49 30 901820 (Büro)", "", "+86 10 65529988 转 8001", "+43 1 55501 Durchwahl 12"]) == [
        "+4930901820", None, "+861065529988;ext=8001", "+43155501;ext=12",
    ]  # fmt: skip
    assert "has words in it" in refused(field, "+49 30 901820 office")
    assert values('type = "phone"\ncountry = "US"', ["1-800-FLOWERS"]) == ["+18003569377"]


# E-mails.

DOMAINS = [
    "b.de",
    "bücher.de",
    "x.test",
    "a--b.de",
    "ab--c.de",
    "-a.de",
    "xn--bcher-kva.de",
    "例子.测试",
    "b.d3",
    "localhost",
]
DOMAINS += ["a.b" + "c" * 64 + ".de"]


@settings(max_examples=1_000)
@given(
    st.one_of(
        st.from_regex(re.compile(r"[a-zA-Z0-9._+'-]{1,8}@[a-zA-Z0-9.-]{1,12}\.[a-zA-Z0-9]{1,4}"), fullmatch=True),
        st.builds("{}@{}".format, st.text(max_size=6), st.sampled_from(DOMAINS)),
        st.emails(),
    )
)  # fmt: skip
def test_emails_are_what_the_library_answers(text: str) -> None:
    text = text.strip()
    theirs: str | None
    try:
        theirs = email_validator.validate_email(text, check_deliverability=False).normalized
    except email_validator.EmailNotValidError:
        theirs = None
    try:
        ours: Any = contact_types.email()(text)
    except Bad:
        ours = None
    assert ours == theirs


def test_emails() -> None:
    made = values('type = "email"', [" Ann@Example.COM ", "ann@bücher.de", "张三@例子.公司", "", None])
    assert made == ["Ann@example.com", "ann@bücher.de", "张三@例子.公司", None, None]
    assert "split" in refused('type = "email"', "a@b.de; c@d.de")
    assert "between < and >" in refused('type = "email"', "Ann <a@b.de>")
    assert "too long" in refused('type = "email"', "a" * 5_000 + "@b.de")


# Yes and no, JSON, text.


def test_yes_and_no() -> None:
    made = values(
        'type = "boolean"', ["是", "否", "Y", "n", "ja", "Nein", "TRUE", "0", 1, 0.0, True, False, " yes ", ""]
    )
    assert made == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, None]
    assert all(m.__class__ is int for m in made[:-1])
    assert values('type = "boolean"\ntrue = ["active"]\nfalse = ["gone"]', ["Active", "GONE"]) == [1, 0]
    assert "neither yes" in refused('type = "boolean"', "maybe")
    assert "neither yes" in refused('type = "boolean"', 2)


def test_json() -> None:
    made = values('type = "json"', ['{"b": [1, 2.50], "a": "é"}', [1, {"x": None}], {}, 5, True])
    assert made == ['{"b": [1, 2.50], "a": "é"}', '[1,{"x":null}]', "{}", "5", "true"]
    for bad in ("{", "[" * 5_000, "NaN", '{"a":1} x'):
        assert "JSON" in refused('type = "json"', bad)


def test_an_array_of_one_value_is_that_value() -> None:
    for kind, value, text in (("email", "a@b.de", "a@b.de"), ("integer", 7, 7), ("phone", "+43 1 55501", "+43155501")):
        assert values(f'type = "{kind}"', [[value], value, None]) == [text, text, None]
        assert "several values or an object" in refused(f'type = "{kind}"', [value, value])
        assert "phones[0].number" in refused(f'type = "{kind}"', {"value": value})
    assert values('type = "text"', [["a"], {"n": "ü"}, "x"]) == ['["a"]', '{"n":"ü"}', "x"]
    assert values('type = "email"\non_error = "keep"', [["a", "b"]]) == ['["a","b"]']


def test_text_and_no_type() -> None:
    assert values('type = "text"', [5, 5.0, 5.5, True, "", None, "0x"]) == ["5", "5", "5.5", "true", "", None, "0x"]
    assert values("trim = true", [" a ", 5, None]) == ["a", 5, None]


# Text steps.


def test_steps_of_text() -> None:
    assert values("normalise = true", [" Ａ＋１\u3000x\u200b ", "e\u0301", "👨\u200d👩", "ﬁ①", 5]) == [
        "A+1 x",
        "é",
        "👨\u200d👩",
        "ﬁ①",
        5,
    ]
    assert values('normalise = ["nfc"]', [" Ａ "]) == [" Ａ "]
    assert values('empty = ["N/A", "-", "#n/a"]', ["n/a ", "-", "#N/A", "null", "", 0]) == [
        None,
        None,
        None,
        "null",
        "",
        0,
    ]
    assert values('split = { separator = ";", index = 2 }', ["a; b", "a", ""]) == ["b", None, None]
    assert values('split = { separator = ";", index = -1 }', ["a; b", "a"]) == ["b", "a"]
    assert values('case = "upper"', ["straße"]) == ["STRASSE"]
    names = ["o'NEIL", "ANN-marie d’arcy", "von der Leyen", "it's"]
    assert [title(name) for name in names] == ["O'Neil", "Ann-Marie D’Arcy", "Von Der Leyen", "It's"]
    assert values('from = ["x", "id"]\nconcat = "/"', ["a", "", None, 5]) == ["a/0", "1", "2", "5/3"]


@given(st.text())
def test_normal_stays_normal(text: str) -> None:
    normal = normaliser(NORMAL)
    assert normal(normal(text)) == normal(text)

"""Formulas disarmed and armed again: the promises of replica/exchange/formats/guard.py, by number."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replica.exchange.formats.guard import FIRST, MARKER, bare, guard_row, guarded

NASTY = st.text(st.sampled_from(list("'=+-@\t\r\n ＝＋－＠1.5,e%()a\u3000\xa0\u2028\x1f")), max_size=8)


@settings(max_examples=2000, deadline=None)
@given(st.one_of(NASTY, st.text()))
def test_1_the_way_back_gives_what_went_in(text: str) -> None:
    assert bare(guarded(text)) == text
    assert guard_row([text, 1, None]) == [guarded(text), 1, None]
    assert guarded(text) in {text, MARKER + text}


@pytest.mark.parametrize(
    "text",
    ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-1+2", "\t=1", "\rx", "  =1", "\u3000＝1", "＋1", "－1", "＠x", "\xa0-x",
     "+1-555", "--5", "+", "-", "=", "'=1", "''@x", " -5"],
)  # fmt: skip
def test_2_what_a_spreadsheet_would_run_is_guarded(text: str) -> None:
    assert guarded(text) == MARKER + text


@pytest.mark.parametrize(
    "text",
    ["-5", "+5", "-1.5", "-1,234.56", "+8613800000000", "+43 1 555", "+1 (555) 0100", "-1e5", "-12%", "", "a=1",
     "'s", "'", " x", "5"],
)  # fmt: skip
def test_2_numbers_phones_and_words_are_not(text: str) -> None:
    assert guarded(text) == text


def test_2_no_other_character_begins_a_guarded_text() -> None:
    for char in map(chr, [*range(0xD800), *range(0xE000, 0x11000)]):
        if char not in FIRST:
            assert guarded(f"{char}=1") == f"{char}=1"
        elif char.isspace():
            assert guarded(f"{char}=1") == f"'{char}=1"

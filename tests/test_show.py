"""What the command line prints: long texts that differ are shown where they differ."""

from __future__ import annotations

import pytest

from replica import show


def test_long_texts_are_cut_so_that_the_difference_is_in_sight(capsys: pytest.CaptureFixture[str]) -> None:
    long = "Catholic Charities of the Archdiocese of Chicago - Our Lady of "
    show.table(["A", "B"], [show.apart(long + "Lourdes" + "!" * 90, long + "Tepeyac" + "!" * 90)])
    shown = capsys.readouterr().out
    assert "Lourdes" in shown
    assert "Tepeyac" in shown


def test_what_fits_or_differs_at_once_is_left_alone() -> None:
    assert show.apart("short", "shirt") == ("short", "shirt")
    assert show.apart("a" + "x" * 99, "b" + "x" * 99) == ("a" + "x" * 99, "b" + "x" * 99)
    assert show.apart("x" * 60, "x" * 59) == ("x" * 60, "x" * 59)


def test_wide_letters_count_twice() -> None:
    one, other = show.apart("公司" * 40 + "甲", "公司" * 40 + "乙")
    assert (one[-1], other[-1], one[0]) == ("甲", "乙", "…")
    assert len(one) <= 30

"""What the command line prints: long texts that differ are shown where they differ."""

from __future__ import annotations

import pytest

from replica import show
from replica.sync_report import SyncReport


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


def test_a_node_that_serves_says_what_it_holds_from_view_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    report = SyncReport(
        "127.0.0.1:5", "laptop", "in sync", "", 1, 3, 3, 2, 0, ["refused: \x1b[2J"], 9, 9, 1, "", 0.1, "00", 4, 0, "2.2"
    )
    show.session(report, False)
    said = "laptop (127.0.0.1:5): in sync, 1 sent, 3 received, 2 held\n  ! refused: \\x1b[2J\n"
    assert capsys.readouterr().out == said

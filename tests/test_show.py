"""What the command line prints: long texts that differ are shown where they differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from protocol.errors import Busy
from protocol.outcome import Outcome, Peer
from replica import show
from replica.store.store import Store
from replica.sync_report import SyncReport
from tests.nodes import make_pair


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


def test_a_sync_that_was_cut_says_what_it_had_brought(capsys: pytest.CaptureFixture[str]) -> None:
    error = Busy("gone")
    error.report = replace(SyncReport.failure("ws://hq", error), peer="hq", received=1_600, bytes_in=90_000, root="00")
    report = SyncReport.failure("ws://hq", error)
    assert (report.failed, report.outcome, report.text, report.received) == (True, "busy", "gone", 1_600)
    show.synced(report)
    show.session(report, as_json=False)
    said = "0 records sent, 1600 received, 0 B out, 90 kB in, 0.00 s"
    assert capsys.readouterr().out.splitlines() == [
        "ws://hq (hq)",
        "  failed: gone",
        f"  before that: {said}; what was received is kept, and the next sync goes on",
        f"ws://hq: gone ({said})",
    ]


def test_status_tells_whether_a_peer_that_was_equal_still_has_what_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hq, _ = make_pair(tmp_path)
    with Store(hq) as store:
        outcome = Outcome("in sync", peer=Peer(b"ann.....", b"", "ann", 1, 3), root=store.root()[0])
        store.remember(outcome, "ws://ann")
        show.status(store.status())
        store.execute("INSERT INTO contacts(id) VALUES ('new')")
        show.status(store.status())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ann ")]
    assert [", changed since" in line for line in lines] == [False, True]

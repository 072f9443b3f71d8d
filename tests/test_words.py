"""Words of others in the log and in reasons."""

from __future__ import annotations

import logging

import pytest

from protocol.errors import PeerRefused
from replica.words import Telling, clean, counted, log

EVIL = "ok\n2026 ERROR forged\x1b[2J\x9b2J\u202etxt\u2028line\x7f"


def test_control_characters_are_shown_and_ordinary_text_is_left_alone() -> None:
    shown = clean(EVIL)
    assert shown == r"ok\x0a2026 ERROR forged\x1b[2J\x9b2J\u202etxt\u2028line\x7f"
    assert clean("Zoë 😀 \u00a0 日本") == "Zoë 😀 \u00a0 日本"
    assert clean("\U000e0001") == r"\U000e0001"


def test_no_line_of_the_log_can_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "replica"):
        log.warning("session with %s: %s", EVIL, PeerRefused(EVIL, EVIL))
        try:
            raise ValueError(EVIL)
        except ValueError:
            log.exception("failed with %s", EVIL)
    first, second = (logging.Formatter("%(message)s").format(record) for record in caplog.records)
    assert first.isprintable()
    assert second.startswith("failed with ok\\x0a2026")
    assert all(line.isprintable() for line in second.split("\n"))
    assert not any(line.startswith("2026") for line in second.split("\n"))


def test_one_thing_is_one_and_several_are_several() -> None:
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert counted(20_000, "row", ",") == "20,000 rows"


def test_what_fails_while_nobody_waits_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    telling, ours, other = Telling("the work failed; it goes on"), PeerRefused("limit", "too much"), ValueError("a bug")
    for error in (ours, ours, other, other, None, other):
        with telling:
            if error is not None:
                raise error
    with pytest.raises(KeyboardInterrupt), telling:
        raise KeyboardInterrupt
    first, *others = caplog.records
    assert (first.getMessage(), first.exc_info, first.levelname) == (str(ours), None, "WARNING")
    assert [(o.getMessage(), o.levelname) for o in others] == [("the work failed; it goes on", "ERROR")] * 2
    assert all(o.exc_info and o.exc_info[1] is other for o in others)

"""Words of others in the log and in reasons."""

from __future__ import annotations

import logging

import pytest

from protocol.errors import PeerRefused
from replica.words import clean, log, telling

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


def test_what_fails_while_nobody_waits_is_told(caplog: pytest.LogCaptureFixture) -> None:
    for error in (PeerRefused("limit", "too much"), ValueError("a bug")):
        with telling("the work failed; it goes on"):
            raise error
    ours, other = caplog.records
    assert (ours.getMessage(), ours.exc_info, ours.levelname) == (str(PeerRefused("limit", "too much")), None, "WARNING")
    assert (other.getMessage(), other.levelname) == ("the work failed; it goes on", "ERROR")
    assert other.exc_info is not None

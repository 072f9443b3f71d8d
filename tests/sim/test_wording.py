"""Events in front of people."""

from __future__ import annotations

from typing import Any

import pytest

from sim.allowed import HOSTILE, MISLEADING
from sim.draw import draw
from sim.scenario import Event
from sim.wording import ATTACKS, FOREVER_S, fell, listed, said

LINKS = [["a", "b"], ["b", "a"]]

SAID: list[tuple[str, dict[str, Any], str]] = [
    ("partition", {"groups": [["a", "b"], ["c"]], "for_s": FOREVER_S}, "a b | c, until it is ended"),
    ("block", {"links": LINKS, "for_s": 90.0}, "a→b, b→a, for 1 min 30 s"),
    ("cut", {"links": [["a", "b"]] * 9}, "a→b, a→b, a→b, a→b, a→b, a→b and 3 more"),
    (
        "slow",
        {"links": LINKS[:1], "for_s": 5, "bytes_per_s": 8192.0, "latency_s": 0.5},
        "a→b: 8,192 bytes/s, 0.5 s late, for 5 s",
    ),
    ("frames", {"links": LINKS[:1], "for_s": 5, "how": "drop", "share": 0.1}, "a→b: drop 10% of frames, for 5 s"),
    ("step", {"ms": -376_000}, "6 min 16 s back"),
    ("drift", {"ppm": 200}, "200 millionths too fast"),
    ("crash", {"how": "power", "what": "now", "at_step": 0, "for_s": 59}, "its power is to be cut now, for 59 s"),
    (
        "crash",
        {"how": "kill", "what": "sql", "at_step": 7, "for_s": 0},
        "its process is to be killed at statement 7 from here",
    ),
    ("ioerror", {"at_step": 3, "for_s": 0.0, "late": True}, "at statement 3 from here, told after it has run"),
    ("clone", {"to": "z"}, "z was started from that copy, and both run"),
    ("schema", {"sql": ["DROP\n  TABLE t"]}, "DROP TABLE t"),
    ("hostile", {"how": "mute", "for_s": 5}, "silence where it should speak, for 5 s"),
    ("off", {"for_s": FOREVER_S}, "until it is ended"),
    ("backup", {}, ""),
]


@pytest.mark.parametrize(("kind", "with_", "text"), SAID)
def test_a_fault_is_said_in_words(kind: str, with_: dict[str, Any], text: str) -> None:
    assert said(Event(1.0, kind, "a", with_)) == text


def test_all_that_is_drawn_has_words() -> None:
    for event in (event for seed in range(60) for event in draw(seed).events if not event.work):
        assert event.with_ == {} or said(event), event
    assert set(ATTACKS) == {*HOSTILE, *MISLEADING}


def test_how_a_machine_went_down() -> None:
    assert fell("power", "now") == "its power was cut"
    assert fell("kill", "a statement") == "its process was killed in the middle of a statement"
    assert [listed(names) for names in ("", "a", "abc")] == ["nobody", "a", "a, b and c"]

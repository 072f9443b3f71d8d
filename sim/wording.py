"""What events are called in front of people: in the story of a run, in a list of its last events, and where a test fails.

The hash of a run is made of the events themselves, so words may change. One test each:

1. Every kind of fault has words, with how long it lasts, and without a number that only means "until it is ended".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sim.result import span
from sim.scenario import Event

FOREVER_S = 1e9
"""A fault by hand without `for_s` lasts until it is ended."""

LINKS_MAX = 6
"""Links told by name."""

ATTACKS = {
    "future": "records from the future",
    "lies": "wrong answers in a session that looks honest",
    "again": "a true session, and then what may not be said after it",
    "endless": "demands without end",
    "bomb": "frames that are small and unpack to something huge",
    "garbage": "bytes that mean nothing",
    "mute": "silence where it should speak",
    "knock": "connections that it drops at once",
    "estimate": "a false estimate of how much differs",
    "cells": "a false sketch of what it holds",
    "memory": "a false memory of earlier sessions",
    "list": "false lists of what it holds",
    "picks": "requests for records that nobody has",
    "probe": "a false claim to hold the same",
    "disorder": "messages out of their order",
}
"""What a hostile node does."""

_FELL = {"kill": "its process was killed", "power": "its power was cut"}
_FALLS = {"kill": "its process is to be killed", "power": "its power is to be cut"}
_AMID = {
    "await": " while it waited for something",
    "a statement": " in the middle of a statement",
    "a user's statement": " in the middle of a user's statement",
}
_STEPS = {"await": "wait", "sql": "statement", "commit": "COMMIT"}


def fell(how: str, where: str) -> str:
    """How a machine went down, and what it was doing."""
    return _FELL[how] + _AMID.get(where, "")


def wording(event: Event) -> str:
    """What a fault is, beside its kind and its node."""
    with_ = event.with_
    match event.kind:
        case "partition":
            return " | ".join(" ".join(group) for group in with_["groups"])
        case "block" | "cut":
            return _links(with_)
        case "slow":
            return f"{_links(with_)}: {with_['bytes_per_s']:,.0f} bytes/s, {with_['latency_s']:g} s late"
        case "frames":
            return f"{_links(with_)}: {with_['how']} {with_['share']:.0%} of frames"
        case "step":
            return f"{span(abs(with_['ms']) / 1000)} {'ahead' if with_['ms'] > 0 else 'back'}"
        case "drift":
            return f"{abs(with_['ppm']):g} millionths too {'fast' if with_['ppm'] > 0 else 'slow'}"
        case "crash":
            here = with_["what"] in _STEPS and with_["at_step"]
            when = f"at {_STEPS[with_['what']]} {with_['at_step']} from here" if here else "now"
            return f"{_FALLS[with_['how']]} {when}"
        case "ioerror":
            first = f"statement {with_['at_step']} from here"
            return f"at {first}{' on' if with_['for_s'] else ''}{', told after it has run' if with_['late'] else ''}"
        case "rot":
            return str(with_["what"])
        case "clone":
            return f"{with_['to']} was started from that copy, and both run"
        case "schema":
            return "; ".join(" ".join(sql.split()) for sql in with_["sql"])[:200]
        case "hostile":
            return ATTACKS[with_["how"]]
    return ""


def said(event: Event) -> str:
    """The same, and how long it lasts."""
    for_s = event.with_.get("for_s", 0)
    lasts = "until it is ended" if for_s >= FOREVER_S else f"for {span(for_s)}" if for_s else ""
    return ", ".join(filter(None, (wording(event), lasts)))


def _links(with_: dict[str, Any]) -> str:
    links = [f"{a}→{b}" for a, b in with_["links"]]
    return ", ".join(links[:LINKS_MAX]) + (f" and {len(links) - LINKS_MAX} more" if len(links) > LINKS_MAX else "")


def listed(names: Iterable[str]) -> str:
    """As a person lists them: "a, b and c"."""
    *most, last = list(names) or ["nobody"]
    return f"{', '.join(most)} and {last}" if most else last

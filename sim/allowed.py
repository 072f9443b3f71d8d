"""What the parameters of an event can be, beside what type they are (sim.scenario): a fault that nobody knows, or one of
an impossible size, must not look like one that was survived. One test each:

1. What cannot be is refused with what can, before it happens.
2. Everything that is drawn is allowed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection
from typing import Any

from replica.errors import UsageError

FRAMES = ("drop", "duplicate", "swap", "flip", "truncate", "replay", "splice")
HOSTILE = ("future", "lies", "again", "endless", "bomb", "garbage", "mute", "knock")
MISLEADING = ("estimate", "cells", "memory", "list", "picks", "probe", "disorder")
ROT = ("row", "digest", "trie", "page")

WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("frames", "how"): FRAMES,
    ("crash", "how"): ("kill", "power"),
    ("crash", "what"): ("await", "sql", "commit", "now"),
    ("rot", "what"): ROT,
    ("hostile", "how"): (*HOSTILE, *MISLEADING),
}
"""Parameters that are one word of these."""

FINITE_MAX = sys.float_info.max

SKEW_S_MAX = 1 << 32
"""A clock may be wrong by all the seconds that 32 bits can count, 136 years, either way."""

STEP_MS_MAX = 2 * SKEW_S_MAX * 1000
"""From one end to the other."""

PPM_MAX = 1_000_000
"""Twice as fast as time, or standing still."""

RANGES: dict[str, tuple[float, float]] = {
    "for_s": (0, math.inf),
    "share": (0, 1),
    "latency_s": (0, math.inf),
    "bytes_per_s": (1, math.inf),
    "at_step": (0, math.inf),
    "ms": (-STEP_MS_MAX, STEP_MS_MAX),
    "ppm": (-PPM_MAX, PPM_MAX),
}
"""Least and most."""

NAME_MAX = 64
"""Characters of a node's name."""


def must_be_allowed(kind: str, with_: dict[str, Any], nodes: Collection[str], where: str) -> None:
    """Raises UsageError, which begins with `where`, for an event that cannot happen in a world of these nodes. `with_`: its
    parameters, of the right types."""
    for name, value in with_.items():
        if (known := WORDS.get((kind, name))) and value not in known:
            raise UsageError(f"{where}: {name} of {kind} can be {', '.join(known)}, not {value!r}")
        if name in RANGES:
            must_be_number(f"{where}: {name} of {kind}", value, *RANGES[name])
        if (look := LOOKS.get(name)) and (wrong := look(value)):
            raise UsageError(f"{where}: {name} of {kind} {wrong}")
    if kind == "clone" and with_["to"] in nodes:
        raise UsageError(f"{where}: the clone needs a name of its own, not {with_['to']!r}")
    if kind == "hostile" and len(nodes) < 2:
        raise UsageError(f"{where}: a hostile node needs another one to attack, and there is none")


def must_be_number(name: str, value: object, least: float, most: float = math.inf) -> None:
    """Raises UsageError, which begins with `name`, unless it is a number from `least` to `most`, and finite."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FINITE_MAX
    if not number or not least <= value <= most:  # type: ignore[operator]
        bounds = f"of at least {least:,}" if most == math.inf else f"from {least:,} to {most:,}"
        raise UsageError(f"{name} must be a number {bounds}, not {value!r}")


def _sql(value: list[object]) -> str:
    fine = value and all(isinstance(statement, str) for statement in value)
    return "" if fine else "must be a list of statements, one at least"


def _rows(value: list[Any]) -> str:
    for row in value:
        pair = isinstance(row, list | tuple) and len(row) == 2
        if not pair or not isinstance(row[0], str) or not isinstance(row[1], list | tuple):
            return f"is a list of [table, [key, …]], and {row!r} is none"
        if not all(isinstance(part, str | int | float) for part in row[1]):
            return f"has a key that is neither text nor number: {row!r}"
    return ""


def _json(value: str) -> str:
    try:
        rows = json.loads(value)
    except (ValueError, RecursionError) as error:
        return f"is no JSON: {error}"
    fine = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    return "" if fine else f'must be a list of rows as [{{"id": "c1"}}], not {value[:80]}'


def _links(value: list[object]) -> str:
    return "" if value else "must name a pair of nodes, one at least"


def _groups(value: list[list[object]]) -> str:
    if not value:
        return "must be lists of names, one at least"
    names = [name for group in value for name in group]
    if odd := [name for name in names if not isinstance(name, str)]:
        return f"are lists of names, and {odd[0]!r} is none"
    if twice := [name for name in names if names.count(name) > 1]:
        return f"name {twice[0]!r} twice"
    return ""


def _to(value: str) -> str:
    return "" if 0 < len(value) <= NAME_MAX and value.isprintable() else f"has 1 to {NAME_MAX} printable characters"


LOOKS: dict[str, Callable[[Any], str]] = {
    "sql": _sql, "rows": _rows, "json": _json, "links": _links, "groups": _groups, "to": _to,
}  # fmt: skip
"""What is wrong with a value, in words, or nothing."""

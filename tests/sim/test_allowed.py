"""What the parameters of an event can be: what cannot is refused in words, what is drawn is allowed."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from replica.errors import UsageError
from sim import hostile, misleading, wire
from sim.allowed import FRAMES, HOSTILE, MISLEADING, WORDS, must_be_allowed
from sim.draw import draw
from sim.scenario import PARAMETERS

LINKS: dict[str, Any] = {"links": [["a", "b"]], "for_s": 1.0}
CRASH: dict[str, Any] = {"how": "kill", "what": "await", "at_step": 0, "for_s": 1.0}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("crash", CRASH | {"how": "melt"}, "how of crash can be kill, power, not 'melt'"),
    ("crash", CRASH | {"what": "row"}, "what of crash can be await, sql, commit, now, not 'row'"),
    ("crash", CRASH | {"at_step": -1}, "at_step of crash must be a number of at least 0, not -1"),
    ("rot", {"what": "zz"}, "what of rot can be row, digest, trie, page, not 'zz'"),
    ("hostile", {"how": "zz", "for_s": 1.0}, "how of hostile can be future, lies, "),
    ("frames", LINKS | {"how": "zz", "share": 0.5}, "how of frames can be drop, "),
    ("frames", LINKS | {"how": "drop", "share": 1.5}, "share of frames must be a number from 0 to 1, not 1.5"),
    ("frames", LINKS | {"how": "drop", "share": nan}, "share of frames must be a number from 0 to 1, not nan"),
    ("slow", LINKS | {"bytes_per_s": 0, "latency_s": 1}, "bytes_per_s of slow must be a number of at least 1, not 0"),
    ("slow", LINKS | {"bytes_per_s": 1, "latency_s": -1}, "latency_s of slow must be a number of at least 0, not -1"),
    ("block", LINKS | {"links": []}, "links of block must name a pair of nodes"),
    ("full", {"for_s": -1}, "for_s of full must be a number of at least 0, not -1"),
    ("full", {"for_s": inf}, "for_s of full must be a number of at least 0, not inf"),
    ("step", {"ms": 10**13}, "ms of step must be a number from -8,589,934,592,000 to 8,589,934,592,000"),
    ("drift", {"ppm": -2e6}, "ppm of drift must be a number from -1,000,000 to 1,000,000"),
    ("partition", {"groups": [], "for_s": 1.0}, "groups of partition must be lists of names"),
    ("partition", {"groups": [["a"], ["b", "a"]], "for_s": 1.0}, "groups of partition name 'a' twice"),
    ("partition", {"groups": [["a", 5]], "for_s": 1.0}, "groups of partition are lists of names, and 5 is none"),
    ("schema", {"sql": []}, "sql of schema must be a list of statements"),
    ("schema", {"sql": [5]}, "sql of schema must be a list of statements"),
    ("write", {"sql": ["SELECT 1"], "rows": ["c1"]}, "rows of write is a list of [table, [key, …]], and 'c1' is none"),
    ("write", {"sql": ["SELECT 1"], "rows": [["t", [[1]]]]}, "rows of write has a key that is neither text nor number"),
    ("put", {"table": "t", "json": "{", "rows": []}, "json of put is no JSON: "),
    ("put", {"table": "t", "json": '{"id": 1}', "rows": []}, "json of put must be a list of rows"),
    ("put", {"table": "t", "json": "[5]", "rows": []}, "json of put must be a list of rows"),
    ("clone", {"to": "b"}, "the clone needs a name of its own, not 'b'"),
    ("clone", {"to": ""}, "to of clone has 1 to 64 printable characters"),
]


@pytest.mark.parametrize(("kind", "with_", "text"), REFUSED)
def test_what_cannot_be_is_refused_with_what_can(kind: str, with_: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as told:
        must_be_allowed(kind, with_, ["a", "b"], "event 1")
    assert str(told.value).startswith("event 1: ")
    assert text in str(told.value)


def test_who_is_alone_attacks_nobody() -> None:
    with pytest.raises(UsageError, match="needs another one to attack"):
        must_be_allowed("hostile", {"how": "mute", "for_s": 1.0}, ["a"], "event 1")


def test_the_words_are_those_of_the_rooms_that_do_it() -> None:
    assert set(FRAMES) == set(wire.HOWS)
    assert {*HOSTILE, *MISLEADING} == set(hostile.HOWS) >= set(misleading.MISLEADING)
    assert all(name in PARAMETERS[kind] for kind, name in WORDS)


def test_all_that_is_drawn_is_allowed() -> None:
    for seed in range(150):
        world = draw(seed)
        nodes = set(world.names)
        for event in world.events:
            must_be_allowed(event.kind, event.with_, nodes, str(event))
            if event.kind == "clone":
                nodes.add(event.with_["to"])

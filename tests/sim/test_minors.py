"""Worlds of several minor versions keep the promises of the header."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given

from protocol import limits
from protocol.frames import decode, encode
from protocol.keys import CLIENT, SERVER
from protocol.messages import Hello, Message, Probe, Same
from protocol.outcome import IN_SYNC
from protocol.proofs import COVERING
from protocol.session import Self
from sim.describe import describe
from sim.draw import draw
from sim.minors import LATER, MIXED, NOW, OLDEST, Later, longer
from sim.report import page
from sim.scenario import Scenario
from sim.world import World
from tests.protocol.memory_store import HANDSHAKE, KEYS, MemoryStore, run
from tests.protocol.strategies import colleagues
from tests.protocol.test_messages import anything

ALL = tuple(range(OLDEST, LATER + 1))


@given(anything)
def test_a_later_node_greets_with_more_and_says_else_what_it_said(message: Message) -> None:
    frame = encode(message)
    greets = isinstance(message, Hello | Probe | Same)
    assert (len(longer(frame)) > len(frame)) == greets
    assert longer(frame) == frame or decode(longer(frame)) == message


def test_two_later_nodes_understand_each_other() -> None:
    both = HANDSHAKE._replace(client_minor=LATER, server_minor=LATER)

    def later(role: str, store: MemoryStore) -> Later:
        return Later(role, KEYS, store, Self(role[:1].encode() * 8, role), both)

    a, b = colleagues(3, 50, 5, 5)
    talk = run(later(CLIENT, a), later(SERVER, b))
    assert [outcome.code for outcome in talk.outcomes] == [IN_SYNC] * 2
    greetings = [frame for _, frame in talk.frames if isinstance(decode(frame), Hello)]
    assert [encode(decode(frame)) != frame for frame in greetings] == [True, True]


def test_most_worlds_speak_one_version_and_all_else_is_as_it_was() -> None:
    spoken = Counter(len({p.minor for p in draw(seed, nodes=5).places}) > 1 for seed in range(200))
    assert 0.6 * MIXED < spoken[True] / 200 < 1.5 * MIXED
    assert {p.minor for seed in range(200) for p in draw(seed).places} == set(ALL)


def test_nobody_is_older_where_frames_of_several_sessions_are_mixed_up() -> None:
    worlds = [draw(seed, nodes=5, faults=["frames:2"]) for seed in range(200)]
    mingled = [any(e.kind == "frames" and e.with_["how"] in {"replay", "splice"} for e in w.events) for w in worlds]
    oldest = [min(p.minor for p in w.places) for w in worlds]
    assert 20 < sum(mingled) < 180
    assert {minor for minor, is_mingled in zip(oldest, mingled, strict=True) if is_mingled} == {COVERING, NOW}
    assert {minor for minor, is_mingled in zip(oldest, mingled, strict=True) if not is_mingled} == {*range(NOW + 1)}


def speaking(seed: int, minors: tuple[int, ...]) -> Scenario:
    world = draw(seed, nodes=len(minors), duration_s=200, faults=[])
    places = tuple(replace(place, minor=minor) for place, minor in zip(world.places, minors, strict=True))
    return replace(world, places=places, hints="on")


@pytest.mark.parametrize("seed", [3, 5])
@pytest.mark.parametrize("first", ALL)
def test_nodes_of_all_versions_become_equal(seed: int, first: int) -> None:
    world = speaking(seed, (first, *ALL))
    result = World(world, keep=False).run()
    assert result.ok, result.violation
    reached = {row: ways for row, ways in result.reach.items() if row.startswith("minors ")}
    assert reached
    pairs = {(low, high) for low in ALL for high in ALL if low <= high} - {(NOW, NOW)}
    assert set(reached) <= {f"minors {low} and {high}" for low, high in pairs}
    for row, ways in reached.items():
        if f" {OLDEST} " in row:
            assert set(ways) <= {"equal", "trie"}, row


def test_the_description_and_the_report_say_who_speaks_what() -> None:
    world = speaking(3, (0, 3, 4))
    assert "versions: n0 2.0, n2 2.4" in describe(world)
    assert "versions" not in describe(speaking(3, (3, 3, 3)))
    html = page(World(world).run())
    assert "n0 2.0, n2 2.4" in html
    assert "minors 0 and" in html


def test_a_minor_version_is_written_read_and_checked() -> None:
    world = speaking(3, ALL)
    assert Scenario.from_toml(world.to_toml()).places == world.places
    assert limits.MINOR == NOW

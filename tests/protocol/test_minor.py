"""Minor versions: both speak the lower one, what a later one adds is ignored, and nobody in the middle can lower it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames, limits
from protocol.errors import Malformed, NotMember
from protocol.hlc import pack
from protocol.keys import CLIENT, SERVER, Handshake
from protocol.messages import (
    Bye,
    Cells,
    End,
    Have,
    Hello,
    Listing,
    Message,
    More,
    Nodes,
    Pick,
    Probe,
    Records,
    Same,
    Want,
)
from protocol.outcome import IN_SYNC
from protocol.session import HINTED
from protocol.sketch import cells_size
from protocol.values import pack_plain, unpack
from tests.protocol.memory_store import HANDSHAKE, KEYS, NOW_MS, MemoryStore, Talk, run
from tests.protocol.memory_store import session as side
from tests.protocol.strategies import colleagues
from tests.protocol.test_descent import twins
from tests.protocol.test_messages import greetings, others
from tests.protocol.test_session import ROOT, pulled, tell

OLD = HANDSHAKE._replace(client_minor=0, server_minor=0)
MIXED = (0, 1), (1, 0), (0, 0), (0, 2), (2, 0), (0, 3)
TRIE = {Hello, Same, Nodes, Have, Want, Records, End, Bye}
COUNTERS, CELLS = bytes(limits.SKETCH_COUNTERS), bytes(cells_size(limits.SKETCH_WIDTH_MIN))
HELLO = Hello(2, KEYS.proof(CLIENT, OLD), b"n" * 8, "", NOW_MS, 1, ROOT)


def meet(a: MemoryStore, b: MemoryStore, minors: tuple[int, int], agreed: bytes = b"") -> Talk:
    both = HANDSHAKE._replace(client_minor=minors[0], server_minor=minors[1])
    talk = run(side(CLIENT, a, handshake=both, agreed=agreed), side(SERVER, b, handshake=both))
    assert [outcome.code for outcome in talk.outcomes] == [IN_SYNC] * 2
    peers = [outcome.peer for outcome in talk.outcomes]
    assert [peer.minor for peer in peers if peer] == list(minors[::-1])
    return talk


def said(talk: Talk) -> list[Message]:
    return [frames.decode(frame) for _, frame in talk.frames]


@pytest.mark.parametrize("minors", [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (7, 3)])
def test_both_speak_the_lower_one(minors: tuple[int, int]) -> None:
    assert Handshake(b"", b"", *minors).minor == min(minors)


@pytest.mark.parametrize("minors", MIXED)
@given(seed=st.integers(0, 1 << 30), common=st.integers(0, 60), edits=st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_where_one_knows_no_hints_the_trie_alone_finds_what_differs(
    minors: tuple[int, int], seed: int, common: int, edits: tuple[int, int]
) -> None:
    a, b = colleagues(seed, common, *edits)
    heard = said(meet(a, b, minors))
    assert a.state == b.state
    assert {type(message) for message in heard} <= TRIE
    for hello in heard:
        if isinstance(hello, Hello):
            assert (hello.agreed, hello.news, hello.counters, hello.cells) == (b"", 0, b"", b"")


@pytest.mark.parametrize("minors", MIXED)
def test_an_old_acquaintance_is_neither_probed_nor_told_what_was_agreed(minors: tuple[int, int]) -> None:
    a, b = twins(40)
    agreed = a.root()[0]
    assert [type(m) for m in said(meet(a, b, minors, agreed))] == [Hello, Same]
    a.update(7, pack(NOW_MS, 0, b"ann....."), {"name": "edited"})
    assert {Nodes, Records} <= {type(m) for m in said(meet(a, b, minors, agreed))} <= TRIE
    assert a.state == b.state


@pytest.mark.parametrize("minors", [(1, 1), (2, 2), (1, 2), (2, 1), (3, 2), (2, 3), (5, 1)])
def test_later_versions_have_the_hints_of_this_one(minors: tuple[int, int]) -> None:
    a, b = colleagues(7, 60, 3, 3)
    root = b.root()[0]
    first = said(meet(a, b, minors))[0]
    assert isinstance(first, Hello)
    assert first.counters
    assert a.state == b.state
    assert a.root()[0] != root
    assert [type(m) for m in said(meet(a, b, minors, a.root()[0]))] == [Probe, Same]


@pytest.mark.parametrize(
    "hints",
    [{"agreed": ROOT}, {"news": 1}, {"counters": COUNTERS}, {"cells": CELLS}],
    ids=["agreed", "news", "counters", "cells"],
)
@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_a_hint_in_the_greeting_of_an_old_peer_is_refused(role: str, hints: dict[str, object]) -> None:
    mine = side(role, twins(20)[0], handshake=OLD)
    if role == CLIENT:
        mine.open(NOW_MS)
    with pytest.raises(Malformed, match="a hint at minor version 0"):
        tell(mine, replace(HELLO, **hints))  # type: ignore[arg-type]
    assert mine.outcome.changed == 0


def test_a_probe_of_an_old_peer_is_refused() -> None:
    store = twins(20)[0]
    with pytest.raises(Malformed, match="a hint at minor version 0"):
        tell(side(SERVER, store, handshake=OLD), Probe(HELLO.proof, b"n" * 8, NOW_MS, store.root()[0]))


@pytest.mark.parametrize("hint", [Cells(7, False, CELLS), More(7), Listing(()), Pick(())], ids=lambda m: type(m).__name__)
def test_a_short_way_of_an_old_peer_is_refused(hint: Message) -> None:
    server = side(SERVER, twins(20)[0], handshake=OLD)
    tell(server, HELLO)
    assert [type(frames.decode(frame)) for frame in pulled(server)] == [Hello, End]
    with pytest.raises(Malformed, match="a hint at minor version 0"):
        tell(server, hint)


@pytest.mark.parametrize("changed", [{side: n} for side in ("client_minor", "server_minor") for n in (0, 1, 2, 4)])
@pytest.mark.parametrize("known", [False, True])
def test_who_heard_another_version_than_was_said_trusts_no_proof(changed: dict[str, int], known: bool) -> None:
    """The client's proof, at the server; and the server's, which the client sees before it says anything."""
    a, b = twins(20)
    heard = Handshake(*(HANDSHAKE._asdict() | changed).values())
    talk = run(side(CLIENT, a, agreed=a.root()[0] if known else b""), side(SERVER, b, handshake=heard))
    assert isinstance(talk.faults[0], NotMember if heard.minor else Malformed)  # A hint is odd there even before the proof.
    assert talk.outcomes[1].peer is None
    assert not KEYS.proves(KEYS.proof(SERVER, heard), SERVER, HANDSHAKE)


numbers = st.integers(-(1 << 63), (1 << 63) - 1)
scalars = st.one_of(numbers, st.text(max_size=9), st.binary(max_size=9), st.booleans(), st.none(), st.floats(width=64))


@given(greetings, st.lists(scalars, min_size=1, max_size=3))
def test_what_a_later_version_says_at_the_end_of_a_greeting_is_ignored(greeting: Message, more: list[object]) -> None:
    parts = unpack(frames.encode(greeting), arrays_max=1, array_max=16)
    assert isinstance(parts, tuple)
    assert frames.decode(pack_plain([*parts, *more])) == greeting


@given(others, scalars)
def test_but_no_other_message_may_grow(message: Message, more: object) -> None:
    parts = unpack(frames.encode(message), arrays_max=2, array_max=16)
    assert isinstance(parts, tuple)
    longer = [*(list(part) if isinstance(part, tuple) else part for part in parts), more]
    with pytest.raises(Malformed, match="does not have its shape"):
        frames.decode(pack_plain(longer))


def test_hints_came_with_minor_version_1() -> None:
    assert HINTED == 1 <= limits.MINOR

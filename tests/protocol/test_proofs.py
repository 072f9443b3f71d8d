"""A frame that is put together of two sessions makes nobody believe that two copies are equal."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from protocol import frames, limits
from protocol.errors import Malformed, NotMember, PeerFault
from protocol.hlc import pack
from protocol.keys import CLIENT, SERVER, Handshake
from protocol.messages import Bye, End, Hello, Message, Probe, Same
from protocol.outcome import IN_SYNC
from protocol.proofs import COVERING, Proofs
from protocol.session import Session
from protocol.values import pack_plain, unpack
from tests.protocol.memory_store import HANDSHAKE, KEYS, NOW_MS, MemoryStore
from tests.protocol.memory_store import session as side
from tests.protocol.test_descent import twins
from tests.protocol.test_session import ROOT, pulled, tell

OTHER = HANDSHAKE._replace(client_nonce=b"d" * 16, server_nonce=b"t" * 16)
"""Another session of the same two, at the same time."""
HELLO, PROBE = Hello(2, b"", b"n" * 8, "n", NOW_MS, 20, ROOT, ROOT, 1, bytes(64)), Probe(b"", b"n" * 8, NOW_MS, ROOT)
SAID = "what you said was changed on its way"
NOT_SAID = "did not say so of this root in this session"


def apart() -> tuple[MemoryStore, MemoryStore]:
    """Two that differ in one record, and have as many."""
    a, b = twins(20)
    a.update(7, pack(NOW_MS, 0, b"ann....."), {"name": "edited"})
    return a, b


def old(handshake: Handshake) -> Handshake:
    return handshake._replace(client_minor=1, server_minor=1)


def opening(store: MemoryStore, handshake: Handshake, known: bool) -> bytes:
    agreed = store.root()[0] if known else b""
    return side(CLIENT, store, handshake=handshake, agreed=agreed).open(NOW_MS)


def splices(mine: bytes, other: bytes) -> list[bytes]:
    """The head of one frame and the tail of another, cut at every byte of both as a wire would, and at the same of each."""
    ends = len(mine), len(other)
    some = {mine[:cut] + other[cut * ends[1] // ends[0] :] for cut in range(len(mine))}
    return sorted((some | {mine[:cut] + other[cut:] for cut in range(min(ends))}) - {mine})


def heard(server: Session, frame: bytes) -> PeerFault | None:
    try:
        server.receive(frame, NOW_MS)
    except PeerFault as fault:
        return fault
    return None


@pytest.mark.parametrize("known", [False, True])
def test_a_greeting_with_the_tail_of_another_is_refused_wherever_it_is_cut(known: bool) -> None:
    a, b = apart()
    faults = []
    for frame in splices(opening(a, HANDSHAKE, known), opening(b, OTHER, known)):
        server = side(SERVER, b)
        fault = heard(server, frame)
        assert fault is not None
        assert not server.outcome.in_sync
        assert server.outcome.peer is None
        assert (server.farewell(fault) is None) == (not isinstance(fault, NotMember))
        assert server.pull(NOW_MS) is None
        faults.append(fault)
    precise = [fault for fault in faults if isinstance(fault, NotMember)]
    assert len(precise) > len(faults) // 2, "well-formed for the most part"
    assert all(SAID in str(fault) for fault in precise)


@pytest.mark.parametrize("known", [False, True])
def test_before_minor_version_2_such_a_frame_was_believed(known: bool) -> None:
    """So that the frames of the test above are those that matter."""
    a, b = apart()
    believed = 0
    for frame in splices(opening(a, old(HANDSHAKE), known), opening(b, old(OTHER), known)):
        server = side(SERVER, b, handshake=old(HANDSHAKE))
        if heard(server, frame) is None and server.outcome.in_sync:
            believed += 1
            client = side(CLIENT, a, handshake=old(HANDSHAKE), agreed=a.root()[0] if known else b"")
            client.open(NOW_MS)
            client.receive(pulled(server)[0], NOW_MS)
            assert client.outcome.in_sync
            assert client.outcome.root != server.outcome.root
    assert believed


def test_same_with_the_tail_of_another_or_of_another_session_is_refused() -> None:
    a, b = apart()
    root = a.root()[0]
    mine = frames.encode(Same(b"m" * 8, NOW_MS, Proofs(KEYS, SERVER, HANDSHAKE).same(b.root()[0])))
    other = frames.encode(Same(b"n" * 8, NOW_MS + 999, Proofs(KEYS, SERVER, OTHER).same(root)))
    old_form = frames.encode(Same(b"n" * 8, NOW_MS))
    for frame in [*splices(mine, other), other, mine, old_form, pack_plain([9, b"n" * 8, NOW_MS])]:
        client = side(CLIENT, a, agreed=root)
        client.open(NOW_MS)
        fault = heard(client, frame)
        assert isinstance(fault, Malformed)
        assert NOT_SAID in str(fault) or frame not in {other, mine, old_form}
        assert not client.outcome.in_sync


@pytest.mark.parametrize("minors", [(1, 1), (1, 2), (2, 1)])
def test_a_server_before_minor_version_2_says_same_without_a_proof(minors: tuple[int, int]) -> None:
    a = twins(20)[0]
    both = HANDSHAKE._replace(client_minor=minors[0], server_minor=minors[1])
    for frame in frames.encode(Same(b"n" * 8, NOW_MS)), pack_plain([9, b"n" * 8, NOW_MS]):
        client = side(CLIENT, a, handshake=both, agreed=a.root()[0])
        client.open(NOW_MS)
        client.receive(frame, NOW_MS)
        assert client.outcome.in_sync


def ending(said: Message, role: str = CLIENT) -> Session:
    """A side of a session in its first turn that then hears an END or BYE. Its root is that of `apart()[0]`."""
    mine = side(role, apart()[0])
    if role == CLIENT:
        mine.open(NOW_MS)
        tell(mine, Hello(2, b"", b"n" * 8, "", NOW_MS, 20))
    else:
        tell(mine, Proofs(KEYS, CLIENT, HANDSHAKE).proved(Hello(2, b"", b"n" * 8, "", NOW_MS, 20, ROOT)))
        pulled(mine)
    tell(mine, said)
    return mine


@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_an_end_of_another_session_or_of_our_own_ends_none(role: str) -> None:
    """Raw roots, those of another session, and our own words thrown back are no roots of the peer's."""
    root, peer = apart()[0].root()[0], SERVER if role == CLIENT else CLIENT
    false = root, Proofs(KEYS, peer, OTHER).ours(root), Proofs(KEYS, role, HANDSHAKE).ours(root)
    for said in false:
        assert not ending(End(said, 20, False, 0, 0), role).closed
        with pytest.raises(Malformed, match="a root that was never ours"):
            ending(Bye(IN_SYNC, "", said, 0, ()), role)
    true = Proofs(KEYS, peer, HANDSHAKE).ours(root)
    assert ending(Bye(IN_SYNC, "", true, 0, ()), role).outcome.in_sync
    mine = ending(End(true, 20, False, 0, 0), role)
    assert mine.outcome.in_sync
    assert [type(frames.decode(frame)) for frame in pulled(mine)] == [Bye]


@pytest.mark.parametrize("greeting", [HELLO, PROBE], ids=["hello", "probe"])
def test_1_the_proof_covers_every_field_of_a_greeting_and_nothing_that_a_later_version_adds(greeting: Hello | Probe) -> None:
    proofs = Proofs(KEYS, CLIENT, HANDSHAKE)
    proved = proofs.proved(greeting)
    assert proofs.proves(proved)
    assert not proofs.proves(greeting)
    other = {
        "version": 3, "proof": bytes(32), "node": b"m" * 8, "name": "m", "wall_ms": NOW_MS + 1, "count": 21,
        "root": bytes(16), "agreed": b"", "news": 2, "counters": b"", "cells": bytes(196), "sample": ((bytes(16),) * 2,),
    }  # fmt: skip
    for field in fields(greeting):
        changed = replace(proved, **{field.name: other[field.name]})  # type: ignore[arg-type]
        assert not proofs.proves(changed), field.name
    parts = unpack(frames.encode(proved), arrays_max=1, array_max=16)
    assert isinstance(parts, tuple)
    longer = frames.decode(pack_plain([*parts, "added later"]))
    assert isinstance(longer, Hello | Probe)
    assert proofs.proves(longer)


def test_2_a_root_is_said_otherwise_in_each_session_by_each_side_and_of_each_root() -> None:
    def said(role: str, handshake: Handshake, root: bytes) -> bytes:
        return Proofs(KEYS, role, handshake).ours(root)

    others = [said(SERVER, HANDSHAKE, ROOT), said(CLIENT, OTHER, ROOT), said(CLIENT, HANDSHAKE, bytes(16)), ROOT]
    assert len({said(CLIENT, HANDSHAKE, ROOT), *others}) == 5
    assert {len(root) for root in others} == {16}
    assert Proofs(KEYS, SERVER, HANDSHAKE).theirs(ROOT) == said(CLIENT, HANDSHAKE, ROOT)
    assert Proofs(KEYS, CLIENT, HANDSHAKE).theirs(ROOT) == said(SERVER, HANDSHAKE, ROOT)


@pytest.mark.parametrize("minors", [(0, 2), (1, 2), (2, 1), (1, 1)])
def test_3_before_minor_version_2_a_proof_is_of_the_handshake_alone(minors: tuple[int, int]) -> None:
    assert COVERING == 2 <= limits.MINOR
    both = HANDSHAKE._replace(client_minor=minors[0], server_minor=minors[1])
    for role in CLIENT, SERVER:
        proofs = Proofs(KEYS, role, both)
        assert proofs.proved(HELLO).proof == KEYS.proof(CLIENT, both)
        assert (proofs.ours(ROOT), proofs.theirs(ROOT), proofs.same(ROOT)) == (ROOT, ROOT, b"")

"""Who may come in: what a session tells strangers, other versions, itself, and copies that never were copies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames, limits
from protocol.errors import (
    DifferentRows,
    LimitExceeded,
    Malformed,
    NotMember,
    PeerFault,
    PeerRefused,
    WrongVersion,
)
from protocol.hlc import base_stamp, pack
from protocol.keys import CLIENT, SERVER, Handshake, Keys, content_hash
from protocol.messages import (
    Bye,
    Hello,
    Message,
    Probe,
    Same,
)
from protocol.outcome import ENDINGS
from protocol.proofs import Proofs
from tests.protocol.memory_store import (
    GROUP,
    HANDSHAKE,
    KEYS,
    NOW_MS,
    MemoryStore,
    run,
    sync,
)
from tests.protocol.memory_store import session as side
from tests.protocol.test_descent import converge, twins
from tests.protocol.test_messages import anything
from tests.protocol.test_session import ROOT, tell

# --- 3. strangers ---------------------------------------------------------------------------------------------------


def test_3_a_client_without_the_access_key_learns_nothing() -> None:
    store = twins(20)[0]
    stranger = side(CLIENT, MemoryStore(), keys=Keys(GROUP._replace(access_key=b"guess" * 6 + b"..")))
    talk = run(stranger, side(SERVER, store))
    (fault, told) = talk.faults
    assert isinstance(fault, NotMember)
    assert "could not verify that you are a member of its group: join with a fresh invite" in str(fault)
    (bye,) = map(frames.decode, talk.said_by(SERVER))
    assert bye == Bye("not-member", str(fault), bytes(16), 0, ())
    assert isinstance(told, PeerRefused)
    assert (stranger.outcome.code, stranger.outcome.peer) == ("not-member", None)
    assert talk.server.outcome.peer is None


@pytest.mark.parametrize(
    "proof",
    [
        b"",
        bytes(32),
        KEYS.proof(SERVER, HANDSHAKE),
        KEYS.proof(CLIENT, HANDSHAKE._replace(client_nonce=b"x" * 16)),
        Keys(GROUP._replace(group=bytes(16))).proof(CLIENT, HANDSHAKE),
    ],
    ids=["none", "zeros", "the server's", "of another session", "of another group"],
)
@pytest.mark.parametrize("probe", [False, True])
def test_3_nor_does_one_with_another_proof(proof: bytes, probe: bool) -> None:
    store = twins(20)[0]
    server, root = side(SERVER, store), store.root()[0]
    said = Probe(proof, b"n" * 8, NOW_MS, root) if probe else Hello(2, proof, b"n" * 8, "", NOW_MS, 0, root)
    with pytest.raises(Malformed if probe and not proof else NotMember, match=r"could not verify|a proof has 32 bytes"):
        tell(server, said)
    assert not server.speaking
    assert server.outcome.peer is None


@given(st.one_of(st.binary(max_size=60), anything.map(frames.encode)))
def test_3_whatever_a_stranger_says_it_is_told_nothing_and_believed_nothing(frame: bytes) -> None:
    server = side(SERVER, twins(20)[0])
    with pytest.raises(PeerFault) as caught:
        server.receive(frame, NOW_MS)
    answer = server.farewell(caught.value)
    if isinstance(caught.value, NotMember | WrongVersion):
        assert answer is not None
        assert frames.decode(answer) == Bye(caught.value.code, str(caught.value), bytes(16), 0, ())
    else:
        assert answer is None
    assert server.pull(NOW_MS) is None
    assert not server.outcome.in_sync
    assert server.outcome.code not in ENDINGS
    assert server.outcome.reasons == []


@pytest.mark.parametrize("code", sorted(ENDINGS))
def test_3_a_stranger_cannot_say_how_a_session_ended_that_never_began(code: str) -> None:
    store = twins(20)[0]
    server = side(SERVER, store)
    with pytest.raises(Malformed, match="how a session ended that never began") as caught:
        tell(server, Bye(code, "", store.root()[0], 7, ("because",)))
    assert server.farewell(caught.value) is None
    assert not server.outcome.in_sync
    assert (server.outcome.refused, server.outcome.reasons, server.outcome.peer) == (0, [], None)


def test_3_a_long_first_frame_is_not_even_decoded() -> None:
    with pytest.raises(LimitExceeded, match="a first frame of 4097 bytes: at most 4096"):
        side(SERVER, MemoryStore()).receive(b"x" * 4_097, NOW_MS)


def test_another_version_is_told_apart_from_a_stranger() -> None:
    server = side(SERVER, twins(20)[0])
    with pytest.raises(WrongVersion, match="the peer speaks version 3, this node 2: update the older") as caught:
        tell(server, Hello(3, b"", b"n" * 8, "", NOW_MS, 0, ROOT))
    answer = server.farewell(caught.value)
    assert answer is not None
    assert frames.decode(answer) == Bye("version", str(caught.value), bytes(16), 0, ())


@pytest.mark.parametrize(
    ("role", "change", "kind", "why"),
    [
        (CLIENT, {"version": 0}, WrongVersion, "the peer speaks version 0"),
        (SERVER, {"version": 1}, WrongVersion, "the peer speaks version 1"),
        (SERVER, {"root": b""}, Malformed, "a client says its root"),
        (CLIENT, {"agreed": ROOT}, Malformed, "the peer remembers an agreement that nobody named"),
    ],
)
def test_a_member_that_cannot_be_a_peer_is_told_why(
    role: str, change: dict[str, object], kind: type[PeerFault], why: str
) -> None:
    parts = {
        "version": 2, "proof": b"", "node": b"n" * 8, "name": "", "wall_ms": NOW_MS, "count": 0, "root": ROOT,
    }  # fmt: skip
    mine = side(role, twins(20)[0])
    if role == CLIENT:
        mine.open(NOW_MS)
    with pytest.raises(kind, match=why) as caught:
        tell(mine, Proofs(KEYS, CLIENT, HANDSHAKE).proved(Hello(**(parts | change))))  # type: ignore[arg-type]
    assert mine.farewell(caught.value) is not None


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@pytest.mark.parametrize("known", [False, True])
def test_who_meets_its_own_instance_is_told_why(role: str, known: bool) -> None:
    """It is the first 8 bytes of both nonces. The rest of them is random."""
    a, both = twins(20)[0], Handshake(b"instance" + b"c" * 8, b"instance" + b"s" * 8, limits.MINOR, limits.MINOR)
    client = side(CLIENT, a, handshake=both, agreed=a.root()[0] if known else b"")
    said, mine = client.open(NOW_MS), side(SERVER, a, handshake=both)
    if role == CLIENT:
        said, mine = frames.encode(Same(b"n" * 8, NOW_MS) if known else Hello(2, b"", b"n" * 8, "", 0, 0)), client
    with pytest.raises(Malformed, match="this address leads back to this very node") as caught:
        mine.receive(said, NOW_MS)
    assert mine.farewell(caught.value) is not None


@pytest.mark.parametrize(
    ("role", "said", "why"),
    [
        (SERVER, Same(b"n" * 8, NOW_MS), "a client does not answer"),
        (CLIENT, Probe(bytes(32), b"n" * 8, NOW_MS, ROOT), "a server does not probe"),
    ],
)
def test_only_a_client_probes_and_only_a_server_answers(role: str, said: Message, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        tell(side(role, twins(20)[0]), said)


def test_a_server_names_no_agreement_that_the_client_forgot() -> None:
    """It was told at which root they agreed, but its history does not reach back; nor is it in its HELLO."""
    a = twins(20)[0]
    agreed = a.root()[0]
    a.insert(99, pack(NOW_MS, 0, b"ann....."), {"name": "x"})
    a.past.clear()
    client = side(CLIENT, a, agreed=agreed)
    opening = frames.decode(client.open(NOW_MS))
    assert isinstance(opening, Hello)
    assert opening.agreed == b""
    with pytest.raises(Malformed, match="an agreement that nobody named"):
        tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 20, b"", agreed))


# --- adopted rows ---------------------------------------------------------------------------------------------------


def adopted(rows: dict[int, str]) -> MemoryStore:
    """A store made of a database that was there before."""
    store = MemoryStore()
    for number, name in rows.items():
        store.insert(number, base_stamp(content_hash(name.encode())), {"name": name})
    return store


def rows(count: int, different: int) -> dict[int, str]:
    """Rows of which some are somebody else's."""
    return {i: f"{'other' if i < different else 'same'} {i}" for i in range(count)}


@pytest.mark.parametrize("swap", [False, True])
def test_two_databases_that_were_never_copies_are_not_mixed(swap: bool) -> None:
    a, b = adopted(rows(50, 0)), adopted(rows(50, 40))
    before = a.root(), b.root()
    talk = sync(*((b, a) if swap else (a, b)), sample=True)
    fault, _ = talk.faults
    assert isinstance(fault, DifferentRows)
    assert "same keys, different rows: of 50 adopted rows compared, 40 differ" in str(fault)
    assert "sync with --accept-different" in str(fault)
    assert [o.code for o in talk.outcomes] == ["different-rows", "different-rows"]
    assert (a.root(), b.root()) == before
    converge(a, b)


@pytest.mark.parametrize(("different", "stops"), [(0, False), (10, False), (11, True)])
def test_a_fifth_of_the_rows_may_differ(different: int, stops: bool) -> None:
    talk = sync(adopted(rows(50, 0)), adopted({**rows(50, different), 99: "only here"}), sample=True)
    assert bool(talk.faults) == stops


def test_the_sample_is_of_at_most_64_rows_and_written_rows_do_not_count() -> None:
    a, b = adopted(rows(300, 0)), adopted(rows(300, 1))
    b.update(5, pack(NOW_MS, 0, b"bob....."), {"name": "edited"})
    talk = sync(a, b, sample=True)
    assert not talk.faults
    greetings = [m for _, frame in talk.frames if isinstance(m := frames.decode(frame), Hello)]
    assert [len(hello.sample) for hello in greetings] == [64, 0]


def test_acquaintances_are_not_compared_again() -> None:
    a, b = adopted(rows(50, 0)), adopted(rows(50, 40))
    agreed = a.root()[0]
    a.update(5, pack(NOW_MS, 0, b"ann....."), {"name": "edited"})
    talk = sync(a, b, sample=True, agreed=agreed)
    assert not talk.faults

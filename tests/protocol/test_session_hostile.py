"""A conversation with a peer that says what nobody should: PeerFault is raised, nothing changes, it is told, and it ends."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import frames, limits
from protocol.errors import (
    LimitExceeded,
    Malformed,
    PeerRefused,
)
from protocol.hlc import Clock, pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import (
    Bye,
    Cells,
    Described,
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
from protocol.outcome import IN_SYNC, UNEXPLAINED
from protocol.record import decode, pack_id
from protocol.session import Self, Session
from protocol.states import TRANSITIONS, State
from protocol.trie import Entry, Inner, Node
from tests.protocol.memory_store import (
    HANDSHAKE,
    KEYS,
    NOW_MS,
    MemoryStore,
    fragment,
    run,
    sync,
    trie_alone,
)
from tests.protocol.strategies import colleagues, fill
from tests.protocol.test_descent import limited, twins
from tests.protocol.test_messages import anything
from tests.protocol.test_session import ROOT, WAYS, Ways, fault_of, listening, tell

# --- 2. hostile frames ----------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(st.lists(st.one_of(anything, st.binary(max_size=30)), max_size=12))
def test_2_whatever_a_peer_sends_only_peer_fault_is_raised_and_a_refused_frame_changes_nothing(
    said: list[Message | bytes],
) -> None:
    server = listening(twins(40)[0])
    for message in said:
        before = server._store.root()
        frame = message if isinstance(message, bytes) else frames.encode(message)
        fault = fault_of(server, frame)
        if fault is not None:
            assert server._store.root() == before
            assert server.farewell(fault) is not None or isinstance(fault, PeerRefused)
            assert server.closed
            return
        while server.speaking and server.pull(NOW_MS) is not None:
            pass


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_2_frames_changed_on_the_way_never_do_worse(seed: int) -> None:
    """A whole conversation through a wire that flips a byte now and then."""
    a, b = colleagues(seed, 40, 10, 10)
    random = Random(seed)

    class Noisy(Session):
        def receive(self, frame: bytes, now_ms: int) -> None:
            if random.random() < 0.2:
                at = random.randrange(len(frame))
                frame = frame[:at] + bytes([random.randrange(256)]) + frame[at + 1 :]
            super().receive(frame, now_ms)

    me = [Self(role.encode()[:1] * 8, role) for role in (CLIENT, SERVER)]
    run(Noisy(CLIENT, KEYS, a, me[0], HANDSHAKE), Noisy(SERVER, KEYS, b, me[1], HANDSHAKE))


@pytest.mark.parametrize("state", State)
def test_a_message_in_the_wrong_state_is_refused_in_words(state: State) -> None:
    record = decode(fragment(b"\x91\x01", born=bytes(16)))
    samples: list[Message] = [
        Hello(2, b"", bytes(8), "", 0, 0, ROOT), Probe(bytes(32), bytes(8), 0, ROOT), Same(bytes(8), 0),
        Cells(8, False, bytes(224)), More(8), Listing(()), Pick(()), Nodes(0, ()), Have(0, False, ()), Want(0, ()),
        Records((record,)), End(ROOT, 0, False, 0, 0), Bye("limit", "", ROOT, 0, ()),
    ]  # fmt: skip
    for message in samples:
        if type(message) not in TRANSITIONS[state]:
            server = listening(twins(20)[0])
            server.state = state
            with pytest.raises(Malformed, match=f"^{type(message).__name__} while {state.value}$"):
                tell(server, message)


@pytest.mark.parametrize(
    "message",
    [Nodes(3, ()), Have(3, False, ()), Want(3, ()), Have(0, False, ()), Want(0, ()), Nodes(limits.ROUNDS_MAX, ())],
)
def test_a_frame_of_another_round_is_refused(message: Message) -> None:
    with pytest.raises(Malformed, match=r"a frame of round \d in round -1"):
        tell(listening(twins(20)[0]), message)


def test_a_record_that_is_none_spoils_its_frame_and_nothing_else() -> None:
    store = twins(20)[0]
    server, before = listening(store), store.root()
    good = decode(fragment(pack_id([99]), born=pack(NOW_MS, 0, b"ann....."), fields={"name": "x"}))
    with pytest.raises(Malformed, match="at or below the floor"):
        tell(server, Records((good, good._replace(floor=b"\xff" * 16))))
    assert store.root() == before


# --- 4. every session ends ------------------------------------------------------------------------------------------


class Liar(MemoryStore):
    """A peer whose digests are never true."""

    def __init__(self, seed: int, lie: str) -> None:
        super().__init__()
        fill(self, Clock(b"founder."), 30)
        self._random, self._lie = Random(seed), lie

    def root(self) -> tuple[bytes, int]:
        return self._random.randbytes(16), 30

    def node(self, prefix: str) -> Node:
        if self._lie == "endless":
            return Inner(tuple(self._random.randbytes(16) for _ in range(16)))
        if self._lie == "digests" and len(prefix) < 3:
            return Inner(tuple(self._random.randbytes(16) for _ in range(16)))
        return super().node(prefix)

    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        found = super().entries(prefix, after, limit)
        return [(key, self._random.randbytes(16)) for key, _ in found] if self._lie == "digests" else found


@WAYS
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("lie", ["root", "digests", "endless"])
def test_4_a_session_with_a_liar_ends(lie: str, swap: bool, ways: Ways) -> None:
    with ways(), limited(TURNS_MAX=60):
        honest, liar = twins(30)[0], Liar(1, lie)
        talk = sync(*((liar, honest) if swap else (honest, liar)))
    outcome = talk.outcomes[1 if swap else 0]
    assert outcome.code in {UNEXPLAINED, "limit"}
    assert len(talk.frames) < 1_000
    assert len(honest.state) == 30, "and nothing of ours was lost"


def test_4_equal_records_under_a_wrong_root_are_an_unexplained_difference() -> None:
    talk = sync(twins(30)[0], Liar(1, "root"))
    assert [o.code for o in talk.outcomes] == [UNEXPLAINED, UNEXPLAINED]
    assert talk.outcomes[0].rounds == limits.ROUNDS_MAX
    assert "run `replica verify` on both" in talk.outcomes[1].text


def test_4_turns_without_end_are_cut_off() -> None:
    server = listening(twins(30)[0])
    with limited(TURNS_MAX=5), pytest.raises(LimitExceeded, match="more than 5 turns in one session"):
        for _ in range(10):
            tell(server, Nodes(0, ()), End(ROOT, 0, False, 0, 0))
            while server.speaking:
                server.pull(NOW_MS)


def test_4_rounds_without_end_are_cut_off() -> None:
    server = listening(twins(30)[0])
    tell(server, *(Nodes(number, ()) for number in range(limits.ROUNDS_MAX)))
    with pytest.raises(Malformed, match="a frame of round 8 in round 7"):
        tell(server, Nodes(limits.ROUNDS_MAX, ()))


def test_4_nodes_without_end_are_cut_off() -> None:
    server = listening(twins(30)[0])
    with pytest.raises(LimitExceeded, match="describes nodes without end"):
        for _ in range(10):
            tell(server, Nodes(0, (Described("", False, ()),) * 2_000))


def test_4_a_peer_cannot_say_in_sync_about_a_root_that_was_never_ours() -> None:
    server = listening(twins(30)[0])
    with pytest.raises(Malformed, match="a root that was never ours"):
        tell(server, Bye(IN_SYNC, "", ROOT, 0, ()))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 150), st.integers(0, 60), st.booleans())
def test_4_each_side_speaks_only_in_its_own_turn(seed: int, common: int, edits: int, trie: bool) -> None:
    with trie_alone() if trie else nullcontext():
        talk = sync(*colleagues(seed, common, edits, edits))
    (_, opening), *turns = [(role, frames.decode(frame)) for role, frame in talk.frames]
    assert isinstance(opening, Hello)
    closing = [CLIENT, *(role for role, message in turns if isinstance(message, End | Bye | Same))]
    assert all(a != b for a, b in itertools.pairwise(closing)), "turns alternate"
    assert all(isinstance(message, Hello | Same) == (at == 0) for at, (_, message) in enumerate(turns))
    ended = CLIENT
    for role, message in turns:
        assert role != ended, "nothing is said after END until the other has ended"
        ended = role if isinstance(message, End) else ""


# --- saying goodbye -------------------------------------------------------------------------------------------------


def test_a_fault_of_the_peer_is_told_to_it_in_words() -> None:
    server = listening(twins(20)[0])
    frame = server.farewell(Malformed("x" * 9_999))
    assert frame is not None
    assert frames.decode(frame) == Bye("malformed", "x" * 500, bytes(16), 0, ())
    assert server.closed
    assert (server.outcome.code, server.pull(NOW_MS)) == ("malformed", None)


def test_a_fault_of_our_own_is_not_told_in_detail() -> None:
    frame = listening(twins(20)[0]).farewell(OSError("/home/ann/crm.db: disk full"))
    assert frame is not None
    bye = frames.decode(frame)
    assert isinstance(bye, Bye)
    assert (bye.code, bye.text) == ("failed", "the other side had a failure of its own; see its log")


def test_a_refusal_of_our_own_is_told_and_the_peers_is_not_told_back() -> None:
    busy = listening(twins(20)[0]).farewell(PeerRefused("busy", "we are syncing already"))
    assert busy is not None
    server = listening(twins(20)[0])
    with pytest.raises(PeerRefused, match=r"the peer ended the session \(busy\)") as caught:
        server.receive(busy, NOW_MS)
    assert server.farewell(caught.value) is None
    assert server.outcome.code == "busy"


def test_a_session_that_is_cut_off_says_so() -> None:
    outcome = listening(twins(20)[0]).outcome
    assert (outcome.code, outcome.text) == ("cut", "the connection ended before the session did")

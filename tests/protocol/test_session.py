"""A conversation between two nodes: what it promises, whoever the other one is and wherever it breaks off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from protocol import frames, limits
from protocol.descent import Applied
from protocol.errors import (
    Malformed,
    PeerFault,
)
from protocol.hlc import Clock, pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import (
    Bye,
    Described,
    End,
    Have,
    Hello,
    Message,
    Nodes,
    Pick,
    Probe,
    Same,
    Want,
)
from protocol.outcome import CHANGING, IN_SYNC, REFUSED, UNEXPLAINED
from protocol.proofs import Proofs
from protocol.record import Delta, pack_id
from protocol.session import Session
from protocol.sketch import cells_size
from protocol.states import TRANSITIONS, State
from protocol.trie import fingerprint, slice_of
from tests.protocol.memory_store import (
    HANDSHAKE,
    HASHES,
    KEYS,
    NOW_MS,
    MemoryStore,
    Talk,
    key_of,
    run,
    sync,
    trie_alone,
)
from tests.protocol.memory_store import session as side
from tests.protocol.strategies import colleagues, fill
from tests.protocol.test_descent import converge, copy, limited, twins

ROOT = bytes(range(16))
SKETCH_BYTES = limits.SKETCH_COUNTERS + cells_size(limits.SKETCH_WIDTH_MIN)
WAYS = pytest.mark.parametrize("ways", [nullcontext, trie_alone], ids=["all", "trie"])
"""With all ways to find what differs, and with the trie alone."""
FUTURE = pack(NOW_MS + limits.DRIFT_MS_MAX + 60_000, 0, b"laptop-9")


Ways = Callable[[], AbstractContextManager[None]]


def listening(store: MemoryStore) -> Session:
    """A server that has greeted, had nothing to say, and waits for the client's first turn."""
    with trie_alone():
        server = side(SERVER, store)
        server.receive(side(CLIENT, MemoryStore()).open(NOW_MS), NOW_MS)
    assert [type(frames.decode(frame)) for frame in pulled(server)] == [Hello, End]
    return server


def pulled(session: Session) -> list[bytes]:
    """All that a session says until it listens."""
    frames = []
    while session.speaking and (frame := session.pull(NOW_MS)) is not None:
        frames.append(frame)
    return frames


def tell(to: Session, *said: Message) -> None:
    """Let a session hear these messages."""
    for message in said:
        to.receive(frames.encode(message), NOW_MS)


def fault_of(to: Session, frame: bytes) -> PeerFault | None:
    """What a session has to say against a frame."""
    try:
        to.receive(frame, NOW_MS)
    except PeerFault as fault:
        return fault
    return None


# --- how it ends ----------------------------------------------------------------------------------------------------


@WAYS
def test_equal_stores_need_one_round_trip_and_less_than_100_bytes_besides_the_proofs_and_a_sketch(ways: Ways) -> None:
    a, b = twins(100)
    with ways():
        talk = sync(a, b)
    assert [type(frames.decode(frame)) for _, frame in talk.frames] == [Hello, Same]
    assert [o.code for o in talk.outcomes] == [IN_SYNC, IN_SYNC]
    assert talk.outcomes[0].round_trips == 1
    assert talk.size_bytes() - 32 - 16 - (SKETCH_BYTES if ways is nullcontext else 0) < 100


def test_equal_acquaintances_need_one_round_trip_and_64_bytes_besides_the_proofs() -> None:
    a, b = twins(100)
    talk = sync(a, b, agreed=a.root()[0])
    assert [type(frames.decode(frame)) for _, frame in talk.frames] == [Probe, Same]
    assert [o.code for o in talk.outcomes] == [IN_SYNC, IN_SYNC]
    assert [o.root for o in talk.outcomes] == [a.root()[0]] * 2
    assert talk.outcomes[0].round_trips == 1
    assert talk.size_bytes() - 32 - 16 <= 64


@pytest.mark.parametrize("known", [False, True])
def test_both_sides_see_the_same_even_if_one_writes_while_they_greet(known: bool) -> None:
    a, b = twins(20)
    at_first = a.root()[0]
    client, server = side(CLIENT, a, agreed=at_first if known else b""), side(SERVER, b)
    opening = client.open(NOW_MS)
    a.insert(99, pack(NOW_MS, 0, b"ann....."), {"name": "written meanwhile"})
    server.receive(opening, NOW_MS)
    answer = server.pull(NOW_MS)
    assert answer is not None
    client.receive(answer, NOW_MS)
    assert (client.closed, server.closed) == (True, True)
    assert client.outcome.in_sync
    assert server.outcome.in_sync
    assert client.outcome.root == server.outcome.root == at_first, "what the client remembers as agreed"


def test_an_outcome_tells_what_happened() -> None:
    a, b = colleagues(3, 60, 10, 10)
    talk = converge(a, b)
    client, server = talk.outcomes
    assert client.in_sync
    assert (client.root, client.count) == (server.root, server.count) == a.root()
    assert (client.sent, client.received) == (server.received, server.sent)
    assert client.changed > 0
    assert server.changed > 0
    assert client.peer is not None
    assert server.peer is not None
    assert (client.peer.name, client.peer.node, client.peer.instance) == ("server", b"s" * 8, b"s" * 8)
    assert (server.peer.name, server.peer.node, server.peer.instance) == ("client", b"c" * 8, b"c" * 8)
    assert client.offset_ms == 0


def test_an_outcome_of_equal_stores_names_the_peer_as_the_group_does() -> None:
    a, b = twins(30)
    talk = sync(a, b, agreed=a.root()[0])
    for outcome, node in zip(talk.outcomes, (b"s" * 8, b"c" * 8), strict=True):
        assert outcome.peer is not None
        assert (outcome.peer.node, outcome.peer.name) == (node, node.hex())


class Restless(MemoryStore):
    """A store whose users write all the time: a record more whenever somebody looks."""

    def __init__(self, node: bytes) -> None:
        super().__init__()
        self._clock = Clock(node)

    def root(self) -> tuple[bytes, int]:
        stamp = self._clock.tick(NOW_MS)
        self.insert(int.from_bytes(stamp[4:12], "big"), stamp, {"name": "new"})
        return super().root()


@WAYS
def test_if_both_keep_writing_the_session_ends_after_8_rounds_and_calls_it_caught_up(ways: Ways) -> None:
    a, b = Restless(b"ann....."), Restless(b"bob.....")
    with ways():
        talk = sync(a, b)
    assert [o.code for o in talk.outcomes] == [CHANGING, CHANGING]
    assert talk.outcomes[0].rounds == limits.ROUNDS_MAX
    assert talk.outcomes[0].text == "both sides kept writing"


def test_who_still_has_nodes_to_describe_is_not_idle() -> None:
    store = MemoryStore()
    fill(store, Clock(b"founder."), 600)
    server = listening(store)
    tell(server, Nodes(0, (Described("", True, (b"lie",) * 16),)), End(ROOT, 0, True, 0, 0))
    idle = []
    with limited(NODES_PER_TURN=6):
        for _ in range(3):
            while server.state is State.SPEAKING:
                frame = server.pull(NOW_MS)
                assert frame is not None
                message = frames.decode(frame)
                if isinstance(message, End):
                    idle.append(message.idle)
            tell(server, End(ROOT, 0, True, 0, 0))
    assert idle == [False, False, True]


@pytest.mark.parametrize(
    ("applied", "refused", "rounds", "code"),
    [
        (1, 0, 1, None),
        (1, 1, 1, None),
        (0, 0, 1, None),
        (0, 1, 1, REFUSED),
        (1, 0, 8, CHANGING),
        (1, 1, 8, CHANGING),
        (0, 1, 8, REFUSED),
        (0, 0, 8, UNEXPLAINED),
    ],
)
def test_what_the_client_makes_of_the_end_of_a_round(applied: int, refused: int, rounds: int, code: str | None) -> None:
    """None: it begins the next. The other side changed or refused something; here nothing happened."""
    client = side(CLIENT, twins(20)[0])
    client.open(NOW_MS)
    tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 20), End(ROOT, 0, True, 0, 0))
    for number in range(1, rounds + 1):
        while client.state is State.SPEAKING:
            client.pull(NOW_MS)
        assert client.outcome.rounds == number
        last = number == rounds
        tell(client, End(ROOT, 0, True, applied if last else 1, refused if last else 0))
    if code is None:
        assert client.state is State.SPEAKING
        assert client.outcome.rounds == rounds + 1
    else:
        assert client.outcome.code == code
        frame = client.pull(NOW_MS)
        assert frame is not None
        bye = frames.decode(frame)
        assert isinstance(bye, Bye)
        assert bye.code == code


def test_a_write_after_the_roots_were_compared_is_no_failure() -> None:
    server = listening(twins(20)[0])
    tell(server, Nodes(0, ()), End(ROOT, 0, True, 0, 0))
    while server.state is State.SPEAKING:
        server.pull(NOW_MS)
    said = server.outcome.root
    server._store.insert(77, pack(NOW_MS, 0, b"late...."), {"a": 1})  # type: ignore[attr-defined]
    tell(server, Bye(IN_SYNC, "", Proofs(KEYS, CLIENT, HANDSHAKE).ours(said), 0, ()))
    assert (server.outcome.code, server.outcome.text) == (CHANGING, "this side wrote after the roots were compared")


# --- 1. cuts --------------------------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("seed", range(3))
def test_1_cut_after_any_frame_what_was_applied_stays_and_the_next_session_goes_on(seed: int, ways: Ways) -> None:
    with ways(), limited(LEAF_MAX=2, COMPARED_MAX=4, BATCH_RECORDS_MAX=1, QUESTIONS_PER_FRAME=3):
        a, b = colleagues(seed, 40, 8, 8)
        whole_a, whole_b = copy(a), copy(b)
        frames = len(converge(whole_a, whole_b).frames)
        assert frames > 15
        moved_on = 0
        for cut in range(frames):
            left, right = copy(a), copy(b)
            run(side(CLIENT, left), side(SERVER, right), frames_max=cut)
            moved_on += (left.root(), right.root()) != (a.root(), b.root())
            converge(left, right)
            assert left.state == whole_a.state
        assert moved_on > 3, "something was applied before the cut, and stayed"


@WAYS
def test_1_a_frame_cut_anywhere_inside_is_refused_and_changes_nothing(ways: Ways) -> None:
    a, b = colleagues(1, 40, 8, 8)
    with ways():
        cut_inside_every_frame(a, b)


def cut_inside_every_frame(a: MemoryStore, b: MemoryStore) -> None:
    """A conversation whose client's frames arrive incomplete."""
    talk = run(side(CLIENT, copy(a)), side(SERVER, copy(b)))
    heard = talk.said_by(CLIENT)
    for number, frame in enumerate(heard):
        for size in {0, 1, 2, len(frame) // 2, len(frame) - 1}:
            server = side(SERVER, copy(b))
            for earlier in heard[:number]:
                server.receive(earlier, NOW_MS)
                while server.speaking:
                    server.pull(NOW_MS)
            before = server._store.root()
            for broken in (frame[:size], frame + b"\0"):
                with pytest.raises(Malformed):
                    server.receive(broken, NOW_MS)
            assert server._store.root() == before


# --- 5. refusals ----------------------------------------------------------------------------------------------------


def asked_about(talk: Talk, role: str, key: bytes, digest: bytes, stamp: bytes) -> int:
    """How often a side asked for one version of one record, or for what one event wrote in it."""
    print_, times = fingerprint(KEYS.trie, (key, digest)), 0
    (item,) = HASHES.prints(key + stamp)
    for frame in talk.said_by(role):
        match frames.decode(frame):
            case Pick(heads):
                times += heads.count(item.to_bytes(8, "big")[:4])
            case Want(attempt, leaves):
                times += sum(slice_of(print_, attempt) in prints for _, prints in leaves)
            case Have(_, _, questions):
                times += sum(key.startswith(question.key) for question in questions)
    return times


@WAYS
@pytest.mark.parametrize("dialling", [True, False])
@pytest.mark.parametrize("others", [0, 10])
def test_5_what_was_put_off_is_named_on_both_sides_and_not_asked_for_twice(
    dialling: bool, others: int, ways: Ways
) -> None:
    """A laptop 11 minutes ahead: its new record waits, everything else goes through."""
    a, b = colleagues(4, 40, others, others)
    b.insert(500, FUTURE, {"name": "from the future"})
    a_at_first = copy(a)
    with ways():
        talk = sync(a, b) if dialling else sync(b, a)
    for outcome in talk.outcomes:
        assert outcome.code == REFUSED
        assert outcome.text == "the copies differ in 1 records that were put off or refused"
        assert outcome.refused == 1
        assert not outcome.misled
    mine, theirs = talk.outcomes if dialling else talk.outcomes[::-1]
    assert mine.reasons == ["the peer's clock is ahead"]
    assert theirs.reasons == ["the peer says: the peer's clock is ahead"]
    record = next(r for r in b.state.values() if r.id == pack_id([500]))
    digest = KEYS.digest(record.encode())
    assert asked_about(talk, CLIENT if dialling else SERVER, key_of(record), digest, FUTURE) <= 1
    assert {k: r for k, r in b.state.items() if r.id != pack_id([500])} == a.state
    assert not talk.faults
    if not others:
        assert a.state == a_at_first.state
        assert talk.outcomes[0].rounds == 1

    later = sync(a, b, now_ms=NOW_MS + 3_600_000)
    assert later.outcomes[0].in_sync, "an hour later the clocks agree"


@WAYS
def test_5_a_field_that_was_put_off_does_not_hold_up_the_others(ways: Ways) -> None:
    a, b = twins(40)
    b.update(7, pack(NOW_MS, 0, b"bob....."), {"city": "Bonn"})
    b.update(7, FUTURE, {"name": "later"})
    a.update(7, pack(NOW_MS, 0, b"ann....."), {"mail": "new"})
    with ways():
        talk = sync(a, b)
    assert talk.outcomes[0].code == REFUSED
    mine, theirs = (next(r for r in store.state.values() if r.id == pack_id([7])) for store in (a, b))
    assert [name for name in mine.registers if mine.registers[name] != theirs.registers[name]] == ["name"]


def test_5_reasons_are_few_and_each_is_said_once() -> None:
    class Picky(MemoryStore):
        def apply(self, records: list[Delta], now_ms: int) -> Applied:  # type: ignore[override]
            applied = super().apply(records, now_ms)
            worded = [r._replace(reason=f"reason {i % 30}") for i, r in enumerate(applied.refused)]
            return applied._replace(refused=worded)

    a, b = Picky(), MemoryStore()
    for number in range(100):
        b.insert(number, pack(NOW_MS + 10_000_000, number, b"laptop-9"), {"n": number})
    talk = sync(a, b)
    assert talk.outcomes[0].refused == talk.outcomes[1].refused == 100
    assert talk.outcomes[0].reasons == [f"reason {i}" for i in range(limits.REASONS_MAX)]
    assert talk.outcomes[1].reasons == [f"the peer says: reason {i}" for i in range(limits.REASONS_MAX)]


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_message_has_a_place_in_the_table() -> None:
    assert set().union(*TRANSITIONS.values()) == set(Message.__args__)
    assert set(TRANSITIONS) == set(State)

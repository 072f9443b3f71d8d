"""Both sides join at the same time where they can, and END never lies about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import frames, limits
from protocol.descent import Agenda, Applied
from protocol.errors import Malformed, OurFault, PeerFault
from protocol.hlc import pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import Bye, Cells, End, Hello, Message, Pick, Records
from protocol.reconcile import Reconciler, Way
from protocol.record import Delta, pack_id
from protocol.session import Session
from protocol.states import State
from tests.protocol.liars import couple, honest
from tests.protocol.memory_store import NOW_MS, MemoryStore, key_of, run, session, sync
from tests.protocol.test_descent import limited, moved, twins
from tests.protocol.test_messages import anything
from tests.protocol.test_reconcile import ROOT, ann, bob, edited, in_sync, joined, kinds, said
from tests.protocol.test_session import pulled, tell


def news(store: MemoryStore, count: int, *, more: int = 0) -> list[Records]:
    """So many edits of the server's, each a batch of its own; and `more` of them again in one batch at the end."""
    said = []
    for number in range(count):
        one = MemoryStore(record.encode() for record in store.state.values())
        one.update(50 + number, bob(number), {"city": f"Bob's {number}"})
        (key,) = [key for key, record in one.state.items() if record != store.state[key]]
        said.append(Records((one.state[key].delta({bob(number)}),)))
    return [*said, Records(tuple(message.records[0] for message in said) * more)] if more else said


def acquainted(mine: int = 5) -> tuple[Session, MemoryStore, bytes]:
    """A client that knows what to send, and waits for the server's records."""
    store, _, agreed = edited(100, mine, 0)
    client = session(CLIENT, store, agreed=agreed)
    client.open(NOW_MS)
    tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 100, b"", agreed, 3, b"", b""))
    return client, store, agreed


# --- 1. sent before it is joined, and joined before END ---------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_1_each_sends_its_own_before_it_joins_the_peers_and_end_tells_of_both(known: bool) -> None:
    a, b, agreed = edited(1_000, 30, 30)
    if not known:
        for store in (a, b):
            store.past.clear()
    client, server = session(CLIENT, a, agreed=agreed if known else b""), session(SERVER, b)
    events: list[tuple[str, type[Message] | None]] = []
    for one, store in ((client, a), (server, b)):
        apply = store.apply
        name = CLIENT if one is client else SERVER

        def watched(
            records: list[Delta], now_ms: int, apply: Callable[..., Applied] = apply, name: str = name
        ) -> Applied:
            events.append((name, None))
            return apply(records, now_ms)

        store.apply = watched  # type: ignore[assignment, method-assign]

        def pull(now_ms: int, pull: Callable[[int], bytes | None] = one.pull, name: str = name) -> bytes | None:
            frame = pull(now_ms)
            if frame is not None:
                events.append((name, type(frames.decode(frame))))
            return frame

        one.pull = pull  # type: ignore[method-assign]
    talk = in_sync(run(client, server))
    later = CLIENT if known else SERVER
    mine = [what for who, what in events if who == later]
    assert mine.index(Records) < mine.index(None), "sent, then joined"
    assert mine[mine.index(None) + 1] is End, "joined, then told"
    assert talk.outcomes[0].round_trips == 2
    assert sorted(delta.names for delta in moved(talk)) == [("city",)] * 30 + [("name",)] * 30


def test_1_what_waits_is_joined_before_anything_else_is_heard_but_end() -> None:
    for last in (Bye("limit", "", ROOT, 0, ()), Cells(11, False, bytes(28 * 11))):
        client, store, _ = acquainted()
        before = store.root()
        tell(client, *news(twins(100)[0], 1))
        assert store.root() == before, "it waits"
        with mock.patch.object(store, "cells", return_value=bytes(28 * 11)):
            if isinstance(last, Bye):
                with pytest.raises(PeerFault):
                    tell(client, last)
            else:
                tell(client, last)
        assert store.root() != before


def test_1_after_a_cut_what_waits_is_joined_too() -> None:
    client, store, _ = acquainted()
    before = store.root()
    tell(client, *news(twins(100)[0], 1), End(ROOT, 100, True, 0, 0))
    assert isinstance(frames.decode(client.pull(NOW_MS) or b""), Records)
    assert store.root() == before
    client.settle(NOW_MS)
    after = store.root()
    assert after != before
    client.settle(NOW_MS)
    assert store.root() == after
    assert client.outcome.received == 1


def test_1_who_cannot_say_its_own_joins_what_waits_when_the_caller_ends_the_session() -> None:
    client, store, _ = acquainted()
    before = store.root()
    with mock.patch.object(Agenda, "speech", side_effect=OurFault("the disk is gone")):
        tell(client, *news(twins(100)[0], 1), End(ROOT, 100, True, 0, 0))
        with pytest.raises(OurFault) as failed:
            client.pull(NOW_MS)
    assert store.root() == before
    client.farewell(failed.value)
    client.settle(NOW_MS)
    assert store.root() != before
    assert client.outcome.received == 1


def test_1_what_waits_and_is_no_record_is_refused_before_end_and_changes_nothing() -> None:
    for heard in ((), (End(ROOT, 100, True, 0, 0),)):
        client, store, _ = acquainted()
        before = store.root()
        with mock.patch.object(store, "apply", side_effect=Malformed("no record")):
            tell(client, *news(twins(100)[0], 1), *heard)
            with pytest.raises(Malformed, match="no record"):
                if heard:
                    pulled(client)
                else:
                    tell(client, Pick(()))
        client.settle(NOW_MS)
        assert store.root() == before


@settings(max_examples=100)
@given(st.lists(st.one_of(anything, st.builds(Records, st.just(tuple(news(twins(100)[0], 1)[0].records)))), max_size=8))
def test_1_whatever_a_peer_says_to_one_that_joins_later_only_peer_fault_is_raised(said: list[Message]) -> None:
    client, store, _ = acquainted()
    count = len(store.state)
    try:
        for message in said:
            tell(client, message)
            pulled(client)
    except PeerFault as fault:
        client.farewell(fault)
    with contextlib.suppress(PeerFault):
        client.settle(NOW_MS)
    client.settle(NOW_MS)
    assert client._intake.empty
    assert len(store.state) >= count


@settings(max_examples=120, derandomize=True)
@given(
    st.integers(0, 10_000), st.sampled_from([40, 100, 160]), st.tuples(*(st.sampled_from([1, 5, 25, 70]),) * 2),
    st.tuples(honest, honest), st.sampled_from([*range(6), None]), st.sampled_from([0, 0, 90]),
    st.sampled_from(["both", CLIENT, SERVER]),
)  # fmt: skip
def test_1_beside_an_older_program_or_each_other_all_end_where_those_who_join_at_once_end(
    seed: int, common: int, edits: tuple[int, int], how: object, believed: int | None, shared: int, later: str
) -> None:
    """When one side joins is nothing that the other has to know."""
    results = []
    for mode in (later, ""):
        a, b, roots = couple(seed, common, edits, how, shared)  # type: ignore[arg-type]
        everything = joined(a, b)
        agreed = b"" if believed is None else roots[believed]
        client, server = session(CLIENT, a, agreed=agreed), session(SERVER, b)
        for role, one in ((CLIENT, client), (SERVER, server)):
            if mode not in {"both", role}:
                one._short.__class__ = AtOnce
        talk = in_sync(run(client, server))
        assert a.state == b.state == everything.state
        results.append((talk.outcomes[0].rounds, {type(frames.decode(frame)) for _, frame in talk.frames}))
    assert results[0] == results[1]


class AtOnce(Reconciler):
    """Of a side that joins records as they come."""

    @property
    def apart(self) -> bool:
        """Never."""
        return False


# --- 2. one batch, and none that is full ------------------------------------------------------------------------------


def test_2_one_batch_waits_at_most() -> None:
    client, store, _ = acquainted()
    with mock.patch.object(store, "apply", wraps=store.apply) as apply:
        for count, message in enumerate(news(twins(100)[0], 5)):
            tell(client, message)
            assert apply.call_count == count


def test_2_a_full_batch_is_joined_at_once() -> None:
    client, store, _ = acquainted()
    (*_, full) = news(twins(100)[0], 3, more=1)
    with limited(BATCH_RECORDS_MAX=3), mock.patch.object(store, "apply", wraps=store.apply) as apply:
        tell(client, full)
    assert apply.call_count == 1


def test_2_who_has_nothing_to_say_or_sends_all_that_it_has_joins_at_once() -> None:
    a, b = twins(100)[0], MemoryStore()
    fresh = pack(NOW_MS, 0, b"new.....")
    b.insert(500, fresh, {"name": "the only one"})
    client = session(CLIENT, b)
    client.open(NOW_MS)
    tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 100), *news(a, 1))
    assert client._short.way is Way.STREAM
    assert len(b.state) == 2
    store = twins(100)[0]
    client, before = session(CLIENT, store), store.root()
    client.open(NOW_MS)
    tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 100), *news(a, 1))
    assert (client._short.way, store.root() == before) == (Way.NONE, False)


@pytest.mark.parametrize("room", [0, 1])
def test_2_a_batch_that_is_full_by_its_bytes_is_joined_at_once(room: int) -> None:
    """Full: one more like these would not fit."""
    client, store, _ = acquainted()
    (*_, batch) = news(twins(100)[0], 3, more=1)
    size_of_four = -(-sum(delta.size() for delta in batch.records) * 4 // 3)
    with limited(BATCH_BYTES_FIRST=size_of_four - 1 + room), mock.patch.object(store, "apply", wraps=store.apply) as apply:
        tell(client, batch)
    assert apply.call_count == 1 - room


# --- 3. what the peer overwrites --------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [0, 3])
def test_3_what_the_peers_records_overwrite_is_not_sent_and_spares_the_turn_if_it_was_all(own: int) -> None:
    a, b, agreed = edited(1_000, 20, 0)
    for number in range(20):
        b.update(number, bob(1_000 + number), {"name": f"Bob's later {number}"})
    for number in range(500, 500 + own):
        a.update(number, ann(number), {"name": "hers alone"})
    talk = in_sync(sync(a, b, agreed=agreed))
    assert sorted(delta.id for delta in moved(talk, CLIENT)) == [pack_id([500 + n]) for n in range(own)]
    assert len(moved(talk, SERVER)) == 20
    assert (End in kinds(talk, CLIENT), talk.outcomes[0].round_trips) == (own > 0, 2 if own else 1)


@settings(max_examples=60, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1_000), st.sampled_from(["name", "city"])), max_size=12),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1_000), st.sampled_from(["name", "city", ""])), max_size=12),
    st.sampled_from([1, 2, limits.BATCH_RECORDS_MAX]),
)
def test_3_whoever_wins_both_end_equal_and_the_second_sends_nothing_that_lost(
    mine: list[tuple[int, int, str]], theirs: list[tuple[int, int, str]], at_once: int
) -> None:
    a, b = twins(100)
    agreed = a.root()[0]
    b.root()
    for store, stamp, edits in ((a, ann, mine), (b, bob, theirs)):
        for number, when, name in edits:
            if name:
                store.update(number, stamp(when), {name: f"{number} {when}"})
            else:
                store.delete(number, stamp(when))
    everything = joined(a, b)
    with limited(BATCH_RECORDS_MAX=at_once):
        talk = in_sync(sync(a, b, agreed=agreed))
    assert a.state == b.state == everything.state
    assert talk.outcomes[0].rounds == 0
    for delta in moved(talk, CLIENT):
        assert delta.seen() <= everything.state[key_of(delta)].stamps()
    stamps = {stamp for record in everything.state.values() for stamp in record.stamps()}
    assert bool(moved(talk, CLIENT)) == any(stamp.endswith(b"ann.....") for stamp in stamps)


# --- what the peer says itself is not sent to it ----------------------------------------------------------------------


@pytest.mark.parametrize("own", [0, 2])
def test_what_came_to_the_server_by_another_way_is_not_sent_to_it_again(own: int) -> None:
    """A third told it. If there is nothing else, the client's turn is spared too."""
    a, b, agreed = edited(100, 10, 7)
    for number in range(10):
        b.update(number, ann(number), {"name": f"Ann's {number}"})
    for number in range(own):
        a.update(80 + number, ann(80 + number), {"name": "hers alone"})
    talk = in_sync(sync(a, b, agreed=agreed))
    assert len(moved(talk, SERVER)) == 17
    assert len(moved(talk, CLIENT)) == own
    assert (End in kinds(talk, CLIENT), talk.outcomes[0].round_trips) == (own > 0, 2 if own else 1)


def test_of_a_record_that_both_know_more_of_only_the_rest_is_sent() -> None:
    a, b, agreed = edited(100, 2, 3)
    for number in range(2):
        b.update(number, ann(number), {"name": f"Ann's {number}"})
        a.update(number, ann(50 + number), {"mail": "hers alone"})
    talk = in_sync(sync(a, b, agreed=agreed))
    assert [delta.names for delta in moved(talk, CLIENT)] in ([("mail",)] * 2, [("mail", "name")] * 2)
    assert len(said(talk, CLIENT)) == 3


def test_what_is_read_ahead_is_one_batch() -> None:
    a, b, agreed = edited(100, 20, 3)
    client = session(CLIENT, a, agreed=agreed)
    client.open(NOW_MS)
    with limited(BATCH_RECORDS_MAX=4), mock.patch.object(a, "records", wraps=a.records) as read:
        tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 100, b"", agreed, 3, b"", b""))
        ahead = sum(len(call.args[0]) for call in read.call_args_list)
        tell(client, *news(b, 1), End(ROOT, 100, True, 0, 0))
        sent = [m for m in map(frames.decode, pulled(client)) if isinstance(m, Records)]
    assert ahead == 16, "as many as are read at first"
    assert [len(message.records) for message in sent] == [4] * 5
    assert client.state is State.LISTENING

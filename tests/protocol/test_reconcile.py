"""The short ways say what differs and little else; where they err or lie, the trie makes it good."""

from __future__ import annotations

from collections.abc import Mapping
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import frames, limits
from protocol.errors import OurFault
from protocol.hlc import Clock, pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import (
    Bye,
    Cells,
    End,
    Hello,
    Listing,
    Message,
    More,
    Nodes,
    Pick,
    Probe,
    Records,
    Same,
)
from protocol.outcome import IN_SYNC
from protocol.reconcile import Way
from protocol.session import Session
from tests.protocol.liars import LIES, Lying, couple, honest, lies
from tests.protocol.memory_store import NOW_MS, MemoryStore, Mute, Talk, run, session, sync
from tests.protocol.strategies import fill
from tests.protocol.test_descent import limited, moved, twins
from tests.protocol.test_session import pulled, tell

TRUE = dict.fromkeys(LIES, "true")
ROOT = bytes(range(16))


def ann(number: int) -> bytes:
    """A stamp of Ann's."""
    return pack(NOW_MS, number, b"ann.....")


def bob(number: int) -> bytes:
    """A stamp of Bob's."""
    return pack(NOW_MS, number, b"bob.....")


def said(talk: Talk, by: str | None = None) -> list[Message]:
    """What was said, but for the bulk: the kinds of messages are what differs."""
    return [frames.decode(frame) for role, frame in talk.frames if by in {None, role}]


def kinds(talk: Talk, by: str | None = None) -> list[type[Message]]:
    """The kinds of messages, in order."""
    return [type(message) for message in said(talk, by)]


def in_sync(talk: Talk) -> Talk:
    """See that both ended equal and know it."""
    assert not talk.faults
    assert [outcome.code for outcome in talk.outcomes] == [IN_SYNC, IN_SYNC]
    assert talk.outcomes[0].root == talk.outcomes[1].root
    return talk


def joined(a: MemoryStore, b: MemoryStore) -> MemoryStore:
    """All that either knows."""
    return MemoryStore(record.encode() for store in (a, b) for record in store.state.values())


def ways(talk: Talk) -> tuple[Way, Way]:
    """The client's and the server's."""
    return talk.outcomes[0].way, talk.outcomes[1].way


# --- whatever is known or believed --------------------------------------------------------------------------------


def test_3_whatever_is_remembered_estimated_sketched_or_listed_both_end_equal_and_every_way_is_reached() -> None:
    reached: set[Way] = set()
    heard: set[type[Message]] = set()
    rounds: set[int] = set()

    @settings(max_examples=250, derandomize=True)
    @given(
        st.integers(0, 10_000),
        st.sampled_from([0, 1, 10, 40, 100, 160]),
        st.tuples(st.sampled_from([0, 1, 5, 25, 90]), st.sampled_from([0, 1, 5, 25, 90])),
        st.one_of(st.tuples(honest, honest), st.tuples(lies, honest), st.tuples(honest, lies), st.tuples(lies, lies)),
        st.sampled_from([*range(6), None, "garbage"]),
        st.sampled_from([0, 0, 90]),
    )
    def search(
        seed: int,
        common: int,
        edits: tuple[int, int],
        how: tuple[Mapping[str, str], Mapping[str, str]],
        believed: int | str | None,
        shared: int,
    ) -> None:
        a, b, roots = couple(seed, common, edits, how, shared)
        everything = joined(a, b)
        agreed = roots[believed] if isinstance(believed, int) else ROOT if believed else b""
        talk = in_sync(run(session(CLIENT, a, agreed=agreed), session(SERVER, b)))
        assert a.state == b.state == everything.state
        assert talk.outcomes[0].rounds <= 1
        assert len(talk.frames) < 100
        assert talk.size_bytes() < 1_000_000
        reached.update(ways(talk))
        heard.update(kinds(talk))
        rounds.add(talk.outcomes[0].rounds)

    search()
    assert reached == set(Way)
    assert heard == set(Message.__args__)
    assert rounds == {0, 1}


@settings(max_examples=60, derandomize=True)
@given(
    st.integers(0, 10_000), st.sampled_from([0, 10, 40, 160]), st.integers(0, 40), st.integers(0, 40), st.booleans(),
    st.sampled_from([0, 0, 90]),
)  # fmt: skip
def test_3_honest_hints_find_everything_without_the_trie(
    seed: int, common: int, edits_a: int, edits_b: int, known: bool, shared: int
) -> None:
    """The same examples every time: one in some hundred thousands has two items that look the same."""
    a, b, roots = couple(seed, common, (edits_a, edits_b), (TRUE, TRUE), shared)
    talk = in_sync(sync(a, b, agreed=roots[0] if known else b""))
    assert (talk.outcomes[0].rounds, talk.outcomes[1].rounds) == (0, 0)
    assert not talk.outcomes[0].misled
    assert talk.outcomes[0].round_trips <= 3


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0, 10, 40, 160]), st.integers(0, 40), st.booleans(), st.booleans())
def test_3_a_side_that_knows_no_short_way_is_met_by_the_trie(
    seed: int, common: int, edits: int, dials: bool, known: bool
) -> None:
    a, b, roots = couple(seed, common, (edits, edits), (TRUE, TRUE))
    everything = joined(a, b)
    mute, other = (a, b) if dials else (b, a)
    with mock.patch("protocol.session.Reconciler", Mute):
        silent = session(CLIENT if dials else SERVER, mute)
    speaks = session(SERVER if dials else CLIENT, other, agreed=b"" if dials else roots[0] if known else b"")
    in_sync(run(*((silent, speaks) if dials else (speaks, silent))))
    assert a.state == b.state == everything.state


def test_3_who_was_misled_knows_it_afterwards() -> None:
    for swap in (False, True):
        for false, way, misled in (
            ({"cells": "random"}, Way.NONE, False),  # It was never peeled: nothing was told, by whosever fault.
            ({"places": "none"}, Way.SKETCH, True),
            ({"heads": "none"}, Way.SKETCH, False),
        ):
            a, b, _ = couple(5, 300, (20, 20), (TRUE | false, TRUE))
            talk = in_sync(sync(*((b, a) if swap else (a, b))))
            assert ways(talk) == (way, way)
            assert [outcome.misled for outcome in talk.outcomes] == [misled, misled]
            assert talk.outcomes[0].rounds == (way is Way.NONE or misled)


@pytest.mark.parametrize("swap", [False, True])
def test_3_a_list_that_is_false_or_not_compared_misleads_nobody_about_a_sketch(swap: bool) -> None:
    for heads, items_max, way in (("half", 10_000, Way.LISTING), ("true", 100, Way.NONE)):
        a, b, _ = couple(2, 100, (60, 60), (TRUE | {"memory": "none", "heads": heads}, TRUE | {"memory": "none"}))
        with limited(LISTED_MAX=items_max):
            talk = in_sync(sync(*((b, a) if swap else (a, b))))
        assert way in ways(talk)
        assert set(ways(talk)) <= {way, Way.NONE}
        assert not any(outcome.misled for outcome in talk.outcomes)


@pytest.mark.parametrize("mine", [0, 20])
def test_3_who_says_a_sketch_knows_by_the_answer_that_it_told_what_differs(mine: int) -> None:
    """The client peels; the server hears records, and a pick only if it has something that the client lacks."""
    a, b, _ = edited(600, 60, mine)
    for store in (a, b):
        store.past.clear()
    talk = in_sync(sync(a, b))
    assert (Cells in kinds(talk, SERVER), Pick in kinds(talk, CLIENT)) == (True, mine > 0)
    assert ways(talk) == (Way.SKETCH, Way.SKETCH)


SCENES = {
    "acquaintances": (100, 6, 0, Way.NEWS),
    "first cells": (100, 6, None, Way.SKETCH),
    "cells": (300, 24, None, Way.SKETCH),
    "a list": (100, 40, None, Way.LISTING),
    "a newcomer": (0, 0, None, Way.STREAM),
}


@pytest.mark.parametrize("scene", SCENES)
def test_3_cut_after_any_frame_what_was_applied_stays_and_the_next_session_goes_on(scene: str) -> None:
    common, edits, believed, way = SCENES[scene]

    def pair() -> tuple[Lying, Lying, bytes]:
        a, b, roots = couple(3, common, (edits, edits), (TRUE, TRUE))
        if way is Way.STREAM:
            fill(b, Clock(b"founder."), 100)
        return a, b, b"" if believed is None else roots[believed]

    with limited(BATCH_RECORDS_MAX=3):
        a, b, agreed = pair()
        at_first, everything = (a.root(), b.root()), joined(a, b)
        talk = in_sync(sync(a, b, agreed=agreed))
        assert way in ways(talk)
        moved_on = 0
        for cut in range(len(talk.frames)):
            a, b, agreed = pair()
            run(session(CLIENT, a, agreed=agreed), session(SERVER, b), frames_max=cut)
            moved_on += (a.root(), b.root()) != at_first
            in_sync(sync(a, b, agreed=agreed))
            assert a.state == b.state == everything.state
        assert moved_on > 2, "something was applied before the cut, and stayed"


# --- 1. acquaintances -----------------------------------------------------------------------------------------------


def edited(count: int, mine: int, theirs: int) -> tuple[MemoryStore, MemoryStore, bytes]:
    """Two that were equal at a root, with so many lone edits since."""
    a, b = twins(count)
    agreed = a.root()[0]
    assert b.root()[0] == agreed
    for number in range(mine):
        a.update(number, ann(number), {"name": f"Ann's {number}"})
    for number in range(mine, mine + theirs):
        b.update(number, bob(number), {"city": f"Bob's {number}"})
    return a, b, agreed


@pytest.mark.parametrize(("mine", "theirs"), [(5, 7), (5, 0), (0, 7), (0, 0)])
def test_1_acquaintances_send_what_came_since_and_nothing_else(mine: int, theirs: int) -> None:
    a, b, agreed = edited(100, mine, theirs)
    talk = in_sync(sync(a, b, agreed=agreed))
    for role, names in ((CLIENT, [("name",)] * mine), (SERVER, [("city",)] * theirs)):
        assert [delta.names for delta in moved(talk, role)] == names
    assert set(kinds(talk)) <= {Hello, Probe, Same, Records, End, Bye}
    assert kinds(talk)[0] is (Hello if mine else Probe)
    assert talk.outcomes[0].round_trips == (2 if mine else 1)


def test_1_the_peer_may_be_where_this_store_once_was_without_ever_having_met_it() -> None:
    """A copy of the file, say, or one that a third kept up to date."""
    a, b, _ = edited(100, 0, 7)
    talk = in_sync(sync(a, b))
    assert ways(talk) == (Way.NONE, Way.NEWS)
    assert len(moved(talk)) == 7


@pytest.mark.parametrize("forgets", [None, 0, 1])
@pytest.mark.parametrize("dialling", [0, 1])
def test_1_what_both_got_from_a_third_is_not_sent_again(dialling: int, forgets: int | None) -> None:
    """Much came to each since they agreed, and hardly anything differs: a sketch costs less than all the news."""
    a, b, agreed = edited(400, 0, 0)
    for number in range(limits.NEWS_FREELY + 40):
        stamp = pack(NOW_MS, number, b"third...")
        for store in (a, b):
            store.update(number, stamp, {"phone": "by the third"})
    a.update(300, ann(300), {"name": "Ann's"})
    b.update(301, bob(301), {"name": "Bob's"})
    stores = (b, a) if dialling else (a, b)
    if forgets is not None:
        stores[forgets].past.clear()
    talk = in_sync(sync(*stores, agreed=agreed))
    assert Way.SKETCH in ways(talk)
    assert len(moved(talk)) == 2
    assert talk.outcomes[0].round_trips == 2
    opening = said(talk)[0]
    assert isinstance(opening, Hello)
    assert (opening.agreed, bool(opening.counters)) == (b"" if forgets == 0 else agreed, True)


@pytest.mark.parametrize("forgets", ["client", "server", "both"])
def test_1_who_forgot_the_agreement_is_met_as_a_stranger(forgets: str) -> None:
    for mine in (0, 5):
        a, b, agreed = edited(100, mine, 7)
        for role, store in (("client", a), ("server", b)):
            if forgets in {role, "both"}:
                store.past = {store.root()[0]: frozenset(store.items())}
        talk = in_sync(sync(a, b, agreed=agreed))
        assert kinds(talk)[0] is (Hello if mine else Probe)
        assert len(moved(talk)) == mine + 7
        if forgets != "client" or mine:
            assert Way.SKETCH in ways(talk)


def test_1_after_a_probe_nothing_is_streamed() -> None:
    a, b = twins(10)
    agreed = a.root()[0]
    assert b.root()[0] == agreed
    for number in range(10, 100):
        b.insert(number, bob(number), {"name": "new"})
    assert moved(in_sync(sync(a, b, agreed=agreed)), CLIENT) == []


# --- 2. strangers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 10, 30, 60, 200])
@pytest.mark.parametrize("dialling", [0, 1])
def test_2_strangers_find_what_differs_in_one_message_and_records_flow_after_one_round_trip(
    count: int, dialling: int
) -> None:
    a, b, _ = edited(1_000, count, count)
    for store in (a, b):
        store.past.clear()
    stores = a, b
    talk = in_sync(sync(stores[dialling], stores[1 - dialling]))
    assert sorted(delta.names for delta in moved(talk)) == [("city",)] * count + [("name",)] * count
    hints = [message for message in said(talk)[1:] if isinstance(message, Cells | Listing)]
    assert len(hints) <= 1
    assert {Nodes} & set(kinds(talk)) == set()
    assert talk.outcomes[0].round_trips == 2
    first = next(at for at, message in enumerate(said(talk)) if isinstance(message, Records))
    assert kinds(talk)[:first].count(End) <= 1, "the server's first turn or the client's next"


def test_2_a_width_too_small_is_widened() -> None:
    """The estimators say that nothing differs; the cells are true."""
    for dialling in (0, 1):
        a, b, _ = couple(1, 160, (60, 60), (TRUE | {"counters": "zeros", "memory": "none"},) * 2)
        everything = joined(a, b)
        talk = in_sync(sync(*((b, a) if dialling else (a, b))))
        widths = [(m.width, m.extends) for m in said(talk) if isinstance(m, Cells)]
        assert widths == [(11, False), *((width, True) for width in (11, 17, 26, 39, 59)[: len(widths) - 1])]
        assert len(widths) > 2
        assert talk.outcomes[0].rounds == 0
        assert a.state == everything.state


def test_2_a_sketch_that_changed_meanwhile_is_not_widened() -> None:
    a, b, _ = couple(1, 160, (60, 60), (TRUE | {"counters": "zeros", "memory": "none"},) * 2)
    everything, stamp = joined(a, b), bob(999)

    class Writing(Session):
        def receive(self, frame: bytes, now_ms: int) -> None:
            if isinstance(frames.decode(frame), More):
                for store in (b, everything):
                    store.insert(999, stamp, {"name": "meanwhile"})
            super().receive(frame, now_ms)

    server = session(SERVER, b)
    server.__class__ = Writing
    talk = in_sync(run(session(CLIENT, a), server))
    assert kinds(talk, CLIENT).count(More) == kinds(talk, SERVER).count(Cells) == 1
    assert talk.outcomes[0].rounds == 1
    assert a.state == everything.state


def test_2_if_most_differs_a_list_is_said_and_a_small_store_says_one_at_once() -> None:
    for common, edits in ((30, 12), (100, 60)):
        a, b, _ = couple(2, common, (edits, edits), (TRUE | {"memory": "none"},) * 2)
        talk = in_sync(sync(a, b))
        assert [type(m) for m in said(talk) if isinstance(m, Cells | Listing)] == [Listing]
        assert ways(talk) == (Way.LISTING, Way.LISTING)
        assert talk.outcomes[0].rounds == 0


@pytest.mark.parametrize("items_max", [239, 240])
def test_2_too_many_items_are_not_listed_even_of_few_records(items_max: int) -> None:
    """120 records of two items each: a list that the peer would refuse is not said."""
    a, b, _ = edited(120, 60, 60)
    for number in range(120):
        store, stamp = (a, ann) if number < 60 else (b, bob)
        store.update(number, stamp(1_000 + number), {"mail": "x"})
    for store in (a, b):
        store.past.clear()
    fits = len(b.items()) <= items_max
    with limited(LISTED_MAX=items_max):
        talk = in_sync(sync(a, b))
    assert (len(b.state), Listing in kinds(talk), talk.outcomes[0].rounds) == (120, fits, 0 if fits else 1)
    assert fits == (items_max == 240)


@pytest.mark.parametrize("dialling", [0, 1])
@pytest.mark.parametrize("small", [0, 1, 16])
def test_2_a_side_that_has_next_to_nothing_is_streamed_to(small: int, dialling: int) -> None:
    large, little = MemoryStore(), MemoryStore()
    fill(large, Clock(b"ann....."), limits.COMPARED_MAX + 10)
    fill(little, Clock(b"bob....."), small)
    everything = joined(large, little)
    stores = large, little
    talk = in_sync(sync(stores[dialling], stores[1 - dialling]))
    assert set(ways(talk)) == {Way.STREAM}
    assert set(kinds(talk)) == {Hello, Records, End, Bye}
    assert large.state == little.state == everything.state
    assert len(moved(talk, (CLIENT, SERVER)[dialling])) == limits.COMPARED_MAX + 10


# --- 5. who cannot read its own -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mended", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_5_who_cannot_read_its_own_records_hears_the_peer_out_and_fails_when_it_speaks(
    known: bool, mended: bool
) -> None:
    a, b, agreed = edited(1_000, 5, 7)
    store = a if known else b
    if known:
        mine, hello = session(CLIENT, a, agreed=agreed), Hello(2, b"", b"n" * 8, "", NOW_MS, 1_000, b"", agreed, 7)
        mine.open(NOW_MS)
        said: list[Message] = [hello]
    else:
        mine = session(SERVER, b)
        mine.receive(session(CLIENT, a).open(NOW_MS), NOW_MS)
        pulled(mine)
        heads = {head[:4] for head in b.heads(10_000)} - {head[:4] for head in a.heads(10_000)}
        said = [Pick(tuple(sorted(heads)))]
    other = b if known else a
    (sent,) = [Records(tuple(other.state[key].delta(stamps) for key, stamps in other.news(agreed).items()))]
    with mock.patch.object(store, "stamps" if known else "locate", side_effect=OurFault("damaged")) as read:
        tell(mine, *said)
        assert read.call_count == 1, "ahead of our turn"
        tell(mine, sent, End(ROOT, 1_000, True, 0, 0))
        if not mended:
            with pytest.raises(OurFault, match="damaged"):
                pulled(mine)
    if mended:
        (told,) = [m for m in map(frames.decode, pulled(mine)) if isinstance(m, Records)]
        assert len(told.records) == (5 if known else 7)
    mine.settle(NOW_MS)
    assert store.root() == joined(a, b).root()


# --- what it costs --------------------------------------------------------------------------------------------------


def size(talk: Talk, *without: type[Message]) -> int:
    """Bytes of a conversation but for the proof and some messages."""
    return sum(len(frame) for _, frame in talk.frames if type(frames.decode(frame)) not in without) - 32


def test_one_edit_among_acquaintances_costs_its_record_and_145_or_225_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    costs = {}
    for who, mine, theirs in (("the server's", 0, 1), ("the client's", 1, 0), ("one of each", 1, 1)):
        a, b, agreed = edited(300, mine, theirs)
        costs[who] = size(in_sync(sync(a, b, agreed=agreed)), Records)
    with capsys.disabled():
        print(f"\none edit among acquaintances, besides proof and records: {costs} bytes")
    assert costs["the server's"] <= 145
    assert costs["the client's"] <= 225
    assert costs["one of each"] <= 225


@pytest.mark.parametrize("count", [300, 3_000])
def test_10_differences_of_strangers_are_known_to_both_after_450_bytes(count: int) -> None:
    """Besides the proof and both names."""
    a, b, _ = edited(count, 5, 5)
    for store in (a, b):
        store.past.clear()
    talk = in_sync(sync(a, b))
    assert kinds(talk)[:4] == [Hello, Hello, Pick, Records]
    assert sum(len(frame) for _, frame in talk.frames[:3]) - 32 - len(CLIENT + SERVER) <= 450


def test_200_differences_of_strangers_cost_less_than_20_bytes_each_to_find(capsys: pytest.CaptureFixture[str]) -> None:
    """The trie takes 86 of them: see test_descent."""
    a, b, _ = edited(5_000, 100, 100)
    for store in (a, b):
        store.past.clear()
    talk = in_sync(sync(a, b))
    finding = size(talk, Records) / 200
    with capsys.disabled():
        print(f"\n200 of 5,000 records differ: {finding:.0f} bytes each to find it by a sketch, ", end="")
        print(f"{talk.outcomes[0].round_trips} round trips")
    assert finding < 20

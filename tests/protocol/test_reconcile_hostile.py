"""What a peer can make a node do by sketches, lists and picks is bounded, and said in words."""

from __future__ import annotations

import copy
from contextlib import suppress
from random import Random
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol import frames, limits
from protocol.errors import LimitExceeded, Malformed, PeerFault
from protocol.hlc import pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import (
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
from protocol.proofs import Proofs
from protocol.record import Record, pack_id
from protocol.session import Session
from protocol.sketch import cells_size, wider
from tests.protocol.memory_store import HANDSHAKE, KEYS, NOW_MS, session
from tests.protocol.test_descent import limited, twins
from tests.protocol.test_messages import anything
from tests.protocol.test_reconcile import ROOT, edited
from tests.protocol.test_session import fault_of, listening, pulled, tell


def asking(width: int) -> Session:
    """A client that was shown cells of garbage, and asked for more."""
    client = session(CLIENT, twins(100)[0])
    client.open(NOW_MS)
    tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 100), Cells(width, False, GARBAGE[: cells_size(width)]))
    tell(client, End(ROOT, 100, True, 0, 0))
    assert frames.decode(pulled(client)[0]) == More(width)
    return client


def sketching() -> tuple[Session, int]:
    """A server that has said its cells, and at which width."""
    a, b, _ = edited(300, 20, 20)
    b.past.clear()
    server = session(SERVER, b)
    server.receive(session(CLIENT, a).open(NOW_MS), NOW_MS)
    (cells,) = (m for m in map(frames.decode, pulled(server)) if isinstance(m, Cells))
    return server, cells.width


GARBAGE = Random(1).randbytes(cells_size(limits.SKETCH_WIDTH))
END = End(ROOT, 100, False, 0, 0)
GONE = Record("contacts", pack_id([0]), pack(0, 0, b"node-one"), b"", {}).delta()


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        ([Cells(8, True, GARBAGE[:112])], Malformed, "widens a sketch that we did not ask for"),
        ([Cells(8, False, GARBAGE[:224])] * 2, Malformed, "a second sketch in one session"),
        ([More(8)], Malformed, "to widen a sketch that was not sent"),
        ([Listing(())] * 2, LimitExceeded, "a second list in one session"),
        ([Listing(()), END, Listing(())], LimitExceeded, "a second list in one session"),
        ([Pick((b"none",) * 100_000)] * 5, LimitExceeded, "asks without end"),
        ([Nodes(0, ()), Cells(8, False, GARBAGE[:224])], Malformed, "Cells after the trie was asked"),
        ([Nodes(0, ()), More(8)], Malformed, "More after the trie was asked"),
        ([Nodes(0, ()), Listing(())], Malformed, "Listing after the trie was asked"),
        ([Nodes(0, ()), END, Pick(())], Malformed, "Pick after the trie was asked"),
    ],
)
def test_4_what_has_no_place_in_an_honest_session_is_refused_in_words(
    said: list[Message], kind: type[PeerFault], why: str
) -> None:
    server = listening(twins(100)[0])
    for message in said[:-1]:
        tell(server, message)
        pulled(server)
    with pytest.raises(kind, match=why):
        tell(server, said[-1])


def test_4_a_sketch_is_widened_step_by_step_and_at_most_to_its_full_width() -> None:
    server, width = sketching()
    for wrong in {12, 8, 12_288 // 2} - {width}:
        with pytest.raises(Malformed, match="to widen a sketch that was not sent"):
            tell(server, More(wrong))
    wide: int | None = width
    while wide is not None and wider(wide) is not None:
        tell(server, More(wide), END)
        cells = frames.decode(pulled(server)[0])
        assert isinstance(cells, Cells)
        assert (cells.width, cells.extends) == (wide, True)
        with pytest.raises(Malformed, match="to widen a sketch that was not sent"):
            tell(server, More(wide))
        wide = wider(wide)
    assert wide == limits.SKETCH_WIDTH


def test_4_no_more_is_asked_for_than_the_full_width() -> None:
    width: int | None = 1_024
    client, asked = asking(1_024), [1_024]
    while width is not None:
        width = wider(width)
        assert width is not None
        size = cells_size(width) - cells_size(asked[-1])
        tell(client, Cells(asked[-1], True, GARBAGE[:size]), End(ROOT, 100, True, 0, 0))
        answer = frames.decode(pulled(client)[0])
        if not isinstance(answer, More):
            break
        asked.append(answer.width)
    assert asked == [1_024, 1_536, 2_304, 3_456, 5_184, 7_776, 11_664]
    assert isinstance(answer, Nodes), "and then the trie is asked"


def test_4_only_what_was_asked_for_widens() -> None:
    for wrong in (8, 15, 17, 24):
        with pytest.raises(Malformed, match="widens a sketch that we did not ask for"):
            tell(asking(16), Cells(wrong, True, GARBAGE[: cells_size((wrong + 1) // 2)]))


def test_4_a_list_that_no_honest_peer_says_is_not_even_compared() -> None:
    store = twins(100)[0]
    server = listening(store)
    with limited(LISTED_MAX=99), mock.patch.object(store, "heads", side_effect=AssertionError):
        tell(server, Listing(()), END)
    assert [type(frames.decode(frame)) for frame in pulled(server)] == [End]


@pytest.mark.parametrize("items_max", [199, 200])
def test_4_a_list_is_not_compared_with_more_items_than_a_list_may_hold(items_max: int) -> None:
    """100 records of two items each."""
    store = edited(100, 100, 0)[0]
    assert len(store.items()) == 200
    server = listening(store)
    with limited(LISTED_MAX=items_max):
        tell(server, Listing(()), END)
    assert [type(frames.decode(frame)) for frame in pulled(server)] == [Records, End][items_max == 199 :]


def test_4_a_pick_of_nothing_or_of_what_is_not_there_is_a_miss() -> None:
    server = listening(twins(100)[0])
    tell(server, Pick(()), Pick((b"none", b"also")), END)
    assert [type(frames.decode(frame)) for frame in pulled(server)] == [End]


def test_4_what_is_picked_twice_is_sent_once() -> None:
    store = twins(100)[0]
    server = listening(store)
    heads = tuple(head[:4] for head in store.heads(1_000))
    tell(server, Pick(heads), Pick(heads[::-1]), Listing(()), END)
    (sent,) = (m for m in map(frames.decode, pulled(server)) if isinstance(m, Records))
    assert len(sent.records) == 100


@pytest.mark.parametrize("full", [0, 99])
def test_4_all_that_is_picked_in_a_turn_is_looked_up_twice_at_most_however_many_frames_it_takes(full: int) -> None:
    """Once when a frame that is not full seems to be the last, and once at the end of the turn."""
    store = twins(100)[0]
    server = listening(store)
    heads = [head[:4] for head in store.heads(1_000)]
    with mock.patch.object(store, "locate", wraps=store.locate) as locate, limited(PICKED_PER_FRAME_MAX=2):
        tell(server, *[Pick((head, head)) for head in heads[:full]], *[Pick((head,)) for head in heads[full:]])
        tell(server, Pick((b"none",)), END)
        sent = [m for m in map(frames.decode, pulled(server)) if isinstance(m, Records)]
    assert len(sent) <= 2
    assert len({record.id for message in sent for record in message.records}) == 100
    assert sum(len(message.records) for message in sent) == 100
    first, rest = heads[: full + 1], [*heads[full + 1 :], b"none"]
    assert [sorted(call.args[0]) for call in locate.call_args_list] == [sorted(first), sorted(rest)]


def test_4_what_fits_into_one_frame_is_looked_up_once() -> None:
    store = twins(100)[0]
    server = listening(store)
    heads = [head[:4] for head in store.heads(1_000)]
    with mock.patch.object(store, "locate", wraps=store.locate) as locate:
        tell(server, Pick(tuple(heads)), END)
        (sent,) = (m for m in map(frames.decode, pulled(server)) if isinstance(m, Records))
    assert (len(sent.records), locate.call_count) == (100, 1)


def test_4_a_client_that_has_only_picks_to_answer_answers_them_before_the_trie_is_asked() -> None:
    store = twins(100)[0]
    client = session(CLIENT, store)
    client.open(NOW_MS)
    tell(client, Hello(2, b"", b"n" * 8, "", NOW_MS, 100), Pick((store.heads(1_000)[0][:4],)), End(ROOT, 100, True, 0, 0))
    assert [type(frames.decode(frame)) for frame in pulled(client)] == [Records, End]


PROVED = Proofs(KEYS, CLIENT, HANDSHAKE).proved
sizes = st.one_of(st.integers(0, 100), st.integers(0, 1 << 62))
roots = st.one_of(st.sampled_from([ROOT, bytes(16), twins(100)[0].root()[0]]), st.binary(min_size=16, max_size=16))
greetings = st.one_of(
    st.builds(
        Hello, st.just(2), st.just(b""), st.just(b"n" * 8), st.just(""), st.just(NOW_MS), sizes,
        st.one_of(st.just(b""), roots), st.one_of(st.just(b""), roots), sizes,
        st.sampled_from([b"", bytes(64), GARBAGE[:64]]), st.sampled_from([b"", bytes(196), GARBAGE[:196]]),
    ).map(PROVED),
    st.builds(Probe, st.just(b""), st.just(b"n" * 8), st.just(NOW_MS), roots).map(PROVED),
    st.builds(Same, st.just(b"n" * 8), st.just(NOW_MS)),
)  # fmt: skip
widths = st.sampled_from([8, 12, 16, 24, 32, 48, 64])
short = st.one_of(
    widths.map(lambda width: Cells(width, False, GARBAGE[: cells_size(width)])),
    widths.map(lambda width: Cells(width, True, GARBAGE[: cells_size(width // 2)])),
    widths.map(More),
    st.just(Listing(())),
    st.just(Pick((b"none",))),
    st.just(Nodes(0, ())),
    st.builds(End, roots, sizes, st.booleans(), sizes, sizes),
)


def roots_of(mine: Session) -> set[tuple[bytes, int]]:
    """The root here, and the one when what an earlier frame brought, and waits, is joined."""
    joined, waits = copy.deepcopy(mine._store), mine._intake._waiting
    with suppress(Malformed):
        joined.apply(waits.records if waits else (), NOW_MS)
    return {mine._store.root(), joined.root()}


@settings(max_examples=200)
@example("listening", [Listing(()), Records((GONE,)), Cells(8, True, GARBAGE[:112])])
@given(
    st.sampled_from(["server", "client", "probing", "listening", "asking", "sketching"]),
    st.lists(st.one_of(greetings, short, short, anything, st.binary(max_size=30)), max_size=10),
)
def test_4_whatever_a_peer_says_in_any_state_raises_only_peer_fault_and_is_answered_with_little(
    state: str, said: list[Message | bytes]
) -> None:
    store = twins(100)[0]
    match state:
        case "listening":
            mine = listening(store)
        case "asking":
            mine = asking(16)
        case "sketching":
            mine = sketching()[0]
        case "server":
            mine = session(SERVER, store)
        case _:
            mine = session(CLIENT, store, agreed=store.root()[0] if state == "probing" else b"")
            mine.open(NOW_MS)
    for message in said:
        before = {mine._store.root()} if mine._intake.empty else roots_of(mine)
        frame = message if isinstance(message, bytes) else frames.encode(message)
        fault = fault_of(mine, frame)
        if fault is not None:
            assert mine._store.root() in before
            mine.farewell(fault)
            assert mine.closed
            return
        answer = pulled(mine)
        assert len(answer) <= 8
        assert sum(map(len, answer)) < 100_000

"""What a side asks and is asked for in a turn, and that a peer cannot heap up work by it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from unittest import mock

import pytest

from protocol import limits, messages
from protocol.compare import compare
from protocol.descent import Agenda, Refusal
from protocol.errors import LimitExceeded
from protocol.messages import Described, Have, Message, Nodes, Question, Records, Want
from protocol.record import decode, pack_id
from protocol.trie import Entry, Inner, Node, fingerprint, slice_of
from tests.protocol.memory_store import KEYS, NOW_MS, MemoryStore, fragment, key_of
from tests.protocol.strategies import fill
from tests.protocol.test_descent import ANN, BOB, limited, twins

# --- what is asked ---------------------------------------------------------------------------------------------------


def agenda(store: MemoryStore) -> Agenda:
    """What a session would say."""
    return Agenda(store, KEYS)


def said(notes: Agenda, attempt: int = 0) -> list[Message]:
    """One turn."""
    return list(notes.speech(attempt))


def sent(turn: list[Message]) -> int:
    """How many records a turn carries."""
    return sum(len(m.records) for m in turn if isinstance(m, Records))


def test_nothing_to_say_is_said_with_no_message() -> None:
    notes = agenda(twins()[0])
    assert notes.empty
    assert said(notes) == []


def test_a_branch_that_the_peer_lacks_is_sent_at_once() -> None:
    store = twins(300)[0]
    node = store.node("")
    assert isinstance(node, Inner)
    theirs = [slice_of(child, 0) for child in node.children]
    theirs[5] = b""
    notes = agenda(store)
    compare([Described("", True, tuple(theirs))], 0, notes)
    turn = said(notes)
    assert [type(m) for m in turn] == [Records]
    assert sent(turn) == len(store.entries("5", b"", 300))


def test_of_the_waiting_nodes_the_deepest_comes_first() -> None:
    """So that few wait, however much differs."""
    notes = agenda(twins(300)[0])
    for prefix in ("0", "1", "10", "100"):
        notes.describe(prefix)
    notes.absent("2")
    with limited(NODES_PER_TURN=1):
        turns = [said(notes) for _ in range(5)]
    assert [m.nodes[0].prefix for turn in turns for m in turn if isinstance(m, Nodes)] == ["2", "100", "10", "1", "0"]


def test_a_question_about_an_unknown_record_asks_for_all_of_it() -> None:
    notes = agenda(MemoryStore())
    notes.answer(Have(0, False, (Question(b"abcdef", b"123"),)))
    assert said(notes) == [Have(0, True, (Question(b"abcdef", b""),))]


def test_an_answer_is_not_answered_with_another_question() -> None:
    notes = agenda(MemoryStore())
    notes.answer(Have(0, True, (Question(b"abcdef", b"123"),)))
    assert notes.empty


def test_what_the_peer_asks_about_is_not_sent_a_second_time_because_it_wants_it() -> None:
    store = twins(10)[0]
    (key, digest), *_ = store.entries("", b"", 1)
    print_ = slice_of(fingerprint(KEYS.trie, (key, digest)), 0)
    notes = agenda(store)
    notes.answer(Have(0, False, (Question(key[:6], b"\0\0\0"),)))
    notes.wanted(Want(0, (("", (print_,)),)))
    assert sent(said(notes)) == 1
    notes.end_of_turn()
    notes.wanted(Want(0, (("", (print_,)),)))
    assert sent(said(notes)) == 1


def test_a_question_beyond_the_stamps_of_a_turn_asks_for_everything() -> None:
    store = twins(10)[0]
    notes = agenda(store)
    with limited(STAMPS_PER_TURN=3):
        notes.ask([key for key, _ in store.entries("", b"", 10)])
        (have,) = said(notes)
    assert isinstance(have, Have)
    assert sorted(len(question.stamps) for question in have.questions) == [0] * 7 + [3] * 3


def test_a_wanted_record_that_is_gone_is_a_miss_and_no_error() -> None:
    notes = agenda(twins(40)[0])
    notes.wanted(Want(0, (("ab", (b"\0\0\0",)), ("f" * 32, (b"\1\1\1",)))))
    assert notes.empty


def test_a_question_about_a_refused_record_is_not_answered_with_another() -> None:
    store = twins(10)[0]
    (key, _), *_ = store.entries("", b"", 1)
    notes = agenda(store)
    notes.refuse(Refusal(key, b"", "ahead"))
    notes.answer(Have(0, False, (Question(key[:6], b"\0\0\0"),)))
    assert [type(m) for m in said(notes)] == [Records]


def test_nothing_refused_is_asked_for_again() -> None:
    store = twins(10)[0]
    offered = decode(fragment(pack_id([99]), born=BOB.tick(NOW_MS), fields={"name": "x"}))
    entry = key_of(offered), b"d" * 16
    notes = agenda(store)
    assert notes.refuse(Refusal(*entry, "ahead")) == 1
    assert notes.refuse(Refusal(*entry, "ahead")) == 0
    notes.ask([entry[0]])
    for attempt in range(limits.ROUNDS_MAX):
        notes.want("", [slice_of(fingerprint(KEYS.trie, entry), attempt)], attempt)
        assert notes.empty
    notes.want("", [slice_of(fingerprint(KEYS.trie, (entry[0], b"e" * 16)), 0)], 0)
    assert not notes.empty, "another version of it may be acceptable"


# --- a peer that heaps up work is cut off ----------------------------------------------------------------------------


def test_nodes_without_end_are_cut_off() -> None:
    notes = agenda(twins()[0])
    with pytest.raises(LimitExceeded, match="describes nodes without end"):
        for _ in range(100):
            notes.hear_nodes(limits.NODES_PER_TURN)
    notes.end_of_turn()
    notes.hear_nodes(limits.NODES_HEARD_MAX)


def test_a_frontier_without_end_is_cut_off() -> None:
    store = twins(300)[0]
    notes = agenda(store)
    lie = Described("", True, (b"lie",) * 16)
    with limited(BACKLOG_MAX=100), pytest.raises(LimitExceeded, match="describes nodes without end"):
        for _ in range(50):
            notes.hear_nodes(1)
            compare([lie], 0, notes)
            notes.end_of_turn()


@pytest.mark.parametrize("stamps", [0, 255])
def test_questions_without_end_are_cut_off(stamps: int) -> None:
    notes = agenda(MemoryStore())
    frame = Have(0, False, tuple(Question(i.to_bytes(6, "big"), b"abc" * stamps) for i in range(1_000)))
    with pytest.raises(LimitExceeded, match="asks without end"):
        for _ in range(1_000):
            notes.answer(frame)


def test_wants_without_end_are_cut_off() -> None:
    notes = agenda(MemoryStore())
    frame = Want(0, (("", (b"abc",) * 16),) * 10_000)
    with pytest.raises(LimitExceeded, match="wants more leaves than were described to it"):
        for _ in range(100):
            notes.wanted(frame)


class Counting(MemoryStore):
    """Counts what it is asked to look at."""

    looked = 0

    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        self.looked += len(prefixes)
        return super().nodes(prefixes)

    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        found = super().entries(prefix, after, limit)
        self.looked += len(found)
        return found

    def stamps(self, keys: Sequence[bytes]) -> dict[bytes, set[bytes]]:
        self.looked += len(keys)
        return super().stamps(keys)


def test_a_leaf_wanted_many_times_is_looked_at_once() -> None:
    store = Counting(record.encode() for record in twins(200)[0].state.values())
    notes = agenda(store)
    (entry,) = store.entries("", b"", 1)
    store.looked = 0
    prints = [(fingerprint(KEYS.trie, entry)[:3],), (b"abc",)]
    notes.wanted(Want(0, tuple(("", prints[n % 2]) for n in range(4_000))))
    assert store.looked <= 1 + 2 * limits.LEAF_MAX
    assert sent(said(notes)) == 1


def test_more_leaves_cannot_be_wanted_in_a_turn_than_are_described() -> None:
    notes = agenda(twins(40)[0])
    for _ in range(3):
        notes.wanted(Want(0, (("", (b"abc",)),) * limits.NODES_PER_TURN))
        notes.wanted(Want(0, (("a", (b"abc",)),) * limits.NODES_PER_TURN))
        notes.end_of_turn()
    with pytest.raises(LimitExceeded, match="wants more leaves than were described"):
        notes.wanted(Want(0, (("", (b"abc",)),) * (limits.NODES_HEARD_MAX + 1)))


def test_a_question_put_many_times_is_looked_at_once() -> None:
    store = Counting(record.encode() for record in twins(40)[0].state.values())
    notes = agenda(store)
    key = store.entries("", b"", 1)[0][0]
    store.looked = 0
    for _ in range(3):
        notes.answer(Have(0, False, (Question(key[:6], b"abc"),) * 1_000))
    assert store.looked == 1
    assert sent(said(notes)) == 1


def test_records_of_too_many_stamps_in_a_turn_are_not_looked_at_but_sent_whole() -> None:
    store = twins(40)[0]
    notes = agenda(store)
    with limited(STAMPS_PER_TURN=0):
        questions = tuple(Question(key[:6], b"abc") for key, _ in store.entries("", b"", -1))
        notes.answer(Have(0, True, questions))
        assert sent(said(notes)) == len(questions)


def test_the_memory_of_refusals_is_bounded() -> None:
    notes = agenda(MemoryStore())
    with limited(REFUSED_MAX=10):
        for i in range(100):
            notes.refuse(Refusal(i.to_bytes(16, "big"), b"d" * 16, "ahead"))
    assert len(notes._refused) == len(notes._refused_prints) == 10


def test_the_same_thing_asked_many_times_is_said_once() -> None:
    store = twins(10)[0]
    entries = store.entries("", b"", 10)
    prints = tuple(slice_of(fingerprint(KEYS.trie, entry), 0) for entry in entries)
    notes = agenda(store)
    for _ in range(5):
        notes.wanted(Want(0, (("", prints),)))
        compare([Described("", False, ())], 0, notes)
        notes.answer(Have(0, False, tuple(Question(key[:6], b"") for key, _ in entries)))
    spoken = said(notes)
    assert sent(spoken) <= 20
    assert sum(len(m.questions) for m in spoken if isinstance(m, Have)) == 10


@pytest.mark.parametrize("what", ["whole", "items", "questions"])
def test_what_is_read_at_a_time_is_about_a_batch_whatever_is_sent_of_it(what: str) -> None:
    """Photos behind small records: a turn that sends a name from each must not hold all of the photos."""
    store = MemoryStore()
    fill(store, ANN, 40)
    small, count = set(store.state), 200
    for number in range(100, 100 + count):
        store.insert(number, ANN.tick(NOW_MS), {"photo": b"x" * 1_000})
        store.update(number, ANN.tick(NOW_MS), {"name": "new"})
    photos = [key for key in store.state if key not in small]
    notes, read, largest = agenda(store), {"deltas": store.deltas, "records": store.records}, 0

    def counted(name: str) -> AbstractContextManager[object]:
        def reading(keys: Sequence[bytes]) -> object:
            nonlocal largest
            largest = max(largest, sum(len(store.state[key].encode()) for key in keys))
            return read[name](keys)

        return mock.patch.object(store, name, reading)

    with ExitStack() as stack:
        stack.enter_context(limited(BATCH_BYTES_FIRST=8_000, BATCH_BYTES_AIM=8_000))
        for name in read:
            stack.enter_context(counted(name))
        match what:
            case "whole":
                notes.send([*sorted(small), *photos])
            case "items":
                notes.send_items((key, {max(store.stamps([key])[key])}) for key in photos)
            case _:
                born = {key: min(store.stamps([key])[key]) for key in photos}
                for some in [photos[at : at + 50] for at in range(0, count, 50)]:
                    asked = [messages.question(key, {born[key]}, 0, KEYS.trie) for key in some]
                    notes.answer(Have(0, True, tuple(asked)))
        turn = said(notes)
    assert sent(turn) == count + (40 if what == "whole" else 0)
    assert largest <= 40_000

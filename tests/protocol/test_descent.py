"""Where two tries differ, each side learns what it lacks, and says no more than that. The trie alone: no short ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from random import Random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import descent, frames, limits, messages
from protocol.compare import compare
from protocol.descent import Agenda, Refusal
from protocol.errors import LimitExceeded
from protocol.hlc import Clock, pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import Described, Have, Message, Nodes, Question, Records, Want
from protocol.record import Delta, Record, decode, pack_id
from protocol.trie import Entry, Inner, Node, fingerprint, slice_of
from protocol.values import pack_value
from tests.protocol.memory_store import KEYS, NOW_MS, MemoryStore, Talk, fragment, key_of, sync, trie_alone
from tests.protocol.strategies import change, colleagues, fill

ANN, BOB = Clock(b"ann....."), Clock(b"bob.....")


@pytest.fixture(autouse=True, scope="module")
def _trie_alone() -> Iterator[None]:
    with trie_alone():
        yield


@contextmanager
def limited(**bounds: int) -> Iterator[None]:
    """With other limits, so that few records already take many turns, frames or rounds."""
    with ExitStack() as stack:
        for name, value in bounds.items():
            stack.enter_context(mock.patch.object(limits, name, value))
        yield


def copy(store: MemoryStore) -> MemoryStore:
    """Another node with the same records."""
    return MemoryStore(record.encode() for record in store.state.values())


def converge(a: MemoryStore, b: MemoryStore) -> Talk:
    """Sync them, and see that both are equal and know it."""
    talk = sync(a, b)
    assert not talk.faults
    assert [outcome.code for outcome in talk.outcomes] == ["in sync", "in sync"]
    assert a.root() == b.root()
    assert a.state == b.state
    return talk


def heard(talk: Talk, kind: type[Message], by: str | None = None) -> list[Message]:
    """The messages of one kind."""
    said = talk.said_by(by) if by else [frame for _, frame in talk.frames]
    return [message for message in map(frames.decode, said) if type(message) is kind]


def moved(talk: Talk, by: str | None = None) -> list[Delta]:
    """The records that went over the wire."""
    return [record for m in heard(talk, Records, by) if isinstance(m, Records) for record in m.records]


# --- what differs is found ------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(
    st.integers(0, 10_000), st.sampled_from([0, 1, 16, 17, 60, 150]), st.integers(0, 40), st.integers(0, 40),
    st.sampled_from([{}, {"LEAF_MAX": 2, "COMPARED_MAX": 4}, {"LEAF_MAX": 1, "COMPARED_MAX": 1}]),
)  # fmt: skip
def test_any_two_stores_become_equal_in_one_round(
    seed: int, common: int, edits_a: int, edits_b: int, bounds: dict[str, int]
) -> None:
    with limited(**bounds):
        talk = converge(*colleagues(seed, common, edits_a, edits_b))
        assert talk.outcomes[0].rounds <= 1


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_the_same_if_everything_takes_many_frames_and_turns(seed: int) -> None:
    bounds = {"LEAF_MAX": 2, "COMPARED_MAX": 4, "NODES_PER_TURN": 3, "QUESTIONS_PER_FRAME": 2, "BATCH_RECORDS_MAX": 2}
    with limited(**bounds, STAMPS_PER_TURN=5, NODES_HEARD_MAX=3), mock.patch.object(descent, "SCAN", 2):
        talk = converge(*colleagues(seed, 80, 20, 20))
    assert talk.outcomes[0].rounds <= 1
    assert talk.outcomes[0].round_trips > 4


@pytest.mark.parametrize("small", [0, 1, 5, 16])
@pytest.mark.parametrize("large", [17, 40, 64, 65, 300])
def test_a_leaf_here_is_an_inner_node_there(small: int, large: int) -> None:
    """Some of the small store's records are in the large one, some are newer, some are its own."""
    big, little = MemoryStore(), MemoryStore()
    fill(big, Clock(b"founder."), large)
    for number, record in enumerate(list(big.state.values())[: small // 2]):
        little.take(record.encode())
        if number % 2:
            little.update(number, ANN.tick(NOW_MS), {"name": "newer"})
    for number in range(large, large + small - small // 2):
        little.insert(number, ANN.tick(NOW_MS), {"name": "own"})
    for a, b in [(copy(big), copy(little)), (copy(little), copy(big))]:
        assert converge(a, b).outcomes[0].rounds == 1


# --- no more than what differs ---------------------------------------------------------------------------------------


def twins(count: int = 40) -> tuple[MemoryStore, MemoryStore]:
    """Two copies of one set."""
    store = MemoryStore()
    fill(store, Clock(b"founder."), count)
    return store, copy(store)


def test_only_the_newer_fields_travel() -> None:
    a, b = twins()
    a.update(7, ANN.tick(NOW_MS), {"name": "Ann's"})
    b.update(7, BOB.tick(NOW_MS), {"city": "Bob's"})
    talk = converge(a, b)
    assert sorted(delta.names for delta in moved(talk)) == [("city",), ("name",)]


def test_an_edit_concurrent_with_a_delete_travels_and_stays_hidden() -> None:
    for swap in (False, True):
        a, b = twins()
        a.delete(7, ANN.tick(NOW_MS))
        b.update(7, BOB.tick(NOW_MS + 1), {"city": "Bonn"})
        talk = converge(*((b, a) if swap else (a, b)))
        state = record_of(a, 7)
        assert (state.live, list(state.registers)) == (False, ["city"])
        assert len(moved(talk)) == 2


def test_a_delete_of_a_record_that_the_peer_only_edited_before_it_sends_the_floor_alone() -> None:
    a, b = twins()
    b.update(7, BOB.tick(NOW_MS - 5), {"city": "Bonn"})
    a.delete(7, ANN.tick(NOW_MS))
    talk = converge(a, b)
    assert [(d.floor != b"", d.names) for d in moved(talk, CLIENT)] == [(True, ())]


def test_a_record_that_one_side_lacks_goes_whole_once() -> None:
    a, b = twins()
    a.insert(99, ANN.tick(NOW_MS), {"name": "new"})
    talk = converge(a, b)
    assert [delta.id for delta in moved(talk)] == [pack_id([99])]


@pytest.mark.parametrize("dialling", [0, 1])
def test_what_both_have_does_not_travel_even_if_nearly_everything_does(dialling: int) -> None:
    big = twins(300)[0]
    little = MemoryStore(record.encode() for record in list(big.state.values())[:10])
    stores = big, little
    assert len(moved(converge(stores[dialling], stores[1 - dialling]), [CLIENT, SERVER][dialling])) == 290


def test_a_batch_is_closed_at_its_size_and_a_large_record_goes_alone() -> None:
    store = MemoryStore()
    for number in range(30):
        store.insert(number, ANN.tick(NOW_MS), {"note": "x" * (5_000 if number % 10 == 0 else 100)})
    with limited(BATCH_BYTES_AIM=1_000):
        batches = [m.records for m in heard(converge(store, MemoryStore()), Records) if isinstance(m, Records)]
    assert max(len(batch) for batch in batches) > 2
    assert all(sum(map(len, batch)) <= 1_000 or len(batch) == 1 for batch in batches)


# --- what stamps cannot tell apart -----------------------------------------------------------------------------------


def wide(count: int, clock: Clock) -> dict[str, bytes]:
    """So many stamps for the fields of one record."""
    return {f"f{i:03}": clock.tick(NOW_MS - 1_000) for i in range(count)}


@pytest.mark.parametrize("mine", [3, 254, 255, 256, 300])
@pytest.mark.parametrize("theirs", [3, 254, 255, 256, 300])
def test_a_record_of_more_than_255_stamps_goes_whole_both_ways(mine: int, theirs: int) -> None:
    a, b = twins(20)
    for store, count, clock in ((a, mine, Clock(b"ann.....")), (b, theirs, Clock(b"bob....."))):
        for name, stamp in wide(count, clock).items():
            store.update(7, stamp, {name: count})
    assert converge(a, b).outcomes[0].rounds == 1


@pytest.mark.parametrize("names", [("original", "clone"), ("clone", "original")])
def test_clones_that_wrote_different_values_under_one_stamp_become_equal(names: tuple[str, str]) -> None:
    for dialling in (0, 1):
        stores, stamp = twins(), ANN.tick(NOW_MS)
        for store, name in zip(stores, names, strict=True):
            store.update(7, stamp, {"name": name})
        assert converge(stores[dialling], stores[1 - dialling]).outcomes[0].rounds == 1


def test_clones_that_used_one_stamp_for_a_delete_and_an_edit_become_equal() -> None:
    """The stamp sets never tell what is missing here; the last attempts send whole records."""
    for swap in (False, True):
        a, b = twins()
        clock = Clock(b"clone...")
        for _ in range(2):
            earlier, stamp = clock.tick(NOW_MS), clock.tick(NOW_MS)
        a.delete(7, stamp)
        b.update(7, earlier, {"mail": "x"})
        b.update(7, stamp, {"name": "clone"})
        assert converge(*((b, a) if swap else (a, b))).outcomes[0].rounds <= limits.SLICES + 1


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_digests_that_agree_in_one_slice_are_told_apart_by_another(seed: int) -> None:
    with limited(SLICE_BYTES=1, LEAF_MAX=2, COMPARED_MAX=4):
        converge(*colleagues(seed, 150, 40, 40))


def test_such_a_collision_happens_in_these_trials() -> None:
    with limited(SLICE_BYTES=1, LEAF_MAX=2, COMPARED_MAX=4):
        rounds = [converge(*colleagues(seed, 150, 40, 40)).outcomes[0].rounds for seed in range(12)]
    assert max(rounds) > 1


@pytest.mark.parametrize("seed", range(5))
def test_key_heads_and_stamp_slices_that_collide_are_settled_by_the_last_attempts(seed: int) -> None:
    """One byte each instead of 6 and 3: nearly every question meets another record or hides a stamp."""
    with (
        mock.patch.multiple(messages, QUESTION_KEY_BYTES=1, QUESTION_STAMP_BYTES=1),
        mock.patch.object(frames, "QUESTION_STAMP_BYTES", 1),
        mock.patch.object(descent, "QUESTION_STAMP_BYTES", 1),
    ):
        talk = converge(*colleagues(seed, 150, 60, 60))
    assert talk.outcomes[0].rounds > 1


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


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_200_differences_in_20_000_records_cost_less_than_120_bytes_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Found by digests of 3 bytes on a trie of 4 levels, with the changed fields themselves in the price."""
    a = MemoryStore()
    fill(a, Clock(b"founder."), 20_000)
    b = copy(a)
    for number in range(0, 20_000, 100):
        store, clock = (a, ANN) if number % 200 else (b, BOB)
        store.update(number, clock.tick(NOW_MS), {"name": "changed"})
    talk = converge(a, b)
    each = talk.size_bytes() / 200
    finding = sum(len(frame) for _, frame in talk.frames if type(frames.decode(frame)) is not Records) / 200
    with capsys.disabled():
        print(f"\n200 of 20,000 records differ: {each:.0f} bytes each, {finding:.0f} of them to find it, ", end="")
        print(f"{talk.outcomes[0].round_trips} round trips")
    assert each < 120
    assert talk.outcomes[0].round_trips <= 6


def test_a_first_sync_sends_each_record_once_and_hardly_anything_else() -> None:
    a = MemoryStore()
    fill(a, Clock(b"founder."), 3_000)
    for dialling, listening in [(a, MemoryStore()), (MemoryStore(), a)]:
        talk = converge(dialling, listening)
        assert len(moved(talk)) == 3_000
        other = sum(len(frame) for _, frame in talk.frames if type(frames.decode(frame)) not in {Records, Nodes})
        assert other < 600
        assert talk.outcomes[0].round_trips <= 3


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
        stack.enter_context(limited(BATCH_BYTES_AIM=8_000))
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


def test_random_histories_of_three_nodes_end_equal_wherever_they_meet() -> None:
    """A tale: three laptops, each writing, each meeting another now and then; one round of all pairs at the end."""
    stores = [MemoryStore() for _ in range(3)]
    clocks = [Clock(bytes([65 + i]) * 8) for i in range(3)]
    random = Random(5)
    for _ in range(30):
        i, j = random.sample(range(3), 2)
        change(stores[i], clocks[i], random, random.randrange(8), 60)
        if random.random() < 0.5:
            converge(stores[i], stores[j])
    for i, j in [(0, 1), (1, 2), (2, 0), (0, 1)]:
        converge(stores[i], stores[j])
    assert stores[0].state == stores[1].state == stores[2].state


def record_of(store: MemoryStore, number: int) -> Record:
    """The state of a row."""
    return next(r for r in store.state.values() if r.id == pack_id([number]))


def test_the_later_write_wins_on_both_sides() -> None:
    a, b = twins()
    a.update(7, pack(NOW_MS, 0, b"ann....."), {"name": "earlier"})
    b.update(7, pack(NOW_MS, 1, b"aaaaaaaa"), {"name": "later"})
    converge(a, b)
    assert record_of(a, 7).registers["name"][1] == record_of(b, 7).registers["name"][1] == pack_value("later")

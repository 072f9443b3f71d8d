"""Where two tries differ, each side learns what it lacks, and says no more than that. The trie alone: no short ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from random import Random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import descent, frames, limits, messages
from protocol.hlc import Clock, pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import Message, Nodes, Records
from protocol.record import Delta, Record, pack_id
from protocol.values import pack_value
from tests.protocol.memory_store import NOW_MS, MemoryStore, Talk, sync, trie_alone
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
    with limited(BATCH_BYTES_FIRST=1_000, BATCH_BYTES_AIM=1_000):
        batches = [m.records for m in heard(converge(store, MemoryStore()), Records) if isinstance(m, Records)]
    assert max(len(batch) for batch in batches) > 2
    assert all(sum(map(Delta.size, batch)) <= 1_000 or len(batch) == 1 for batch in batches)


def test_the_first_batches_of_a_session_are_small() -> None:
    store = twins(200)[0]
    with limited(BATCH_BYTES_FIRST=1_000, BATCH_BYTES_AIM=7_000):
        batches = [m.records for m in heard(converge(store, MemoryStore()), Records) if isinstance(m, Records)]
    sizes, largest = [sum(map(Delta.size, batch)) for batch in batches], max(map(Delta.size, chain(*batches)))
    for size, aim in zip(sizes[:-1], chain((1_000, 1_500, 2_250, 3_375, 5_062), repeat(7_000)), strict=False):
        assert aim - largest < size <= aim
    assert len(sizes) > 6


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

"""Promise 6 of `reconcile`: a stream that is cut again and again goes on behind what came."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hlc import Clock
from protocol.keys import CLIENT, SERVER
from protocol.messages import Records
from protocol.reconcile import Way
from tests.protocol.memory_store import NOW_MS, MemoryStore, Talk, run, session
from tests.protocol.test_descent import copy, limited, moved
from tests.protocol.test_reconcile import edited, in_sync, joined, size, ways


def noted(common: int, *more: int) -> tuple[MemoryStore, MemoryStore, bytes]:
    """Two with so many records, and so many more on each side, of notes that no batch makes smaller; the root of before."""
    random, clock, a = Random(common), Clock(b"founder."), MemoryStore()

    def write(store: MemoryStore, count: int) -> None:
        for _ in range(count):
            store.insert(random.getrandbits(60), clock.tick(NOW_MS), {"note": random.randbytes(20)})

    write(a, common)
    b, root = copy(a), a.root()[0]
    assert b.root()[0] == root, "and both have seen it"
    for store, count in zip((a, b), more, strict=True):
        write(store, count)
    return a, b, root


def over_cuts(a: MemoryStore, b: MemoryStore, frames_max: int) -> list[Talk]:
    """Sessions that `a` dials over a line that is cut after so many frames, and remembers, until both are equal."""
    talks, resumes = list[Talk](), False
    while a.root() != b.root() and len(talks) < 50:
        talks.append(run(session(CLIENT, a, resumes=resumes), session(SERVER, b), frames_max=frames_max))
        assert not talks[-1].faults
        resumes |= talks[-1].outcomes[0].broken_off
    assert a.root() == b.root()
    return talks


@pytest.mark.parametrize("dialling", [0, 1])
@pytest.mark.parametrize("batch", [5, 100])
def test_6_what_is_left_of_a_stream_is_found_by_the_trie_for_next_to_nothing(batch: int, dialling: int) -> None:
    a, b, _ = noted(0, 0, 20 * batch) if dialling else noted(0, 20 * batch, 0)
    with limited(BATCH_RECORDS_MAX=batch):
        talks = over_cuts(a, b, 15)
    assert 1 < len(talks) < 12
    assert all(size(talk, Records) < 1_500 for talk in talks)
    sent = sum(len(moved(talk, (CLIENT, SERVER)[dialling])) for talk in talks)
    assert sent < batch * (20 + len(talks)), "a batch that is under way is lost, and no more"


def test_6_what_came_from_elsewhere_meanwhile_is_compared_as_ever() -> None:
    a, b, _ = noted(2_000, 100, 120)
    talk = in_sync(run(session(CLIENT, a, resumes=True), session(SERVER, b)))
    assert ways(talk) == (Way.SKETCH, Way.SKETCH)


@given(count=st.integers(0, 60), mine=st.integers(0, 60), theirs=st.integers(0, 60))
def test_6_whatever_is_believed_of_a_cut_both_end_equal(count: int, mine: int, theirs: int) -> None:
    a, b, _ = edited(count + max(mine, theirs), mine, theirs)
    everything = joined(a, b)
    in_sync(run(session(CLIENT, a, resumes=True), session(SERVER, b)))
    assert a.state == b.state == everything.state

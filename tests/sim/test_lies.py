"""A store that lies never says what an honest node may take, as the header of the module promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from protocol import batch, frames
from protocol.errors import PeerFault
from protocol.messages import End
from protocol.record import unpack_id
from replica.store.store import Store
from sim.lies import Lies, tamper
from tests.nodes import make_pair


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    path, _ = make_pair(tmp_path, 20)
    with Store(path) as one:
        yield one


def test_what_it_sends_is_true_or_no_record(store: Store) -> None:
    true = {record.encode() for record in store.records([key for key, _ in store.entries("", b"", 1_000)])}
    sent = broken = 0
    for seed in range(200):
        for delta in Lies(store, Random(seed)).deltas([bytes(16)]):
            sent += delta.encode() in true
            if delta.encode() not in true:
                broken += 1
                with pytest.raises(PeerFault):
                    unpack_id(batch.unpack(batch.pack([delta]), 1)[0].id)
    assert sent > 100
    assert broken > 3


def test_what_it_lists_ends(store: Store) -> None:
    lies = Lies(store, Random(1))
    for prefix in ("", "a", "0f"):
        entries = lies.entries(prefix, b"", 50)
        assert entries == sorted(entries)
        assert len(entries) <= 50
        assert lies.entries(prefix, b"k" * 16, 50) == []


def test_an_end_that_lies_is_still_an_end() -> None:
    frame = frames.encode(End(bytes(16), 3, True, 1, 0))
    told = [frames.decode(tamper(frame, Random(seed))) for seed in range(40)]
    assert all(isinstance(message, End) for message in told)
    assert len(set(map(repr, told))) > 3

"""Frames that no honest node sends do to a decoder what the header of the module promises."""

from __future__ import annotations

import contextlib
import tracemalloc
from random import Random

import pytest

from protocol.errors import PeerFault
from protocol.frames import decode
from sim.bombs import BOMBS, garbage


@pytest.mark.parametrize("name", BOMBS)
def test_an_honest_decoder_does_not_allocate_what_a_bomb_claims(name: str) -> None:
    frame = BOMBS[name]()
    tracemalloc.start()
    try:
        decode(frame)
    except PeerFault:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 24 << 20, f"{peak / (1 << 20):.0f} MiB"


def test_garbage_is_refused_in_words_or_means_something() -> None:
    random = Random(1)
    kinds = set()
    for _ in range(3_000):
        kind, frame = garbage(random)
        kinds.add(kind)
        if isinstance(frame, bytes):
            with contextlib.suppress(PeerFault):
                decode(frame)
    assert len(kinds) == 8


def test_nothing_is_made_before_it_is_thrown() -> None:
    assert all(callable(make) for make in BOMBS.values())
    assert len(BOMBS["oversize frame"]()) > 1 << 20

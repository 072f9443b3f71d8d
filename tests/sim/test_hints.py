"""Nodes without hints, and with false ones, keep the promises of the header."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from protocol import limits
from protocol.frames import decode
from protocol.keys import CLIENT
from protocol.messages import Hello
from protocol.session import Self, Session
from protocol.sketch import cells_size
from replica.store.store import Store
from sim.draw import draw
from sim.hints import Mistaken, Without
from sim.scenario import HINTS
from sim.world import World
from tests.nodes import make_pair
from tests.protocol.memory_store import HANDSHAKE

ROOT = b"r" * 16


def test_without_hints_a_node_says_none(tmp_path: Path) -> None:
    path, _ = make_pair(tmp_path, 20)
    with Without(path) as store:
        root = store.root()[0]
        assert (store.agreed("ws://hq"), store.broken_off("ws://hq"), store.came_since(root)) == (b"", False, None)
        session = Session(CLIENT, store.group_keys, store, Self(store.node_id, ""), HANDSHAKE)
        hello = decode(session.open(0))
    assert isinstance(hello, Hello)
    assert (hello.root, hello.agreed, hello.news, hello.counters, hello.cells) == (root, b"", 0, b"", b"")


def test_false_hints_look_like_true_ones(tmp_path: Path) -> None:
    path, _ = make_pair(tmp_path, 20)
    false = dict.fromkeys(("agreed", "broken_off", "came", "news", "counters", "cells", "extension", "heads", "locate"), 0)
    with closing(Store(path)) as true, closing(Mistaken(path)) as store:
        root = store.root()[0]
        counters, cells, extension, heads = true.counters(), true.cells(8), true.extension(8), true.heads(1_000)
        news, known = true.news(root), true.locate(heads)
        for seed in range(60):
            store.mistake(Random(seed))
            assert len(store.counters()) == limits.SKETCH_COUNTERS
            assert len(store.cells(8)) == cells_size(8)
            assert len(store.extension(8)) == cells_size(4)
            assert set(map(len, store.heads(1_000))) <= {5}
            assert len(store.agreed("")) in {0, 16}
            assert store.news(root).keys() <= news.keys()
            false["agreed"] += store.agreed("") != b""
            false["broken_off"] += store.broken_off("")
            false["came"] += store.came_since(ROOT) is not None
            false["counters"] += store.counters() != counters
            false["cells"] += store.cells(8) != cells
            false["extension"] += store.extension(8) != extension
            false["heads"] += store.heads(1_000) != heads
            false["locate"] += store.locate(heads) != known
    del false["news"]
    assert all(9 < count < 60 for count in false.values()), false


def test_what_is_left_out_is_the_same_in_whatever_order_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make_pair(tmp_path, 1)
    keys = [bytes([number]) * 16 for number in range(40)]

    def found(order: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        monkeypatch.setattr(Store, "news", lambda _, __: {key: {ROOT} for key in order})
        monkeypatch.setattr(Store, "locate", lambda _, __: {key: [(ROOT, ROOT)] for key in order})
        with Mistaken(path) as store:
            store.mistake(Random(1))._share = 1.0
            return list(store.news(ROOT)), list(store.locate([]))

    assert found(keys) == found(keys[::-1])
    assert 0 < len(found(keys)[0]) < len(keys)


@pytest.mark.parametrize("hints", HINTS)
def test_all_become_equal_whatever_they_believe(hints: str) -> None:
    reached: dict[str, int] = {}
    for seed in (3, 5):
        world = replace(draw(seed, nodes=4, duration_s=300, faults=[], writes=(25, 85), every_s=(30, 300)), hints=hints)
        result = World(world, keep=False).run()
        assert result.ok, f"seed {seed}: {result.violation}"
        for way, count in result.reach[f"hints {hints}"].items():
            reached[way] = reached.get(way, 0) + count
    ways = {part for way in reached for part in way.split(", ")}
    if hints == "off":
        assert ways == {"equal", "trie"}
    else:
        assert ways >= {"equal", "news", "sketch"}
    longer = sum(count for way, count in reached.items() if "trie" in way)
    assert (longer > 20) == (hints != "on"), reached  # Now and then somebody writes during a session.

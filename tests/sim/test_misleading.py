"""Ways to mislead keep the promises of the header; that an honest node outlasts them is tested with all other ways."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from protocol import limits
from protocol.prints import ItemHash
from protocol.sketch import cells_size, peel, widen, wider
from replica.store.store import Store
from sim.allowed import MISLEADING as DRAWN
from sim.hostile import HOWS
from sim.liar import Liar
from sim.misleading import MISLEADING, WIDTHS, FalseCells, _estimated
from tests.nodes import make_pair

WIDTH = 384


def liar(store: Store, seed: int) -> Liar:
    return Liar("", store, Random(seed), lambda: 0, bytes(8))


@pytest.mark.parametrize("kind", ["random", "none", "near"])
def test_false_cells_have_the_form_of_true_ones(tmp_path: Path, kind: str) -> None:
    path, _ = make_pair(tmp_path, 30)
    with Store(path) as store:
        false = FalseCells(liar(store, 1), kind)
        for width in WIDTHS:
            assert len(false.cells(width)) == cells_size(width)
            assert len(widen(false.cells(width), false.extension(width))) == cells_size(wider(width) or 0)
        if kind != "random":
            assert widen(false.cells(8), false.extension(8)) == false.cells(12)


def test_a_sketch_near_the_truth_is_peeled_to_items_that_nobody_has(tmp_path: Path) -> None:
    path, _ = make_pair(tmp_path, 30)
    made = set()
    with Store(path) as store:
        for seed in range(9):
            found = peel(
                ItemHash(store.group_keys.sketch()),
                store.cells(WIDTH),
                FalseCells(liar(store, seed), "near").cells(WIDTH),
            )
            assert found
            made.add(len(found))
            assert store.locate([fingerprint.to_bytes(7, "big") for fingerprint in found]) == {}
    assert made == {1, 5, 200}


def test_an_estimate_is_of_nothing_of_anything_or_near_the_truth(tmp_path: Path) -> None:
    path, _ = make_pair(tmp_path, 30)
    with Store(path) as store:
        told = [_estimated(liar(store, seed)) for seed in range(60)]
        true = store.counters()
    assert {len(counters) for _, counters in told} == {limits.SKETCH_COUNTERS}
    beside = [sum(a != b for a, b in zip(counters, true, strict=True)) for _, counters in told]
    assert sum(0 < count <= 30 for count in beside) > 15
    assert len({count for count, _ in told}) == 5


def test_each_way_is_drawn_and_can_be_gone() -> None:
    assert set(DRAWN) == set(MISLEADING)
    assert set(HOWS) >= set(MISLEADING)

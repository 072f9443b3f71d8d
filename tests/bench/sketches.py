"""What the sketch costs: to find out a difference from cells, and to keep it up with what is written. CPU time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from time import process_time

from protocol import prints, sketch
from protocol.prints import ITEM_BYTES, ItemHash
from protocol.sketch import Sketch
from tests.bench.figure import Figure, median

RUNS = 5
DECODES = {1_000: 10, 10_000: 60}
"""Differing items -> milliseconds."""
FEW = 400
"""Items at a time that are too few for NumPy."""
MANY = 65_536


def _items(chance: random.Random, count: int) -> bytes:
    return chance.randbytes(ITEM_BYTES * count)


def _decode(family: ItemHash, chance: random.Random, differ: int, limit: int) -> Iterator[Figure]:
    times, width = [], sketch.size_for(differ)
    assert width is not None
    for _ in range(RUNS):
        mine, theirs = Sketch(family), Sketch(family)
        ours, others = family.prints(_items(chance, differ // 2)), family.prints(_items(chance, differ - differ // 2))
        mine.add(ours)
        theirs.add(others)
        cells = mine.cells(width), theirs.cells(width)
        began = process_time()
        found = sketch.peel(family, *cells)
        times.append((process_time() - began) * 1000)
        assert found == {*ours, *others}
    how = f"{differ:,} items from {len(cells[0]):,} B of cells, pure Python"
    yield Figure(f"sketch.decode_{differ // 1000}k", median(times), "ms", how, limit)


def sketches(folder: Path, count: int) -> Iterator[Figure]:
    """The sketch alone, on items of chance: one item stands for one stamp of a record. Medians of 5 runs."""
    chance = random.Random(9)
    family = ItemHash(chance.randbytes(8 * prints.WORDS))
    for differ, limit in DECODES.items():
        yield from _decode(family, chance, differ, limit)
    kept, times = Sketch(family), []
    few = [_items(chance, FEW) for _ in range(100)]
    for _ in range(RUNS):
        began = process_time()
        for items in few:
            kept.add(family.prints(items))
        times.append((process_time() - began) / (FEW * len(few)) * 1e6)
    yield Figure("sketch.upkeep", median(times), "us", f"a written record, {FEW} at a time, pure Python", 8)
    whole, made = [], [_items(chance, MANY) for _ in range(-(-count // MANY))]
    for _ in range(RUNS):
        began = process_time()
        kept = Sketch(family)
        for items in made:
            kept.add(family.prints(items))
        whole.append(process_time() - began)
    numpy = "with NumPy" if prints.NUMPY else "without NumPy"
    how = f"{len(made) * MANY:,} items, {numpy}; reading them from the file is not in it"
    yield Figure("sketch.rebuild", median(whole), "s", how, 3 * count / 1_000_000)

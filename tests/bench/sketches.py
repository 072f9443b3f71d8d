"""What the sketch costs: bytes to find out a difference, CPU time to do so and to keep it up with what is written."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from time import process_time

from protocol import prints, sketch
from protocol.prints import ITEM_BYTES, ItemHash
from protocol.sketch import Sketch
from tests.bench.figure import Figure, median
from tests.protocol.meetings import FLOORS, finding, meeting, round_trips, widened

RUNS = 5
DECODES = {1_000: 10, 10_000: 60}
"""Differing items -> milliseconds."""
MEETINGS = {10: 150, 100: 60, 1_000: 24, 10_000: 20}
"""Differing items -> meetings in memory."""
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


def _meetings(differ: int, runs: int) -> Iterator[Figure]:
    talks = [meeting(differ, seed) for seed in range(runs)]
    sizes = [sum(finding(talk).values()) for talk in talks]
    how = f"until both know what to send: mean of {runs} meetings, {min(sizes):,} to {max(sizes):,} B; "
    how += f"{sum(map(widened, talks))} widened, {mean(map(round_trips, talks)):.2f} round trips"
    yield Figure(f"sketch.finding_{differ}", mean(sizes), "B", how, FLOORS[differ])


def sketches(folder: Path, count: int) -> Iterator[Figure]:
    """The sketch alone, on items of chance: one item stands for one stamp of a record. Times: medians of 5 runs."""
    chance = random.Random(9)
    family = ItemHash(chance.randbytes(8 * prints.WORDS))
    for differ, runs in MEETINGS.items():
        yield from _meetings(differ, runs)
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

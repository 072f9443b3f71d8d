"""What many writers get done that would each wait for the disk alone.

A write is acknowledged when it is on the disk. The engine stamps it soon after: in a pause of the writers, or after
0.1 s if there is none. So there are two rates: of short blocks with pauses between, in which what is stamped after
them is timed by itself; and of writers who go on for seconds, until all that they wrote is stamped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import replica
from replica.node import Node
from replica.soon import LATE, QUIET_SECONDS
from tests.bench.contacts import contacts, edits
from tests.bench.figure import Figure, median
from tests.bench.local import new_store

WRITERS = 32
BLOCKS = 5
ALONE, EACH = 200, 25
"""Updates in a block: of the one writer, and of each of the many."""
LONG = 10
"""So many times longer are the blocks that are timed with what is stamped in and after them."""

_Changes = list[tuple[str, str, str]]


async def _write(node: Node, changes: _Changes) -> None:
    for field, value, id_ in changes:
        await node.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, id_))


async def _times(node: Node, writers: list[_Changes]) -> tuple[float, float]:
    """Microseconds of an update until it is acknowledged, and from then on, until all are stamped."""
    await asyncio.sleep(2 * LATE * QUIET_SECONDS)  # Nothing waits from before.
    each = 1e6 / sum(map(len, writers))
    began = perf_counter()
    await asyncio.gather(*(_write(node, changes) for changes in writers))
    acknowledged = perf_counter()
    await node.call(node.store.absorb)
    return each * (acknowledged - began), each * (perf_counter() - acknowledged)


_Times = list[tuple[float, float]]


async def _run(path: Path, ids: list[str], longer: int) -> tuple[_Times, _Times]:
    """Of the one writer, and of the many, in turn."""
    alone, many = [], []
    lone = edits(ids, ALONE * longer, BLOCKS, 7)
    each = edits(ids, EACH * longer, BLOCKS * WRITERS, 8)
    async with replica.open(path) as node:
        for block in range(BLOCKS):
            alone.append(await _times(node, [lone[block]]))
            many.append(await _times(node, each[block * WRITERS : (block + 1) * WRITERS]))
    return alone, many


def writers(folder: Path, count: int) -> Iterator[Figure]:
    """One-field updates through one node under FULL, each awaited: by 32 writers at once, and by one, in turn. Medians."""
    path = folder / "writers.db"
    rows = list(contacts(count))
    with new_store(path) as store:
        store.put_many("contacts", rows)
    ids = [row[0] for row in rows]
    alone, many = asyncio.run(_run(path, ids, 1))
    one, stamped = (median(list(times)) for times in zip(*alone, strict=True))
    how = f"one writer, FULL: {one:.0f} us each, and {stamped:.0f} after it for its stamp"
    yield Figure("writers.one", 1e6 / one, "writes/s", how)
    ratio = median([a / m for (a, _), (m, _) in zip(alone, many, strict=True)])
    each, stamped = (median(list(times)) for times in zip(*many, strict=True))
    how = f"{WRITERS} writers at once: {1e6 / each:,.0f} acknowledged writes/s; {stamped:.0f} us each after it for stamps"
    yield Figure("writers.many", ratio, "x one", how, 8, more=True)
    alone, many = asyncio.run(_run(path, ids, LONG))
    ratio = median([sum(a) / sum(m) for a, m in zip(alone, many, strict=True)])
    one, each = (median([sum(times) for times in some]) for some in (alone, many))
    how = f"without a pause, until all is stamped: {1e6 / each:,.0f} writes/s, one writer {1e6 / one:,.0f}"
    yield Figure("writers.sustained", ratio, "x one", how)

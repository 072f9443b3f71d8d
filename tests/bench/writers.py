"""What many writers get done that would each wait for the disk alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import replica
from replica.node import Node
from tests.bench.contacts import contacts, edits
from tests.bench.figure import Figure, median
from tests.bench.local import new_store

WRITERS = 32
BLOCKS = 5
ALONE, EACH = 200, 25
"""Updates in a block: of the one writer, and of each of the many."""

_Changes = list[tuple[str, str, str]]


async def _write(node: Node, changes: _Changes) -> None:
    for field, value, id_ in changes:
        await node.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, id_))


async def _rate(node: Node, writers: list[_Changes]) -> float:
    """Acknowledged updates a second."""
    began = perf_counter()
    await asyncio.gather(*(_write(node, changes) for changes in writers))
    return sum(map(len, writers)) / (perf_counter() - began)


async def _run(path: Path, ids: list[str]) -> tuple[list[float], list[float]]:
    alone, many = [], []
    lone = edits(ids, ALONE, BLOCKS, 7)
    each = edits(ids, EACH, BLOCKS * WRITERS, 8)
    async with replica.open(path) as node:
        for block in range(BLOCKS):
            alone.append(await _rate(node, [lone[block]]))
            many.append(await _rate(node, each[block * WRITERS : (block + 1) * WRITERS]))
    return alone, many


def writers(folder: Path, count: int) -> Iterator[Figure]:
    """One-field updates through one node under FULL, each awaited: by 32 writers at once, and by one, in turn. Medians."""
    path = folder / "writers.db"
    rows = list(contacts(count))
    with new_store(path) as store:
        store.put_many("contacts", rows)
    alone, many = asyncio.run(_run(path, [row[0] for row in rows]))
    yield Figure("writers.one", median(alone), "writes/s", "one writer, FULL")
    ratio = median([m / a for m, a in zip(many, alone, strict=True)])
    how = f"{WRITERS} writers at once: {median(many):,.0f} acknowledged writes/s"
    yield Figure("writers.many", ratio, "x one", how, 8, more=True)

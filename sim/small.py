"""Worlds in which the engine's sizes are small: what it does with many rows it then does with few, under all faults.

A batch of `put_many` waits in the young generation only from hundreds of rows on, and the sketch is made ahead only in a
large store. A world has some dozen rows. So in some worlds these thresholds are small while the world runs, and people put
batches of new rows, also just before something goes wrong, and change or delete them soon after. One test each:

1. Which worlds are so is drawn from a stream of its own: without that, all else of a seed is as it was.
2. The engine's sizes are small while such a world runs, and as before when it ended, however it did.
3. In such worlds rows wait in the young generation, and sketches are made ahead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any
from unittest.mock import patch

from protocol.prints import ITEM_BYTES
from sim.chance import stream
from sim.drafts import literal
from sim.scenario import SIZES, THROUGH, Event, Scenario

USUAL, SMALL = SIZES
FILE, NODE = THROUGH
SHARE = 1 / 3
"""Of the worlds, how many are so; and as many, by another stream, in which people write through the node."""
WORK_MAX = 110
"""Events of people's work in a small world: no batch is put beyond."""
SETTINGS: dict[str, tuple[int, ...]] = {
    "replica.node.FEW_ROWS": (0, 1, 4),
    "replica.store.young.BATCH_MIN": (1, 2),
    "replica.store.put.LATER_MIN": (1, 2),
    "replica.store.young.WAITING_MAX": (20, 1_000),
    "replica.store.store.CAUTIOUS": (0,),
    "replica.store.sketched.AHEAD_FROM": (1, 30),
    "replica.store.sketched.AHEAD_BYTES": (10 * ITEM_BYTES, 40 * ITEM_BYTES),
    "replica.store.sketched.KEEP_AFTER": (10, 100),
    "replica.store.inserted.ROWS_MIN": (1, 2),
    "replica.store.put.ROWS": (2, 7, 1_000),
    "replica.store.put.WAITING_MAX": (3, 10, 1_000),
}
"""What is small, and how small."""
NEAR = frozenset({"schema", "crash", "off", "full", "ioerror", "rot"})
"""Faults shortly before which rows are put."""
COLUMNS = {
    "account": ("name", "email", "city", "rating"),
    "contact": ("account", "name", "phone", "mail", "stage"),
    "visit": ("contact", "note", "at"),
}
"""Of the CRM's tables, those that batches are put into, and their columns but the key, `id`."""


@contextmanager
def sized(scenario: Scenario) -> Iterator[None]:
    """While this is held, the engine's sizes are those of this world."""
    rng = stream(scenario.seed, "small sizes")
    with ExitStack() as held:
        for name, values in SETTINGS.items() if scenario.sizes == SMALL else ():
            held.enter_context(patch(name, rng.choice(values)))
        yield


def drawn(world: Scenario) -> Scenario:
    """The same world, in some of which the engine's sizes are small, and in some people write through the node."""
    rng = stream(world.seed, "sizes")
    if stream(world.seed, "through").random() < SHARE:
        world = replace(world, through=NODE)
    if rng.random() >= SHARE:
        return world
    room = 0 if world.db else WORK_MAX - sum(event.work for event in world.events)
    more = islice(_batches(rng, world), max(0, room))
    return replace(world, sizes=SMALL, events=tuple(sorted((*world.events, *more), key=lambda e: e.at)))


def _batches(rng: Random, world: Scenario) -> Iterator[Event]:
    near = [e for e in world.events if e.kind in NEAR and e.node in world.names and rng.random() < 0.5]
    ends = [(max(0.0, e.at - rng.uniform(0.01, 3)), e.node, e.at) for e in near]
    for _ in range(rng.randint(2, 5)):
        at = rng.uniform(0, world.duration_s)
        ends.append((at, rng.choice(world.names), at + rng.uniform(0.05, 5)))
    for number, (at, node, end) in enumerate(ends):
        yield from _batch(rng, world, number, at, node, end)


def _batch(rng: Random, world: Scenario, number: int, at: float, node: str, end: float) -> Iterator[Event]:
    """New rows; some are written again before an end, by another program; and some are put again, perhaps elsewhere."""
    table, count = rng.choice(list(COLUMNS)), rng.choice((1, 2, 3, 5, 8, 13, 30))
    keys: list[Any] = [f"b{number}.{n}" for n in range(count)]
    if table == "visit":
        keys = [10_000_000 + 1_000 * number + n for n in range(count)]
    yield _put(at, node, table, keys, f"batch {number}")
    some = rng.sample(keys, min(count, rng.randint(0, 3)))
    for key in some:
        deletes = rng.random() < 0.6
        what = f"DELETE FROM {table}" if deletes else f"UPDATE {table} SET {COLUMNS[table][-1]} = {number}"
        with_ = {"sql": [f"{what} WHERE id = {literal(key)}"], "rows": [[table, [key]]]}
        yield _event(world, rng.uniform(at, end), "write", node, with_)
    if rng.random() < 0.6:
        who = node if rng.random() < 0.7 else rng.choice(world.names)
        later = end + rng.choice((0.1, 20.0, 60.0)) * rng.random()
        if later <= world.duration_s:
            fresh = f"c{number}" if table != "visit" else 20_000_000 + number
            yield _put(later, who, table, [*some, fresh], f"again {number}")


def _put(at: float, node: str, table: str, keys: list[Any], text: str) -> Event:
    rows = [{"id": key} | dict.fromkeys(COLUMNS[table]) | {COLUMNS[table][1]: f"{text} {key}"} for key in keys]
    if table == "account":
        rows = [row | {"name": text} for row in rows]
    entries = [[table, [key]] for key in keys]
    return Event(round(at, 3), "put", node, {"table": table, "json": json.dumps(rows), "rows": entries})


def _event(world: Scenario, at: float, kind: str, node: str, with_: dict[str, Any]) -> Event:
    return Event(round(min(at, world.duration_s), 3), kind, node, with_)

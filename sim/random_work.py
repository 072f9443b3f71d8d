"""Worlds of random work: who dials whom and how often, whose clock is wrong, and what people write; nothing goes wrong yet.

One test each:

1. All are connected: over the links that are dialled, each node reaches each.
2. People write, and nodes dial, as often as is told.
3. At times several write at once through one node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from random import Random

from replica.errors import UsageError
from sim.chance import stream
from sim.office import DAY_S
from sim.scenario import Event, Place, Scenario
from sim.workload import CRM, People

WRITES = 6, 40
"""How often people write, at least and at most, beside what belongs to a rush or to a fault."""
EVERY_S = 60.0, 600.0
"""Seconds from one call of a node to the next, at least and at most. Worlds of 25 to 85 writes and 30 to 300 s cost half as
much again and find no more for their CPU: of the planted bugs 0.31 a second, where those of 8 to 45 writes and 60 to 600 s
found 0.35 (59 bugs, 5 seeds each)."""
LOOKS = 3
"""How often a node looks whether somebody wrote into its file, in the least time between two calls."""
CALM = 0.2
"""Share of the time at the end that is calm: no rush, and no fault begins."""
RUSH = 0.3
"""Share of worlds in which several write through one node at once."""


def random_work(
    seed: int,
    nodes: int,
    duration_s: float,
    writes: tuple[int, int] = WRITES,
    every_s: tuple[float, float] = EVERY_S,
    *,
    db: str = "",
    odd_clocks: bool = True,
) -> Scenario:
    """A world. `writes`: of people, beside a rush; `every_s`: from one call of a node to the next; each is drawn between
    these. `db`: a file that every node begins with, else our CRM. Raises UsageError."""
    if nodes < 1 or not duration_s >= 1:
        raise UsageError(f"a world needs a node and some time, not {nodes} nodes and {duration_s} s")
    rng, chance = stream(seed, "places"), stream(seed, "people")
    names = [f"n{n}" for n in range(nodes)]
    start_ms = Scenario(0, ()).start_ms
    skews = [rng.randint(-30_000, 30_000) for _ in names]
    if odd_clocks:
        skews = [rng.choice([-1, 1]) * DAY_S * 1_000 + s if rng.random() < 0.05 else s for s in skews]
        for year in (0, (1 << 32) * 1_000):  # 1970 and 2106: the first and the last second of 32 bits.
            if rng.random() < 1 / 30:
                skews[rng.randrange(nodes)] = year - start_ms
    peers = _topology(rng, names)
    least_s, ratio = every_s[0], every_s[1] / every_s[0]
    places = tuple(
        Place(name, tuple(peers[name]), round(least_s * ratio ** rng.random(), 3), skew, role="node" if n else "hq")
        for n, (name, skew) in enumerate(zip(names, skews, strict=True))
    )
    times = sorted(round(rng.uniform(0, duration_s), 3) for _ in range(rng.randint(*writes)))
    with closing(People.for_db(db, chance) if db else People.of(CRM, chance)) as people:
        schema = "" if db else CRM + "".join(f"{sql};\n" for sql in people.begin())
        workers = [(at, rng.choice(names)) for at in times]
        events = tuple(e for at, n in workers for e in people.events(at, n, [name for name in names if name != n]))
        events += () if db else tuple(_rush(stream(seed, "rush"), names, duration_s))
    latency_s = round(10 ** rng.uniform(-3, -0.7), 3)
    poll_s = least_s / LOOKS
    return Scenario(
        seed, places, events, float(duration_s), schema=schema, db=db, latency_s=latency_s, poll_s=poll_s
    )


def _rush(rng: Random, names: list[str], duration_s: float) -> Iterator[Event]:
    if rng.random() > RUSH:  # Every other one of them puts rows that cannot be.
        return
    at, node = round(rng.uniform(0, duration_s * (1 - CALM)), 3), rng.choice(names)
    for n in range(rng.randint(2, 4)):
        ids = [f"rush{n}.{m}" for m in range(1 + n % 2)]
        whole = {"name": "in a rush", "email": f"rush{n}", "city": None, "rating": n}
        rows = json.dumps([{"id": id_, **whole} for id_ in ids])
        yield Event(at, "put", node, {"table": "account", "json": rows, "rows": [["account", [id_]] for id_ in ids]})


def _topology(rng: Random, names: list[str]) -> dict[str, list[str]]:
    """Whom each dials; all are connected."""
    count, shape = len(names), rng.choice(["star", "line", "ring", "two"])
    peers: dict[str, list[str]] = {name: [] for name in names}
    for n, name in enumerate(names):
        if shape == "ring" and count > 1:
            peers[name] = [names[(n + 1) % count]]
        elif n:
            peers[name] = [names[{"star": 0, "line": n - 1}.get(shape, rng.randrange(n))]]
    for name in names if shape == "two" else rng.sample(names, min(count, rng.randint(0, 2))):
        if others := [o for o in names if o != name and o not in peers[name]]:
            peers[name].append(rng.choice(others))
    return peers

"""Days at an office: a head office, branches, and sellers whose laptops are online at times.

A day begins at 06:00, which is virtual second 0. A seller is online at the branch in the morning and in the evening, and
in patches between; head office and branches always are. Prices are imported at head office at 02:00. One test each:

1. The same seed draws the same days.
2. Sellers dial their branch, one in four head office too; branches dial head office.
3. A day has the work of a day, and nobody but the import works at night.
"""

from __future__ import annotations

from contextlib import closing
from random import Random

from replica.errors import UsageError
from sim.chance import stream
from sim.scenario import Event, Place, Scenario
from sim.workload import CRM, People

DAY_S = 86_400
DAWN_H = 6
"""The hour of virtual second 0."""
START_MS = 1_800_000_000_000 // 86_400_000 * 86_400_000 + DAWN_H * 3_600_000
"""That hour of a day in 2027, Unix milliseconds."""
SELLER_EVERY_S, BRANCH_EVERY_S = 900.0, 600.0
POLL_S = 600.0
HQ_TOO = 4
"""One seller in so many dials head office too."""
WRITES = 60
"""Of a seller a day."""


def clock(day: int, hour: float) -> float:
    """Virtual seconds at an hour of the clock; hours before dawn belong to the night after the day."""
    return day * DAY_S + ((hour - DAWN_H) % 24) * 3_600.0


def office_day(seed: int, nodes: int = 50, days: int = 1, *, writes: int = WRITES, db: str = "") -> Scenario:
    """Days without a fault. `writes`: of a seller a day. `db`: a file that every node begins with, else our CRM. Raises
    UsageError."""
    if nodes < 1 or days < 1:
        raise UsageError(f"an office needs a node and a day at least, not {nodes} nodes and {days} days")
    rng = stream(seed, "office")
    places = _places(rng, nodes, days)
    chance = stream(seed, "people")
    events: list[Event] = []
    with closing(People.for_db(db, chance) if db else People.of(CRM, chance)) as people:
        schema = "" if db else CRM + "".join(f"{sql};\n" for sql in people.begin(20 + 8 * nodes))
        for at, name in sorted(_hours(rng, places, days, writes)):
            events.append(
                people.put(at, name, 200) if name == "hq" and at % DAY_S >= clock(0, 2) else people.event(at, name)
            )
    return Scenario(
        seed,
        places,
        tuple(events),
        float(days * DAY_S),
        schema=schema,
        db=db,
        start_ms=START_MS,
        latency_s=0.04,
        poll_s=POLL_S,
    )


def _places(rng: Random, nodes: int, days: int) -> tuple[Place, ...]:
    branches = [f"b{n}" for n in range(1, max(1, nodes // 10) + 1)] if nodes > 2 else []
    places = [Place("hq", role="hq", every_s=BRANCH_EVERY_S, skew_ms=rng.randint(-1_000, 1_000))]
    places += [Place(b, ("hq",), BRANCH_EVERY_S, rng.randint(-5_000, 5_000), role="branch") for b in branches]
    for n in range(nodes - len(places)):
        both = len(branches) == 0 or n % HQ_TOO == 0
        peers = (*([branches[n % len(branches)]] if branches else []), *(["hq"] if both else []))
        online = tuple(window for day in range(days) for window in _online(rng, day))
        places.append(Place(f"s{n + 1}", peers, SELLER_EVERY_S, rng.randint(-30_000, 30_000), online, "seller"))
    return tuple(places)


def _online(rng: Random, day: int) -> list[tuple[float, float]]:
    """At the branch, in patches on the way, and at the branch again."""

    def window(hour: float, minutes: float) -> tuple[float, float]:
        start = round(clock(day, hour) + rng.uniform(-300, 300), 3)
        return start, round(start + minutes * 60, 3)

    patches = sorted(rng.sample(range(9, 17), rng.randint(4, 7)))
    between = [window(hour + 0.25, rng.uniform(10, 25)) for hour in patches]
    return [window(7.5, 60), *between, window(17, 60)]


def _hours(rng: Random, places: tuple[Place, ...], days: int, writes: int) -> list[tuple[float, str]]:
    """When who writes."""
    found = []
    for day in range(days):
        for place in places:
            share = 1.0 if place.role == "seller" else 0.7
            count = round(writes * share * rng.uniform(0.9, 1.1))
            found += [(round(clock(day, rng.uniform(8, 18)), 3), place.name) for _ in range(count)]
        found += [(clock(day, 2) + 60.0 * n, "hq") for n in range(3)]
    return found

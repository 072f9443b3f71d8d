"""A scenario from a seed: a world of work (sim.random_work, sim.office), and what goes wrong in it.

Which kinds of fault a world has is drawn first ("swarm"): a world of a few kinds goes deeper into each than a world of
all. One test each:

1. The same seed draws the same scenario, in every process and under every PYTHONHASHSEED.
2. Every kind of event is drawn within some hundred seeds, every scenario is one that a file can hold, and `faults` keeps
   to the kinds that it names.
3. At most one node is hostile, one rots, one is cloned; they are different nodes and not the first; a node is restored
   only after a backup.
4. Hints and minor versions are drawn from streams of their own: all else is the same whatever they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from replica.errors import UsageError
from replica.store.catalog import quote
from sim.allowed import FRAMES, HOSTILE, MISLEADING, ROT
from sim.alter import Alterable, adding, alterable
from sim.chance import stream
from sim.drafts import literal
from sim.minors import mixed
from sim.office import DAY_S, office_day
from sim.random_work import CALM, EVERY_S, WRITES, random_work
from sim.scenario import HINTS, PARAMETERS, Event, Scenario
from sim.small import drawn

GROUPS: dict[str, tuple[str, ...]] = {
    "network": ("partition", "block", "slow", "frames", "cut", "deaf"),
    "clock": ("step", "drift", "freeze", "counter"),
    "machine": ("suspend", "crash", "off"),
    "disk": ("full", "ioerror", "rot"),
    "copies": ("clone", "backup", "restore"),
    "software": ("schema", "version", "hostile"),
}
"""Kinds of fault by what they befall."""
KINDS = tuple(kind for kinds in GROUPS.values() for kind in kinds)
FAULTS_MAX = 10_000  # Of a kind, by name.
BLINKS_MAX = 40
HINTED = (6, 2, 2)  # Weights of HINTS.
TWINS_S = 15.0
"""Who writes so much later than its copy has mostly heard of that."""

Link = list[str]


def draw(
    seed: int,
    *,
    nodes: int = 5,
    duration_s: float = 600.0,
    faults: Sequence[str] | None = None,
    work: str = "random",
    days: int = 1,
    db: str = "",
    writes: tuple[int, int] = WRITES,
    every_s: tuple[float, float] = EVERY_S,
) -> Scenario:
    """A scenario. `faults`: names of kinds or of GROUPS, with a number ("partition:3") or some of each; None: drawn.
    `work`: "random" in `duration_s`, or "office" in `days`. `db`: a database of anybody's that every node begins with,
    else a small CRM. `writes`, `every_s`: see random_work. Raises UsageError."""
    kinds = _kinds(stream(seed, "kinds"), faults)
    if work == "office":
        world = office_day(seed, nodes, days, db=db)
    elif work == "random":
        odd_clocks = faults is None or bool({*kinds} & {*GROUPS["clock"]})
        world = random_work(seed, nodes, duration_s, writes, every_s, db=db, odd_clocks=odd_clocks)
    else:
        raise UsageError(f'{work!r} is no kind of work; there are "random" and "office"')
    bad = _Faults(world, stream(seed, "faults"))
    for names, count in _rounds(faults, kinds, bad.rng, max(1, round(world.duration_s / DAY_S))):
        for _ in range(count):
            if able := [kind for kind in names if bad.able(kind)]:
                bad.add(bad.rng.choice(able))
    hints, events = stream(seed, "hints").choices(HINTS, HINTED)[0], (*world.events, *bad.events)
    world = replace(world, hints=hints, events=tuple(sorted(events, key=lambda e: e.at)))
    return drawn(mixed(world)) if work == "random" else world


def _kinds(rng: Random, faults: Sequence[str] | None) -> list[str]:
    if faults is None:
        share = rng.choice([0.1, 0.3, 0.5, 0.9])
        return [kind for kind in KINDS if rng.random() < share] or [rng.choice(KINDS)]
    return _named([name.partition(":")[0] for name in faults])


def _named(names: Sequence[str]) -> list[str]:
    if odd := [name for name in names if name not in {*GROUPS, *KINDS}]:
        raise UsageError(f"{odd[0]!r} is no fault; there are {', '.join((*GROUPS, *KINDS))}")
    return [k for group, kinds in GROUPS.items() for k in kinds if group in names or k in names]


def _rounds(faults: Sequence[str] | None, kinds: list[str], rng: Random, days: int) -> Iterator[tuple[list[str], int]]:
    """Of which kinds, and how many: those with a number first, then some of the others together."""
    for name, _, count in [name.partition(":") for name in faults or () if ":" in name]:
        if not count.isdecimal() or len(count) > 9:
            raise UsageError(f"{name}:{count} does not say how many faults: it looks like partition:3")
        if int(count) > FAULTS_MAX:
            raise UsageError(f"{name}:{count} are too many faults: {FAULTS_MAX:,} at most")
        yield _named([name]), int(count)
    if others := kinds if faults is None else _named([name for name in faults if ":" not in name]):
        yield others, rng.randint(3, 15) * days


# --- faults -------------------------------------------------------------------------------------------------------------


class _Faults:
    """Draws faults for a world."""

    def __init__(self, world: Scenario, rng: Random) -> None:
        self.rng, self.events = rng, list[Event]()
        self._world, self._names = world, world.names
        self._end = world.duration_s * (1 - CALM)
        self._links: list[Link] = [[p.name, peer] for p in world.places for peer in p.peers]
        others = [p.name for p in world.places[1:] if p.role != "hq"]
        # One of each a world, and never the same node: what one of them did must stay known to somebody honest.
        self._special = dict(zip(("hostile", "rot", "clone"), rng.sample(others, min(3, len(others))), strict=False))
        self._used: dict[str, int] = {}
        self._added: dict[str, list[tuple[float, str, str]]] = {}
        self._shapes: list[Alterable] = []
        self._n = 0

    def able(self, kind: str) -> bool:
        """Whether this world can have one more of the kind."""
        if kind in self._special or kind in {"hostile", "rot", "clone"}:
            return kind in self._special and kind not in self._used and len(self._names) > 2
        if kind == "restore" and self._used.get(kind, 0) > 1:
            return False
        return kind not in {"partition", "block", "slow", "frames", "cut"} or bool(self._links)

    def add(self, kind: str) -> None:
        """One more, which may be several events."""
        self._used[kind] = self._used.get(kind, 0) + 1
        maker: Callable[[], None] | None = getattr(self, f"_{kind}", None)
        if maker is None:
            self._put(self._at(), kind, self._node(), **self._plain(kind))
        else:
            maker()

    def _plain(self, kind: str) -> dict[str, Any]:
        """Parameters of the kinds that are one event at any node."""
        rng = self.rng
        if kind == "step":
            size = DAY_S * 1_000 if rng.random() < 0.03 else round(self._log(1_000, 600_000))
            return {"ms": rng.choice([-1, 1]) * size}
        if kind == "drift":
            return {"ppm": rng.choice([-1, 1]) * rng.randint(10, 200)}
        if kind == "ioerror":
            late = rng.random() < 0.5
            return {"at_step": rng.randint(1, 300), "for_s": rng.choice([0.0, self._span(1, 120)]), "late": late}
        if kind == "suspend" and rng.random() < 0.05:
            return {"for_s": 8 * 3_600.0}
        return {"for_s": self._span(1, 200)} if "for_s" in PARAMETERS[kind] else {}

    def _put(self, at: float, kind: str, node: str = "", **with_: Any) -> None:
        self.events.append(Event(round(max(0.0, at), 3), kind, node, with_))

    def _at(self, share: float = 1.0) -> float:
        return self.rng.uniform(0, self._end * share)

    def _log(self, low: float, high: float) -> float:
        return math.exp(self.rng.uniform(math.log(low), math.log(high)))

    def _span(self, low: float, high: float) -> float:
        """How long: so many seconds in ten minutes, more in days."""
        scale = max(1.0, self._world.duration_s / 600)
        return round(min(self._log(low, high * scale), self._world.duration_s / 2), 3)

    def _node(self) -> str:
        hostile = self._special.get("hostile") if "hostile" in self._used else None
        return self.rng.choice([name for name in self._names if name != hostile])

    def _some_links(self) -> list[Link]:
        """One link, all of one node, or all; one way or both ways."""
        rng, draw = self.rng, self.rng.random()
        one = rng.choice(self._links)
        links = [one] if draw < 0.5 else [k for k in self._links if one[0] in k] if draw < 0.8 else self._links
        back = [[b, a] for a, b in links]
        return [list(k) for k in rng.choice([links, back, [*links, *back]])]

    # --- the network

    def _partition(self) -> None:
        rng, names = self.rng, self.rng.sample(self._names, len(self._names))
        count = rng.choice([2, 2, 2, 3, len(names)])
        cut = 1 if rng.random() < 0.4 else len(names) // 2  # One against the rest, or halves.
        groups = [names[:cut], names[cut:]] if count == 2 else [names[n::count] for n in range(count)]
        groups = [sorted(group) for group in groups if group]
        if rng.random() < 0.7:
            self._put(self._at(), "partition", groups=groups, for_s=self._span(5, 300))
            return
        period, at = self._log(0.1, 60), self._at(0.7)  # Flapping.
        for n in range(min(rng.randint(3, BLINKS_MAX), int((self._end - at) / period) + 1)):
            self._put(at + n * period, "partition", groups=groups, for_s=round(period / 2, 3))

    def _block(self) -> None:
        rng, at = self.rng, self._at(0.8)
        how = rng.choice(["some", "some", "swizzle", "bridge", "ring"])
        names = rng.sample(self._names, len(self._names))
        if how == "swizzle":  # Stop links one by one, release them in another order.
            node = rng.choice(names)
            links = [k for a, b in self._links if node in (a, b) for k in ([a, b], [b, a])] or self._some_links()
            start = [self._span(1, 60) for _ in links]
            release = max(start) + self._span(1, 60)
            for link, begin in zip(links, start, strict=True):
                self._put(at + begin, "block", links=[link], for_s=round(release - begin + self._span(1, 60), 3))
            return
        place = {name: n for n, name in enumerate(names)}
        middle, count = len(names) // 2, len(names)
        apart: list[Link] = []
        if how == "bridge":  # Two halves know each other by one node only.
            apart = [[a, b] for a in names for b in names if (place[a] - middle) * (place[b] - middle) < 0]
        elif how == "ring":
            apart = [[a, b] for a in names for b in names if (place[a] - place[b]) % count not in (0, 1, count - 1)]
        wired = [k for k in apart if k in self._links or k[::-1] in self._links]
        self._put(at, "block", links=wired or self._some_links(), for_s=self._span(5, 300))

    def _slow(self) -> None:
        speed, latency_s = round(self._log(1_024, 65_536)), round(self.rng.random() ** 2 * 5, 3)
        span = self._span(10, 300)
        self._put(self._at(), "slow", links=self._some_links(), for_s=span, bytes_per_s=speed, latency_s=latency_s)

    def _frames(self) -> None:
        how = self.rng.choice(FRAMES)
        share = round(self._log(*((0.1, 0.9) if how == "splice" else (0.01, 0.5))), 3)  # Few frames have their like.
        self._put(self._at(), "frames", links=self._some_links(), for_s=self._span(10, 300), how=how, share=share)

    def _cut(self) -> None:
        self._put(self._at(), "cut", links=self._some_links())

    # --- clocks

    def _step(self) -> None:
        """At times the clock is right again at once, but somebody has written meanwhile."""
        rng, node, at, with_ = self.rng, self._node(), self._at(), self._plain("step")
        self._put(at, "step", node, **with_)
        if rng.random() < 0.3 and not self._world.db:
            ahead = abs(int(with_["ms"]))
            back, later = at + rng.uniform(0.2, 2), rng.uniform(0, 1)
            self.events[-1] = Event(round(at, 3), "step", node, {"ms": ahead})
            self._put(at + (back - at) * later, "write", node, **self._write("in a hurry"))
            self._put(back, "step", node, ms=-ahead)

    # --- machines and copies

    def _crash(self) -> None:
        rng = self.rng
        what = rng.choice(["await", "sql", "commit", "now"])
        step = {"now": 0, "commit": rng.randint(1, 20)}.get(what, rng.randint(1, 400))
        draw = rng.random()
        for_s = 0.0 if draw < 0.4 else float(rng.randint(1, 3) * DAY_S) if draw > 0.98 else self._span(1, 200)
        how = rng.choice(["kill", "power"])
        self._put(self._at(), "crash", self._node(), how=how, what=what, at_step=step, for_s=for_s)

    def _rot(self) -> None:
        self._put(self._at(), "rot", self._special["rot"], what=self.rng.choice(ROT))

    def _hostile(self) -> None:
        misleads = stream(self._world.seed, "misleading")  # So that no other world moved when these ways came.
        how = misleads.choice((self.rng.choice(HOSTILE), misleads.choice(MISLEADING)))
        self._put(self._at(), "hostile", self._special["hostile"], how=how, for_s=self._span(30, 300))

    def _clone(self) -> None:
        """Both go on writing, or nobody would ever notice."""
        node, to, at = self._special["clone"], f"n{len(self._names)}", self._at()
        self._put(at, "clone", node, to=to)
        if self._world.db:
            return
        self._twins(node, to, at)
        for who in (to, node, to, to, node):
            at += self.rng.uniform(0.1, 20)
            self._put(at, "write", who, **self._write(f"clone {who}"))

    def _twins(self, node: str, to: str, at: float) -> None:
        """Both change one field at once, by what their clocks say: so both issue one stamp."""
        skew_s = next(p.skew_ms for p in self._world.places if p.name == node) / 1000
        if abs(skew_s) > TWINS_S:
            return
        for column in ("name", "city"):
            both = round(at + self.rng.uniform(0.1, 5) + max(0.0, -skew_s), 3)
            for who, when in ((node, both), (to, both + skew_s)):
                where = "id = (SELECT min(id) FROM account)"
                sql = [f"UPDATE account SET {column} = 'twin {who}' WHERE {where}"]
                # Well inside of the millisecond, whatever floats make of it.
                self.events.append(Event(round(when + 0.0005, 4), "write", who, {"sql": sql, "rows": []}))

    def _restore(self) -> None:
        node, at = self._node(), self._at(0.6)
        self._put(at, "backup", node)
        self._put(self.rng.uniform(at, self._end), "restore", node)

    # --- software

    def _write(self, text: str, column: str = "name") -> dict[str, Any]:
        """A hot account is changed."""
        self._n += 1
        first = re.search(r'INTO "account".*?VALUES \(\'(\w+)\'', self._world.schema)
        key = first[1] if first else "a1"
        sql = f"UPDATE account SET {quote(column)} = 'x{self._n} {text}' WHERE id = '{key}'"
        return {"sql": [sql], "rows": [["account", [key]]]}

    def _schema(self) -> None:
        """The tables of one node change: a column more, or that one less, an index, a table, a rebuild as ORMs do it."""
        rng, node, at = self.rng, self._node(), self._at()
        self._shapes = self._shapes or alterable(self._world)
        table = rng.choice(self._shapes)
        added = self._added.setdefault(node, [])
        how = rng.choice(["column", "column", "column", "drop", "table", "index", "rebuild"])
        self._n += 1
        if how == "drop" and added:
            since, name, column = added.pop()
            at, sql = rng.uniform(since, self._end), [f"ALTER TABLE {quote(name)} DROP COLUMN {column}"]
        elif how == "table":
            sql = [f"CREATE TABLE extra_{self._n}(id TEXT PRIMARY KEY, note TEXT)"]
        elif how == "index":
            sql = [f"CREATE INDEX extra_{self._n} ON {quote(table.name)}({quote(table.columns[-1])})"]
        elif how == "rebuild" and table.rebuild:
            sql = table.rebuild
            if not self._world.db:  # Nobody has seen yet that our triggers are gone.
                key = [self._n if number else f"r{self._n}" for _, number in table.key]
                names, values = ", ".join(quote(n) for n, _ in table.key), ", ".join(map(literal, key))
                insert = f"INSERT INTO {quote(table.name)}({names}) VALUES ({values})"
                self._put(at + rng.uniform(0.01, 2), "write", node, sql=[insert], rows=[[table.name, key]])
        else:
            column = f"extra{rng.randint(1, 3)}"  # Few names, so that two nodes add the same.
            if any(entry[1:] == (table.name, column) for entry in added):
                column = f"extra_{self._n}"
            added.append((at, table.name, column))
            sql = [adding(table.name, column, node, stream(self._world.seed, f"default {self._n}"))]
            if table.name == "account" and not self._world.db:
                self._put(at + rng.uniform(0.1, 30), "write", node, **self._write(node, column))
        self._put(at, "schema", node, sql=sql)

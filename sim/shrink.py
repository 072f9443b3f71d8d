"""Shrinking: the smallest world in which the same promise still breaks.

First fewer nodes, then fewer events, then smaller ones, then a plainer world: no shuffling, quick links, right clocks.
This goes round until nothing gets smaller or the time is over. Each candidate is a whole new run. One test each:

1. What is left breaks the same invariant, and is no larger; only what breaks it is left.
2. The same scenario shrinks to the same, whatever the budget allows it to try.
3. A node takes its events and its clones with it, and the others stay connected.
4. The last candidate that passed is kept, and where it parts from what is left can be told.
5. When the time is over, or the user interrupts, the smallest so far is given back.
6. A world that hangs is a failure of its own kind, and shrinks to one that hangs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from protocol import limits
from replica.errors import UsageError
from sim.guard import HANG, STILL_S, Hung, moving
from sim.loop import CURRENT
from sim.result import Result, Violation
from sim.scenario import Event, Place, Scenario
from sim.world import World

Item = TypeVar("Item")
Watch = Callable[[float], None]

AFTER_S = 1.0
"""A world goes on for so long after its last event, or after the violation."""
QUICK_S = 0.001
SHORT_S = 1.0
"""Faults are shortened down to this."""
HASTY_S = 2.0
"""In place of STILL_S, for what a world that hangs is shrunk to: each candidate that hangs takes so much CPU."""


class Run(NamedTuple):
    """A result, who did what in it (`Trace.skeleton`), and within how many seconds all had to be equal."""

    result: Result
    skeleton: list[str]
    bound_s: float


class _Watched(World):
    """A world that tells how far it is, and ends when it hangs. It sets no timer of its own, so the trace is that of any
    other run."""

    watch: Watch | None = None
    still_s = STILL_S
    _closing = False
    _since = -1.0
    _digest = ""
    """Of the trace before the moment `_since`, in which something was noted last."""

    def note(self, node: str, kind: str, text: str = "", said: str = "") -> None:
        """See World."""
        if self.loop.time() != self._since:
            self._since, self._digest = self.loop.time(), self.trace.digest
        super().note(node, kind, text, said)
        if self.watch is not None:
            self.watch(self.loop.time())

    def run(self) -> Result:
        """See World. A hang is a violation like any other."""
        try:
            with moving(lambda: (self.loop.time(), len(self.machines), self._closing), self._hang, self.still_s):
                result = super().run()
        except Hung:
            if self.result.violation is None:
                raise  # It is the guard of someone else.
            result = self.finish()
        if result.violation is not None and result.violation.invariant == HANG:
            result.digest = self._digest  # How far it went in its last moment was for the CPU to say.
        return result

    def _hang(self, place: str) -> None:
        if self.result.violation is None:
            process = CURRENT.get()
            text = f"virtual time stood still for {self.still_s:g} s of CPU, in {place}"
            self.note("", "VIOLATION", HANG)
            self.result.violation = Violation(HANG, self.loop.time(), process.name if process else "", text)
        self._stopped = True
        self.loop.stop()

    def close(self) -> None:
        """See World."""
        self._closing = True
        super().close()


def once(scenario: Scenario, *, keep: bool = False, watch: Watch | None = None, still_s: float = STILL_S) -> Run:
    """Run a scenario. `keep`: remember every event, for a report. `watch`: is told the virtual time now and then.
    `still_s`: CPU seconds without any virtual time, after which it hangs."""
    world = _Watched(scenario, keep=keep)
    world.watch, world.still_s = watch, still_s
    result = world.run()
    return Run(result, world.trace.skeleton, world.bound_s)


_hasty = partial(once, still_s=HASTY_S)


def broken(result: Result) -> str:
    """The kind of failure: an invariant, "crash", "oracle" or "hang"; empty if it passed."""
    if result.violation is not None:
        return result.violation.invariant
    return "" if result.ok else "I9"


def parting(failed: Sequence[str], passed: Sequence[str]) -> str:
    """The first line at which two runs part, in words."""
    for n, (one, two) in enumerate(zip(failed, passed, strict=False), 1):
        if one != two:
            return f"event {n}: {one!r} here, {two!r} in the run that passed"
    shorter, longer = sorted((failed, passed), key=len)
    if len(shorter) == len(longer):
        return f"none of their {len(failed)} events"
    which = "the run that passed" if longer is passed else "this run"
    return f"event {len(shorter) + 1}: only {which} goes on, with {longer[len(shorter)]!r}"


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left. `tries`: candidates that were run. `last_passing`: the last of them in which nothing broke.
    `finished`: nothing gets smaller; else the time was over. `parts`: where those two part."""

    scenario: Scenario
    result: Result
    tries: int
    last_passing: Result | None
    finished: bool
    interrupted: bool
    parts: str

    @property
    def nodes(self) -> int:
        """Nodes left, clones among them."""
        return len(self.scenario.places) + sum(e.kind == "clone" for e in self.scenario.events)


def shrink(
    scenario: Scenario,
    seconds: float = 60.0,
    log: Callable[[str], None] = lambda _: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    run: Callable[[Scenario], Run] = once,
    hasty: Callable[[Scenario], Run] = _hasty,
) -> Shrunk:
    """The smallest scenario found in so many seconds of `clock`, after its own run, that breaks what this one breaks.
    `hasty`: runs what a world that hangs is shrunk to. Raises UsageError if it breaks nothing."""
    return _Shrinker(scenario, seconds, log, clock, run, hasty).shrink()


class _Over(Exception):
    """No time is left."""


class _Shrinker:
    def __init__(
        self,
        scenario: Scenario,
        seconds: float,
        log: Callable[[str], None],
        clock: Callable[[], float],
        run: Callable[[Scenario], Run],
        hasty: Callable[[Scenario], Run],
    ) -> None:
        first = run(scenario)
        self._kind = broken(first.result)
        self._log, self._clock, self._run = log, clock, hasty if self._kind == HANG else run
        self._end = clock() + seconds
        if not self._kind:
            raise UsageError("nothing broke in this scenario, so there is nothing to shrink")
        self.best, self.found = scenario, first
        self.passing: Run | None = None
        self.tries = 0
        self._known = {scenario.to_toml()}

    def shrink(self) -> Shrunk:
        """Round and round, until a round finds nothing."""
        finished = interrupted = False
        try:
            while not finished:
                before = self.best
                for step in (self._end_early, self._nodes, self._events, self._smaller, self._plainer):
                    step()
                    kinds = f"{len(self.best.places)} nodes, {len(self.best.events)} events"
                    self._log(f"{step.__name__.strip('_').replace('_', ' ')}: {kinds} left after {self.tries} tries")
                finished = self.best == before
        except _Over:
            self._log("the time is over")
        except KeyboardInterrupt:
            interrupted = True
        parts = parting(self.found.skeleton, self.passing.skeleton) if self.passing else ""
        passing = self.passing.result if self.passing else None
        return Shrunk(self.best, self.found.result, self.tries, passing, finished, interrupted, parts)

    def _try(self, candidate: Scenario) -> bool:
        """Whether it breaks the same; then it is the best so far."""
        candidate = tidy(candidate)
        text = candidate.to_toml()
        if text in self._known or not candidate.places:
            return False
        if self._clock() >= self._end:
            raise _Over
        self._known.add(text)
        self.tries += 1
        try:
            done = self._run(Scenario.from_toml(text))  # What a file cannot say could not be replayed.
        except Exception as error:  # Whatever an odd world does to the simulator, the others are still to be tried.
            self._log(f"a candidate cannot be run: {error!r}")
            return False
        if broken(done.result) == self._kind:
            self.best, self.found = candidate, done
            return True
        if not broken(done.result):
            self.passing = done
        return False

    # --- steps --------------------------------------------------------------------------------------------------------

    def _end_early(self) -> None:
        """What comes after the violation did not cause it."""
        bad = self.found.result.violation
        if bad is not None and bad.at < self.best.duration_s:
            events = tuple(e for e in self.best.events if e.at <= bad.at)
            self._try(replace(self.best, events=events))
            self._try(replace(self.best, events=events, duration_s=round(bad.at + AFTER_S, 3)))
        last = max((e.at for e in self.best.events), default=0.0)
        if last + AFTER_S < self.best.duration_s:
            self._try(replace(self.best, duration_s=round(last + AFTER_S, 3)))

    def _nodes(self) -> None:
        reduce(self.best.names, lambda gone: self._try(without_nodes(self.best, gone)))

    def _events(self) -> None:
        """All faults, all work, then ever smaller chunks. An event is known by its number in what was there at first."""
        for work in (False, True):
            self._try(replace(self.best, events=tuple(e for e in self.best.events if e.work != work)))
        # Later events first: earlier ones are more often what the others build on.
        events = list(reversed(self.best.events))

        def drop(gone: list[Event]) -> bool:
            kept, left = [], list(gone)
            for event in self.best.events:
                if event in left:
                    left.remove(event)
                else:
                    kept.append(event)
            return self._try(replace(self.best, events=tuple(kept)))

        reduce(events, drop)

    def _smaller(self) -> None:
        at = 0
        while at < len(self.best.events):
            # What is smaller may be made smaller still.
            if not any(self._try(_with(self.best, at, event)) for event in smaller(self.best.events[at])):
                at += 1
        self._end_early()

    def _plainer(self) -> None:
        places = tuple(replace(p, skew_ms=0, online=(), minor=limits.MINOR) for p in self.best.places)
        if self._try(replace(self.best, places=places, shuffle=False, latency_s=QUICK_S)):
            return
        self._try(replace(self.best, hints="on"))
        self._try(replace(self.best, sizes="usual"))
        self._try(replace(self.best, through="file"))
        self._try(replace(self.best, places=tuple(replace(p, minor=limits.MINOR) for p in self.best.places)))
        self._try(replace(self.best, shuffle=False))
        self._try(replace(self.best, latency_s=QUICK_S))
        for n in range(len(self.best.places)):
            for change in ({"skew_ms": 0}, {"online": ()}, {"minor": limits.MINOR}):
                places = self.best.places
                self._try(replace(self.best, places=(*places[:n], replace(places[n], **change), *places[n + 1 :])))


def reduce(items: Sequence[Item], drop: Callable[[list[Item]], bool]) -> None:
    """Delta debugging: try to drop halves of the items, then quarters, and so on to single ones. `drop` says whether it
    could."""
    left, size = list(items), max(1, len(items) // 2)
    while left:
        at, dropped = 0, False
        while at < len(left):
            if drop(left[at : at + size]):
                del left[at : at + size]
                dropped = True
            else:
                at += size
        if size == 1 and not dropped:
            return
        if not dropped or size > len(left):
            size = max(1, min(size, len(left)) // 2)


# --- scenarios ----------------------------------------------------------------------------------------------------------


def without_nodes(scenario: Scenario, gone: Sequence[str]) -> Scenario:
    """The same world without these nodes. Who dialled one of them dials whom that one dialled; all stay connected."""
    dialled = {p.name: p.peers for p in scenario.places}
    places = []
    for place in scenario.places:
        if place.name not in gone:
            peers = [p for p in _through(place.peers, dialled, gone) if p != place.name]
            places.append(replace(place, peers=tuple(peers)))
    return tidy(replace(scenario, places=tuple(_connected(places))))


def _through(peers: Sequence[str], dialled: dict[str, tuple[str, ...]], gone: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    seen: set[str] = set()
    ahead = list(peers)
    while ahead:
        peer = ahead.pop(0)
        if peer not in seen:
            seen.add(peer)
            if peer in gone:
                ahead += dialled.get(peer, ())
            else:
                found[peer] = None
    return list(found)


def _connected(places: list[Place]) -> list[Place]:
    """Nodes that nobody can reach any more dial the first one."""
    reached: set[str] = set()
    done: list[Place] = []
    for place in places:
        if place.name not in reached:
            if done:
                place = replace(place, peers=(*place.peers, done[0].name))
            ahead = [place.name]
            while ahead:
                name = ahead.pop()
                if name not in reached:
                    reached.add(name)
                    ahead += [p.name for p in places if name in p.peers]
                    ahead += [peer for p in places if p.name == name for peer in p.peers]
        done.append(place)
    return done


def tidy(scenario: Scenario) -> Scenario:
    """Without events of nodes that are not there, and without their names in the events of others."""
    known = set(scenario.names)
    events = []
    for event in scenario.events:
        if event.node and event.node not in known:
            continue
        with_ = dict(event.with_)
        if "links" in with_:
            with_["links"] = [link for link in with_["links"] if set(link) <= known]
        if "groups" in with_:
            groups = [[name for name in group if name in known] for group in with_["groups"]]
            with_["groups"] = [group for group in groups if group and set(group) < known]
        if with_.get("links", True) == [] or with_.get("groups", True) == []:
            continue
        if event.kind == "clone":
            known.add(str(with_["to"]))
        events.append(event if with_ == event.with_ else replace(event, with_=with_))
    return replace(scenario, events=tuple(events))


def smaller(event: Event) -> Iterator[Event]:
    """Events that do less than this one, the smallest first."""

    def changed(**changes: Any) -> Event:
        return replace(event, with_={**event.with_, **changes})

    for_s = event.with_.get("for_s", 0.0)
    if for_s > SHORT_S:
        yield changed(for_s=SHORT_S)
        if for_s > 2 * SHORT_S:
            yield changed(for_s=round(for_s / 2, 3))
    sql = event.with_.get("sql", [])
    if len(sql) > 1:
        for n in range(len(sql)):
            yield changed(sql=[*sql[:n], *sql[n + 1 :]])
    if event.kind == "put":
        rows = json.loads(event.with_["json"])
        for some in (rows[: len(rows) // 2], rows[len(rows) // 2 :]) if len(rows) > 1 else ():
            yield changed(json=json.dumps(some, ensure_ascii=False))
    links = event.with_.get("links", [])
    if len(links) > 1:
        yield changed(links=links[: len(links) // 2])
        yield changed(links=links[len(links) // 2 :])


def _with(scenario: Scenario, at: int, event: Event) -> Scenario:
    events = scenario.events
    return replace(scenario, events=(*events[:at], event, *events[at + 1 :]))

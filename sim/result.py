"""What a run gives back: everything that a person, a test or a report wants to know of it.

The world fills it; nothing here looks at a clock or a file. One test each:

1. A run counts as passed only if no invariant broke and the nodes were seen equal after the last fault.
2. As JSON it is complete: the scenario in it reads back as the same scenario.
3. Times are told in words that fit the length of the run.
4. Refused writes are told by table.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from replica.words import counted
from sim.chance import Line
from sim.scenario import Scenario

INVARIANTS = {
    "I1": "nodes with the same updates are in the same state",
    "I2": "no acknowledged write is lost",
    "I3": "the latest write wins",
    "I4": "no deleted record returns",
    "I5": "digests are equal exactly if the contents are",
    "I6": "a node's clock never repeats and never goes back",
    "I7": "merging again, or in another order, changes nothing",
    "I8": "nobody's clock is led far ahead of the true time",
    "I9": "once the faults end, all nodes become equal in time",
    "I10": "memory and queues stay bounded",
    "I11": "a rejected frame changes nothing",
    "I12": "after a crash the state is that before or after, never between",
    "crash": "a node meets no error that it does not expect",
    "hang": "time goes on",
    "oracle": "the judge itself works",
    "simulator": "the world itself works",
}
"""The promises, in words for everybody: those of the engine, and what a run needs."""

IN_SYNC, DIFFER, FAILED = "in sync", "differ", "failed"
CLASSES = (IN_SYNC, DIFFER, FAILED)
"""How a sync ended, coarsely."""

DAY = 86_400
SHORT_S = 2 * 3600
"""Runs up to this long tell times since their start; longer ones tell day and hour."""


@dataclass(slots=True)
class Band:
    """Something that lasted: at a node, or in the network (`node` empty; `groups`: who still heard whom)."""

    node: str
    kind: str
    start: float
    end: float
    text: str = ""
    groups: tuple[tuple[str, ...], ...] = ()


@dataclass(slots=True)
class Sync:
    """One session as its client saw it. `server` is empty if it is unknown who should have answered."""

    start: float
    end: float
    client: str
    server: str
    outcome: str
    sent: int = 0
    received: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    text: str = ""

    @property
    def kind(self) -> str:
        """One of CLASSES."""
        if self.outcome == "in sync" or self.outcome.startswith("caught up"):
            return IN_SYNC
        return DIFFER if self.outcome.split(",")[0] == "differ" else FAILED


@dataclass(slots=True)
class Work:
    """A transaction of a user; `ok` unless it was refused, or not `tried`, since the node was off. `tables`: what it was
    about; none if its keys have no name in a scenario file."""

    at: float
    node: str
    kind: str
    ok: bool = True
    tables: tuple[str, ...] = ()
    tried: bool = True


@dataclass(slots=True)
class Sample:
    """The world at a moment: how many different roots the running nodes had, how many nodes did not have the most common
    one, and all bytes sent since the start."""

    at: float
    roots: int
    behind: int
    bytes_total: int


@dataclass(slots=True)
class Violation:
    """A broken promise."""

    invariant: str
    at: float
    node: str
    text: str

    @property
    def meaning(self) -> str:
        """The promise in words, or its name if it has none."""
        return INVARIANTS.get(self.invariant, self.invariant)


@dataclass(slots=True)
class Result:
    """A run. `replay` is the command that repeats it; `equal_at`: when all were first seen equal after `healed_at`."""

    scenario: Scenario
    version: str
    digest: str
    nodes: list[str]
    bands: list[Band] = field(default_factory=list)
    syncs: list[Sync] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    violation: Violation | None = None
    healed_at: float = 0.0
    equal_at: float | None = None
    ended_at: float = 0.0
    reach: dict[str, dict[str, int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    replay: str = ""

    @property
    def ok(self) -> bool:
        """Nothing broke, and the nodes were seen equal after the last fault."""
        return self.violation is None and self.equal_at is not None

    @property
    def verdict(self) -> str:
        """One sentence."""
        if bad := self.violation:
            where = f" on {bad.node}" if bad.node else ""
            return f"FAILED: {bad.invariant} was broken ({bad.meaning}){where}, {self.moment(bad.at)}: {bad.text}"
        if self.equal_at is None:
            return "FAILED: no invariant broke, but the nodes were never seen equal after the last fault."
        after = span(max(0.0, self.equal_at - self.healed_at))
        return f"Passed: no invariant broke, and all nodes were equal {after} after the last fault ended."

    def moment(self, at: float) -> str:
        """A time in words: "after 3 min 20 s" in a short run, "day 2, 10:15" in a long one."""
        if self.ended_at <= SHORT_S:
            return f"after {span(at)}"
        start = self.scenario.start_ms // 1000
        now = start + int(at)
        return f"day {now // DAY - start // DAY + 1}, {now % DAY // 3600:02}:{now % 3600 // 60:02}"

    @property
    def faults(self) -> int:
        """How many struck; a laptop that is offline by plan is none."""
        return self.counts.get("faults") or sum(band.kind != "offline" for band in self.bands)

    def sync_counts(self) -> dict[str, int]:
        """How many syncs ended how."""
        found = Counter(sync.kind for sync in self.syncs)
        return {kind: found[kind] for kind in CLASSES}

    def refused(self) -> dict[str, tuple[int, int]]:
        """Table -> (refused writes, all writes that were tried there), of tables that refused any; most refused first. A
        write to several tables counts in each; an empty name is of those that name none."""
        tried = [(name, work.ok) for work in self.work if work.tried for name in work.tables or ("",)]
        every, bad = Counter(name for name, _ in tried), Counter(name for name, ok in tried if not ok)
        return {name: (count, every[name]) for name, count in sorted(bad.items(), key=lambda item: (-item[1], item[0]))}

    def summary(self) -> str:
        """A few lines for the terminal."""
        off = sum(not w.tried for w in self.work)
        refused = sum(not w.ok for w in self.work) - off
        idle = f", {off} not tried as the node was off" if off else ""
        syncs = ", ".join(f"{n} {kind}" for kind, n in self.sync_counts().items())
        lines = [
            self.verdict,
            f"  seed {self.scenario.seed}, {counted(len(self.nodes), 'node')}, {span(self.ended_at)} of virtual time in "
            f"{self.cpu_s:.1f} s of CPU",
            f"  {counted(len(self.work), 'write')} ({refused} refused{idle}), {counted(self.faults, 'fault')}, "
            f"{counted(len(self.syncs), 'sync')}: {syncs}",
            f"  version {self.version}, trace {self.digest}",
        ]
        if rows := self.refused():
            named = [f"{name or 'without a name'} {bad} of {every}" for name, (bad, every) in rows.items()]
            lines.insert(3, f"  refused by table: {', '.join(named)}")
        return "\n".join([*lines, f"  again: {self.replay}"] if self.replay else lines)

    def as_json(self) -> dict[str, Any]:
        """For `--json`. `scenario` is the text of a scenario file."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "seed": self.scenario.seed,
            "version": self.version,
            "digest": self.digest,
            "nodes": list(self.nodes),
            "violation": asdict(self.violation) if self.violation else None,
            "healed_at": self.healed_at,
            "equal_at": self.equal_at,
            "ended_at": self.ended_at,
            "counts": dict(self.counts),
            "refused": {name: list(numbers) for name, numbers in self.refused().items()},
            "reach": {fault: dict(states) for fault, states in self.reach.items()},
            "cpu_s": self.cpu_s,
            "replay": self.replay,
            "scenario": self.scenario.to_toml(),
            "bands": [asdict(b) for b in self.bands],
            "syncs": [asdict(s) for s in self.syncs],
            "work": [asdict(w) for w in self.work],
            "samples": [asdict(s) for s in self.samples],
            "lines": [line._asdict() for line in self.lines],
        }


def span(seconds: float) -> str:
    """A length of time in words, as exact as a person wants it: "0.3 s", "45 s", "3 min 20 s", "5 h 10 min", "3 d 4 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for big, small, per in (("d", "h", 3600), ("h", "min", 60), ("min", "s", 1)):
        unit = {"d": DAY, "h": 3600, "min": 60}[big]
        if whole >= unit * (2 if big == "d" else 1):
            count, rest = divmod(whole, unit)
            return f"{count} {big} {rest // per} {small}" if rest // per else f"{count} {big}"
    return f"{whole} s"

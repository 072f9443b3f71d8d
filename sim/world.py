"""A world: machines, a network and time, in which a scenario takes place under the eyes of the oracle.

    result = World(scenario).run()

First faults and work, then everything heals, and all nodes must become equal within LIVENESS times the sync interval and
the logarithm of their number. One test each:

1. The same scenario gives the same trace, again and in another process.
2. What breaks a promise stops the world at that moment.
3. However a world ends, nothing of it is left running or open.
4. Both sides of a session that ends in sync have one root.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import shutil
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from protocol import limits
from protocol.errors import ReplicaError
from protocol.hlc import millis
from protocol.keys import Handshake, Secrets
from replica.errors import UsageError
from replica.store import schema
from replica.store.connection import connect
from sim import bugs, faults
from sim.alone import Log, alone, rare_collection
from sim.chance import Trace, stream
from sim.founding import copied
from sim.ground import Ground
from sim.lasting import Lasting
from sim.looks import Looks
from sim.loop import Loop
from sim.machine import Machine
from sim.network import Network
from sim.oracle import Oracle
from sim.result import Band, Result, Sync, Violation, Work
from sim.scenario import Event, Place, Scenario
from sim.small import sized
from sim.theirs import theirs

log = logging.getLogger("sim")

LIVENESS = 3.0
"""All are equal after so many sync intervals times log2(nodes); then the same again for what must first time out."""

PATIENCE_S = 300.0
"""Beside that: a session that hangs when the faults end is given up after RECEIVE_SECONDS, and tried again."""


class World:
    """See above. Also to be driven by hand: `start`, `run_for`, `strike`, `heal`, `finish`, `close`."""

    def __init__(self, scenario: Scenario, *, keep: bool = True) -> None:
        """`keep`: remember every event, for a report."""
        self.scenario = scenario
        self.trace = Trace()
        self.trace.keep = keep
        self.stream = partial(stream, scenario.seed)
        self.loop = Loop(self.stream("schedule"), shuffle=scenario.shuffle, decide=self.trace.decide)
        self.network = Network(self.loop, self.stream("network"), self.trace.decide, scenario.latency_s)
        self.network.reached = self.reach
        self.loop.net = self.network
        self.oracle = Oracle(self.fail, self.loop.time, share=1.0 if len(scenario.places) <= 10 else 0.1)
        self.machines: dict[str, Machine] = {}
        self.oracle.walls = lambda: max(machine.clock.now_ms() for machine in self.machines.values())
        self.oracle.peek = lambda name: self.machines[name].disk.unharmed()
        self.shaky: set[str] = set()
        """Nodes whose disk has failed: they may say so."""
        self._ground = Ground()
        self.folder = self._ground.folder
        self.result = Result(scenario, _version(), "", [])
        self.by_hand = False
        """Whether faults are made up as it runs: then any may come."""
        self.lasting = Lasting(self.loop, lambda band: self.note(band.node, f"end {band.kind}"))
        self.looks = Looks(self, self.stream("looks"))
        self._agreed: dict[Handshake, tuple[str, bytes]] = {}
        """Sessions of which one side has said that they are in sync, and at what root."""
        self._healed = False
        self.secrets: Secrets | None = None
        """Of the group, once it is founded."""
        self._stopped = False
        self._cpu = time.process_time()
        self._log = Log(self)
        self._alone = partial(alone, self, self._log)

    # --- words --------------------------------------------------------------------------------------------------------

    def note(self, node: str, kind: str, text: str = "", said: str = "") -> None:
        """An event, for the trace. `said`: the same for people."""
        self.trace.event(self.loop.time(), node, kind, self.plain(text), said)

    def plain(self, text: str) -> str:
        """Without the name of our folder, which is another one in each run."""
        return text.replace(f"{self.folder}/", "")

    def fail(self, invariant: str, node: str, text: str) -> None:
        """A promise is broken: the world ends here."""
        if self.result.violation is None:
            self.result.violation = Violation(invariant, self.loop.time(), node, self.plain(text))
            self.note(node, "VIOLATION", f"{invariant}: {text}")
        self._stopped = True
        self.loop.stop()

    def reach(self, fault: str, mark: str) -> None:
        """A fault met something."""
        row = self.result.reach.setdefault(fault, {})
        row[mark] = row.get(mark, 0) + 1

    def reach_states(self, kind: str, names: list[str]) -> None:
        """A fault begins or ends: count what the sessions of these nodes are doing."""
        for name in names:
            machine = self.machines.get(name)
            if machine is None or machine.node is None:
                self.reach(kind, "down")
                continue
            for session in machine.node.sessions:
                self.reach(kind, session.state.value)
            if not machine.node.sessions:
                self.reach(kind, "idle")

    def count(self, what: str, number: int = 1) -> None:
        """For the report."""
        self.result.counts[what] = self.result.counts.get(what, 0) + number

    def has(self, how: str, name: str) -> bool:
        """Whether a crash of this kind will strike this node."""
        return (
            self.by_hand
            or any(e.node == name and e.with_.get("how") == how for e in self.scenario.events if e.kind == "crash")
            or any(e.kind == "clone" and e.with_["to"] == name and self.has(how, e.node) for e in self.scenario.events)
        )

    def worked(self, work: Work, text: str) -> None:
        """People wrote something, or tried to."""
        self.result.work.append(work)
        self.count("writes" if work.ok else "refused writes")
        self.note(work.node, work.kind if work.ok else "refused", text)

    def synced(self, sync: Sync, root: str) -> None:
        """A session that a node began has ended."""
        self.result.syncs.append(sync)
        self.count(f"syncs {sync.kind}")
        text = f"{sync.server}: {sync.outcome} {sync.sent}/{sync.received} {root} {self.plain(sync.text)[:80]}"
        self.note(sync.client, "sync", text)
        self.session_ended(sync.outcome)

    def agreed(self, name: str, session: Handshake, root: bytes) -> None:
        """One side of a session, known by its handshake, says that both have this root: so must the other, if it says so."""
        other, theirs = self._agreed.pop(session, ("", root))
        if not other:
            self._agreed[session] = name, root
        elif theirs != root:
            self.fail("I5", name, f"in sync with {other} at {root.hex()}, but {other} is at {theirs.hex()}")

    def session_ended(self, outcome: str) -> None:
        """Under whatever faults there are now."""
        for kind in {band.kind: None for band in self.result.bands if band.end > self.loop.time()}:
            self.reach(kind, f"ended: {outcome.split(',', maxsplit=1)[0]}")

    # --- the course of things -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the machines, and start every node."""
        self._log.open()
        with self._alone():
            first = self.folder / "first.db"
            with closing(connect(first, create=True)) as db:
                db.execute("PRAGMA journal_mode = DELETE")
                if self.scenario.db:
                    with closing(theirs(self.scenario.db)) as own:
                        if schema.installed(own):
                            raise UsageError(f"{self.scenario.db} is part of a replication group: give one that is not yet")
                        own.backup(db)
                else:
                    db.executescript(self.scenario.schema)
            founder = None
            for place in self.scenario.places:
                machine = self.add(place, first, like=founder)
                founder = founder or machine
            for event in self.scenario.events:
                self.loop.call_at(event.at, self.strike, event)
            self.looks.begin()

    def add(self, place: Place, tables: Path | None = None, like: Machine | None = None) -> Machine:
        """One more machine, which runs from now on. `tables`: a file with the tables that it has at first. `like`: the
        founder, if it has the same and has not begun to run."""
        machine = Machine(self, place, self.folder / f"{len(self.result.nodes)}")
        if like is not None:
            copied(like.disk.path, machine.disk.path, machine.name, machine.clock.now_ms, machine.chance.randbytes)
        else:
            if tables is not None:
                shutil.copyfile(tables, machine.disk.path)
            self.secrets = machine.found(self.secrets, adopt=tables is not None)
        self._enter(machine)
        return machine

    def clone(self, of: str, to: str) -> None:
        """A machine is copied with everything on it; both run."""
        old = self.machines[of]
        peers = tuple(p for p in (*old.place.peers, of) if p != to)
        place = Place(to, peers, old.place.every_s, minor=old.place.minor)
        machine = Machine(self, place, self.folder / f"{len(self.result.nodes)}")
        old.disk.copy_to(machine.disk)
        self.oracle.cloned(of, to)
        self._enter(machine)

    def _enter(self, machine: Machine) -> None:
        self.machines[machine.name] = machine
        self.result.nodes.append(machine.name)
        for begin, end in _gaps(machine.place.online, self.scenario.duration_s):
            self.loop.call_at(begin, self.network.turn_off, machine.name)
            self.loop.call_at(end, self.network.turn_on, machine.name)
            self.result.bands.append(Band(machine.name, "offline", begin, end, "no network"))
        machine.boot()

    def strike(self, event: Event) -> None:
        """Let an event happen now."""
        if self._healed:
            return
        if event.work:
            if event.node in self.machines:
                self.machines[event.node].work(event)
            return
        self.count("faults")
        faults.strike(self, event)

    def lasts(self, band: Band, seconds: float, undo: Callable[[], None]) -> None:
        """A fault that ends by itself, or when everything heals."""
        self.result.bands.append(band)
        self.lasting.begin(band, seconds, undo)

    def run_for(self, seconds: float) -> None:
        """Let time pass, or stop at a violation."""
        if self._stopped:
            return
        with self._alone():
            handle = self.loop.call_later(seconds, self.loop.stop)
            self.loop.run_forever()
            handle.cancel()

    def heal(self) -> None:
        """No fault from here on: links and disks work, clocks are right, every machine runs."""
        with self._alone():
            self._healed = True
            self.note("", "heal")
            self.lasting.end_all()
            for machine in self.machines.values():
                machine.disk.heal()
                machine.disk.crash_at("sql", 1 << 60, "kill")
                self.oracle.clock_moved(machine.clock.now_ms())  # It may have stamped by this, unseen so far.
                machine.clock.set_right()
                if machine.process is not None:
                    machine.process.dies_at = 0
            self.network.heal()
            self._wait_for_the_future()
            for machine in self.machines.values():
                machine.power_on()
            self.result.healed_at = self.loop.time()

    def _wait_for_the_future(self) -> None:
        """A clock that was wrong has left stamps that nobody takes before their time. Everybody goes home until then."""
        newest = 0
        for machine in self.machines.values():
            with machine.disk.unharmed():
                if machine.ready:
                    clock = machine.store._core.meta("clock")
                else:
                    with closing(connect(machine.disk.path)) as db:
                        (clock,) = db.execute("SELECT value FROM _replica_meta WHERE name = 'clock'").fetchone()
                newest = max(newest, millis(clock) if clock else 0)
        away_s = (newest - limits.DRIFT_MS_MAX - self.true_ms()) / 1000
        if away_s <= 0:
            return
        self.note("", "holiday", f"{away_s:.0f} s until the last clock was right")
        for machine in self.machines.values():
            machine.stop()
        self.looks.pause()
        self.loop.call_later(away_s + 1, self.loop.stop)
        self.loop.run_forever()
        self.looks.begin()

    def true_ms(self) -> int:
        """The right time, Unix milliseconds."""
        return self.scenario.start_ms + int(self.loop.time() * 1000)

    @property
    def bound_s(self) -> float:
        """Virtual seconds within which all must be equal after the last fault (issue: 3 x interval x log2(nodes))."""
        interval = max((m.place.every_s for m in self.machines.values()), default=60.0)
        return LIVENESS * interval * max(1.0, math.log2(max(2, len(self.machines))))

    def converge(self) -> None:
        """Run until all nodes are equal. Breaks I9 if that takes too long."""
        deadline = self.loop.time() + 2 * self.bound_s + PATIENCE_S + 2 * self.scenario.poll_s
        step = min(m.place.every_s for m in self.machines.values()) / 4
        while not self._stopped:
            self.run_for(step)
            if self.looks.equal():
                self.result.equal_at = self.loop.time()
                return
            if self.loop.time() > deadline and not self._stopped:
                roots = self.looks.roots()
                words = ", ".join(f"{n} {roots[n].hex()[:8] if n in roots else 'is not ready'}" for n in self.machines)
                self.fail(
                    "I9",
                    "",
                    f"not equal {self.loop.time() - self.result.healed_at:.0f} s after the last fault: {words}",
                )

    def finish(self) -> Result:
        """The last look of the oracle; then the result."""
        if not self._stopped:
            with self._alone():
                try:
                    self.looks.final()
                except (ReplicaError, sqlite3.Error) as error:
                    self.fail("oracle", "", f"the last look failed: {error!r}")
        done = self.result
        done.digest, done.lines, done.ended_at = (
            self.trace.digest,
            self.trace.lines or list(self.trace.recent),
            self.loop.time(),
        )
        done.cpu_s = time.process_time() - self._cpu
        done.counts["bytes"] = self.network.carried
        for band in done.bands:
            band.end = min(band.end, done.ended_at)
        return done

    def run(self) -> Result:
        """From the beginning to the end."""
        with bugs.planted(self.scenario.bug), sized(self.scenario), rare_collection():
            try:
                self.start()
                try:
                    self.run_for(self.scenario.duration_s)
                    if not self._stopped:
                        self.heal()
                        self.converge()
                except (ReplicaError, sqlite3.Error) as error:
                    self.fail("simulator", "", f"what no node did failed: {error!r}")
                return self.finish()
            finally:
                self.close()

    def close(self) -> None:
        """End everything, and remove the files: first, since SQLite then need not copy the logs into them."""
        self._log.close()
        self._ground.clear()
        for machine in self.machines.values():
            machine.stop()
        with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
            warnings.simplefilter("ignore")
            for task in asyncio.all_tasks(self.loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _end(task.get_coro())
            self.loop.close()
        for machine in self.machines.values():
            machine.disk.close_all()


def _end(coroutine: Any) -> None:
    """Close what a dead process was doing. Its `finally` may want to wait once more: nobody listens any more."""
    for _ in range(20):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except Exception as error:
            log.warning("what a dead process was doing failed once more when it was closed: %r", error)
        return


def _gaps(online: tuple[tuple[float, float], ...], end: float) -> Iterator[tuple[float, float]]:
    """The times between."""
    at = 0.0
    for begin, until in online:
        if begin > at:
            yield at, begin
        at = until
    if online and at < end:
        yield at, end


def _version() -> str:
    from importlib.metadata import version

    return version("replica")

"""Looks at the machines of a world while it goes on: samples for the curves of the report, and comparisons by the oracle.

One test each:

1. Roots are those of the nodes that run and have nothing to absorb.
2. Looks come at even intervals, until they are told to pause.
3. Of many machines only some are compared with each other; at the end all are judged.
"""

from __future__ import annotations

import contextlib
from asyncio import TimerHandle
from collections.abc import Callable
from random import Random
from typing import Protocol

from sim.chance import Trace
from sim.loop import Loop
from sim.machine import Machine
from sim.network import Network
from sim.oracle import Oracle
from sim.result import Result, Sample
from sim.scenario import Scenario
from sim.truth import quiet

SAMPLES = 200
"""Looks at all roots during a run that is remembered, for the curves of the report."""

CHECKS = 3
"""Comparisons of all contents with all roots during a run."""

LOOKED_AT, JUDGED = 8, 12
"""Machines that are compared with each other each time, and at the end: reading all of a file takes long. At the end the
others must be in order and have the same root."""


class World(Protocol):
    """What is looked at."""

    scenario: Scenario
    loop: Loop
    network: Network
    machines: dict[str, Machine]
    oracle: Oracle
    trace: Trace
    result: Result


class Looks:
    """See above. Everything but `begin` and `pause` is called while the world is alone."""

    def __init__(self, world: World, random: Random) -> None:
        self._world, self._random = world, random
        self._timers: dict[str, TimerHandle] = {}

    def begin(self) -> None:
        """Look now and then."""
        duration = self._world.scenario.duration_s
        if self._world.trace.keep:
            self._every(max(duration / SAMPLES, 1.0), self._sample)
        self._every(max(duration / CHECKS, 1.0), self._check)

    def pause(self) -> None:
        """Look no more, until the next `begin`."""
        for handle in self._timers.values():
            handle.cancel()

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def look() -> None:
            action()
            self._timers[action.__name__] = self._world.loop.call_later(seconds, look)

        self._timers[action.__name__] = self._world.loop.call_later(seconds, look)

    def roots(self) -> dict[str, bytes]:
        """Of the nodes that run and have nothing to absorb."""
        found = {}
        for machine in self._world.machines.values():
            if not machine.ready:
                continue
            with machine.disk.unharmed():
                core = machine.store._core
                if quiet(core):
                    found[machine.name] = core.meta("root")
        return found

    def equal(self) -> bool:
        """Whether all nodes run, have nothing to absorb, and have one root."""
        machines, last = self._world.machines.values(), set[object]()
        for machine in machines:
            if not machine.ready:
                return False
            with machine.disk.unharmed():
                last.add(machine.store._core.remembered().get("root"))
        if len(last) > 1:  # As far as each last knew: a look at the files is not worth while.
            return False
        roots = self.roots()
        return len(roots) == len(machines) and len(set(roots.values())) == 1

    def final(self) -> None:
        """The oracle's last look. Raises ReplicaError and sqlite3.Error."""
        machines = list(self._world.machines.values())
        self._world.oracle.final(machines, self._some(machines, JUDGED))

    def _sample(self) -> None:
        world = self._world
        roots = list(self.roots().values())
        most = max((roots.count(r) for r in roots), default=0)
        behind = len(world.machines) - most
        world.result.samples.append(Sample(world.loop.time(), len(set(roots)), behind, world.network.carried))

    def _check(self) -> None:
        running = [machine for machine in self._world.machines.values() if machine.ready]
        running = self._some(running, LOOKED_AT)
        with contextlib.ExitStack() as stack:
            for machine in running:
                stack.enter_context(machine.disk.unharmed())
            self._world.oracle.equal_check(running)

    def _some(self, machines: list[Machine], most: int) -> list[Machine]:
        return machines if len(machines) <= most else self._random.sample(machines, most)

"""A swarm: many seeds in several processes, and what they found together.

What is finished is kept (sim.kept), so a swarm goes on where it was stopped. Workers are made anew after some hundred seeds.
A seed that does not end is a failure of its own kind, "hang". One test each:

1. A swarm that is stopped and begun again runs each seed once, and a torn line is run again.
2. Workers whose parent was killed end too.
3. Several processes find what one finds.
4. Lines are summed up: failures by invariant, reach, times to heal, seeds per hour of CPU.
5. A planted bug is caught only by a seed that is sound without it.
6. A seed that uses too much CPU ends as a hang, and so does a world that stands still (sim.guard).
7. Interrupted, it ends its workers at once, removes the files of their worlds, and keeps what they had finished.
8. Nothing of a world is left when the next one begins.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from replica.errors import UsageError
from sim.alone import rare_collection
from sim.bugs import BUGS
from sim.draw import draw
from sim.ground import sweep
from sim.guard import HANG, Hung, Limit, limited
from sim.kept import Found, kept
from sim.random_work import EVERY_S, WRITES
from sim.scenario import Scenario
from sim.shrink import Run, broken, once, parting

Task = TypeVar("Task")

RECYCLE = 200
"""Seeds of a worker."""
SEED_CPU_S = 120.0
"""A seed that needs more CPU than this hangs."""
HOURS = 3600


@dataclass(frozen=True, slots=True)
class Setup:
    """What the seeds of a swarm have in common; see sim.draw. `faults`: None if drawn."""

    nodes: int = 5
    duration_s: float = 600.0
    faults: tuple[str, ...] | None = None
    work: str = "random"
    days: int = 1
    db: str = ""
    bug: str = ""
    writes: tuple[int, int] = WRITES
    every_s: tuple[float, float] = EVERY_S

    def scenario(self, seed: int) -> Scenario:
        """The world of a seed. Raises UsageError."""
        if self.bug and self.bug not in BUGS:
            raise UsageError(f"{self.bug!r} is no planted bug; there are {', '.join(BUGS)}")
        drawn = draw(
            seed,
            nodes=self.nodes,
            duration_s=self.duration_s,
            faults=self.faults,
            work=self.work,
            days=self.days,
            db=self.db,
            writes=self.writes,
            every_s=self.every_s,
        )
        return replace(drawn, bug=self.bug)


_last_passing: dict[Setup, list[str]] = {}
"""Of this process: who did what in the last run that passed, to compare a failure with."""


def one(setup: Setup, seed: int, cpu_s: float = SEED_CPU_S) -> Found:
    """Run a seed; what is kept of it."""
    began = time.process_time()
    done: Run | None = None
    limit = Limit()
    with rare_collection():
        scenario = setup.scenario(seed)
        with contextlib.suppress(Hung), limited(cpu_s, limit):
            done = once(scenario)
        gc.collect()  # A dead world is full of circles: the next is faster in its memory than in fresh memory.
    if done is None or limit.place:
        text = f"not over after {cpu_s:.0f} s of CPU, in {limit.place}"
        return {"seed": seed, "ok": False, "invariant": HANG, "text": text, "cpu_s": cpu_s}
    result, bad = done.result, done.result.violation
    found: Found = {"seed": seed, "ok": result.ok, "invariant": broken(result), "digest": result.digest}
    if bad is not None:
        found |= {"at": round(bad.at, 3), "node": bad.node, "text": bad.text}
    if result.ok:
        _last_passing[setup] = done.skeleton
    elif setup in _last_passing:
        found["parts"] = parting(done.skeleton, _last_passing[setup])
    if result.equal_at is not None:
        found["heal_s"] = round(result.equal_at - result.healed_at, 3)
        found["ratio"] = round(found["heal_s"] / done.bound_s, 4)
    found |= {"counts": result.counts, "reach": result.reach}
    return found | {"cpu_s": round(time.process_time() - began, 3)}


# --- many ---------------------------------------------------------------------------------------------------------------


def swarm(
    setup: Setup,
    seeds: Sequence[int],
    jobs: int,
    state: Path | None = None,
    tell: Callable[[Found], None] = lambda _: None,
) -> list[Found]:
    """Run the seeds that `state` does not hold yet, in so many processes (0: in this one). `tell` is given each line when
    it is there, also the old ones. Interrupted, it keeps what is finished. Raises UsageError."""
    setup.scenario(0)
    lines: list[Found] = []
    with kept(state, asdict(setup) | {"db": ""}, setup.db) as (old, keep):
        wanted = set(seeds)
        for line in old:
            if line["seed"] in wanted:
                wanted.discard(line["seed"])
                lines.append(line)
                tell(line)

        def take(line: Found) -> None:
            keep(line)
            lines.append(line)
            tell(line)

        spread(one, setup, [seed for seed in seeds if seed in wanted], jobs, take)
    return sorted(lines, key=lambda line: int(line["seed"]))


def spread(
    work: Callable[[Setup, Task], Found], setup: Setup, tasks: Sequence[Task], jobs: int, take: Callable[[Found], None]
) -> None:
    """Do the tasks in so many processes (0: in this one); `take` is given what is found, in the order of its coming."""
    if not jobs:
        for task in tasks:
            take(work(setup, task))
        return
    spawn = multiprocessing.get_context("spawn")
    for at in range(0, len(tasks), RECYCLE * jobs):
        # New workers for each block: `max_tasks_per_child` of the pool can hang (python/cpython#115634).
        pool = ProcessPoolExecutor(jobs, spawn, initializer=_begin_worker)
        waiting = {pool.submit(work, setup, task) for task in tasks[at : at + RECYCLE * jobs]}
        try:
            for future in as_completed(set(waiting)):
                waiting.discard(future)
                take(future.result())
        except BrokenProcessPool:
            raise UsageError(
                "a worker died (out of memory?); what was finished is kept: the same command goes on"
            ) from None
        except KeyboardInterrupt:
            # They would finish their seeds, and the user would wait for that.
            for worker in list(pool._processes.values()):
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            sweep()  # Of workers that were ended, or that died.
            _take_rest(waiting, take)


def _take_rest(waiting: Iterable[Future[Found]], take: Callable[[Found], None]) -> None:
    for future in waiting:
        if not future.cancelled() and future.exception() is None:
            take(future.result())


def _begin_worker() -> None:
    """Ctrl-C is for the process that waits: it ends its workers. What is imported stays: the collector need not look."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    gc.freeze()


def _end_with(parent: int) -> None:
    """A parent that was killed said nothing, and its workers would wait for work for ever."""
    multiprocessing.connection.wait([parent])
    os._exit(1)


# --- together -----------------------------------------------------------------------------------------------------------


def summed(lines: Sequence[Found]) -> dict[str, Any]:
    """What the lines of a swarm say together."""
    failures: dict[str, list[int]] = {}
    reach: dict[str, dict[str, int]] = {}
    for line in lines:
        if not line["ok"]:
            failures.setdefault(line["invariant"], []).append(line["seed"])
        for fault, marks in line.get("reach", {}).items():
            row = reach.setdefault(fault, {})
            for mark, number in marks.items():
                row[mark] = row.get(mark, 0) + number
    ratios = [line["ratio"] for line in lines if "ratio" in line]
    cpu_s = sum(line["cpu_s"] for line in lines)
    return {
        "seeds": len(lines),
        "passed": sum(line["ok"] for line in lines),
        "failures": {invariant: sorted(seeds) for invariant, seeds in sorted(failures.items())},
        "reach": {fault: dict(sorted(marks.items())) for fault, marks in sorted(reach.items())},
        "heal_p50": quantile(ratios, 0.5),
        "heal_p99": quantile(ratios, 0.99),
        "cpu_s": round(cpu_s, 1),
        "seeds_per_cpu_hour": round(len(lines) / cpu_s * HOURS) if cpu_s else None,
    }


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so many are not above; None of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


def remember(path: Path, options: str, lines: Sequence[Found]) -> int:
    """Add failing seeds to a list, each once, with the options of their worlds and what broke; returns how many are new."""
    old = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    known = {line.partition("#")[0].strip() for line in old.splitlines()}
    failed = {f"{line['seed']}{options}": line["invariant"] for line in lines if not line["ok"]}
    new = [f"{seed}  # {what}" for seed, what in failed.items() if seed not in known]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" if new and old and not old.endswith("\n") else "")
        file.writelines(line + "\n" for line in new)
    return len(new)


# --- planted bugs -------------------------------------------------------------------------------------------------------


def catch(setup: Setup, task: tuple[str, int, float]) -> Found:
    """(bug, seeds at most, CPU seconds of a seed at most): run seeds from 0 until the bug is caught. A failure that is
    also there without the bug catches nothing."""
    name, most, cpu_s = task
    found: Found = {"bug": name, "caught": False, "seeds": most, "invariant": "", "expected": True, "unsound": []}
    spent = 0.0
    drawn = replace(setup, bug=name, faults=setup.faults or BUGS[name].faults or None)
    for seed in itertools.islice(itertools.count(), most):
        line = one(drawn, seed, cpu_s)
        spent += line["cpu_s"]
        if line["ok"]:
            continue
        sound = one(replace(drawn, bug=""), seed, cpu_s)
        spent += sound["cpu_s"]
        if not sound["ok"]:
            found["unsound"].append(seed)
            continue
        expected = not BUGS[name].invariants or line["invariant"] in BUGS[name].invariants
        found |= {"caught": True, "seeds": seed + 1, "seed": seed, "invariant": line["invariant"]}
        found |= {"expected": expected, "text": line.get("text", ""), "at": line.get("at")}
        break
    return found | {"faults": list(drawn.faults or ()), "cpu_s": round(spent, 2)}

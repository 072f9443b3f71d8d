"""The command line of the simulator: run a world, repeat it, shrink it, run many, and see that planted bugs are caught.

Exit codes: 0 passed · 1 a promise was broken, or a planted bug was not caught · 2 wrong usage · 130 interrupted. With
`--json`, standard output is one JSON document and nothing else; progress goes to standard error. One test each:

1. Exit codes are these, and a mistake is told in one line.
2. A failure comes with its seed, its version, a command that repeats it, and the last events.
3. What `--save` writes, `replay` and `run --scenario` read.
4. Each command can print JSON.
5. A world that hangs is told as a failure, and hangs alike when it is replayed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from protocol.errors import ReplicaError
from replica.errors import UsageError
from replica.start import ENDERS
from replica.words import counted
from sim.bugs import BUGS
from sim.chance import RECENT
from sim.guard import HANG
from sim.kept import Found
from sim.options import add_world, bug, count, given, scenario_of, setup_of
from sim.outputs import check
from sim.report import write_report
from sim.result import Result
from sim.scenario import Scenario
from sim.shrink import Run, Watch, once, parting, shrink
from sim.swarm import HOURS, SEED_CPU_S, Setup, catch, remember, spread, summed, swarm

OK, BROKEN, USAGE, INTERRUPTED = 0, 1, 2, 130
EARLIER = 5
"""With a failure, so many seeds before it are tried for one that passes, to compare them."""
_EPILOG = "exit codes: 0 passed, 1 a promise was broken, 2 usage, 130 interrupted"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        with _ended_politely():
            return int(options.run(options))
    except KeyboardInterrupt:
        kept = getattr(options, "state", None)
        print(f"interrupted{f': what was finished is in {kept}' if kept else ''}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return OK
    except (ReplicaError, sqlite3.Error, OSError) as error:
        print(f"sim: {error}", file=sys.stderr)
        return USAGE


@contextmanager
def _ended_politely() -> Iterator[None]:
    """SIGTERM, and SIGHUP of a closed terminal, end a command as Ctrl-C does: its files and its workers with it. Who is
    started with one of them ignored (nohup) wants it so."""

    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDERS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sim", description="Run the engine in a simulated world.", epilog=_EPILOG
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, *, world: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print one JSON document")
        if world:
            add_world(made)
        return made

    add = command("run", _run, "run one world")
    add.add_argument("--seed", type=int, help="default: 0")
    add.add_argument("--scenario", metavar="FILE.toml", help="run this one, instead of one from a seed")
    add.add_argument("--report", metavar="OUT.html", help="write a page about the run")
    add.add_argument("--save", metavar="FILE.toml", help="write the scenario")
    add = command("replay", _replay, "run a world twice and compare every decision")
    add.add_argument("what", metavar="SEED|FILE.toml")
    add = command("shrink", _shrink, "find the smallest world that breaks the same promise")
    add.add_argument("what", metavar="SEED|FILE.toml")
    add.add_argument("--out", metavar="FILE.toml", help="write the smallest scenario")
    add.add_argument("--seconds", type=float, default=60.0, help="default: %(default)g")
    add = command("swarm", _swarm, "run many seeds")
    add.add_argument("--seeds", type=count, required=True, metavar="N")
    add.add_argument("--first", type=int, default=0, metavar="K", help="default: %(default)s")
    add.add_argument("--jobs", type=count, default=1, metavar="J", help="processes; default: %(default)s")
    add.add_argument("--state", metavar="FILE.jsonl", type=Path, help="keep what is finished, and go on from it")
    add.add_argument("--remember", metavar="FILE", type=Path, help="add failing seeds to this list")
    add = command("bugs", _bugs, "see that the simulator catches each planted bug", world=False)
    add.epilog = f"planted bugs: {', '.join(BUGS)}"
    add.add_argument("--max-seeds", type=count, default=500, help="for each; default: %(default)s")
    add.add_argument("--jobs", type=count, default=1, metavar="J", help="processes; default: %(default)s")
    add.add_argument("--only", metavar="NAME", type=bug, help="this bug")
    add.add_argument("--shrink", action="store_true", help="also shrink the first catch of each")
    return parser


@contextmanager
def _bar(scenario: Scenario) -> Iterator[Watch | None]:
    """Progress over virtual time, where a person looks at it."""
    if not sys.stderr.isatty():
        yield None
        return
    total = round(scenario.duration_s)
    with tqdm(total=total, unit=" s", leave=False, file=sys.stderr, dynamic_ncols=True) as bar:

        def watch(at: float) -> None:
            bar.update(min(round(at), total) - bar.n)

        yield watch


def _ran(scenario: Scenario, again: str, *, keep: bool = False) -> Run:
    with _bar(scenario) as watch:
        done = once(scenario, keep=keep, watch=watch)
    done.result.replay = f"python -m sim replay {again}"
    return done


# --- commands -----------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    if options.scenario and options.seed is not None:
        raise UsageError("--seed is for a drawn world; a scenario file says it itself")
    scenario, again, skipped = scenario_of(options, options.scenario or str(options.seed or 0))
    outputs = {"--report": options.report, "--save": options.save}
    check(outputs, {"--db": scenario.db, "--scenario": options.scenario})
    if options.save:
        _save(scenario, options.save)
    done = _ran(scenario, again, keep=bool(options.report))
    parts = "" if done.result.ok or options.scenario else _earlier(options, done)
    unwritten = ""
    if options.report:  # Before anything is told: who only reads the first lines wants the page too.
        try:
            write_report(done.result, options.report)
        except OSError as error:
            unwritten = f"sim: the report was not written: {error}"
    _tell(options, done.result, {"parts": parts, "left_out": skipped})
    for text in skipped if not options.json else ():
        print(f"  not tried: {text}")
    if unwritten:
        print(unwritten, file=sys.stderr)
    return BROKEN if not done.result.ok else USAGE if unwritten else OK


def _save(scenario: Scenario, path: str) -> None:
    """Write a scenario that is the same wherever it is read."""
    found = replace(scenario, db=str(Path(scenario.db).resolve())) if scenario.db else scenario
    Path(path).write_text(found.to_toml(), encoding="utf-8")


def _earlier(options: argparse.Namespace, failed: Run) -> str:
    """Where a failure parts from the last seed before it that passes, if that is near."""
    seed = failed.result.scenario.seed
    for other in range(seed - 1, max(-1, seed - 1 - EARLIER), -1):
        passed = once(setup_of(options).scenario(other))
        if passed.result.ok:
            return f"parts from seed {other}, which passes, at {parting(failed.skeleton, passed.skeleton)}"
    return ""


def _tell(options: argparse.Namespace, result: Result, more: dict[str, Any]) -> None:
    if options.json:
        _print_json(result.as_json() | more)
        return
    print(result.summary())
    if not result.ok:
        if more.get("parts"):
            print(f"  {more['parts']}")
        print(f"the last {min(RECENT, len(result.lines))} events:")
        for line in result.lines[-RECENT:]:
            print(f"  {line}")


def _replay(options: argparse.Namespace) -> int:
    scenario, again, _ = scenario_of(options, options.what)
    one, two = _ran(scenario, again), _ran(scenario, again)
    same = one.result.digest == two.result.digest
    where = "" if same else parting(two.skeleton, one.skeleton).replace("in the run that passed", "in the first run")
    if not options.json:
        print("same trace" if same else f"the two runs differ: {where or 'in decisions without an event'}")
    _tell(options, one.result, {"same": same, "differ": where})
    return OK if one.result.ok and same else BROKEN


def _shrink(options: argparse.Namespace) -> int:
    scenario, _, _ = scenario_of(options, options.what)
    check({"--out": options.out}, {"--db": scenario.db, "what is shrunk": options.what})
    done = shrink(scenario, options.seconds, lambda text: print(text, file=sys.stderr))
    left = len(done.scenario.events)
    if options.out:
        _save(done.scenario, options.out)
        done.result.replay = f"python -m sim replay {shlex.quote(options.out)}"
    if not options.json:
        print(f"{counted(done.nodes, 'node')} and {counted(left, 'event')} are left after {done.tries} tries")
        print(f"against the last candidate that passed: {done.parts}" if done.parts else "no candidate passed")
    more = {"parts": "", "nodes_left": done.nodes, "events_left": left, "tries": done.tries, "finished": done.finished}
    _tell(options, done.result, more | {"parts_from_passing": done.parts})
    if not (options.json or options.out):
        print(done.scenario.to_toml())
    return INTERRUPTED if done.interrupted else BROKEN


def _swarm(options: argparse.Namespace) -> int:
    setup = setup_of(options)
    check({"--state": options.state, "--remember": options.remember}, {"--db": options.db})
    began, bad, cpu_s = time.monotonic(), 0, 0.0
    with tqdm(total=options.seeds, unit=" seeds", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def tell(line: Found) -> None:
            nonlocal bad, cpu_s
            bad, cpu_s = bad + (not line["ok"]), cpu_s + line["cpu_s"]
            bar.update()
            bar.set_postfix_str(f"{bad} violations, {bar.n / max(cpu_s, 1e-9) * HOURS:,.0f} seeds per CPU-hour")

        lines = swarm(setup, range(options.first, options.first + options.seeds), options.jobs, options.state, tell)
    said = summed(lines) | {"wall_s": round(time.monotonic() - began, 1)}
    failed = [line for line in lines if not line["ok"]]
    if options.remember:
        remember(options.remember, given(options), failed)
    if options.json:
        _print_json(said | {"lines": failed})
    else:
        _show_swarm(said, failed, given(options))
    return BROKEN if failed else OK


def _show_swarm(said: dict[str, Any], failed: Sequence[Found], again: str) -> None:
    print(f"{said['passed']} of {said['seeds']} seeds passed, {said['seeds_per_cpu_hour'] or 0:,} seeds per CPU-hour")
    if said["heal_p50"] is not None:
        print(f"time until all are equal / bound: p50 {said['heal_p50']:.2f}, p99 {said['heal_p99']:.2f}")
    for invariant, seeds in said["failures"].items():
        print(f"{invariant}: {len(seeds)} seeds: {' '.join(map(str, seeds[:20]))}{' …' if len(seeds) > 20 else ''}")
    for line in failed[:10]:
        print(f"  seed {line['seed']}: {line['invariant']}: {line.get('text', '')}")
        print(f"    again: python -m sim replay {line['seed']}{again}")
        if "parts" in line:
            print(f"    parts from a run that passed at {line['parts']}")
    print("reach (each fault: the states of sessions that it met, or what came of it, and how often)")
    for fault, marks in said["reach"].items():
        print(f"  {fault:<10} " + ", ".join(f"{mark} {number}" for mark, number in marks.items()))


def _bugs(options: argparse.Namespace) -> int:
    names = [options.only] if options.only else list(BUGS)
    found: dict[str, Found] = {}
    with tqdm(total=len(names), unit=" bugs", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def take(line: Found) -> None:
            found[line["bug"]] = line
            bar.update()

        tasks = [(name, options.max_seeds, SEED_CPU_S) for name in names]
        spread(catch, Setup(), tasks, min(options.jobs, len(tasks)), take)
    caught = [found[name] for name in names if found[name]["caught"]]
    if options.shrink:
        for line in caught:
            _shrink_catch(line)
    median = statistics.median(line["seeds"] for line in caught) if caught else None
    if options.json:
        _print_json({"caught": len(caught), "median": median, "bugs": [found[name] for name in names]})
    else:
        for name in names:
            print(_bug_line(found[name]))
        print(f"{len(caught)} of {len(names)} caught; median: {median if median is not None else 'none'} seeds")
    return OK if len(caught) == len(names) else BROKEN


def _shrink_catch(line: Found) -> None:
    if line["invariant"] == HANG and line["at"] is None:
        return  # It only took long: nothing tells when to give a smaller one up.
    drawn = Setup(bug=line["bug"], faults=tuple(line["faults"]) or None).scenario(line["seed"])
    done = shrink(drawn, 60.0)
    line |= {"nodes_left": done.nodes, "events_left": len(done.scenario.events), "scenario": done.scenario.to_toml()}


def _bug_line(line: Found) -> str:
    if not line["caught"]:
        return f"{line['bug']:<28} NOT caught in {line['seeds']} seeds"
    left = f"; shrunk to {line['nodes_left']} nodes, {line['events_left']} events" if "nodes_left" in line else ""
    odd = "" if line["expected"] else " (not one of those that it names)"
    return f"{line['bug']:<28} {line['seeds']:>4} seeds  {line['invariant']}{odd}{left}"


def _print_json(document: object) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))

"""`make bench-peers`: public engines and ours on one workload, one after the other on one core, in rounds.

    python -m tests.bench.peers PEERS WORK [--job NAME ...] [--rounds N] [--records N]

PEERS is the folder of the peers' drivers, used as it is; WORK is made ready at the first run (some minutes). Databases
live on a RAM disk if there is one: what is compared is work, not disks. WORK/latest.json has the figures,
WORK/results.jsonl every result. Exit code 1 if a floor is missed or our own driver failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.figure import tell
from tests.bench.peers import workplace
from tests.bench.peers.table import OURS, Result, Round, figures, lines, payload

JOBS = (OURS, "floor-plain", "floor-cells", "floor-sync", "session", "pouchdb-http")
QUIET_MS = 1.70
"""The scale of seconds in the peers' findings; ratios do not depend on it."""
MEMORY = Path("/dev/shm")


def _runner(peers: Path) -> Any:
    """The peers' own run.py, with our driver among its jobs."""
    spec = importlib.util.spec_from_file_location("peers_run", peers / "run.py")
    if spec is None or spec.loader is None or not (peers / "run.py").exists():
        raise SystemExit(f"{peers} has no run.py: PEERS must be the folder of the peers' drivers")
    runner = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True  # The folder is not ours.
    spec.loader.exec_module(runner)
    driver = Path(__file__).with_name("driver.py")
    runner.JOBS[OURS] = (runner.PY, os.path.relpath(driver, peers))
    return runner


def _ready(peers: Path, work: Path, jobs: list[str], runner: Any) -> list[str]:
    """Make the workplace ready; returns the jobs that can run."""
    workplace.python(peers, work)
    if all(runner.JOBS[job][0] == runner.PY for job in jobs):
        return jobs
    try:
        workplace.node(peers, work)
    except workplace.Missing as missing:
        without = [job for job in jobs if runner.JOBS[job][0] != runner.PY]
        tell(f"left out: {', '.join(without)}: {missing}")
        return [job for job in jobs if job not in without]
    return jobs


def _round(runner: Any, work: Path, jobs: list[str]) -> Round:
    """Each job once, as run.py does it."""
    results = work / "results.jsonl"
    before = results.stat().st_size if results.exists() else 0
    with contextlib.redirect_stdout(sys.stderr):
        runner.run(str(work), jobs)
    with results.open(encoding="utf-8") as file:
        file.seek(before)
        found: list[Result] = [json.loads(line) for line in file]
    for result in found:
        if "error" in result:
            tell(f"{result['job']} failed: {result['error']}")
    return {result["job"]: result for result in found if "error" not in result}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("peers", type=Path, help="the folder of the peers' drivers")
    parser.add_argument("work", type=Path, help="a folder for packages, data and results")
    parser.add_argument("--job", action="append", help=f"instead of {', '.join(JOBS)}; `{OURS}` is ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=100_000)
    return parser.parse_args()


def main() -> int:
    """Make ready, run, and print."""
    options = _options()
    peers, work = options.peers.resolve(), options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    runner = _runner(peers)
    wanted = options.job or list(JOBS)
    if unknown := [job for job in wanted if job not in runner.JOBS]:
        raise SystemExit(f"no such job: {', '.join(unknown)}; there are {', '.join(runner.JOBS)}")
    try:
        jobs = _ready(peers, work, wanted, runner)
        data = workplace.data(peers, work, options.records)
    except workplace.Missing as missing:
        raise SystemExit(f"the peers cannot be made ready: {missing}") from None
    store = tempfile.mkdtemp(prefix="peers-", dir=MEMORY if MEMORY.is_dir() else work)
    os.environ |= {"PEERS_DATA": str(data), "STORE": store, "RUNS": "1", "TAG": ""}
    try:
        rounds = [_round(runner, work, jobs) for _ in range(options.rounds)]
    finally:
        shutil.rmtree(store)
    return _tell(rounds, wanted, runner, work, json.loads((data / "edits.json").read_text(encoding="utf-8")))


def _tell(rounds: list[Round], wanted: list[str], runner: Any, work: Path, edits: Result) -> int:
    def quiet(phase: Result) -> float:
        return float(runner.q(phase, QUIET_MS)) or 1e-9

    content = payload(edits)
    print("\n".join(lines(rounds, quiet, content, len(edits["w1"]))))
    found = list(figures(rounds, quiet, content))
    for figure in found:
        print(figure.line())
    told = json.dumps([figure.as_json() for figure in found], indent=2) + "\n"
    (work / "latest.json").write_text(told, encoding="utf-8")
    missed = [figure.name for figure in found if not figure.ok]
    print(f"missed: {', '.join(missed)}" if missed else "every floor is met")
    if absent := [job for job in wanted if not all(job in one for one in rounds)]:
        print(f"not run in every round, so not compared there: {', '.join(absent)}")
    return 1 if missed or not all(OURS in one for one in rounds) else 0


if __name__ == "__main__":
    sys.exit(main())

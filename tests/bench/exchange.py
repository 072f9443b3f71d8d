"""What files in and out cost: CPU time of whole commands. Rates are beyond what the same command takes for no rows."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from replica.store.store import initialize
from tests.bench.contacts import FIELDS, contacts
from tests.bench.figure import Figure, median, tell

RUNS = 3
MAP = """version = 1
source = "bench"
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = { from = "id", required = true }
name = { from = "name", trim = true, normalise = ["nfc"], required = true, max_length = 80 }
email = { from = "email", type = "email", required = true }
phone = { from = "phone", pattern = "\\\\+[0-9 ]{8,20}" }
company = { from = "company", trim = true }
title = "title"
city = { from = "city", trim = true, min_length = 2 }
country = { from = "country", pattern = "[A-Z]{2}", case = "upper" }
status = { from = "status", allowed = ["lead", "active", "churned", "prospect", "paused"] }
notes = "notes"
updated = { from = "updated", type = "datetime" }
"""


_LAUNCH = """
import json, os, sys
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent), 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
"""Linux counts to the peak of a command what its parent held when it began it: so the parent is a small one."""


def _run(folder: Path, arguments: Sequence[str | Path]) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of a command that must succeed. Its code is compiled once, into the folder, as that
    of an installed package is: to compile a checkout at every start would count against it."""
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    command = [sys.executable, "-I", "-S", "-c", _LAUNCH, *map(str, arguments)]
    said = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout
    code, cpu_s, peak_kb = json.loads(said)
    if code:
        raise RuntimeError(f"{arguments} ended with {code}")
    return cpu_s, peak_kb / 1024


def exchange(folder: Path, count: int) -> Iterator[Figure]:
    """Contacts as CSV into a new store, by a map with types and rules; the same again; and out. CPU time of whole commands,
    medians; sqlite-utils upserts the same file into a bare table, in turn, both with their start."""
    source, mapped = folder / "contacts.csv", folder / "map.toml"
    with source.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", *FIELDS])
        writer.writerows(contacts(count))
    mapped.write_text(MAP, encoding="utf-8")
    none, empty = folder / "none.csv", folder / "none.db"
    none.write_text(",".join(["id", *FIELDS]) + "\n", encoding="utf-8")
    initialize(empty, "bench")
    replica = [sys.executable, "-m", "replica.cli"]
    sqlite_utils: list[str | Path] = [sys.executable, "-m", "sqlite_utils"]
    starts = median([_run(folder, [*replica, "import", empty, none, "--map", mapped])[0] for _ in range(RUNS)])
    nothing: list[str | Path] = [*replica, "export", empty, "SELECT 1 WHERE 0", folder / "out.csv"]
    blank = median([_run(folder, nothing)[0] for _ in range(RUNS)])
    _run(folder, [*sqlite_utils, "upsert", folder / "none-bare.db", "contacts", none, "--csv", "--pk", "id"])
    start = {"in": starts, "again": starts, "out": blank, "theirs": 0.0}
    times: dict[str, list[float]] = {name: [] for name in start}
    most = 0.0
    for run in range(RUNS):
        store, other = folder / f"{run}.db", folder / f"{run}-bare.db"
        initialize(store, "bench")
        for name in ("in", "again"):
            seconds, size = _run(folder, [*replica, "import", store, source, "--map", mapped])
            times[name].append(seconds)
            most = max(most, size)
        times["out"].append(_run(folder, [*replica, "export", store, "contacts", folder / "out.csv"])[0])
        theirs = [*sqlite_utils, "upsert", other, "contacts", source, "--csv", "--pk", "id"]
        times["theirs"].append(_run(folder, theirs)[0])
        tell(f"exchange: run {run + 1} of {RUNS}")
    rate = {name: count / (median(some) - start[name]) for name, some in times.items()}
    yield Figure("import, start", starts, "s", "of CPU, for no rows")
    yield Figure("import", rate["in"], "rows/s", "of CPU, map and rules on", 15_000, more=True)
    ratio = median([b / a for a, b in zip(times["in"], times["theirs"], strict=True)])
    how = f"sqlite-utils: {rate['theirs']:,.0f} rows/s"
    yield Figure("import, of theirs", ratio, "x", how, 1.5, more=True)
    yield Figure("import, unchanged", rate["again"], "rows/s", "of CPU; writes nothing", 60_000, more=True)
    yield Figure("import, memory", most, "MB", "peak", 200)
    yield Figure("export, CSV", rate["out"], "rows/s", "of CPU", 150_000, more=True)

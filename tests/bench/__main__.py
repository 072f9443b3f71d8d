"""`make bench`: every number that we promise, measured beside its floor, on real files with real fsync.

    python -m tests.bench [--quick] [--only NAME]

Files live below .bench/ and go away; .bench/latest.json stays. Exit code 1 if a floor is missed (but not with --quick:
floors are meant for all the records). Ratios are taken in one
run, one after the other; everything else depends on the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from tests.bench.exchange import exchange
from tests.bench.figure import Figure, tell
from tests.bench.local import bulk, lone
from tests.bench.remote import first, million
from tests.bench.sketches import sketches
from tests.bench.writers import writers

FOLDER = Path(".bench")
BENCHES: dict[str, tuple[Callable[[Path, int], Iterator[Figure]], int, int]] = {
    "bulk": (bulk, 100_000, 10_000),
    "lone": (lone, 100_000, 10_000),
    "writers": (writers, 100_000, 10_000),
    "first": (first, 100_000, 10_000),
    "exchange": (exchange, 100_000, 10_000),
    "sketches": (sketches, 1_000_000, 100_000),
    "million": (million, 1_000_000, 100_000),
}
"""Name -> (what runs, records, records of --quick)."""


def main() -> int:
    """Run it all, or some of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the records; floors are meant for all of them")
    parser.add_argument("--only", metavar="NAME", choices=BENCHES, action="append", help=", ".join(BENCHES))
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} CPUs, "
          f"{platform.machine()}{', --quick' if options.quick else ''}")  # fmt: skip
    figures: list[Figure] = []
    for name in options.only or BENCHES:
        run, full, quick = BENCHES[name]
        print(f"\n{name}: {' '.join((run.__doc__ or '').split())}")
        began = perf_counter()
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=FOLDER))
        try:
            for figure in run(folder, quick if options.quick else full):
                print(figure.line(), flush=True)
                figures.append(figure)
        finally:
            shutil.rmtree(folder)
        gc.collect()
        tell(f"{name}: {perf_counter() - began:.0f} s in all")
    (FOLDER / "latest.json").write_text(json.dumps([f.as_json() for f in figures], indent=2) + "\n", encoding="utf-8")
    missed = [f.name for f in figures if not f.ok]
    print(f"missed: {', '.join(missed)}" if missed else "every floor is met")
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())

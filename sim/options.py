"""From the words of a command line to worlds, and back to words that name the same world again.

One test each:

1. What makes no sense is refused in one line that says what does.
2. The words that name a world again are words for a shell, whatever is in them.
3. A world in which nothing would be tried is refused, and tables that are left out are named.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from replica.errors import UsageError
from replica.store.catalog import user_tables
from sim.bugs import BUGS
from sim.draw import GROUPS, KINDS
from sim.random_work import EVERY_S, WRITES
from sim.scenario import Scenario
from sim.swarm import Setup
from sim.theirs import left_out, theirs

MINUTES_MIN, MINUTES_MAX = 0.1, 5_256_000
"""Virtual time of a world: six seconds to ten years."""
DAYS_MAX = 3_650
NODES_MAX = 1_000
"""Each is a store of its own in memory, and all must become equal."""
WRITES_MAX = 10_000
EVERY_MIN_S, EVERY_MAX_S = 1, 86_400
"""All must become equal after the last fault, over as many nodes as there are."""
GIVEN = ("nodes", "minutes", "days", "work", "writes", "every", "faults", "db")
"""Options of a world that is drawn."""


def add_world(parser: argparse.ArgumentParser) -> None:
    """Options of a world that is drawn."""
    add = parser.add_argument
    add("--nodes", type=_up_to(NODES_MAX, "nodes"), help=f"default: 5; at most {NODES_MAX:,}")
    time_ = parser.add_mutually_exclusive_group()
    time_.add_argument("--minutes", type=_minutes, help="of virtual time; default: 10")
    time_.add_argument("--days", type=_up_to(DAYS_MAX, "days"), help="of an office")
    add("--work", choices=["random", "office"], help="what people do; default: office if --days is given")
    add(
        "--writes", type=_between(0, WRITES_MAX, "writes"), metavar="LEAST-MOST",
        help=f"of people in random work, beside those that belong to a fault or a rush; default: {_word(WRITES)}",
    )
    add(
        "--every", type=_between(EVERY_MIN_S, EVERY_MAX_S, "seconds"), metavar="LEAST-MOST",
        help=f"seconds from one call of a node to the next, in random work; default: {_word(EVERY_S)}",
    )
    add(
        "--faults",
        metavar="LIST",
        help=f"groups ({', '.join(GROUPS)}) or kinds ({', '.join(KINDS)}), partition:3 for so many, none, or all; "
        "default: drawn",
    )
    add("--db", default="", metavar="FILE.db", help="every node begins with a copy of this database")
    add("--bug", default="", type=bug, metavar="NAME", help="plant this bug (`bugs --help` lists them)")


def count(text: str) -> int:
    """How many: at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _up_to(most: int, what: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = count(text)
        if number > most:
            raise argparse.ArgumentTypeError(f"{text} {what} are too many: {most:,} at most")
        return number

    return parse


def _between(least: int, most: int, what: str) -> Callable[[str], tuple[int, int]]:
    def parse(text: str) -> tuple[int, int]:
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text)
        if not found:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {what}, and no two of them, as 10-40")
        low, high = int(found[1]), int(found[2] or found[1])
        if not least <= low <= high <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: the least first, and both from {least} to {most:,} {what}")
        return low, high

    return parse


def _word(value: object) -> str:
    """An option's value as a shell takes it."""
    return f"{value[0]:.0f}-{value[1]:.0f}" if isinstance(value, tuple) else shlex.quote(str(value))


def bug(text: str) -> str:
    """The name of a planted bug."""
    if text and text not in BUGS:
        near = difflib.get_close_matches(text, BUGS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise argparse.ArgumentTypeError(f"{text!r} is no planted bug; {hint}`python -m sim bugs --help` lists them")
    return text


def _minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not MINUTES_MIN <= number <= MINUTES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {MINUTES_MIN} to {MINUTES_MAX:,}")
    return number


def setup_of(options: argparse.Namespace) -> Setup:
    """What the worlds have in common. Raises UsageError."""
    work = options.work or ("office" if options.days else "random")
    if work == "office" and options.minutes is not None:
        raise UsageError("an office has --days, no --minutes")
    if work == "office" and (options.writes or options.every):
        raise UsageError("--writes and --every are for random work; an office has its own hours")
    listed = options.faults
    if listed is not None and not listed.strip(","):
        raise UsageError("--faults names nothing: say none, or which kinds")
    faults = tuple(GROUPS) if listed == "all" else tuple(filter(None, (listed or "").split(",")))
    minutes = 1440.0 * (options.days or 0) or (10.0 if options.minutes is None else options.minutes)
    chosen = None if listed is None else () if listed == "none" else faults
    often = options.writes or WRITES, options.every or EVERY_S
    return Setup(options.nodes or 5, minutes * 60, chosen, work, options.days or 1, options.db, options.bug, *often)


def scenario_of(options: argparse.Namespace, what: str) -> tuple[Scenario, str, list[str]]:
    """A seed or a file: the scenario, the words that name it again in a shell, and what is `untried`. Raises UsageError."""
    if re.fullmatch(r"-?[0-9]{1,999}", what):
        drawn = setup_of(options).scenario(int(what))
        return drawn, f"{what}{given(options)}", untried(drawn)
    odd = [n for n in GIVEN if getattr(options, n) not in (None, "")]
    if odd:
        raise UsageError(f"--{odd[0]} is for a seed; a scenario file says it itself")
    loaded = Scenario.load(what)
    planted = options.bug or loaded.bug
    if planted and planted not in BUGS:
        raise UsageError(f"{what}: {planted!r} is no planted bug; `python -m sim bugs --help` lists them")
    return replace(loaded, bug=planted), f"{shlex.quote(what)}{given(options)}", untried(loaded)


def given(options: argparse.Namespace) -> str:
    """Those options of the world that were given, as a shell takes them."""
    named = [(n, getattr(options, n)) for n in (*GIVEN, "bug")]
    return "".join(f" --{name} {_word(value)}" for name, value in named if value not in (None, ""))


def untried(scenario: Scenario) -> list[str]:
    """Tables that no node replicates, and why. Raises UsageError if nothing is left to be tried."""
    with closing(theirs(scenario.db) if scenario.db else sqlite3.connect(":memory:")) as own:
        try:
            if not scenario.db:
                own.executescript(scenario.schema)
        except (sqlite3.Error, ValueError) as error:
            raise UsageError(f"the schema of the scenario makes no sense: {error}") from None
        found = list(left_out(own).values())
        if len(found) == len(user_tables(own)):
            raise UsageError(f"there is no table that can be replicated: {'; '.join(found) or 'there is none at all'}")
    return found

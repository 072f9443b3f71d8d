"""Other programs change definitions while three machines write and meet: roots become equal, and nothing is ever wrong.

Tables may differ in the end, where columns do; a dropped table's records stay with the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.store.harness import Machine, all_meet, check_inside, meet

MACHINES = 3
SCHEMA = """
CREATE TABLE t(k TEXT PRIMARY KEY, a, b TEXT UNIQUE, c INT NOT NULL DEFAULT 3);
CREATE TABLE n(k INTEGER PRIMARY KEY, a, b);
"""
COLUMNS = "abcde"
VALUES = ["NULL", "1", "'v'", "2.5", "x'00'", "'1'"]
TYPES = ["", "INT", "TEXT", "REAL", "TEXT NOT NULL DEFAULT 5", "INT DEFAULT 7", "COLLATE NOCASE", "DEFAULT (1 + 1)"]


class Step(NamedTuple):
    """What happens on a machine: SQL (one transaction), or `adopt`, `vacuum`, `look`, `wait`; or it meets the next one."""

    machine: int
    what: str
    statements: Sequence[str] = ()
    other: int = 0
    cut: int | None = None


def statement(random: Random, table: str) -> str:
    key = random.choice(["'x'", "'y'", "1"] if table == "t" else ["1", "2", "NULL"])
    some = random.sample(COLUMNS, random.randint(0, 3))
    match random.randrange(3):
        case 0:
            values = ", ".join([key, *(random.choice(VALUES) for _ in some)])
            return f"INSERT OR REPLACE INTO {table}({', '.join(['k', *some])}) VALUES ({values})"
        case 1:
            value = random.choice(VALUES)
            return f"UPDATE OR IGNORE {table} SET {random.choice(COLUMNS)} = {value} WHERE k >= {key}"
        case _:
            return f"DELETE FROM {table} WHERE k = {key}"


def definition(random: Random, table: str) -> list[str]:
    column, other = random.sample(COLUMNS, 2)
    kind = "TEXT" if table == "t" else "INTEGER"
    rebuilt = random.sample(COLUMNS, 3)
    return random.choice(
        [
            [f"ALTER TABLE {table} ADD COLUMN {column} {random.choice(TYPES)}"],
            [f"ALTER TABLE {table} DROP COLUMN {column}"],
            [f"ALTER TABLE {table} RENAME COLUMN {column} TO {other}"],
            [f"ALTER TABLE {table} RENAME TO other_{table}"],
            [f"ALTER TABLE other_{table} RENAME TO {table}"],
            [f"DROP TABLE {table}"],
            [f"CREATE UNIQUE INDEX unique_{column} ON {table}({column})"],
            [f"DROP INDEX IF EXISTS unique_{column}"],
            [f"CREATE TABLE {table}(k {kind} PRIMARY KEY, {column}, {other})"],
            [  # As an ORM does it.
                f"CREATE TABLE new_{table}(k {kind} PRIMARY KEY, {', '.join(rebuilt)})",
                f"INSERT INTO new_{table}(k, {rebuilt[0]}) SELECT k, {rebuilt[0]} FROM {table}",
                f"DROP TABLE {table}",
                f"ALTER TABLE new_{table} RENAME TO {table}",
            ],
        ]
    )


def history(random: Random) -> list[Step]:
    steps = []
    for _ in range(random.randint(4, 25)):
        machine, table = random.randrange(MACHINES), random.choice("tn")
        what = random.choice(["write"] * 8 + ["define"] * 5 + ["meet"] * 4 + ["adopt", "vacuum", "look", "wait"])
        if what == "write":
            steps.append(Step(machine, "sql", [statement(random, table)]))
        elif what == "define":
            steps.append(Step(machine, "sql", definition(random, table)))
        else:
            other = (machine + random.randint(1, 2)) % MACHINES
            steps.append(Step(machine, what, (), other, random.choice([None, None, random.randint(0, 9)])))
    return steps


def attempt(machine: Machine, statements: Sequence[str]) -> str:
    """Run a transaction; if SQLite refuses it, return what it says."""
    try:
        with machine.db:
            machine.sql("BEGIN", *statements)
    except sqlite3.Error as error:
        return str(error)
    return ""


def take(machines: Sequence[Machine], step: Step) -> None:
    machine = machines[step.machine]
    match step.what:
        case "sql":
            assert "replica" not in attempt(machine, step.statements), "our triggers stand in a program's way"
        case "adopt":
            machine.store.adopt()
        case "vacuum":
            machine.store.absorb()  # VACUUM may renumber the rows of a table, so it comes after (README).
            machine.sql("VACUUM")
        case "look":
            assert machine.store.verify() == []
        case "wait":
            machine.clock.ms += 3_000
        case _:
            meet(machine, machines[step.other], cut=step.cut)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("definitions")
    machines = [Machine(folder / f"{n}.db", schema=SCHEMA) for n in range(MACHINES)]
    for machine in machines:
        machine.close()
    return [machine.path for machine in machines]


@given(seed=st.integers(0, 1 << 32))
@example(seed=474376)  # A delete waits while a column is dropped, and a held record has the number.
def test_whatever_definitions_change_roots_become_equal(seed: int, files: list[Path]) -> None:
    with TemporaryDirectory() as folder:
        machines = [Machine.copy(file, Path(folder) / file.name) for file in files]
        try:
            for step in history(Random(seed)):
                take(machines, step)
            all_meet(machines)
            assert len({machine.store.root() for machine in machines}) == 1
            for machine in machines:
                assert machine.store.verify() == []
                check_inside(machine)
                root = machine.store.root()
                machine.store.rescan()
                assert machine.store.root() == root, "the triggers missed something"
        finally:
            for machine in machines:
                with suppress(sqlite3.Error):
                    machine.close()

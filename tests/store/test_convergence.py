"""Whatever programs write, wherever meetings are cut: in the end all roots are equal, and so are all tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import RowRefused, UsageError
from tests.store.harness import NOW_MS, Machine, all_meet, check_equal, meet
from tests.store.world import NUMBERED, SCHEMA, Decide, Fate, Meet, Put, Step, Wait, Write

MACHINES = 4
"""Of which each example takes two or more."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Closed stores of one group that have adopted the schema, to be copied for each example."""
    folder = tmp_path_factory.mktemp("templates")
    machines = [Machine(folder / f"{n}.db", schema=SCHEMA) for n in range(MACHINES)]
    for machine in machines:
        machine.close()
    return [machine.path for machine in machines]


def write(machine: Machine, step: Write) -> bool:
    """Let another program run a transaction. Returns whether it may have changed anything."""
    db = machine.db
    for pragma, on in zip(("foreign_keys", "recursive_triggers"), step.pragmas, strict=True):
        db.execute(f"PRAGMA {pragma} = {on}")
    db.execute("BEGIN")
    if step.undone:
        db.execute("SAVEPOINT undone")
        run(db, step.undone)
        db.execute("ROLLBACK TO undone")
    run(db, step.statements)
    with suppress(sqlite3.IntegrityError):  # A foreign key that is not there refuses the COMMIT.
        db.execute(step.end)
    if db.in_transaction:
        db.execute("ROLLBACK")
    return step.end == "COMMIT"


def run(db: sqlite3.Connection, statements: Sequence[str]) -> None:
    """Run statements; those that a constraint refuses leave nothing."""
    for statement in statements:
        with suppress(sqlite3.IntegrityError):
            db.execute(statement)


def take(machines: Sequence[Machine], step: Step) -> None:
    """One step of a history, with what must hold after each."""
    match step:
        case Write():
            check_write(machines[step.machine], step)
        case Meet(one, two, cut):
            meet(machines[one], machines[two], cut=cut)
            for machine in (machines[one], machines[two]) if cut is None or cut > 1 else ():
                assert not machine.rows("SELECT * FROM _replica_outbox"), "the engine captured its own writes"
        case Wait(which, ms):
            machines[which].clock.ms = max(NOW_MS - 250_000, min(NOW_MS + 250_000, machines[which].clock.ms + ms))
        case Put(which, table, rows):
            with suppress(RowRefused):
                machines[which].store.put_many(table, rows)
        case Decide():
            decide(machines[step.machine], step)


def check_write(machine: Machine, step: Write) -> None:
    """What was rolled back leaves nothing; what was committed is captured, all of it."""
    if not step.look:
        write(machine, step)
        return
    before = machine.store.root()
    if not write(machine, step):
        assert not machine.rows("SELECT * FROM _replica_outbox"), "a rolled-back transaction left something"
        assert machine.store.root() == before
    after = machine.store.root()
    assert machine.store.status()["backlog"] == 0
    machine.store.rescan()
    assert machine.store.root() == after, "the triggers missed something"


def decide(machine: Machine, step: Decide) -> None:
    """Do something about a held record, if there is one."""
    if step.what == "reopen":
        machine.reopen()
        return
    held = machine.store.held()
    if not held:
        return
    chosen = held[step.number % len(held)]
    with suppress(RowRefused, UsageError):
        if step.what == "delete":
            machine.store.held_delete(chosen["ref"])
        elif step.what == "rekey":
            machine.store.held_rekey(chosen["ref"], None if chosen["table"] in NUMBERED else step.value)
        elif chosen["values"]:
            names = sorted(chosen["values"])
            machine.store.held_edit(chosen["ref"], {names[step.field % len(names)]: step.value})


@given(seed=st.integers(0, 1 << 32), length=st.integers(10, 40), count=st.integers(2, MACHINES))
def test_any_history_converges(seed: int, length: int, count: int, files: list[Path]) -> None:
    history = Fate(Random(seed)).history(count, length)
    with TemporaryDirectory() as folder:
        converge([Machine.copy(files[n], Path(folder) / files[n].name) for n in range(count)], history)


def converge(machines: Sequence[Machine], history: Sequence[Step]) -> None:
    """Run a history; then all meet, and must be equal."""
    try:
        for step in history:
            take(machines, step)
        all_meet(machines)
        check_equal(machines)
    finally:
        for machine in machines:
            machine.close()

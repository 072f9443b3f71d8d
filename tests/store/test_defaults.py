"""What a row shows where nobody wrote is state too: nodes whose columns have other defaults show equal rows in the end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from protocol.hlc import lowest
from protocol.values import unpack_value
from tests.store.harness import Machine, all_meet, check_equal, check_inside, meet

Make = Callable[..., Machine]

SCHEMA = "CREATE TABLE t(id TEXT PRIMARY KEY, a, b INT); INSERT INTO t VALUES ('k0', 1, 1), ('k1', 2, 2), ('k2', 3, 3);"
PAIRS = ((0, 1), (0, 2), (1, 2))
ADDED = {
    "two": ("d TEXT DEFAULT 'open'", "d TEXT DEFAULT 'new'"),
    "one": ("d TEXT DEFAULT 'open'", "d TEXT"),
    "the other": ("d TEXT", "d TEXT DEFAULT 'new'"),
    "equal": ("d TEXT DEFAULT 'open'", "d TEXT DEFAULT 'open'"),
}


def three(machine: Make) -> list[Machine]:
    """Three machines that are equal; two got their tables from the first."""
    machines = [machine("a", SCHEMA), machine("b"), machine("c")]
    all_meet(machines)
    return machines


def agree(machines: list[Machine], column: str = "d") -> set[object]:
    """All meet; then equal roots are equal rows. Returns the values of a column."""
    all_meet(machines)
    check_equal(machines)
    for one in machines:
        assert one.store.verify() == []
        check_inside(one)
    return {value for (value,) in machines[0].rows(f"SELECT {column} FROM t")}


@pytest.mark.parametrize("order", list(permutations(PAIRS)), ids=str)
@pytest.mark.parametrize("added", ADDED)
def test_rows_are_equal_though_two_nodes_added_a_column_with_other_defaults(
    machine: Make, added: str, order: list[tuple[int, int]]
) -> None:
    machines = three(machine)
    for one, column in zip(machines, ADDED[added], strict=False):
        one.sql(f"ALTER TABLE t ADD COLUMN {column}")
    for here, there in order:
        meet(machines[here], machines[there])
    expected = {"two": "open", "one": "open", "the other": "new", "equal": "open"}
    assert agree(machines) == {expected[added]}  # Of two under one stamp, the greater value.


def test_who_wrote_anything_is_heard_over_a_default(machine: Make) -> None:
    a, b, c = machines = three(machine)
    c.sql("UPDATE t SET a = 0", "ALTER TABLE t ADD COLUMN d", "UPDATE t SET d = 'c' WHERE id = 'k0'")
    c.store.absorb()
    for one in machines:
        one.clock.ms += 60_000
    a.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'open'")
    b.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'new'", "UPDATE t SET d = NULL WHERE id = 'k1'")
    agree(machines)
    assert a.rows("SELECT id, d FROM t ORDER BY id") == [("k0", "c"), ("k1", None), ("k2", "open")]


def test_rows_that_come_later_from_a_node_without_the_column(machine: Make) -> None:
    a, b, c = machines = three(machine)
    c.sql("INSERT INTO t VALUES ('later', 1, 1)")
    c.store.absorb()
    a.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'open'")
    b.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'new'")
    meet(b, c)
    c.sql("INSERT INTO t(id) VALUES ('after')")  # It says what c's column says.
    agree(machines)
    assert a.value("SELECT d FROM t WHERE id = 'later'") == "new"  # It came to a with what b had shown.
    assert a.value("SELECT d FROM t WHERE id = 'after'") == "new"


def test_a_record_that_was_deleted_and_came_back_without_the_column(machine: Make) -> None:
    a, b, c = machines = three(machine)
    a.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'open'")
    b.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'new'")
    a.store.absorb()
    b.store.absorb()
    for one in machines:
        one.clock.ms += 60_000
    c.sql("DELETE FROM t WHERE id = 'k1'")
    c.store.absorb()
    c.sql("INSERT INTO t VALUES ('k1', 'back', 1)")
    assert agree(machines) == {"open"}
    record = a.record("t", "k1")
    stamp, value = record.registers["d"]
    assert (stamp, unpack_value(value)) == (lowest(record.floor), "open")
    assert record.floor < stamp < record.registers["a"][0]


def test_tables_made_apart_with_other_defaults(machine: Make) -> None:
    a = machine("a", SCHEMA)
    b = machine("b", "CREATE TABLE t(id TEXT PRIMARY KEY, a, b INT, d DEFAULT 'new', at DEFAULT CURRENT_TIMESTAMP);")
    c = machine("c", "CREATE TABLE t(id TEXT PRIMARY KEY, a, b INT, d DEFAULT 'open', at DEFAULT 'never');")
    machines = [a, b, c]
    assert agree(machines) == {"new"}  # Whose default was seen first by those that come later.


def test_equal_defaults_are_equal_state_without_a_word(machine: Make) -> None:
    a, b, _ = three(machine)
    for one in (a, b):
        one.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'open'")
        one.store.absorb()
    assert a.store.root() == b.store.root()
    assert unpack_value(a.record("t", "k0").registers["d"][1]) == "open"


def test_a_default_that_is_no_state_yet_is_named_and_a_rescan_mends_it(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = machines = three(machine)
    with monkeypatch.context() as before:  # As the engine was before.
        for part in ("refit", "absorb", "show"):
            before.setattr(f"replica.store.{part}.speak", lambda *_: False)
        a.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'open'")
        b.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'new'")
        all_meet(machines)
    found = a.store.verify()
    assert len(found) == 3
    assert all("d shows its column's default here" in line for line in found)
    for one in machines:
        one.store.rescan()
    assert agree(machines) == {"open"}


def test_why_says_that_nobody_wrote_it(machine: Make) -> None:
    a = machine("a", SCHEMA)
    a.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'open'")
    a.store.absorb()
    (field,) = a.store.why("t", ["k0"], "d")["fields"]
    assert (field["value"], field["by"]) == ("open", "its column's default")

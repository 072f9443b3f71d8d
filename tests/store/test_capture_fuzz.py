"""Whatever programs write, in whatever transactions: after absorption the state is exactly what the tables show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.harness import Machine, check_inside
from tests.store.test_convergence import write
from tests.store.world import SCHEMA, Fate, Write

Make = Callable[..., Machine]

LOOSE = SCHEMA.replace("PRIMARY KEY NOT NULL", "PRIMARY KEY").replace(
    "org TEXT NOT NULL COLLATE NOCASE, code INTEGER NOT NULL", "org TEXT COLLATE NOCASE, code INTEGER"
)
"""Keys may be NULL."""


def check(machine: Machine) -> None:
    """Absorb; then the records are exactly the rows."""
    machine.store.absorb()
    assert machine.store.verify() == []
    check_inside(machine)


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    m = Machine(tmp_path_factory.mktemp("capture") / "m.db", schema=LOOSE)
    m.close()
    return m.path


@given(seed=st.integers(0, 1 << 32), length=st.integers(5, 40))
def test_whatever_programs_write_the_state_is_exactly_what_the_tables_show(seed: int, length: int, loose: Path) -> None:
    """Rows with NULL or ill-formed text in the key among them, absorbed after every few transactions."""
    random = Random(seed)
    fate = Fate(random, local_only=True)
    with TemporaryDirectory() as folder:
        m = Machine.copy(loose, Path(folder) / "m.db")
        try:
            for _ in range(length):
                step = fate.step(2)
                if isinstance(step, Write):
                    write(m, step)
                if random.random() < 0.5:
                    check(m)
            check(m)
            root = m.store.root()
            m.store.rescan()
            assert m.store.root() == root, "the triggers missed something"
        finally:
            m.close()


def test_a_change_of_a_column_that_brings_the_row_into_a_partial_index_replaces_another(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, u, s); CREATE UNIQUE INDEX i ON t(u) WHERE s = 1;")
    a.sql("INSERT INTO t VALUES ('a', 'x', 1), ('b', 'x', 0)")
    check(a)
    a.sql("UPDATE OR REPLACE t SET s = 1 WHERE k = 'b'")
    assert a.rows("SELECT k FROM t") == [("b",)]
    check(a)


def test_the_victim_of_an_index_over_an_expression_is_found_also_beside_rows_that_cannot_travel(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t(lower(u));")
    a.sql("INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('a', 'x'), ('b', 'y')")
    check(a)
    a.sql("INSERT OR REPLACE INTO t VALUES ('b', 'X')")
    check(a)
    assert [r.live for r in sorted(a.records("t"), key=lambda r: r.id)] == [False, True]


def test_a_blob_key_and_a_text_key_of_the_same_bytes_are_two_rows(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES (x'ff', 1), (CAST(x'ff' AS TEXT), 2)")
    check(a)
    a.sql("UPDATE t SET v = 3 WHERE k = x'ff'", "UPDATE t SET v = 4 WHERE typeof(k) = 'text'")
    check(a)
    assert [x["reason"] for x in a.store.status()["local_only"]] == ["row b'\\xff': a key that is not UTF-8 text"]

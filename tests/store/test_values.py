"""Every value that SQLite can hold, under every column affinity: what travels is what was written, byte for byte, also
through a machine whose table shows it otherwise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.values import unpack_value
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]

KINDS = ["TEXT", "INTEGER", "NUMERIC", "REAL", "BLOB", "", "VARCHAR(20)", "DECIMAL(10, 2)", "DATE", "BOOLEAN", "DOUBLE"]

VALUES = [
    "NULL", "0", "1", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808", "0.0", "-0.0", "1.0", "0.1",
    "1e300", "-1e-300", "9e999", "-9e999", "4611686018427387904.0", "''", "'text'", "'1'", "'1.0'", "'01'", "' 1'", "'1 '",
    "'1e3'", "'0x1F'", "'1.0e+300'", "'9223372036854775808'", "'-0'", "'nan'", "'inf'", "'2024-02-29'", "'Ünï'", "'客户'",
    "'a' || char(0) || 'b'", "char(0)", "char(65536)", "char(65533)", "x''", "x'00'", "x'31'", "x'ff'", "zeroblob(300)",
    "CAST(x'ff' AS TEXT)", "CAST(x'61ff00' AS TEXT)", "CAST(x'eda080' AS TEXT)", "CAST(x'31ff' AS TEXT)",
    "CAST(x'c080' AS TEXT)", "CAST(x'f4908080' AS TEXT)",
]  # fmt: skip


def schema(kind: str, strict: str = "") -> str:
    return f"CREATE TABLE t(k INTEGER NOT NULL, v {kind}, PRIMARY KEY(k)){strict};".replace("INTEGER NOT", "INT NOT")


def write_all(machine: Machine) -> None:
    """One row for each value."""
    for number, value in enumerate(VALUES):
        machine.sql(f"INSERT INTO t VALUES ({number}, {value})")


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_any_kind_reads_back_as_it_was_written(machine: Make, kind: str) -> None:
    a, b = machine("a", schema(kind)), machine("b")
    write_all(a)
    one, _ = meet(a, b)
    assert one.in_sync
    check_equal([a, b])


@pytest.mark.parametrize("there", ["TEXT", "INTEGER", "NUMERIC", "REAL", "BLOB"])
@pytest.mark.parametrize("here", ["TEXT", "INTEGER", "NUMERIC", "REAL", "BLOB"])
def test_a_value_survives_a_machine_whose_column_changes_it(machine: Make, here: str, there: str) -> None:
    a, b, c = (
        machine("a", schema(here)),
        machine("b", schema(there), adopt=False),
        machine("c", schema(here), adopt=False),
    )
    b.store.adopt()
    b.sql("DELETE FROM _replica_mute")
    write_all(a)
    meet(a, b)
    c.store.adopt()
    meet(b, c)
    meet(a, c)
    meet(a, b)
    roots = {m.store.root()[0] for m in (a, b, c)}
    assert len(roots) == 1
    assert a.dump() == c.dump()
    assert [m.store.verify() for m in (a, b, c)] == [[], [], []]
    for record in a.records("t"):
        (same,) = [r for r in b.records("t") if r.id == record.id]
        assert same == record


@pytest.mark.parametrize("there", ["TEXT", "INTEGER", "NUMERIC", "REAL", "BLOB"])
def test_a_write_to_a_changed_value_replaces_it_and_a_write_beside_it_does_not(machine: Make, there: str) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);")
    b = machine("b", f"CREATE TABLE t(k TEXT PRIMARY KEY, v {there}, w);")
    for number, value in enumerate(VALUES):
        a.sql(f"INSERT INTO t VALUES ({number}, {value}, 0)")
    meet(a, b)
    before = {r.id: r.registers["v"] for r in a.records("t")}
    b.sql("UPDATE t SET w = 1")
    meet(a, b)
    assert {r.id: r.registers["v"] for r in a.records("t")} == before
    b.sql("UPDATE t SET v = 'new'")
    meet(a, b)
    assert b.store.verify() == a.store.verify() == []
    assert {unpack_value(r.registers["v"][1]) for r in a.records("t")} == {"new"}
    assert b.value("SELECT count(*) FROM _replica_extra AS e JOIN _replica_record USING (key) "
                   "WHERE tbl = (SELECT tbl FROM _replica_table WHERE collection = 't')") == 0  # fmt: skip


def test_a_negative_zero_travels_as_zero(machine: Make) -> None:
    a, b = machine("a", schema("")), machine("b")
    a.sql("INSERT INTO t VALUES (1, -0.0)")
    meet(a, b)
    check_equal([a, b])
    assert str(b.value("SELECT v FROM t")) == "0.0"


@pytest.mark.parametrize("key", [v for v in VALUES if v not in {"NULL"} and not v.startswith("CAST")])
@pytest.mark.parametrize("kind", ["TEXT", "INT", "NUMERIC", "REAL", "BLOB", ""])
def test_a_key_of_any_kind_is_the_same_record_everywhere(machine: Make, kind: str, key: str) -> None:
    a, b = machine("a", f"CREATE TABLE t(k {kind} PRIMARY KEY, v);"), machine("b")
    a.sql(f"INSERT INTO t VALUES ({key}, 1)")
    meet(a, b)
    b.sql("UPDATE t SET v = 2")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT v FROM t") == [(2,)]


def test_one_and_text_one_and_blob_one_are_three_keys(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k PRIMARY KEY, v);"), machine("b")
    a.sql("INSERT INTO t VALUES (1, 'int'), ('1', 'text'), (x'31', 'blob')")
    meet(a, b)
    check_equal([a, b])
    assert len(b.rows("SELECT * FROM t")) == 3


@pytest.mark.parametrize("kind", ["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"])
def test_a_strict_table_holds_back_what_it_cannot_store(machine: Make, kind: str) -> None:
    a = machine("a", "CREATE TABLE t(k INT NOT NULL, v, PRIMARY KEY(k));")
    b = machine("b", schema(kind, " STRICT"))
    write_all(a)
    meet(a, b)
    assert a.store.root() == b.store.root()
    assert b.store.verify() == []
    assert len(b.rows("SELECT k FROM t")) + len(b.held()) == len(VALUES)
    if kind == "ANY":
        assert b.dump() == a.dump()

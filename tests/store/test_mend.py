"""Definitions change under the engine: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.values import Value, unpack_value
from replica.errors import UsageError
from tests.store.harness import Machine, all_meet, check_equal, meet

Make = Callable[..., Machine]

SCHEMA = "CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE); INSERT INTO t VALUES ('a', 1, 1), ('b', 2, 2);"


def state(machine: Machine, table: str = "t") -> str:
    """Why a table is not replicated here, as status says it."""
    return next(str(t["state"]) for t in machine.store.status()["tables"] if t["table"] == table)


def two(machine: Make, schema: str = SCHEMA) -> tuple[Machine, Machine]:
    """Two machines that are equal; one got its tables from the other."""
    a, b = machine("a", schema), machine("b")
    meet(a, b)
    check_equal([a, b])
    return a, b


def healthy(*machines: Machine) -> None:
    """All meet; in the end roots are equal and nothing is wrong, though tables may differ in their columns."""
    all_meet(machines)
    assert len({m.store.root() for m in machines}) == 1
    assert [m.store.verify() for m in machines] == [[] for _ in machines]


def columns(machine: Machine, table: str = "t") -> list[str]:
    """Names of a table's columns."""
    return [name for (name,) in machine.rows("SELECT name FROM pragma_table_xinfo(?)", (table,))]


# --- other names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("looked", [False, True])
def test_tables_that_swap_their_names_stay_what_they_are(machine: Make, looked: bool) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE TABLE n(k TEXT PRIMARY KEY, v);"
    a, b = two(machine, schema + "INSERT INTO t VALUES ('t', 1); INSERT INTO n VALUES ('n', 2);")
    for sql in ("ALTER TABLE t RENAME TO x", "ALTER TABLE n RENAME TO t", "ALTER TABLE x RENAME TO n"):
        a.sql(sql)
        if looked:
            a.store.absorb()
    a.sql("INSERT INTO n VALUES ('t2', 3)", "UPDATE t SET v = 4")
    healthy(a, b)
    assert (b.rows("SELECT * FROM t ORDER BY k"), b.rows("SELECT * FROM n")) == ([("t", 1), ("t2", 3)], [("n", 4)])
    assert (a.rows("SELECT * FROM n ORDER BY k"), a.rows("SELECT * FROM t")) == ([("t", 1), ("t2", 3)], [("n", 4)])


def test_a_new_table_under_the_first_name_of_one_that_was_renamed_is_another(machine: Make) -> None:
    a, b = two(machine)
    a.sql("ALTER TABLE t RENAME TO person", "CREATE TABLE t(k TEXT PRIMARY KEY, v)", "INSERT INTO t VALUES ('other', 1)",
          "UPDATE person SET v = 9 WHERE k = 'a'")  # fmt: skip
    healthy(a, b)
    assert b.rows("SELECT k, v FROM t ORDER BY k") == a.rows("SELECT k, v FROM person ORDER BY k") == [("a", 9), ("b", 2)]
    assert a.rows("SELECT k FROM t") == [("other",)]


def test_a_renamed_table_that_was_dropped_comes_back_under_its_first_name(machine: Make) -> None:
    a, b = two(machine)
    a.sql("ALTER TABLE t RENAME TO person")
    healthy(a, b)
    a.sql("DROP TABLE person")
    healthy(a, b)
    assert "make a table 't' and adopt it" in state(a)
    a.sql("CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE)")
    a.store.adopt(["t"])
    healthy(a, b)
    check_equal([a, b])


# --- ALTER TABLE ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["n", "n INTEGER NOT NULL DEFAULT 7", "n TEXT COLLATE NOCASE DEFAULT 'x'", "n DEFAULT x",
                                    "n REAL DEFAULT 1", "n DEFAULT (1)", "n DEFAULT NULL", "n DEFAULT -1.5"])  # fmt: skip
def test_an_added_column_appears_everywhere_with_its_default(machine: Make, column: str) -> None:
    a, b = two(machine)
    a.sql(f"ALTER TABLE t ADD COLUMN {column}")
    healthy(a, b)
    assert columns(b) == ["k", "v", "u", "n"]
    check_equal([a, b])
    b.sql("INSERT INTO t(k) VALUES ('c')", "UPDATE t SET n = 9 WHERE k = 'a'")
    a.sql("UPDATE t SET n = 8 WHERE k = 'b'")
    healthy(a, b)
    check_equal([a, b])


def test_a_column_that_two_add_differently_keeps_the_values_of_both(machine: Make) -> None:
    a, b = two(machine)
    a.sql("ALTER TABLE t ADD COLUMN n TEXT DEFAULT 'here'", "UPDATE t SET n = '1' WHERE k = 'a'")
    b.sql("ALTER TABLE t ADD COLUMN N INTEGER", "UPDATE t SET n = 2 WHERE k = 'b'")
    healthy(a, b)
    for row in ("a", "b"):
        assert a.record("t", row) == b.record("t", row)
    assert a.value("SELECT n FROM t WHERE k = 'b'") == "2"
    assert b.value("SELECT n FROM t WHERE k = 'a'") == 1
    assert unpack_value(a.record("t", "a").registers["n"][1]) == "1"


def test_values_of_a_dropped_column_come_back_as_held_and_are_shown_when_it_is_added_again(machine: Make) -> None:
    a, b = two(machine)
    rows = b.rows("SELECT * FROM t")
    a.sql("ALTER TABLE t DROP COLUMN v", "UPDATE t SET u = 3 WHERE k = 'b'")
    healthy(a, b)
    assert columns(a) == ["k", "u"]
    assert b.rows("SELECT * FROM t") == [rows[0], ("b", 2, 3)]
    assert unpack_value(a.record("t", "a").registers["v"][1]) == 1
    b.sql("UPDATE t SET v = 'later' WHERE k = 'b'")
    healthy(a, b)
    a.reopen()
    a.sql("ALTER TABLE t ADD COLUMN v")
    healthy(a, b)
    check_equal([a, b])
    assert a.rows("SELECT k, v FROM t") == [("a", 1), ("b", "later")]


def test_an_indexed_column_can_be_dropped_once_its_index_is(machine: Make) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, u, w); CREATE UNIQUE INDEX i ON t(u); INSERT INTO t VALUES (1, 2, 3);"
    a, b = two(machine, schema)
    a.sql("DROP INDEX i")
    a.store.absorb()
    a.sql("ALTER TABLE t DROP COLUMN u")
    healthy(a, b)
    assert a.rows("SELECT * FROM t") == [("1", 3)]


def test_a_renamed_column_is_a_new_one_and_the_old_name_keeps_its_values_at_the_peers(machine: Make) -> None:
    a, b = two(machine)
    a.sql("ALTER TABLE t RENAME COLUMN v TO w", "ALTER TABLE t RENAME u TO U")
    healthy(a, b)
    assert a.rows("SELECT k, w, u FROM t") == b.rows("SELECT k, w, u FROM t") == [("a", 1, 1), ("b", 2, 2)]
    assert [v for (v,) in b.rows("SELECT v FROM t ORDER BY k")] == [1, 2]
    assert columns(a) == ["k", "w", "U"]


def test_a_renamed_table_keeps_its_collection(machine: Make) -> None:
    a, b = two(machine)
    a.sql("INSERT INTO t VALUES ('before', 0, NULL)", "ALTER TABLE t RENAME TO person")
    a.sql("INSERT INTO person VALUES ('c', 3, 3)")
    healthy(a, b)
    b.sql("UPDATE t SET v = 'b' WHERE k = 'c'", "DELETE FROM t WHERE k = 'a'")
    healthy(a, b)
    assert sorted(a.rows("SELECT k, v FROM person")) == [("b", 2), ("before", 0), ("c", "b")]
    assert a.dump("person")["person"] == b.dump("t")["t"]
    assert state(a, "person") == ""


def test_a_renamed_table_is_called_in_its_file_as_it_is_called_there(machine: Make) -> None:
    a, b = two(machine)
    a.sql("ALTER TABLE t RENAME TO person")
    assert a.store.put_many("person", [("p", 7, 7)]) == 1
    assert a.store.why("person", ["p"])
    with pytest.raises(UsageError, match="'t' is not replicated"):
        a.store.put_many("t", [("q", 8, 8)])
    a.sql("CREATE TABLE t(k TEXT PRIMARY KEY, v, u)")
    with pytest.raises(UsageError, match="'t' is not replicated"):
        a.store.put_many("t", [("q", 8, 8)])
    assert a.rows("SELECT * FROM t") == []
    healthy(a, b)
    assert ("p", 7, 7) in b.rows("SELECT k, v, u FROM t")


def test_a_new_unique_index_is_watched_and_a_dropped_one_forgotten(machine: Make) -> None:
    a, b = two(machine)
    a.sql("CREATE UNIQUE INDEX i ON t(v)")
    a.store.absorb()
    a.sql("INSERT OR REPLACE INTO t VALUES ('c', 1, NULL)")
    healthy(a, b)
    check_equal([a, b])
    assert not a.record("t", "a").live
    a.sql("DROP INDEX i", "INSERT OR REPLACE INTO t VALUES ('d', 1, NULL)")
    healthy(a, b)
    assert a.value("SELECT count(*) FROM t WHERE v = 1") == 2


def test_a_definition_that_was_rolled_back_changes_nothing(machine: Make) -> None:
    a, b = two(machine)
    root = a.store.root()
    a.sql("BEGIN", "ALTER TABLE t ADD COLUMN n DEFAULT 5", "DROP TABLE t", "CREATE TABLE t(x)", "ROLLBACK")
    assert a.store.root() == root
    healthy(a, b)


def test_vacuum_changes_nothing(machine: Make) -> None:
    a, b = two(machine, SCHEMA + "CREATE TABLE n(k INTEGER PRIMARY KEY, v); INSERT INTO n VALUES (5, 1), (9, 2);")
    a.sql("DELETE FROM t WHERE k = 'a'", "INSERT INTO n(v) VALUES (3)")
    root = a.store.root()
    a.sql("VACUUM")
    assert a.store.root() == root
    a.sql("UPDATE n SET v = v + 1", "INSERT INTO t VALUES ('z', 1, 1)")
    healthy(a, b)
    check_equal([a, b])


# --- rows that go while definitions change -----------------------------------------------------------------------------


def two_under_one_number(machine: Make) -> tuple[Machine, Machine]:
    """Two machines that are equal: both show Ann under number 1 and hold Bob, whom b made under the same number."""
    schema = "CREATE TABLE n(k INTEGER PRIMARY KEY, name, old);"
    a, b = machine("a", schema), machine("b", schema)
    a.sql("INSERT INTO n VALUES (1, 'Ann', NULL)")
    b.clock.ms += 1
    b.sql("INSERT INTO n VALUES (1, 'Bob', NULL)")
    meet(a, b)
    check_equal([a, b])
    return a, b


def people(machine: Machine) -> list[tuple[Value, bool]]:
    """Name (None: it was deleted, and forgotten) of each record, and whether it lives."""
    found = [(r.registers.get("name"), r.live) for r in machine.records("n")]
    return sorted(((unpack_value(name[1]) if name else None, live) for name, live in found), key=repr)


CHANGES = ["ALTER TABLE n DROP COLUMN old", "ALTER TABLE n ADD COLUMN new", "CREATE UNIQUE INDEX i ON n(name)",
           "ALTER TABLE n RENAME TO m"]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("first", [0, 1])
def test_a_delete_is_of_the_record_that_was_shown_also_if_the_definition_changed(
    machine: Make, change: str, first: int
) -> None:
    a, b = two_under_one_number(machine)
    table = "m" if first and "RENAME" in change else "n"
    delete = f"DELETE FROM {table} WHERE k = 1"
    a.sql(*([change, delete] if first else [delete, change]))
    healthy(a, b)
    assert people(a) == people(b) == [("Bob", True), (None, False)]
    assert b.rows("SELECT k, name FROM n") == [(1, "Bob")]
    assert a.held() == b.held() == {}


def test_a_delete_that_no_trigger_saw_is_of_the_record_that_was_shown(machine: Make) -> None:
    a, b = two_under_one_number(machine)
    a.sql("BEGIN", "CREATE TABLE new(k INTEGER PRIMARY KEY, name)", "DROP TABLE n", "ALTER TABLE new RENAME TO n", "COMMIT")
    healthy(a, b)
    assert people(a) == people(b) == [("Bob", True), (None, False)]
    assert a.rows("SELECT * FROM n") == [(1, "Bob")]


def test_a_new_column_shows_nothing_of_a_record_that_another_took_the_number_of(machine: Make) -> None:
    schema = "CREATE TABLE n(k INTEGER PRIMARY KEY, name, phone); INSERT INTO n VALUES (1, 'Ann', 'of Ann');"
    a, b = two(machine, schema)
    a.sql("ALTER TABLE n DROP COLUMN phone")
    healthy(a, b)
    a.sql("DELETE FROM n", "INSERT INTO n VALUES (1, 'Zoe')", "ALTER TABLE n ADD COLUMN phone")
    healthy(a, b)
    assert a.rows("SELECT * FROM n") == b.rows("SELECT * FROM n") == [(1, "Zoe", None)]


# --- tables that go and come ------------------------------------------------------------------------------------------

NEW = "CREATE TABLE {}(k TEXT PRIMARY KEY, v TEXT NOT NULL DEFAULT '', u INT, extra DEFAULT 'e', UNIQUE(u))"
REBUILDS = {
    "new first": [NEW.format("new_t"), "INSERT INTO new_t(k, v, u) SELECT * FROM t", "DROP TABLE t",
                  "ALTER TABLE new_t RENAME TO t"],
    "old first": ["ALTER TABLE t RENAME TO old_t", NEW.format("t"), "INSERT INTO t(k, v, u) SELECT * FROM old_t",
                  "DROP TABLE old_t"],
    "old first, old names": ["PRAGMA legacy_alter_table = ON", "ALTER TABLE t RENAME TO old_t", NEW.format("t"),
                             "INSERT INTO t(k, v, u) SELECT * FROM old_t", "DROP TABLE old_t"],
    "aside": ["CREATE TEMP TABLE aside AS SELECT * FROM t", "DROP TABLE t", NEW.format("t"),
              "INSERT INTO t(k, v, u) SELECT * FROM aside"],
}  # fmt: skip


@pytest.mark.parametrize("rebuild", REBUILDS)
@pytest.mark.parametrize("atomic", [True, False])
def test_a_table_rebuilt_by_an_orm_goes_on_without_a_word(machine: Make, rebuild: str, atomic: bool) -> None:
    a, b = two(machine)
    a.sql("UPDATE t SET v = 'pending' WHERE k = 'a'")
    pragmas = [s for s in REBUILDS[rebuild] if s.startswith("PRAGMA")]
    steps = [s for s in REBUILDS[rebuild] if s not in pragmas]
    a.sql(*pragmas, *(["BEGIN", *steps, "COMMIT"] if atomic else steps), "DELETE FROM t WHERE k = 'b'")
    a.sql("INSERT INTO t(k, v) VALUES ('after', 1)")
    healthy(a, b)
    check_equal([a, b])
    assert b.rows("SELECT k, v, extra FROM t ORDER BY k") == [("a", "pending", "e"), ("after", "1", "e")]
    a.sql("INSERT OR REPLACE INTO t VALUES ('last', 'l', 1, 'x')")
    healthy(a, b)
    check_equal([a, b])


def test_a_table_whose_key_a_rebuild_changed_is_given_up_in_words_and_adopted_again(machine: Make) -> None:
    a, b = two(machine)
    a.sql("BEGIN", "ALTER TABLE t RENAME TO old", "CREATE TABLE t(k TEXT, v, u, PRIMARY KEY(k, u))",
          "INSERT INTO t SELECT * FROM old", "DROP TABLE old", "COMMIT")  # fmt: skip
    healthy(a, b)
    assert "the primary key of 't' changed" in state(a)
    assert "adopt it again" in state(a)
    assert a.rows("SELECT * FROM t") == b.rows("SELECT * FROM t"), "nothing is deleted, here or there"
    a.sql("INSERT INTO t VALUES ('here', 1, 1)")
    healthy(a, b)
    assert b.value("SELECT count(*) FROM t") == 2


def test_a_renamed_key_column_is_another_key(machine: Make) -> None:
    a, b = two(machine)
    a.sql("ALTER TABLE t RENAME COLUMN k TO id")
    healthy(a, b)
    assert "adopt it again" in state(a)
    assert a.value("SELECT count(*) FROM t") == b.value("SELECT count(*) FROM t") == 2
    a.sql("ALTER TABLE t RENAME COLUMN id TO k")
    a.store.adopt()
    healthy(a, b)
    check_equal([a, b])


def test_a_dropped_table_is_no_delete_and_comes_back_when_it_is_made_and_adopted_again(machine: Make) -> None:
    a, b = two(machine)
    a.sql("DROP TABLE t")
    a.store.absorb()
    with pytest.raises(UsageError, match="no record 'a' of t is here: the table was dropped here, and its records with it"):
        a.store.why("t", ["a"])
    healthy(a, b)
    assert "was dropped here" in state(a)
    assert b.value("SELECT count(*) FROM t") == 2
    assert len(a.records("t")) == 2, "its records came back from the peer"
    b.sql("INSERT INTO t VALUES ('c', 3, 3)")
    healthy(a, b)
    assert a.rows("SELECT name FROM sqlite_master WHERE name = 't'") == []
    a.sql("CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE)", "INSERT INTO t VALUES ('mine', 4, 4)")
    a.store.adopt(["t"])
    healthy(a, b)
    check_equal([a, b])
    assert a.value("SELECT count(*) FROM t") == 4


@pytest.mark.parametrize("which", ["ai", "ad", "au", "ak", "bi0", "bu0", "%"])
def test_triggers_that_were_dropped_are_made_again_and_what_they_missed_is_found(machine: Make, which: str) -> None:
    a, b = two(machine)
    made = a.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
    for name, _ in made:
        if name.endswith(which) or which == "%":
            a.sql(f'DROP TRIGGER "{name}"')
    a.sql("INSERT INTO t VALUES ('c', 3, 3)", "DELETE FROM t WHERE k = 'b'", "UPDATE t SET k = 'z' WHERE k = 'a'",
          "INSERT OR REPLACE INTO t VALUES ('r', 4, 3)", "UPDATE OR REPLACE t SET u = 1, v = 'n' WHERE k = 'r'")  # fmt: skip
    healthy(a, b)
    check_equal([a, b])
    assert b.rows("SELECT * FROM t") == [("r", "n", 1)]
    assert a.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name") == made

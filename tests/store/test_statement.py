"""What is refused of a user's statement, and what is known of it, before it runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from replica.errors import UsageError
from replica.node import Node
from replica.store.statement import reads, statement
from tests.store.harness import Machine

Make = Callable[..., Machine]


@pytest.mark.parametrize("sql", ["COMMIT", " -- x\n begin", "Rollback"])
def test_a_statement_about_transactions_is_refused_before_it_waits(sql: str) -> None:
    with pytest.raises(UsageError, match="has no place here"):
        statement(sql)


@pytest.mark.parametrize("sql", [
    "PRAGMA foreign_keys = ON", "pragma main . foreign_keys(1)", "/*c*/ ;PRAGMA/**/foreign_keys/**/=1",
    'PRAGMA "main".[foreign_keys] = 1', "PRAGMA `foreign_keys`--\n=1",
])  # fmt: skip
def test_a_setting_that_would_have_no_effect_is_refused(sql: str) -> None:
    with pytest.raises(UsageError, match="has no effect here"):
        statement(sql)


@pytest.mark.parametrize("sql", [
    "PRAGMA query_only = 1", "PRAGMA main.locking_mode(EXCLUSIVE)", "/**/pragma [writable_schema]=1",
    "PRAGMA journal_mode = DELETE",
])  # fmt: skip
def test_a_setting_that_would_hold_for_whatever_the_node_does_is_refused(sql: str) -> None:
    with pytest.raises(UsageError, match="would hold for whatever this node does"):
        statement(sql)


async def test_what_is_refused_of_a_write_is_refused_of_a_question(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v)")
    async with Node(m.path) as node:
        for sql in ("BEGIN", "PRAGMA synchronous = 0", "ATTACH ':memory:' AS a", "DELETE FROM _replica_row"):
            with pytest.raises(UsageError):
                m.store.query(sql)
            with pytest.raises(UsageError):
                await node.query(sql)


def test_no_table_is_given_a_name_of_the_engine(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v)")
    with pytest.raises(UsageError, match="the engine's own"):
        m.store.execute("ALTER TABLE t RENAME TO _replica_t")


def test_what_a_setting_is_may_be_asked(machine: Make) -> None:
    a = machine("a", "CREATE TABLE foreign_keys(k TEXT PRIMARY KEY)")
    assert a.store.execute("PRAGMA foreign_keys") == (["foreign_keys"], [(0,)])
    assert [row[1] for row in a.store.execute("PRAGMA table_info(foreign_keys)")[1]] == ["k"]
    a.store.execute("PRAGMA user_version = 7")
    assert a.store.query("PRAGMA user_version") == [(7,)]


@pytest.mark.parametrize("before", ["/*a*/", "-- a\n", " ;", "/*/ -- */ --/*\n\ufeff", "/***/"])
def test_no_number_of_comments_hides_what_a_statement_is(before: str) -> None:
    assert callable(statement(before * 10_000 + "SELECT 1"))
    with pytest.raises(UsageError, match="COMMIT has no place here"):
        statement(before * 10_000 + "COMMIT")


@pytest.mark.parametrize("sql", ["/*" * 10_000, "/*" + "*" * 10_000, "/*a*/" * 10_000 + "/* COMMIT", "--" * 10_000])
def test_a_comment_without_an_end_is_no_statement_about_transactions(sql: str) -> None:
    assert callable(statement(sql))


@pytest.mark.parametrize(
    "sql",
    ["DROP TABLE _replica_outbox", 'delete from main."_replica_meta"', "UPDATE OR IGNORE [_replica_meta] SET value = 1",
     "DROP TRIGGER IF EXISTS _replica_t1_insert", "INSERT INTO main._replica_mute VALUES (1)"],
)  # fmt: skip
def test_no_statement_writes_the_tables_of_the_engine(machine: Make, sql: str) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v)")
    with pytest.raises(UsageError, match="the engine's own"):
        m.store.execute(sql)
    m.store.execute("INSERT INTO t VALUES ('_replica_', 'said of _replica_meta')")
    assert m.store.execute("SELECT count(*) FROM _replica_mute")[1] == [(0,)]


@pytest.mark.parametrize(("sql", "only"), [
    ("SELECT 1", True), ("/*a*/;values(1)", True), ("EXPLAIN DELETE FROM t", True), ("SELECTED", False),
    ("WITH a AS (SELECT 1) DELETE FROM t", False), ("DELETE FROM t /* SELECT */", False), ("PRAGMA user_version = 1", False),
])  # fmt: skip
def test_what_surely_only_reads_is_known(sql: str, only: bool) -> None:
    assert reads(sql) == only


@pytest.mark.parametrize("sql", [
    "CREATE TEMP TABLE t(v)", "/**/ create--\n/*x*/temporary view v AS SELECT 1; ", "CREATE TABLE temp.t(v)",
    'CREATE TABLE/**/IF NOT EXISTS "temp" . t(v)', "CREATE VIEW [temp].v AS SELECT 1",
    "CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END", "CREATE VIRTUAL TABLE temp.t USING fts5(k, v)",
])  # fmt: skip
def test_nothing_temporary_stands_before_a_table_of_the_file(machine: Make, sql: str) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v)")
    for run in (m.store.execute, m.store.query):
        with pytest.raises(UsageError, match="what is temporary has no place here"):
            run(sql)
    assert m.rows("SELECT * FROM temp.sqlite_master") == []


@pytest.mark.parametrize("sql", [
    "CREATE TABLE temporary(k TEXT PRIMARY KEY)", "CREATE TABLE temp_t(k TEXT PRIMARY KEY)",
    "CREATE TABLE temp(k TEXT PRIMARY KEY)", "CREATE VIEW v AS SELECT 'CREATE TEMP TABLE'",
    'CREATE TABLE "temp.x"(k TEXT PRIMARY KEY)',
])  # fmt: skip
def test_what_only_sounds_temporary_is_made(machine: Make, sql: str) -> None:
    machine("m").store.execute(sql)

"""Exports: the same content gives the same rows, of one moment, and what cannot come out is told."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable

import pytest

from protocol.errors import ReplicaError
from replica.errors import UsageError
from replica.exchange.exporting.export import Asked, Summary, export
from replica.exchange.exporting.plan import is_select
from replica.exchange.exporting.since import moment
from replica.exchange.importing.runs import Known
from replica.exchange.rows import DELETED, MISSING, Row
from replica.store.core import Core
from tests.exchange.lists import ListWriter
from tests.store.harness import NOW_MS, Machine, all_meet

Make = Callable[..., Machine]
PEOPLE = "CREATE TABLE People(name TEXT, id TEXT PRIMARY KEY, Email TEXT, age)"


def nobody(_core: Core, _collection: str) -> None:
    """Nobody imported anything."""


def run(
    machine: Machine, what: str, knowns: Iterable[Known] = (), *, with_ids: bool = False, since: int | None = None
) -> tuple[ListWriter, Summary]:
    """An export into memory."""
    out, by_name = ListWriter(), {k.collection: k for k in knowns}
    asked = Asked(what, with_ids=with_ids, since_ms=since, format="csv")
    summary = export(machine.store, asked, lambda _, name: by_name.get(name), out.open)
    assert out.closed
    assert summary.rows == len(out.rows)
    return out, summary


# --- order and bytes --------------------------------------------------------------------------------------------------


def test_stores_of_one_content_and_different_histories_export_the_same(machine: Make) -> None:
    a = machine("a", PEOPLE)
    a.sql("INSERT INTO People VALUES ('Ada', 'z', 'a@x', 1), ('Bo', 'B', NULL, 2.5), ('Cy', 'a', '', x'00')")
    b = machine("b")
    all_meet([a, b])  # b gets the table from a, in the order of b's making.
    b.sql("INSERT INTO people(id, name) VALUES ('m', '李')", "UPDATE people SET age = 7 WHERE id = 'z'")
    a.sql("ALTER TABLE People ADD COLUMN Zip TEXT", "ALTER TABLE People ADD COLUMN city TEXT")
    a.sql("DELETE FROM People WHERE id = 'B'", "UPDATE People SET city = 'Split' WHERE id = 'a'")
    all_meet([a, b])
    c = machine("c", "CREATE TABLE people(ZIP TEXT, AGE, ID TEXT PRIMARY KEY, city TEXT, EMAIL TEXT, NAME TEXT)")
    all_meet([a, b, c])
    assert a.store.root() == b.store.root() == c.store.root()
    outs = [run(m, "people") for m in (a, b, c)]
    assert outs[0][0].fields == outs[1][0].fields == outs[2][0].fields
    assert {f.lower() for f in outs[0][0].fields} == {"name", "id", "email", "age", "zip", "city"}
    assert outs[0][0].rows == outs[1][0].rows == outs[2][0].rows
    at = [f.lower() for f in outs[0][0].fields].index("id")
    assert [row[at] for row in outs[0][0].rows] == ["a", "m", "z"]


def test_rows_are_in_binary_order_whatever_the_collation_of_the_key(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY COLLATE NOCASE, v)")
    a.sql("INSERT INTO t VALUES ('b', 1), ('A', 2), ('C', 3), ('d', 4)")
    assert [row[0] for row in run(a, "T")[0].rows] == ["A", "C", "b", "d"]


def test_what_was_imported_comes_out_as_it_went_in(machine: Make) -> None:
    a = machine("a", "CREATE TABLE crm(added TEXT, rid TEXT PRIMARY KEY, Name TEXT, Key TEXT)")
    a.sql("INSERT INTO crm(rid, Key, Name) VALUES ('1', 'k9', 'Nine'), ('2', 'k1', 'One'), ('3', 'k5', 'Five')")
    known = Known("crm", "csv", ("Key",), "rid", ("Key", "Name"))
    out, _ = run(a, "crm", [known])
    assert out.fields == ["Key", "Name", "added"]
    assert out.rows == [("k1", "One", None), ("k5", "Five", None), ("k9", "Nine", None)]
    out, _ = run(a, "crm", [known], with_ids=True)
    assert out.fields == ["rid", "Key", "Name", "added"]
    assert [row[0] for row in out.rows] == ["2", "3", "1"]


def test_a_field_that_was_imported_and_is_gone_is_told(machine: Make) -> None:
    a = machine("a", "CREATE TABLE crm(rid TEXT PRIMARY KEY, k TEXT)")
    _, summary = run(a, "crm", [Known("crm", "csv", ("k",), "rid", ("k", "old"))])
    assert any("'old'" in note for note in summary.notes)


def test_relations_come_out_as_external_keys(machine: Make) -> None:
    a = machine(
        "a",
        "CREATE TABLE firm(rid TEXT PRIMARY KEY, code TEXT, parent TEXT);"
        "CREATE TABLE person(rid TEXT PRIMARY KEY, n TEXT, firm TEXT)",
    )
    a.sql(
        "INSERT INTO firm VALUES ('r1', 'ACME', 'r2'), ('r2', 'ZED', 'r1'), ('r3', 'SELF', 'r3'), ('r4', 'TOP', NULL)"
    )
    a.sql("INSERT INTO person VALUES ('p1', '1', 'r1'), ('p2', '2', 'gone'), ('p3', '3', NULL)")
    knowns = [
        Known("firm", "s", ("code",), "rid", ("code", "parent"), {"parent": "firm"}),
        Known("person", "s", ("n",), "rid", ("n", "firm"), {"firm": "firm"}),
    ]
    out, summary = run(a, "firm", knowns)
    assert out.rows == [("ACME", "ZED"), ("SELF", "SELF"), ("TOP", None), ("ZED", "ACME")]
    assert not [n for n in summary.notes if "parent" in n]
    out, summary = run(a, "person", knowns)
    assert out.rows == [("1", "ACME"), ("2", "gone"), ("3", None)]
    assert any(note.startswith("firm: 1 records refer to one that is not in 'firm'") for note in summary.notes)


# --- SELECT -----------------------------------------------------------------------------------------------------------


def test_a_select_is_ordered_by_its_columns_unless_it_says_otherwise(machine: Make) -> None:
    a = machine("a", PEOPLE)
    a.sql("INSERT INTO People VALUES ('b', '1', '', 1), ('a', '2', '', 2), ('c', '0', '', 3)")
    assert run(a, "SELECT name FROM people -- all of them")[0].rows == [("a",), ("b",), ("c",)]
    assert run(a, "select name from people order by id;")[0].rows == [("c",), ("b",), ("a",)]
    out, _ = run(a, "SELECT name FROM people WHERE name <> 'order by' ORDER BY age DESC")
    assert out.rows == [("c",), ("a",), ("b",)]
    nested = "SELECT * FROM (SELECT name FROM people ORDER BY age DESC)"
    assert run(a, nested)[0].rows == [("a",), ("b",), ("c",)]
    with_ = "WITH x AS (SELECT 2 AS n UNION SELECT 1) SELECT n FROM x"
    assert run(a, with_)[0].rows == [(1,), (2,)]
    assert len(set(run(a, "SELECT 1 AS a, 2 AS a")[0].fields)) == 2
    window = "SELECT name, row_number() OVER (ORDER BY age DESC) /* order by 2 */ AS n FROM people"
    assert run(a, window)[0].rows == [("a", 2), ("b", 3), ("c", 1)]
    assert run(a, "SELECT name FROM people ORDER BY age DESC LIMIT 2")[0].rows == [("c",), ("a",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; DELETE FROM people",
        "SELECT 1) ; DELETE FROM people; SELECT * FROM (SELECT 1",
        "WITH x AS (SELECT 1) DELETE FROM people",
        "SELECT * FROM _replica_meta",
        "SELECT (SELECT value FROM _replica_meta WHERE name = 'access_key')",
        "SELECT load_extension('x')",
        "SELECT data FROM sqlite_dbpage",
        "SELECT 1 UNION CREATE TABLE x(y)",
        "WITH x AS (SELECT 1) INSERT INTO people SELECT 1, 2, 3, 4 ORDER BY 1",
        "SELECT * FROM pragma_database_list",
        "SELECT nothing FROM people",
        "SELECT * FROM nowhere",
        "SELECT abs(-9223372036854775808)",
        "SELECT (",
        "WITH",
        "SELECT ?",
    ],
)
def test_a_select_that_does_more_than_read_is_refused_in_words(machine: Make, sql: str) -> None:
    a = machine("a", PEOPLE)
    a.sql("INSERT INTO People VALUES ('b', '1', '', 1)")
    with pytest.raises(UsageError):
        run(a, sql)
    assert a.value("SELECT count(*) FROM people") == 1


def test_a_select_may_use_what_sqlite_has(machine: Make) -> None:
    a = machine("a", PEOPLE)
    a.sql("INSERT INTO People VALUES ('b', '1', '[1,2]', 1)", "CREATE VIEW v AS SELECT id FROM people")
    a.sql("CREATE VIRTUAL TABLE words USING fts5(text)", "INSERT INTO words VALUES ('red apple'), ('green pear')")
    assert run(a, "SELECT j.value FROM people, json_each(people.email) AS j")[0].rows == [(1,), (2,)]
    assert run(a, "SELECT id, upper(id) FROM v")[0].rows == [("1", "1")]
    assert run(a, "SELECT text FROM words WHERE words MATCH 'pear'")[0].rows == [("green pear",)]


def test_sql_and_names_are_told_apart() -> None:
    assert is_select("SELECT 1")
    assert is_select("  -- why\n with x as (select 1) select * from x")
    assert is_select("VALUES(1)")
    assert not is_select("selections")
    assert not is_select("select")
    assert not is_select("people")


def test_an_unknown_collection_names_those_that_are_there(machine: Make) -> None:
    a = machine("a", PEOPLE)
    with pytest.raises(UsageError, match="People"):
        run(a, "nobody")
    with pytest.raises(UsageError):
        run(a, "_replica.node")


def test_a_long_select_can_be_interrupted(machine: Make) -> None:
    a = machine("a", PEOPLE)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    out = ListWriter()
    try:
        with pytest.raises(KeyboardInterrupt):
            export(a.store, Asked(endless), nobody, out.open)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert not out.closed


# --- one moment, told, whole ------------------------------------------------------------------------------------------


def test_an_export_is_of_one_moment(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v)")
    a.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000) INSERT INTO t SELECT i, 0 FROM n")

    class Meddling(ListWriter):
        def write(self, rows: Iterable[Row]) -> None:
            super().write(rows)
            a.sql("UPDATE t SET v = v + 1", "INSERT INTO t VALUES (NULL, 1)", "DELETE FROM t WHERE k % 7 = 3")

    out = Meddling()
    export(a.store, Asked("t"), nobody, out.open)
    assert out.rows == [(i, 0) for i in range(1, 9001)]
    assert a.value("SELECT max(v) FROM t") > 1


def test_what_cannot_come_out_as_it_is_is_told(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w)")
    a.sql(
        "INSERT INTO t VALUES (1, CAST(x'41FF42' AS TEXT), 'x'), (2, x'00FF', NULL), (3, 'fine', NULL), (4, 1e999, 1)"
    )
    out, summary = run(a, "t")
    assert out.rows == [(1, "A\ufffdB", "x"), (2, b"\x00\xff", None), (3, "fine", None), (4, float("inf"), 1)]
    assert [n.partition(" values")[0].partition(" texts")[0] for n in summary.notes] == ["v: 1", "v: 1", "2"]
    assert run(a, "SELECT v FROM t WHERE k = 1")[0].rows == [("A\ufffdB",)]


def test_ill_formed_text_far_down_loses_no_row_and_doubles_none(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v)")
    a.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000) INSERT INTO t SELECT i, "
        "CASE i WHEN 9000 THEN CAST(x'FF' AS TEXT) ELSE 'v' END FROM n"
    )
    assert [row[0] for row in run(a, "t")[0].rows] == list(range(1, 10001))


def test_a_writer_that_fails_is_not_closed(machine: Make) -> None:
    a = machine("a", PEOPLE)
    a.sql("INSERT INTO People VALUES ('b', '1', '', 1)")

    class Full(ListWriter):
        def write(self, rows: Iterable[Row]) -> None:
            raise OSError("no room")

    out = Full()
    with pytest.raises(OSError, match="no room"):
        export(a.store, Asked("people"), nobody, out.open)
    assert not out.closed
    a.store.execute("INSERT INTO People VALUES ('b', '2', '', 1)")  # The store goes on.


def test_an_empty_table_gives_its_fields(machine: Make) -> None:
    out, summary = run(machine("a", PEOPLE), "people")
    assert (out.fields, out.rows, summary.rows) == (["name", "id", "Email", "age"], [], 0)


def test_names_that_are_odd_are_quoted(machine: Make) -> None:
    a = machine("a", 'CREATE TABLE "a ""b"(id TEXT PRIMARY KEY, "x""; --" TEXT, "select" TEXT)')
    a.sql("""INSERT INTO "a ""b" VALUES ('1', '2', '3')""")
    out, _ = run(a, 'a "b')
    assert (out.fields, out.rows) == (["id", 'x"; --', "select"], [("1", "2", "3")])


# --- since ------------------------------------------------------------------------------------------------------------


def test_since_has_what_changed_and_what_was_deleted(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT, n INTEGER, v TEXT, w TEXT, PRIMARY KEY(k, n)) WITHOUT ROWID")
    a.store.execute(
        "INSERT INTO t VALUES ('a', 1, 'x', 'y'), ('b', 1, 'x', 'y'), ('c', 1, 'x', 'y'), ('d', 2, 'x', 'y')"
    )
    a.clock.ms = NOW_MS + 1000
    a.store.execute("UPDATE t SET v = 'new' WHERE k = 'b'")  # One field of several: stamps of two moments.
    a.store.execute("DELETE FROM t WHERE k = 'd'")
    a.store.execute("INSERT INTO t VALUES ('e', 1, 'x', 'y')")
    out, summary = run(a, "t", since=NOW_MS + 1000)
    assert out.fields == ["k", "n", "v", "w", DELETED]
    assert out.rows == [("b", 1, "new", "y", 0), ("e", 1, "x", "y", 0), ("d", 2, MISSING, MISSING, 1)]
    assert (summary.rows, summary.deletes) == (3, 1)
    assert run(a, "t", since=NOW_MS + 1001)[0].rows == []
    assert summary.moment_ms == NOW_MS + 1000
    assert len(run(a, "t", since=0)[0].rows) == 5


def test_since_sees_writes_of_other_programs_and_of_peers(machine: Make) -> None:
    a, b = machine("a", PEOPLE), machine("b")
    all_meet([a, b])
    moment_ms = NOW_MS + 5000
    a.clock.ms = b.clock.ms = moment_ms
    b.sql("INSERT INTO people(id, name) VALUES ('b', 'B')")
    all_meet([a, b])
    a.sql("INSERT INTO people(id, name) VALUES ('a', 'A')")
    out, _ = run(a, "people", since=moment_ms)
    assert [row["id"] for row in out.dicts()] == ["a", "b"]


def test_since_of_an_imported_collection_names_deletes_by_record_id(machine: Make) -> None:
    a = machine("a", "CREATE TABLE crm(rid TEXT PRIMARY KEY, k TEXT)")
    a.store.execute("INSERT INTO crm VALUES ('r1', 'k1'), ('r2', 'k2')")
    a.clock.ms += 10
    a.store.execute("DELETE FROM crm WHERE rid = 'r1'")
    a.store.execute("UPDATE crm SET k = 'k3' WHERE rid = 'r2'")
    out, _ = run(a, "crm", [Known("crm", "csv", ("k",), "rid", ("k",))], since=NOW_MS + 10)
    assert out.fields == ["rid", "k", DELETED]
    assert out.rows == [("r2", "k3", 0), ("r1", MISSING, 1)]


def test_since_of_made_up_numbers(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)")
    a.store.execute("INSERT INTO t(v) VALUES ('a'), ('b'), ('c')")
    a.clock.ms += 10
    a.store.execute("DELETE FROM t WHERE v = 'b'")
    a.store.execute("UPDATE t SET v = 'z' WHERE v = 'c'")
    first = a.value("SELECT id FROM t WHERE v = 'a'")
    assert run(a, "t", since=NOW_MS + 10)[0].rows == [(first + 2, "z", 0), (first + 1, MISSING, 1)]


def test_records_that_are_held_from_view_are_told(machine: Make) -> None:
    unique = "CREATE TABLE t(id TEXT PRIMARY KEY, email TEXT UNIQUE)"
    a, b = machine("a", unique), machine("b", unique)
    a.sql("INSERT INTO t VALUES ('1', 'same@x')")
    b.sql("INSERT INTO t VALUES ('2', 'same@x')")
    all_meet([a, b])
    for since in (None, 0):
        out, summary = run(a, "t", since=since)
        assert len(out.rows) == 1
        assert any(note.startswith("1 records are held") for note in summary.notes)


def test_a_moment_is_a_time_or_a_run() -> None:
    def run_of(text: str) -> int | None:
        return {"run-7": 7}.get(text)

    assert moment("run-7", run_of) == 7
    assert moment("1970-01-01T00:00:01", run_of) == 1000
    assert moment("1970-01-02", run_of) == 86_400_000
    assert moment("1970-01-01T08:00:00.5+08:00", run_of) == 500
    assert moment("1970-01-01T00:00:00Z", run_of) == 0
    assert moment("0001-01-01", run_of) == 0
    for wrong in ("yesterday", "", "2026-13-01", "9999-12-31T23:59:59-24:00"):
        with pytest.raises(UsageError, match="neither a run"):
            moment(wrong, run_of)


_EXPORT = """
import resource, sys
from replica.exchange.exporting.export import export
from replica.exchange.exporting.export import Asked
from replica.store.store import Store
from tests.exchange.lists import ListWriter
class Away(ListWriter):
    def write(self, rows):
        pass
with Store(sys.argv[1]) as store:
    store.absorb()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(export(store, Asked("SELECT v, k FROM t"), lambda *_: None, Away().open).rows)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_flat(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT)", adopt=False)
    a.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 6000) "
        "INSERT INTO t SELECT i, printf('%040000d', i * 7919 % 6000) FROM n"
    )
    done = subprocess.run([sys.executable, "-c", _EXPORT, str(a.path)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    rows, kilobytes = map(int, done.stdout.split())
    assert rows == 6000
    assert kilobytes < 120_000  # Of 240 MB that are sorted.


def test_errors_are_ours(machine: Make) -> None:
    a = machine("a", PEOPLE)
    for what in ("SELECT", "x y", "", "SELECT 1 FROM"):
        with pytest.raises(ReplicaError):
            run(a, what)
    assert not issubclass(sqlite3.Error, ReplicaError)

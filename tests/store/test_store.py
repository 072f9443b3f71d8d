"""The store as a whole: its file, its transactions, and other processes beside it."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from replica.errors import StoreError, UsageError
from replica.store import index
from replica.store.store import Store, initialize
from tests.store.harness import SECRETS, Machine, check_equal, foreign, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v);"


# --- what other programs and processes do -----------------------------------------------------------------------------


def test_what_a_program_wrote_by_plain_sql_is_in_the_root(machine: Make) -> None:
    a = machine("a", T)
    roots = {a.store.root()[0]}
    for statement in ("INSERT INTO t VALUES ('a', 1)", "UPDATE t SET v = 2", "UPDATE t SET k = 'b'", "DELETE FROM t"):
        a.sql(statement)
        roots.add(a.store.root()[0])
    assert len(roots) == 5


def test_two_stores_on_one_file_see_each_others_tables_fields_and_stamps(machine: Make) -> None:
    a = machine("a", T)
    with Store(a.path, now_ms=a.clock) as other:
        a.sql("INSERT INTO t VALUES ('a', 1)")
        assert other.root() == a.store.root()
        other.execute("ALTER TABLE t ADD COLUMN w DEFAULT 5")
        a.store.put_many("t", [("b", 1, 2)])
        other.execute("CREATE TABLE s(k TEXT PRIMARY KEY)")
        other.adopt(["s"])
        a.store.put_many("s", [("x",)])
        other.put_many("t", [("c", 1, 2)])
        assert other.root() == a.store.root()
    stamps = [s for r in a.records("t", "s") for s in {r.born}]
    assert len(stamps) == len(set(stamps)) == 4
    assert a.store.verify() == []


WRITER = """
import sys
from replica.store.store import Store
with Store(sys.argv[1], durable=False) as store:
    for turn in range(40):
        store.put_many("t", [(f"{sys.argv[2]}-{turn}-{row}", turn) for row in range(5)])
        store.execute("UPDATE t SET v = v + 1 WHERE k LIKE ?", (f"{sys.argv[2]}-{turn}-%",))
"""


def test_two_processes_on_one_file_never_issue_one_stamp_twice(machine: Make) -> None:
    a = machine("a", T)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, a.path, name]) for name in "xy"]
    for turn in range(40):
        a.sql(f"INSERT INTO t VALUES ('sql-{turn}', 0)")
        a.store.root()
    assert [w.wait(120) for w in writers] == [0, 0]
    events = [s for r in a.records("t") for s in r.stamps()]
    assert a.value("SELECT count(*) FROM t") == 440
    assert len(events) == len(set(events)) == 440 + 400
    assert a.store.verify() == []


def test_a_program_may_write_in_the_middle_of_a_session(machine: Make) -> None:
    a, b = machine("a", T), machine("b")
    a.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO t SELECT i, i FROM n"
    )
    turns = itertools.count()

    def write() -> None:
        turn = next(turns)
        a.sql(f"UPDATE t SET v = 'during {turn}' WHERE k = '{turn % 7}'", f"DELETE FROM t WHERE k = '{turn + 100}'")
        if b.dump():
            b.store.execute("UPDATE t SET v = 'there' WHERE k = ?", (str(turn + 200),))

    one, _ = meet(a, b, meanwhile=write)
    assert one.code in {"in sync", "caught up, still changing"}
    meet(a, b)
    check_equal([a, b])


def test_a_reader_is_not_kept_waiting_by_a_writer(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a = machine("a", T)
    a.core.db.execute("PRAGMA busy_timeout = 0")
    with closing(foreign(a.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t VALUES ('uncommitted', 1)")
        assert a.store.root()[1] > 0
        assert a.store.verify() == []
        assert a.store.query("SELECT * FROM t") == []
        other.execute("COMMIT")
    assert len(a.records("t")) == 1


# --- one transaction each ---------------------------------------------------------------------------------------------


def test_a_method_that_raises_leaves_the_file_as_it_was(machine: Make) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('a', 1)")
    before = a.store.root(), a.dump(), a.core.meta("clock")
    for statement in ("INSERT INTO t VALUES ('b', 1), ('a', 2)", "INSERT INTO nowhere VALUES (1)", "no SQL"):
        with pytest.raises((sqlite3.Error, StoreError, Exception), match=r"UNIQUE|no such table|syntax error"):
            a.store.execute(statement)
    for ref in ("", "zz", "00"):
        with pytest.raises(UsageError):
            a.store.held_edit(ref, {"v": 1})
    assert (a.store.root(), a.dump(), a.core.meta("clock")) == before


@pytest.mark.parametrize(
    "statement", ["COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT s", "VACUUM", "END; --", "/* */ commit"]
)
def test_a_statement_about_transactions_cannot_break_ours(machine: Make, statement: str) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('a', 1)")
    before = a.store.root()
    with pytest.raises(UsageError, match="each call is one transaction"):
        a.store.execute(statement)
    assert a.store.root() == before
    a.store.execute("INSERT INTO t VALUES ('b', 1)")
    assert a.store.verify() == []


def test_what_execute_writes_is_stamped_and_its_rows_returned(machine: Make) -> None:
    a = machine("a", T)
    assert a.store.execute("INSERT INTO t VALUES (?, ?) RETURNING k, v AS w", ("a", 1)) == (["k", "w"], [("a", 1)])
    assert a.store.execute("UPDATE t SET v = :v", {"v": 2}) == ([], [])
    assert a.store.execute("SELECT * FROM t") == (["k", "v"], [("a", 2)])
    assert a.store.query("SELECT v FROM t WHERE k = :k", {"k": "a"}) == [(2,)]
    assert a.rows("SELECT * FROM _replica_outbox") == []
    assert len(a.record("t", "a").stamps()) == 2


def test_a_transaction_commits_rows_state_trie_and_clock_together(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('a', 1)")
    state = "SELECT (SELECT count(*) FROM _replica_outbox), (SELECT value FROM _replica_meta WHERE name = 'clock')"
    before = a.rows(state), a.rows("SELECT * FROM _replica_record"), a.rows("SELECT * FROM _replica_trie")
    monkeypatch.setattr("replica.store.index.flush", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        a.store.root()
    assert (a.rows(state), a.rows("SELECT * FROM _replica_record"), a.rows("SELECT * FROM _replica_trie")) == before
    monkeypatch.undo()
    assert a.store.verify() == []
    assert len(a.records("t")) == 1


def test_blobs_written_in_place_are_found_by_a_rescan(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v BLOB);"), machine("b")
    a.sql("INSERT INTO t VALUES (1, x'00000000')")
    meet(a, b)
    with a.db.blobopen("t", "v", 1) as blob:
        blob.write(b"\x01")
    assert a.rows("SELECT * FROM _replica_outbox") == []
    assert a.store.verify() == ["t [1]: the row differs in v from its digest: changed without capture, or damaged"]
    a.store.rescan()
    assert a.store.verify() == []
    meet(a, b)
    check_equal([a, b])
    assert b.value("SELECT v FROM t") == b"\1\0\0\0"


# --- becoming one -----------------------------------------------------------------------------------------------------


def test_initialize_leaves_tables_and_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(foreign(path)) as db:
        db.executescript("CREATE TABLE t(k TEXT PRIMARY KEY); INSERT INTO t VALUES ('a'); CREATE VIEW w AS SELECT 1;")
        before = db.execute("SELECT * FROM sqlite_master").fetchall()
        initialize(path, "a")
        assert db.execute("SELECT * FROM sqlite_master WHERE name NOT LIKE '%replica%'").fetchall() == before
        assert db.execute("SELECT * FROM t").fetchall() == [("a",)]


def test_a_store_is_made_once(machine: Make) -> None:
    a = machine("a")
    node = a.store.node_id
    with pytest.raises(StoreError, match="is part of a replication group already: `replica status"):
        initialize(a.path, "b")
    assert (a.store.node_id, a.store.name) == (node, "a")


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\0b"])
def test_a_name_for_people_is_short_and_printable(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a node's name has 1 to 64 printable characters"):
        initialize(tmp_path / "a.db", name)
    assert list(tmp_path.iterdir()) == []


def test_groups_are_their_own_and_a_member_has_the_secrets_of_the_first(machine: Make, tmp_path: Path) -> None:
    a, b = Machine(tmp_path / "one.db", secrets=None), Machine(tmp_path / "two.db", secrets=None)
    assert a.store.secrets() != b.store.secrets()
    c = Machine(tmp_path / "three.db", secrets=a.store.secrets())
    assert c.store.secrets() == a.store.secrets()
    assert c.store.node_id != a.store.node_id
    assert machine("d").store.secrets() == SECRETS
    for m in (a, b, c):
        m.close()


@pytest.mark.parametrize(("name", "value"), [("group", None), ("access_key", b"short"), ("node", b""), ("clock", 7)])
def test_a_file_whose_settings_are_damaged_says_so(machine: Make, name: str, value: object) -> None:
    a = machine("a", T)
    a.core.db.execute("UPDATE _replica_meta SET value = ? WHERE name = ?", (value, name))
    with pytest.raises(StoreError, match="is damaged"):
        Store(a.path)


def test_what_a_failed_transaction_had_set_is_forgotten(machine: Make) -> None:
    a = machine("a", T)
    a.store.put_many("t", [("a", 1)])
    before = a.store.root(), a.store.node_id, a.core.meta("clock")
    with pytest.raises(ZeroDivisionError), a.core.transaction(index.flush):
        a.core.set_meta("node", b"12345678")
        a.core.set_meta("root", b"x" * 16)
        a.core.clock.tick(1 << 40)
        raise ZeroDivisionError
    assert (a.store.root(), a.store.node_id, a.core.meta("clock")) == before
    with a.core.transaction(index.flush), a.core.savepoint(keep=False):
        a.core.set_meta("node", b"12345678")
    assert a.store.node_id == before[1]


def test_a_write_on_the_stores_own_connection_is_in_the_next_root(machine: Make) -> None:
    a = machine("a", T)
    a.store.put_many("t", [("a", 1)])
    root, count = a.store.root()
    assert a.store.root() == (root, count)
    a.store.query("INSERT INTO t(k) VALUES ('b')")
    assert a.store.root()[1] == count + 1


def test_a_definition_that_a_query_changed_is_followed(machine: Make) -> None:
    a = machine("a", T)
    a.store.put_many("t", [("a", 1)])
    before = a.store.root()
    a.store.query("ALTER TABLE t ADD COLUMN w DEFAULT 5")
    assert a.store.root() != before
    assert a.store.verify() == []


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.mark.parametrize("endless", [ENDLESS, f"SELECT * FROM ({ENDLESS})"])
def test_a_statement_without_end_can_be_interrupted(machine: Make, endless: str) -> None:
    m = machine("m", T)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            m.store.execute(endless)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert m.store.execute("SELECT 1") == (["1"], [(1,)])

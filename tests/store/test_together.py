"""Group commit: what each write would do alone, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from random import Random
from typing import Any

import pytest

from protocol.errors import OurFault
from replica.errors import RowRefused, StoreBusy
from replica.store import absorb, connection, index, put, together
from replica.store.catalog import Table
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.outbox import Entry
from replica.store.statement import statement
from replica.store.store import Store
from replica.store.together import Done, Rows, Write
from tests.store.harness import Machine, foreign, meet

Make = Callable[..., Machine]

TABLES = """CREATE TABLE t(k TEXT PRIMARY KEY, v INT UNIQUE, w TEXT);
CREATE TABLE n(k INTEGER PRIMARY KEY, v CHECK(v <> 7));"""


class Commits:
    """Counts the commits of a store from here on."""

    def __init__(self, m: Machine) -> None:
        self.number = 0
        m.core.db.set_trace_callback(self._note)

    def _note(self, sql: str) -> None:
        self.number += sql == "COMMIT"


def told(done: list[Done]) -> list[tuple[Any, type[BaseException] | None, str]]:
    return [(one.value, type(one.error) if one.error else None, str(one.error or "")) for one in done]


def draw(random: Random) -> Write:
    """A write, good or bad, of rows that the others write too."""
    k, v = f"k{random.randrange(8)}", random.randrange(8)
    made: list[Callable[[], Write]] = [
        lambda: statement("INSERT INTO t VALUES (?, ?, 'i')", (k, v)),
        lambda: statement("INSERT OR FAIL INTO t VALUES ('x' || ?, ?, 'f'), (?, ?, 'f')", (k, v + 20, k, v)),
        lambda: statement("INSERT OR REPLACE INTO t VALUES (?, ?, 'r')", (k, v)),
        lambda: statement("INSERT OR ROLLBACK INTO t VALUES (?, ?, 'e')", (k, v)),
        lambda: statement("UPDATE t SET w = w || ? WHERE k = ? RETURNING w", (str(v), k)),
        lambda: statement("DELETE FROM t WHERE v = ?", (v,)),
        lambda: statement("SELECT count(*) FROM t"),
        lambda: statement("SELECT no FROM t"),
        lambda: statement("INSERT INTO n(v) VALUES (?)", (v,)),
        lambda: Rows("t", [(k, v, "p")]),
        lambda: Rows("t", [{"k": k, "w": "q"}, {"k": k + "y", "v": v + 40}]),
        lambda: Rows("n", [(v, random.randrange(9))]),
        lambda: Rows("n", [{"v": v}]),
        lambda: Rows("no", [(1,)]),
    ]  # fmt: skip
    return random.choice(made)()


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_each_returns_or_raises_what_it_would_alone(
    machine: Make, monkeypatch: pytest.MonkeyPatch, seed: int, careful: bool
) -> None:
    if careful:
        monkeypatch.setattr(together, "_boldly", together._carefully)
    random, one, many = Random(seed), machine("m1", TABLES), machine("m2", TABLES)
    for _ in range(6):
        writes = [draw(random) for _ in range(random.choice([1, 2, 12]))]
        alone = [done for write in writes for done in one.store.together([write])]
        assert told(many.store.together(writes)) == told(alone)
        assert one.dump() == many.dump()
        assert one.store.verify() == many.store.verify() == []
        assert sum(r.live for r in one.records()) == sum(r.live for r in many.records())
        assert many.store.root()[1] == len(many.store.entries("", b"", -1))
    assert any(done.error for done in many.store.together([draw(random) for _ in range(40)]))


def test_they_share_one_commit_and_nobody_hears_before_it(machine: Make) -> None:
    m, seen = machine("m", TABLES), []
    commits = Commits(m)

    def look(core: Core) -> None:
        seen.append((core.in_transaction, commits.number, m.value("SELECT count(*) FROM t")))

    writes = [Rows("t", [(f"k{i}", i, "")]) for i in range(10)]
    done = m.store.together([*writes, look, statement("UPDATE t SET w = 'x' WHERE v < 3"), look])
    assert [one.value for one in done[:10]] == [1] * 10
    assert seen == [(True, 0, 0)] * 2
    assert commits.number == 1
    assert m.value("SELECT count(*) FROM t WHERE w = 'x'") == 3
    assert len(m.records("t")) == 10


def test_savepoints_are_made_when_one_is_refused_and_not_before(machine: Make) -> None:
    m, ran = machine("m", TABLES), list[str]()
    m.core.db.set_trace_callback(ran.append)
    some: list[Write] = [statement("INSERT INTO t VALUES (?, NULL, '')", (f"k{n}",)) for n in range(5)]
    assert [one.error for one in m.store.together(some)] == [None] * 5
    assert not [sql for sql in ran if sql.startswith("SAVEPOINT")]
    again: list[Write] = [*some[:1], statement("INSERT INTO t VALUES ('new', NULL, '')")]
    assert [type(one.error) for one in m.store.together(again)] == [RowRefused, type(None)]
    assert [sql for sql in ran if sql.startswith("SAVEPOINT")]
    assert m.rows("SELECT count(*) FROM t") == [(6,)]


def test_a_refused_write_leaves_nothing_and_hurts_nobody(machine: Make) -> None:
    m, heard = machine("m", TABLES), list[Change]()
    m.store.listen(heard.extend)
    commits = Commits(m)
    done = m.store.together([
        Rows("t", [("a", 1, "")]),
        statement("INSERT OR FAIL INTO t VALUES ('b', 2, ''), ('c', 1, '')"),
        Rows("t", [("d", 3, ""), ("e", 1, "")]),
        Rows("t", [("f", 1 << 63, "")]),
        statement("INSERT INTO t VALUES ('g', 4, '')"),
    ])  # fmt: skip
    assert [type(one.error) for one in done] == [type(None), RowRefused, RowRefused, RowRefused, type(None)]
    assert str(done[3].error).startswith("row 1, v: ")
    assert commits.number == 1
    assert m.rows("SELECT k FROM t ORDER BY k") == [("a",), ("g",)]
    assert [change.kind for change in heard] == ["insert"]
    m.store.absorb()
    assert [change.kind for change in heard] == ["insert", "insert"]
    assert len(m.records("t")) == 2
    assert m.store.verify() == []


def test_if_the_transaction_ends_under_them_each_is_tried_alone(machine: Make) -> None:
    m = machine("m", TABLES)
    commits = Commits(m)
    done = m.store.together([
        Rows("t", [("a", 1, "")]),
        statement("UPDATE t SET w = w || 'x'"),
        statement("INSERT OR ROLLBACK INTO t VALUES ('b', 1, '')"),
        Rows("t", [("c", 3, "")]),
    ])  # fmt: skip
    assert [type(one.error) for one in done] == [type(None), type(None), RowRefused, type(None)]
    assert commits.number == 4, "three writes, and what the second left"
    assert m.rows("SELECT k, w FROM t ORDER BY k") == [("a", "x"), ("c", "")]


@pytest.mark.parametrize("old", [0, 400, 3000])
def test_root_and_count_are_right_after_many_changes(machine: Make, monkeypatch: pytest.MonkeyPatch, old: int) -> None:
    monkeypatch.setattr(put, "FLUSH_AT", 500)
    m, caught = machine("m", TABLES), []
    catch_up = index.catch_up
    m.store.put_many("t", [(f"old{i}", None, "") for i in range(old)])
    before = m.store.root()[1]
    many = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 600) "

    def noted(core: Core) -> None:
        caught.append(len(core.dirty))
        catch_up(core)

    monkeypatch.setattr(index, "catch_up", noted)
    done = m.store.together([
        Rows("t", [(f"a{i}", None, "") for i in range(300)]),
        statement(many + "INSERT INTO t SELECT 'b' || i, NULL, '' FROM c"),
        Rows("t", [(f"c{i}", i, "") for i in range(600)]),
        Rows("t", [("d", 0, "")]),
        statement("DELETE FROM t WHERE k LIKE 'a%'"),
        Rows("t", [(f"a{i}", None, "again") for i in range(100)]),
    ])  # fmt: skip
    assert [type(one.error) for one in done] == [type(None)] * 3 + [RowRefused, type(None), type(None)]
    assert caught.count(0) < len(caught) - 1, "the trie was brought up to date at the end only"
    assert m.store.verify() == []
    assert m.store.root()[1] == len(m.store.entries("", b"", -1)) == before + 1500
    monkeypatch.undo()
    with m.core.reading():
        assert m.store.root() == index.build(m.core)[:2]


@pytest.mark.parametrize("error", [StoreBusy, RuntimeError])
def test_what_cannot_be_absorbed_fails_those_who_need_it_absorbed_and_no_statement(
    machine: Make, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    m = machine("m", TABLES)
    look = absorb.look

    def fails(core: Core, table: Table, entries: Sequence[Entry]) -> None:
        if any(entry.pk == ("bad",) for entry in entries):
            raise error("cannot be absorbed")
        look(core, table, entries)

    with monkeypatch.context() as patched:
        patched.setattr(absorb, "look", fails)
        done = m.store.together([
            Rows("n", [(1, 1)]),
            statement("INSERT INTO t VALUES ('a', 1, '')"),
            statement("INSERT INTO t VALUES ('bad', 2, '')"),
            Rows("t", [("c", 3, "")]),
            statement("INSERT INTO t VALUES ('d', 4, '')"),
        ])  # fmt: skip
        assert [type(one.error) for one in done] == [type(None)] * 3 + [error, type(None)]
        with pytest.raises(error, match="cannot be absorbed"):
            m.store.root()
    assert m.rows("SELECT k FROM t") == [("a",), ("bad",), ("d",)]
    assert m.store.verify() == []
    assert len(m.records("t")) == 3


def test_statements_stamp_nothing_and_rows_are_put_when_nothing_waits(machine: Make) -> None:
    m = machine("m", TABLES)
    m.store.put_many("t", [("a", 0, "")])
    before, commits = m.store.root(), Commits(m)
    update = statement("UPDATE t SET v = v + 1")
    for some in ([update], [update] * 3):
        assert [one.error for one in m.store.together(some)] == [None] * len(some)
    assert (absorb.backlog(m.core), commits.number) == (4, 2)
    assert index.root(m.core) == before
    stamped: list[Write] = [Rows("t", [("b", 9, "")]), update]
    assert [one.error for one in m.store.together(stamped)] == [None, None]
    assert absorb.backlog(m.core) == 2, "of the last update alone"
    assert len(m.records("t")) == 2
    assert m.store.verify() == []
    assert m.rows("SELECT v FROM t ORDER BY k") == [(5,), (10,)]


def test_the_log_is_copied_when_what_waits_is_absorbed_or_when_it_is_very_long(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CHECKPOINT_PAGES", 4)
    monkeypatch.setattr(connection, "UNHURRIED_PAGES", 30)
    m = machine("m", TABLES)
    m.store.put_many("t", [(f"k{i}", i, "x" * 2_000) for i in range(60)])

    def copies(work: Callable[[], object]) -> bool:
        before = m.path.read_bytes()
        work()
        return m.path.read_bytes() != before

    update: list[Write] = [statement("UPDATE t SET w = w || '.' WHERE v < 5")] * 2
    assert not copies(lambda: m.store.together(update))
    assert copies(m.store.absorb)
    assert not copies(lambda: m.store.together(update))
    assert copies(lambda: m.store.together([statement("UPDATE t SET w = w || ':'")]))


def test_a_write_after_a_definition_sees_it(machine: Make) -> None:
    m = machine("m", TABLES)
    done = m.store.together([
        Rows("t", [("a", 1, "")]),
        statement("ALTER TABLE t ADD COLUMN x"),
        Rows("t", [("b", 2, "", 5)]),
        statement("ALTER TABLE t ADD COLUMN x"),
        statement("UPDATE t SET x = 6 WHERE k = 'a'"),
    ])  # fmt: skip
    assert [one.error is None for one in done] == [True, True, True, False, True]
    assert [sorted(record.registers) for record in m.records("t")] == [["v", "w", "x"]] * 2
    assert m.store.verify() == []


@pytest.mark.parametrize("careful", [False, True])
def test_a_definition_is_followed_though_the_engine_changes_triggers_after_it(
    machine: Make, monkeypatch: pytest.MonkeyPatch, careful: bool
) -> None:
    if careful:
        monkeypatch.setattr(together, "_boldly", together._carefully)
    monkeypatch.setattr(put, "UNCAPTURED_MIN", 2)
    a, b = machine("a", TABLES), machine("b")
    done = a.store.together([statement("ALTER TABLE t ADD COLUMN x"), Rows("n", [(i, 1) for i in range(9)])])
    assert [one.error for one in done] == [None, None]
    a.sql("INSERT INTO t(k, v, w, x) VALUES ('a', 1, '', 'new')")
    meet(a, b)
    assert b.rows("SELECT k, x FROM t") == [("a", "new")]
    assert a.store.verify() == []


@pytest.mark.parametrize("careful", [False, True])
def test_a_definition_is_followed_though_a_held_record_surfaces_after_it(
    machine: Make, monkeypatch: pytest.MonkeyPatch, careful: bool
) -> None:
    if careful:
        monkeypatch.setattr(together, "_boldly", together._carefully)
    a, b = machine("a", TABLES), machine("b")
    meet(a, b)
    a.sql("INSERT INTO n VALUES (1, 1)")
    b.sql("INSERT INTO n VALUES (1, 2)")
    meet(a, b)
    a.sql("CREATE TRIGGER mine AFTER INSERT ON n BEGIN SELECT 1; END")
    a.store.absorb()
    before = a.rows("SELECT v FROM n")
    some: list[Write] = [statement("DELETE FROM n WHERE k = 1"), statement("ALTER TABLE t ADD COLUMN x")]
    done = a.store.together([*some, Rows("n", [(2, 2)])])  # What waits is absorbed before the rows: then it surfaces.
    assert [one.error for one in done] == [None, None, None]
    a.sql("DELETE FROM n WHERE k = 2")
    assert [len(before), len(a.rows("SELECT v FROM n"))] == [1, 1]
    assert a.rows("SELECT v FROM n") != before
    a.sql("INSERT INTO t(k, v, w, x) VALUES ('a', 1, '', 'new')")
    meet(a, b)
    assert b.rows("SELECT k, x FROM t") == [("a", "new")]
    assert a.store.verify() == []


@pytest.mark.parametrize("careful", [False, True])
def test_a_column_that_came_from_a_peer_outlives_a_refused_write(
    machine: Make, monkeypatch: pytest.MonkeyPatch, careful: bool
) -> None:
    if careful:
        monkeypatch.setattr(together, "_boldly", together._carefully)
    a, b = machine("a", TABLES), machine("b", TABLES)
    b.reopen()  # From here on it remembers the table as it was.
    a.sql("ALTER TABLE t ADD COLUMN x TEXT")
    meet(a, b)
    done = b.store.together([Rows("t", [{"k": "one", "v": 1}]), Rows("t", [{"k": "two", "v": 1}])])
    assert [type(one.error) for one in done] == [type(None), RowRefused]
    b.store.execute("UPDATE t SET x = 'edited' WHERE k = 'one'")
    assert b.store.verify() == []
    meet(a, b)
    assert a.rows("SELECT k, v, x FROM t") == [("one", 1, "edited")]


def test_a_definition_that_was_undone_is_not_taken_for_the_next(machine: Make) -> None:
    m = machine("m", TABLES)
    with pytest.raises(KeyError), m.core.transaction(index.flush):
        m.core.db.execute("ALTER TABLE t ADD COLUMN x TEXT")
        m.core.reload()
        raise KeyError
    m.sql("ALTER TABLE t ADD COLUMN y TEXT")  # The file counts this one as it counted the other.
    with m.core.reading():
        shape = m.core.by_name["t"].shape
        assert shape is not None
        assert [column.name for column in shape.columns] == ["v", "w", "y"]


def test_a_file_that_is_locked_is_told_to_all_after_one_wait(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_MS", 1)
    m = machine("m", TABLES)
    with closing(foreign(m.path)) as db:
        db.execute("BEGIN IMMEDIATE")
        done = m.store.together([Rows("t", [(f"k{i}", i, "")]) for i in range(5)])
        db.execute("ROLLBACK")
    assert [type(one.error) for one in done] == [StoreBusy] * 5
    assert m.store.together([Rows("t", [("a", 1, "")])]) == [Done(1)]


def test_what_a_listener_raises_is_no_reason_to_write_twice(machine: Make) -> None:
    m = machine("m", TABLES)
    m.store.put_many("t", [("a", 1, "")])

    def broken(_: list[Change]) -> None:
        raise RuntimeError("a listener")

    m.store.listen(broken)
    with pytest.raises(RuntimeError, match="a listener"):
        update = statement("UPDATE t SET v = v + 1")
        m.store.together([update, update, Rows("n", [(1, 1)])])
    assert m.rows("SELECT v FROM t") == [(3,)]


def test_the_store_alone_does_the_same(machine: Make) -> None:
    m = machine("m", TABLES)
    store: Store = m.store
    assert store.execute("INSERT INTO t VALUES ('a', 1, 'x') RETURNING k") == (["k"], [("a",)])
    with pytest.raises(OurFault):
        store.execute("INSERT INTO t VALUES ('b', 1, 'x')")
    assert len(m.records("t")) == 1

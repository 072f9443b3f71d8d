"""Batch after batch into one table: what one batch leaves to the next says nothing of definitions, which may change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from protocol.values import Value
from replica.errors import RowRefused, UsageError
from replica.store import encoder, index, put, young
from replica.store.changes import Change
from replica.store.core import Core
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"
NINES = "CREATE TRIGGER nines AFTER INSERT ON t BEGIN UPDATE t SET w = 9 WHERE k = NEW.k; END"
LARGE = 900
"""So many rows are written without the triggers, here."""
WAYS = ("the store", "another program")


def batch(number: int, count: int = 300) -> list[tuple[str, int, str]]:
    """Rows for T."""
    return [(f"k{n}", n, "ab"[n % 2]) for n in range(number * 1_000, number * 1_000 + count)]


@pytest.fixture
def loading(machine: Make, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine after two batches."""
    monkeypatch.setattr(put, "UNCAPTURED_MIN", LARGE)
    m = machine("m", T)
    m.store.put_many("t", batch(0))
    m.store.put_many("t", batch(1, LARGE))
    return m


def define(m: Machine, by: str, *statements: str) -> None:
    """Change definitions between two batches."""
    for sql in statements:
        if by == "the store":
            m.store.execute(sql)
        else:
            m.sql(sql)
    m.store.adopt()


def test_values_are_learned_once(loading: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = list[object]()
    learn = encoder.Encoder._learn

    def noted(one: encoder.Encoder, values: Sequence[Value]) -> None:
        learned.append(one)
        learn(one, values)

    monkeypatch.setattr(encoder.Encoder, "_learn", noted)
    loading.store.put_many("t", batch(2))
    assert not learned
    loading.reopen()
    loading.store.put_many("t", batch(3))
    assert learned
    assert loading.store.verify() == []


@pytest.mark.parametrize("by", WAYS)
def test_a_trigger_fires_from_the_next_batch_on(loading: Machine, by: str) -> None:
    define(loading, by, NINES)
    loading.store.put_many("t", batch(2))
    loading.store.put_many("t", batch(3, LARGE))
    assert loading.rows("SELECT w = 9, count(*) FROM t GROUP BY 1") == [(0, 1_200), (1, 1_200)]
    assert loading.store.verify() == []


@pytest.mark.parametrize("by", WAYS)
def test_a_column_is_there_from_the_next_batch_on(loading: Machine, by: str) -> None:
    define(loading, by, "ALTER TABLE t ADD COLUMN x DEFAULT 5")
    with pytest.raises(UsageError, match="4 columns"):
        loading.store.put_many("t", batch(2))
    loading.store.put_many("t", [(*row, 6) for row in batch(2)])
    assert loading.rows("SELECT x, count(*) FROM t GROUP BY x") == [(5, 1_200), (6, 300)]
    assert loading.store.verify() == []


@pytest.mark.parametrize("by", WAYS)
def test_a_table_that_is_made_anew_has_its_own_columns(loading: Machine, by: str) -> None:
    define(loading, by, "DROP TABLE t", "CREATE TABLE t(w, v, k TEXT PRIMARY KEY)")
    loading.store.put_many("t", [row[::-1] for row in batch(2)])
    assert loading.rows("SELECT count(*), min(k), min(v), max(w) FROM t") == [(300, "k2000", 2_000, "b")]
    assert loading.store.verify() == []


def test_two_tables_in_turn(loading: Machine) -> None:
    define(loading, "the store", "CREATE TABLE u(k TEXT PRIMARY KEY, v, w)")
    for number in range(2, 5):
        loading.store.put_many("u", [(k, w, v) for k, v, w in batch(number)])
        loading.store.put_many("t", batch(number))
    assert loading.rows("SELECT count(*), min(v), (SELECT count(*) FROM t) FROM u") == [(900, "a", 2_100)]
    assert loading.store.verify() == []


@pytest.mark.parametrize("hidden", [False, True])
def test_a_peer_brings_a_field_that_the_table_had_not(loading: Machine, machine: Make, hidden: bool) -> None:
    other = machine("other", "CREATE TABLE t(k TEXT PRIMARY KEY, a, v, w);")
    other.store.put_many("t", [("other", 1, 2, 3)])
    meet(loading, other)
    if hidden:
        loading.sql("SELECT a FROM t", "ALTER TABLE t DROP COLUMN a")
    loading.store.put_many("t", [row if hidden else (*row, None) for row in batch(2, LARGE)])
    assert loading.store.verify() == []
    meet(loading, other)
    assert loading.store.root() == other.store.root()
    assert other.store.verify() == []
    assert other.rows("SELECT a IS NULL, count(*) FROM t GROUP BY 1") == [(0, 1), (1, 2_100)]


@pytest.mark.parametrize("count", [300, LARGE])
def test_a_batch_that_is_taken_back_leaves_capture_as_it_was(
    loading: Machine, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def fails(core: Core) -> None:
        raise OSError("no disk")

    with monkeypatch.context() as patch:
        patch.setattr(index, "flush", fails)
        with pytest.raises(OSError, match="no disk"):
            loading.store.put_many("t", batch(2, count))
    loading.sql("INSERT INTO t VALUES ('new', 1, 'c')")
    loading.store.put_many("t", batch(2, count))
    assert loading.rows("SELECT count(*), max(w) FROM t") == [(1_201 + count, "c")]
    assert loading.store.status()["backlog"] == 0
    assert loading.store.verify() == []


def test_triggers_are_dropped_for_a_large_batch_only(loading: Machine) -> None:
    asked: list[str] = []
    loading.core.db.set_trace_callback(asked.append)
    loading.store.put_many("t", batch(2, LARGE - 1))
    assert not any("TRIGGER" in sql for sql in asked)
    loading.store.put_many("t", batch(3, LARGE))
    assert [sql for sql in asked if "DROP" in sql] == ['DROP TRIGGER "_replica_2_ai"'], "those that an INSERT fires"
    loading.core.db.set_trace_callback(None)
    assert loading.value("SELECT max(total) FROM _replica_young") == 300 + LARGE + LARGE - 1 + LARGE, "all wait"
    assert loading.store.verify() == []


@pytest.mark.parametrize("then", ["put", "write", "root", "status"])
def test_a_source_may_put_a_large_batch_of_its_own(
    loading: Machine, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr(young, "BATCH_MAX", 300)  # So many are read before the first is put.
    monkeypatch.setattr(put, "ROWS", LARGE)
    store = loading.store
    define(loading, "the store", "CREATE TABLE u(k TEXT PRIMARY KEY, v, w)")

    def source() -> Iterator[tuple[object, ...]]:
        for number in range(2, 4):
            yield from batch(number, LARGE)
            store.put_many("u", batch(number, LARGE))
            if then == "write":
                store.execute("UPDATE u SET w = 'c' WHERE v % 7 = 0")
            elif then != "put":
                getattr(store, then)()

    assert store.put_many("t", source()) == 2 * LARGE
    assert loading.rows("SELECT count(*), (SELECT count(*) FROM u) FROM t") == [(300 + 3 * LARGE, 2 * LARGE)]
    assert store.verify() == []


def test_a_large_batch_of_a_source_may_be_refused(loading: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(young, "BATCH_MAX", 300)
    monkeypatch.setattr(put, "ROWS", LARGE)
    store = loading.store
    define(loading, "the store", "CREATE TABLE u(k TEXT PRIMARY KEY, v, w)")

    def refused() -> Iterator[tuple[object, ...]]:
        yield from batch(2, LARGE)
        store.root()
        yield ("bad", float("nan"), None)

    def source() -> Iterator[tuple[object, ...]]:
        yield from batch(2, LARGE)
        with pytest.raises(RowRefused, match="NaN"):
            store.put_many("u", refused())
        store.execute("DELETE FROM u")
        yield from batch(3, LARGE)

    assert store.put_many("t", source()) == 2 * LARGE
    assert loading.rows("SELECT count(*), (SELECT count(*) FROM u) FROM t") == [(300 + 3 * LARGE, 0)]
    assert store.verify() == []


@pytest.mark.parametrize("old", [0, 511, 512, 700, 1_023, 1_024, 1_599])
def test_every_row_of_a_call_is_told_once(loading: Machine, monkeypatch: pytest.MonkeyPatch, old: int) -> None:
    monkeypatch.setattr(young, "BATCH_MAX", 300)  # A larger call is no batch: it is sorted by itself.
    rows = batch(5, 1_600)
    loading.store.put_many("t", [rows[old]])
    told: list[Change] = []
    loading.store.listen(told.extend)
    loading.store.put_many("t", [*rows[:old], (rows[old][0], -1, "new"), *rows[old + 1 :]])
    assert Counter(change.kind for change in told) == {"insert": 1_599, "update": 1}
    assert len({change.id for change in told}) == 1_600
    assert loading.store.verify() == []

"""Batch after batch into one table: what one batch leaves to the next says nothing of definitions, which may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from protocol.values import Value
from replica.errors import UsageError
from replica.store import encoder, index
from replica.store.core import Core
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"
NINES = "CREATE TRIGGER nines AFTER INSERT ON t BEGIN UPDATE t SET w = 9 WHERE k = NEW.k; END"
WAYS = ("the store", "another program")


def batch(number: int, count: int = 300) -> list[tuple[str, int, str]]:
    """Rows for T."""
    return [(f"k{n}", n, "ab"[n % 2]) for n in range(number * 1_000, number * 1_000 + count)]


@pytest.fixture
def loading(machine: Make) -> Machine:
    """A machine after two batches."""
    m = machine("m", T)
    m.store.put_many("t", batch(0))
    m.store.put_many("t", batch(1, 900))
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
    loading.store.put_many("t", batch(3, 900))
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
    loading.store.put_many("t", [row if hidden else (*row, None) for row in batch(2, 900)])
    assert loading.store.verify() == []
    meet(loading, other)
    assert loading.store.root() == other.store.root()
    assert other.store.verify() == []
    assert other.rows("SELECT a IS NULL, count(*) FROM t GROUP BY 1") == [(0, 1), (1, 2_100)]


@pytest.mark.parametrize("count", [300, 900])
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

"""A failing disk in the midst of a savepoint: SQLite has rolled back everything, and the first error is the one told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from replica.errors import DiskFull, RowRefused, StoreError
from replica.store import index
from tests.store.harness import Machine

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE);"


def failing(name: str) -> sqlite3.OperationalError:
    """An error as SQLite raises it."""
    error = sqlite3.OperationalError("out of order")
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(("name", "kind"), [("SQLITE_IOERR_WRITE", StoreError), ("SQLITE_FULL", DiskFull)])
@pytest.mark.parametrize("keep", [True, False])
def test_an_error_that_rolled_everything_back_is_told_as_it_is(
    machine: Make, name: str, kind: type[StoreError], keep: bool
) -> None:
    core = machine("m", T).core
    error = failing(name)
    with pytest.raises(kind) as caught, core.transaction(index.flush), core.savepoint(keep=keep):
        core.db.execute("INSERT INTO t VALUES ('a', 1)")
        core.db.execute("ROLLBACK")  # What SQLite does by itself.
        raise error
    assert caught.value.__cause__ is error
    assert not core.db.in_transaction
    assert core.rows("SELECT * FROM t") == []


def test_what_failed_is_undone_and_the_transaction_goes_on(machine: Make) -> None:
    m = machine("m", T)
    with m.core.transaction(index.flush):
        m.core.db.execute("INSERT INTO t VALUES ('a', 1)")
        with pytest.raises(sqlite3.IntegrityError), m.core.trial():
            m.core.db.execute("INSERT INTO t VALUES ('b', 2)")
            m.core.db.execute("INSERT INTO t VALUES ('c', 1)")
        with m.core.savepoint(keep=False):
            m.core.db.execute("INSERT INTO t VALUES ('d', 4)")
    assert m.rows("SELECT * FROM t") == [("a", 1)]


def test_a_refused_row_is_no_failure_of_the_file(machine: Make) -> None:
    m = machine("m", T)
    with pytest.raises(RowRefused):
        m.store.put_many("t", [("a", 1), ("b", 1)])
    assert m.store.verify() == []


@pytest.mark.parametrize("damage", [
    "DELETE FROM _replica_trie WHERE prefix = ''", "UPDATE _replica_trie SET counts = x'00' WHERE prefix = ''",
    "UPDATE _replica_trie SET digests = x'00' WHERE prefix = ''",
])  # fmt: skip
def test_a_node_of_the_trie_that_is_missing_is_told_and_a_rescan_makes_it_anew(machine: Make, damage: str) -> None:
    m = machine("m", T)
    m.store.put_many("t", [(f"k{n}", n) for n in range(400)])
    m.store.absorb()
    m.sql(damage, "INSERT INTO t VALUES ('one more', -1)")
    with pytest.raises(StoreError, match=r"the root of the trie is missing or broken; .*`replica rescan`"):
        m.store.root()
    m.store.rescan()
    assert m.store.verify() == []
    assert m.store.root()[1] == len(m.records()) + 1

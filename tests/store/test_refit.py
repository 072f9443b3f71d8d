"""A table that only got more columns, with nothing in them: what is known of its rows is as if each had been looked at."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from replica.store import mend, refit
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.state import State
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(id TEXT PRIMARY KEY, a, b);"
STATE = (
    "SELECT * FROM _replica_record ORDER BY key",
    "SELECT * FROM _replica_extra ORDER BY key, pos",
    "SELECT * FROM _replica_local ORDER BY tbl, id, pos",
    "SELECT * FROM _replica_trie ORDER BY prefix",
    "SELECT * FROM _replica_outbox",
    "SELECT * FROM t ORDER BY id",
)


def lived(m: Machine, random: Random) -> None:
    """Records of every kind: whole, edited, deleted, of fewer fields, with a value that cannot travel."""
    m.store.put_many("t", [(f"k{n}", n, None) for n in range(40)])
    m.store.absorb()
    for _ in range(10):
        m.clock.ms += 5
        m.sql(f"UPDATE t SET {random.choice('ab')} = {random.randrange(9)} WHERE id = 'k{random.randrange(40)}'")
        m.sql(f"DELETE FROM t WHERE id = 'k{random.randrange(40)}'", "UPDATE _replica_outbox SET at = 0")
        m.store.absorb()
    m.sql("INSERT INTO t(id, a) VALUES ('nan', x'00')", "UPDATE t SET b = zeroblob(5000000) WHERE id = 'k1'")
    m.sql("UPDATE _replica_outbox SET at = 0")
    m.store.absorb()


def copies(machine: Make, seed: int) -> tuple[Machine, Machine]:
    """Two copies of one file, one to be followed row by row."""
    first = machine("first", T)
    lived(first, Random(seed))
    first.close()
    fast, slow = (Machine.copy(first.path, first.path.with_name(f"{name}.db")) for name in ("fast", "slow"))
    slow.clock.ms = fast.clock.ms = first.clock.ms + 50
    return fast, slow


def follow(fast: Machine, slow: Machine, monkeypatch: pytest.MonkeyPatch, *statements: str) -> int:
    """Both programs run these; returns how many rows the fast one looked at."""
    looked: list[State] = []
    recheck = refit._recheck

    def looking(core: Core, table: Table, fresh: dict[str, int | None], states: list[State]) -> None:
        looked.extend(states)
        recheck(core, table, fresh, states)

    with monkeypatch.context() as patch:
        patch.setattr(refit, "_recheck", looking)
        fast.sql(*statements, "UPDATE _replica_outbox SET at = 0")
        fast.store.absorb()
    with monkeypatch.context() as patch:
        patch.setattr(mend, "widened", lambda *_: False)
        slow.sql(*statements, "UPDATE _replica_outbox SET at = 0")
        slow.store.absorb()
    return len(looked)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("columns", [1, 2])
def test_a_column_of_nothing_needs_no_look_at_the_rows(
    machine: Make, monkeypatch: pytest.MonkeyPatch, seed: int, columns: int
) -> None:
    monkeypatch.setattr(refit, "AT_ONCE", 7)
    fast, slow = copies(machine, seed)
    more = [f"ALTER TABLE t ADD COLUMN {name}" for name in ("c", "aa")[:columns]]
    assert follow(fast, slow, monkeypatch, *more) == 0
    for sql in STATE:
        assert fast.rows(sql) == slow.rows(sql), sql
    assert fast.store.root() == slow.store.root()
    assert fast.store.verify() == slow.store.verify() == []


@pytest.mark.parametrize("seed", range(3))
def test_what_was_written_since_is_in_the_outbox_and_stamped(
    machine: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    fast, slow = copies(machine, seed)
    since = ["UPDATE t SET c = 9, a = 9 WHERE id LIKE 'k3%'", "DELETE FROM t WHERE id LIKE 'k2%'"]
    since.append("INSERT INTO t VALUES ('z', 1, 2, 3)")
    assert follow(fast, slow, monkeypatch, "ALTER TABLE t ADD COLUMN c", *since) == 0
    assert fast.rows("SELECT * FROM t ORDER BY id") == slow.rows("SELECT * FROM t ORDER BY id")
    assert fast.store.verify() == slow.store.verify() == []
    other = machine("other")
    meet(fast, other)
    assert other.value("SELECT count(*) FROM t WHERE c = 9") == fast.value("SELECT count(*) FROM t WHERE c = 9") > 0
    assert other.store.verify() == []


@pytest.mark.parametrize("change", [
    ["ALTER TABLE t ADD COLUMN c DEFAULT 7"],
    ["ALTER TABLE t RENAME COLUMN a TO c"],
    ["ALTER TABLE t DROP COLUMN a", "ALTER TABLE t ADD COLUMN c"],
    ["CREATE TABLE n(id TEXT PRIMARY KEY, a, b, c)", "INSERT INTO n SELECT id, 5, b, 6 FROM t", "DROP TABLE t",
     "ALTER TABLE n RENAME TO t"],
    ["DROP TRIGGER _replica_2_au", "UPDATE t SET a = 5", "ALTER TABLE t ADD COLUMN c"],
])  # fmt: skip
def test_after_any_other_change_every_row_is_looked_at(
    machine: Make, monkeypatch: pytest.MonkeyPatch, change: list[str]
) -> None:
    fast, slow = copies(machine, 0)
    rows = fast.value("SELECT count(*) FROM t")
    assert follow(fast, slow, monkeypatch, *change) == rows
    for sql in STATE:
        assert fast.rows(sql) == slow.rows(sql), sql
    assert fast.store.verify() == []


def test_a_record_that_has_the_field_already_shows_it(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer's edit of the column was known before the column was here."""
    a, b = machine("a", T), machine("b")
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(20)])
    meet(a, b)
    a.sql("ALTER TABLE t ADD COLUMN c")
    meet(a, b)
    b.sql("ALTER TABLE t DROP COLUMN c")
    a.sql("UPDATE t SET c = 'told' WHERE id = 'k7'")
    meet(a, b)
    b.sql("ALTER TABLE t ADD COLUMN c BLOB")
    meet(a, b)
    assert b.rows("SELECT id FROM t WHERE c = 'told'") == [("k7",)]
    check_equal([a, b])

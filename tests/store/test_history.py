"""The memory of what changed, and the sketch that follows it: the promises of their headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from protocol.prints import ITEM_BYTES
from protocol.reconcile import Way
from replica.errors import RowRefused, StoreError
from replica.store import history, toggled
from replica.store.sketched import Sketched
from tests.store.harness import NOW_MS, Machine, meet

Make = Callable[..., Machine]
T = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b);"


def items(m: Machine) -> set[bytes]:
    """All items of now."""
    m.store.absorb()
    every = b"".join(history.items(m.core))
    return {every[at : at + 32] for at in range(0, len(every), 32)}


def apart(news: dict[bytes, set[bytes]]) -> set[bytes]:
    return {key + stamp for key, stamps in news.items() for stamp in stamps}


def history_size(m: Machine) -> tuple[int, int]:
    """(rows, items)."""
    rows: int = m.value("SELECT count(*) FROM _replica_history")
    return rows, m.value("SELECT sum(length(came) + length(went)) FROM _replica_history") // 32


def test_what_came_since_a_root_is_what_a_peer_of_then_lacks(machine: Make) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('1', 1, 1), ('2', 2, 2), ('3', 3, 3)")
    before, root = items(a), a.store.root()[0]
    a.sql("UPDATE t SET a = 9 WHERE id = '1'", "DELETE FROM t WHERE id = '2'", "INSERT INTO t VALUES ('4', 4, 4)")
    a.sql("UPDATE t SET a = 10 WHERE id = '1'")
    news = apart(a.store.news(root))
    assert items(a) - before <= news  # One stamp may have come and gone: it is not there to be sent.
    assert news & items(a) == items(a) - before
    count = a.store.came_since(root)
    assert count is not None
    assert count >= len(news) == 3
    assert (a.store.came_since(a.store.root()[0]), a.store.news(a.store.root()[0])) == (0, {})


def test_what_came_last_is_told_the_last_first_however_much_came_at_once(machine: Make) -> None:
    a = machine("a", T)
    for number, count in enumerate((30, 1, 12)):
        a.store.put_many("t", [(f"{number} {n}", 1, 1) for n in range(count)])
    came = b"".join(row[0] for row in a.rows("SELECT came FROM _replica_history ORDER BY seq"))
    told = list(Sketched(a.core)._prints(came))[::-1]
    assert len(told) == 43
    for limit in (1, 12, 13, 20, 43, 1_000):
        assert list(a.store.recent(limit)) == told[:limit]
    a.sql("UPDATE _replica_history SET came = 'text' WHERE seq = (SELECT max(seq) FROM _replica_history)")
    assert list(a.store.recent(1_000)) == told[12:]
    a.sql("DELETE FROM _replica_history WHERE seq < (SELECT max(seq) FROM _replica_history)")
    assert list(a.store.recent(1_000)) == []


def test_a_root_that_was_never_here_is_not_remembered(machine: Make) -> None:
    a = machine("a", T)
    assert (a.store.came_since(b"n" * 16), a.store.news(b"n" * 16)) == (None, {})


def test_what_is_rolled_back_leaves_nothing_in_the_history(machine: Make) -> None:
    a = machine("a", T)
    a.store.put_many("t", [("1", 1, 1)])
    before, root = history_size(a), a.store.root()[0]
    with pytest.raises(RowRefused), a.store.transaction() as core:
        core.db.execute("INSERT INTO t VALUES ('2', 2, 2)")
        core.db.execute("INSERT INTO t VALUES ('1', 3, 3)")
    assert history_size(a) == before
    with a.store.transaction() as core:
        mark = core.toggled.mark()
        with pytest.raises(ZeroDivisionError), core.savepoint():
            core.toggled.born([(b"k" * 16, b"s" * 16)], 1)
            core.toggled.changed(b"k" * 16, {b"s" * 16}, set())
            raise ZeroDivisionError
        assert core.toggled.mark() == mark
        with core.savepoint(keep=False):
            core.toggled.born([(b"k" * 16, b"s" * 16)], 1)
        assert core.toggled.mark() == mark
    assert (history_size(a), a.store.root()[0]) == (before, root)


def test_the_history_is_bounded_and_no_number_is_used_twice(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ITEMS_MAX", 40)
    monkeypatch.setattr(history, "ROWS_MAX", 30)
    monkeypatch.setattr(history, "LOOK_EVERY", 8)
    a = machine("a", T)
    numbers = []
    for number in range(150):
        a.store.put_many("t", [(f"{number}.{n}", n, n) for n in range(number % 7)] or [("0.0", number, 0)])
        a.store.root()
        numbers.append(a.value("SELECT max(seq) FROM _replica_history"))
        rows, count = history_size(a)
        assert rows < 30 + 8
        assert count < 40 + 8 * 8  # What 8 transactions bring, of 8 items at most each.
    assert sorted(set(numbers)) == numbers
    assert a.store.verify() == []


def test_a_transaction_too_large_to_remember_begins_the_history_anew(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toggled, "ITEMS_MAX", 50)
    a = machine("a", T)
    a.store.put_many("t", [("0", 0, 0)])
    root = a.store.root()[0]
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(100)])
    assert a.store.came_since(root) is None
    assert history_size(a) == (1, 0)
    here = a.store.root()[0]
    a.store.put_many("t", [("1", 0, 0)])
    assert len(a.store.news(here)) == 1
    assert a.store.verify() == []


def test_the_sketch_is_stored_when_it_took_long_and_followed_by_the_next_process(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replica.store.sketched.KEEP_AFTER", 10)
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(100)])
    outcome, _ = meet(a, b)
    a.store.remember(outcome, "ws://b")
    assert a.value("SELECT count(*) FROM _replica_sketch") == 1
    a.sql("UPDATE t SET a = 'new' WHERE id IN ('k1', 'k2')", "DELETE FROM t WHERE id = 'k3'")
    a.reopen()  # It reads the counters, and thereby the stored sketch.
    monkeypatch.setattr(Sketched, "_build", None)  # Nothing is hashed anew.
    followed = a.store.cells(12)
    monkeypatch.undo()
    assert followed == Sketched(a.core)._build().cells(12)


def test_a_sketch_is_made_in_parts_that_know_how_many_items_come_in_all(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part of 100,000 items has as many as NumPy must be loaded for; all of them together have."""
    a = machine("a", T)
    a.store.put_many("t", [(f"{n}", n, n) for n in range(700)])
    count = a.store.root()[1]
    told = list[int]()
    monkeypatch.setattr("protocol.prints.expect", told.append)
    a.store.cells(12)
    a.store.heads(10_000)
    a.store.heads(5)
    assert told == [count, count, 5]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE _replica_sketch SET cells = x''",
        "UPDATE _replica_sketch SET cells = 'text'",
        "UPDATE _replica_sketch SET seq = 999999",
        "UPDATE _replica_sketch SET seq = -1",
        "UPDATE _replica_sketch SET cells = zeroblob(length(cells))",
        "DELETE FROM _replica_history WHERE seq < (SELECT max(seq) FROM _replica_history)",
        "DELETE FROM _replica_history",
    ],
)
def test_a_stored_sketch_that_cannot_be_used_is_made_anew(
    machine: Make, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr("replica.store.sketched.KEEP_AFTER", 1)
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(30)])
    a.store.remember(meet(a, b)[0], "ws://b")
    a.store.put_many("t", [("more", 1, 1)])
    a.sql(damage)
    a.reopen()
    assert a.store.cells(12) == Sketched(a.core)._build().cells(12)
    assert meet(a, b)[0].in_sync
    assert a.store.verify() == []


def test_a_sketch_that_lies_costs_no_data_is_found_by_verify_and_forgotten(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replica.store.sketched.KEEP_AFTER", 1)
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(300)])
    a.store.remember(meet(a, b)[0], "ws://b")
    a.sql("UPDATE t SET a = 'new' WHERE id = 'k1'")
    a.store.absorb()
    a.sql("UPDATE _replica_history SET came = zeroblob(32) WHERE seq = (SELECT max(seq) FROM _replica_history)")
    a.reopen()
    assert a.store.verify() == [
        "the sketch is not that of the records: syncs are longer; `replica rescan` makes it anew"
    ]
    a.reopen()
    outcome, _ = meet(a, b)
    assert outcome.in_sync
    a.store.rescan()
    assert a.store.verify() == []


def test_a_sketch_after_which_the_trie_was_needed_is_forgotten(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replica.store.sketched.KEEP_AFTER", 1)
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(300)])
    outcome = meet(a, b)[0]
    a.store.remember(outcome, "ws://b")
    assert a.value("SELECT count(*) FROM _replica_sketch") == 1
    for way, kept in ((Way.NONE, 1), (Way.LISTING, 1), (Way.SKETCH, 0)):
        outcome.way, outcome.rounds = way, 1
        assert outcome.misled == (way is Way.SKETCH)
        a.store.remember(outcome, "ws://b")
        assert a.value("SELECT count(*) FROM _replica_sketch") == kept


def test_what_is_located_is_what_the_fingerprint_was_made_of(machine: Make) -> None:
    a = machine("a", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(50)])
    a.clock.ms = NOW_MS + 5
    a.sql("UPDATE t SET a = 'new' WHERE id < 'k3'", "DELETE FROM t WHERE id = 'k9'")
    every = b"".join(sorted(items(a)))
    prints = [p.to_bytes(7, "big") for p in Sketched(a.core)._prints(every)]
    assert a.store.heads(len(prints)) == sorted(p[:5] for p in prints)
    for width in (7, 5, 4):
        found = a.store.locate([p[:width] for p in prints])
        for at, whole in enumerate(prints):
            assert (every[at * 32 : at * 32 + 16], every[at * 32 + 16 : at * 32 + 32]) in found[whole[:width]]
    assert a.store.locate([b"\xff" * 7, b"\x00" * 7]) == a.store.locate([]) == {}


def test_all_items_are_read_in_parts_of_so_many_bytes_whatever_the_stamps_of_a_record(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = machine("a", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(50)])
    for column in "ab":  # Three stamps each.
        a.clock.ms += 5
        a.sql(f"UPDATE t SET {column} = 'new'")
        a.store.absorb()
    every = items(a)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(history, "PART_BYTES", 160)
    sizes = [len(part) for part in history.items(a.core)]
    assert max(sizes) < 160 + 2 * 3 * ITEM_BYTES
    assert min(sizes[:-1]) >= 160
    assert items(a) == every
    assert sum(sizes) == 32 * len(every) >= 32 * 150


def test_who_wants_few_heads_reads_few_items(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a = machine("a", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(50)])
    every = a.store.heads(1_000)
    assert every == a.store.heads(len(every)) == sorted(every)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(history, "PART_BYTES", 1)
    read, some = 0, Sketched(a.core)

    def counted(of: bytes) -> Sequence[int]:
        nonlocal read
        read += len(of) // 32
        return some._family.prints(of)

    monkeypatch.setattr(some, "_prints", counted)
    few = some.heads(7)
    assert len(few) == 7
    assert set(few) <= set(every)
    assert few == sorted(few)
    assert read <= 7 + 2


def test_who_agreed_once_is_remembered_by_address(machine: Make) -> None:
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", [("1", 1, 1)])
    assert a.store.agreed("ws://b") == b""
    outcome, _ = meet(a, b)
    a.store.remember(outcome, "ws://b")
    assert a.store.agreed("ws://b") == a.store.root()[0] == b.store.root()[0]
    assert a.store.agreed("ws://c") == b""


def test_what_both_got_from_a_third_is_not_sent_again(machine: Make) -> None:
    a, b, c = (machine(name, T) for name in "abc")
    a.store.put_many("t", [("0", 0, 0)])
    for pair in ((a, b), (a, c), (b, c), (a, b)):
        meet(*pair)
    agreed = a.store.root()[0]
    c.store.put_many("t", [(f"k{n}", n, n) for n in range(400)])
    meet(a, c)
    meet(b, c)
    a.sql("UPDATE t SET a = 'a' WHERE id < 'k13'")
    b.sql("UPDATE t SET b = 'b' WHERE id > 'k98'")
    there = len(a.store.news(agreed)), len(b.store.news(agreed))
    one, two = meet(a, b, agreed=agreed)
    assert there == (401, 400)
    assert (one.in_sync, one.way, two.way, one.rounds) == (True, Way.SKETCH, Way.SKETCH, 0)
    assert one.sent + two.sent < 60
    assert a.dump() == b.dump()


@pytest.mark.parametrize(("changed", "way"), [(5, Way.SKETCH), (40, Way.SKETCH), (400, Way.LISTING)])
def test_strangers_find_what_differs_without_the_trie(machine: Make, changed: int, way: Way) -> None:
    a, b, c = (machine(name, T) for name in "abc")
    a.store.put_many("t", [(f"k{n:03}", n, n) for n in range(600)])
    for pair in ((a, b), (a, c), (b, c), (a, b)):
        meet(*pair)
    a.sql(f"UPDATE t SET a = 'a' WHERE id < 'k{changed:03}'")
    b.sql(f"UPDATE t SET b = 'b' WHERE id < 'k{changed:03}'")
    for m in (a, b):
        m.store.absorb()
        m.sql("DELETE FROM _replica_history")
        m.reopen()
    one, two = meet(a, b)
    assert (one.in_sync, two.way, one.rounds) == (True, way, 0)
    assert (one.sent, two.sent) == (changed, changed)
    assert a.dump() == b.dump()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE _replica_history SET came = 'abc' WHERE seq = (SELECT max(seq) FROM _replica_history)",
        "UPDATE _replica_history SET went = 3.5 WHERE seq = (SELECT max(seq) FROM _replica_history)",
        "UPDATE _replica_history SET came = x'0102' WHERE seq = (SELECT max(seq) FROM _replica_history)",
        "DELETE FROM _replica_history WHERE seq = (SELECT max(seq) - 1 FROM _replica_history)",
        "INSERT INTO _replica_history VALUES (9223372036854775807, randomblob(16), x'', x'')",
        "INSERT INTO _replica_history VALUES ((SELECT max(seq) + 1 FROM _replica_history), randomblob(16), x'', x'')",
    ],
)
def test_a_damaged_history_costs_no_sync_is_found_by_verify_and_mended_by_rescan(machine: Make, damage: str) -> None:
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(30)])
    meet(a, b)
    agreed = b.store.root()[0]
    for name in ("x", "y", "z"):
        a.store.put_many("t", [(name, 1, 1)])
    a.sql(damage)
    outcome, _ = meet(b, a, agreed=agreed)
    assert outcome.in_sync
    assert a.dump() == b.dump()
    assert any("rescan" in line for line in a.store.verify())
    a.store.rescan()
    assert a.store.verify() == []
    a.store.put_many("t", [("more", 1, 1)])
    assert meet(b, a, agreed=b.store.root()[0])[0].in_sync
    assert a.store.verify() == b.store.verify() == []


def test_a_table_of_the_engine_that_is_gone_is_damage_not_a_mistake(machine: Make) -> None:
    a = machine("a", T)
    a.sql("DROP TABLE _replica_history")
    with pytest.raises(StoreError, match=r"unless a statement of yours named it, .* is damaged"):
        a.store.put_many("t", [("1", 1, 1)])

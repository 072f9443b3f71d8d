"""Apply: a peer's records join what is here, by the fast way or the general one, and a refusal is precise."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from random import Random

import pytest

from protocol import limits
from protocol.errors import Malformed
from protocol.hlc import Clock, pack
from protocol.record import Birth, Record, pack_id
from protocol.values import Value, pack_value
from replica.errors import DiskFull
from replica.store.show import PlainRows
from tests.store.harness import NOW_MS, Machine, check_equal, foreign, meet

Make = Callable[..., Machine]

MINUTE = 60_000
T = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"


def stamp(ms: int, node: bytes = b"somebody") -> bytes:
    return pack(NOW_MS + ms, 0, node)


def whole(key: Value, at: bytes, **fields: Value) -> Record:
    """A record that one event made."""
    return Record("t", pack_id([key]), b"", at, {n: (at, pack_value(v)) for n, v in fields.items()})


def rows(machine: Machine) -> list[tuple[object, ...]]:
    return machine.rows("SELECT * FROM t ORDER BY k")


# --- 1: all of a batch, or nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [
    Record("T", pack_id(["x"]), b"", stamp(0)), Record("t", b"\x91\xc0", b"", stamp(0)),
    Record("t", b"not an id", b"", stamp(0)), Record("t", pack_id(["x"]) + b"\0", b"", stamp(0)),
])  # fmt: skip
def test_a_batch_with_one_malformed_record_changes_nothing(machine: Make, bad: Record) -> None:
    m = machine("m", T)
    before = m.store.root(), m.core.meta("clock")
    good = [whole("a", stamp(1), v=1, w=2), Record("new", pack_id([1]), b"", stamp(2))]
    with pytest.raises(Malformed):
        m.store.apply([*(g.delta() for g in (*good, bad))], m.clock())
    assert (m.store.root(), m.core.meta("clock")) == before
    assert rows(m) == []
    m.store.apply([g.delta() for g in good], m.clock())
    assert rows(m) == [("a", 1, 2)]
    assert m.store.verify() == []


def test_a_full_disk_changes_nothing_and_the_batch_can_be_applied_later(machine: Make) -> None:
    m = machine("m", T)
    before = m.store.root()
    batch = [whole(f"{i}", stamp(i), v="x" * 1_000, w=i).delta() for i in range(500)]
    m.core.db.execute(f"PRAGMA max_page_count = {m.value('PRAGMA page_count') + 20}")
    with pytest.raises(DiskFull, match="the change under way was not made"):
        m.store.apply(batch, m.clock())
    assert m.store.root() == before
    m.core.db.execute("PRAGMA max_page_count = 1000000")
    assert m.store.apply(batch, m.clock()).changed == 500
    assert m.store.verify() == []


# --- the fast way and the general one ---------------------------------------------------------------------------------


def test_both_ways_of_applying_make_the_same_state(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = """CREATE TABLE t(k TEXT PRIMARY KEY, v REAL, w TEXT UNIQUE, x NUMERIC);
    CREATE TABLE n(k INTEGER PRIMARY KEY, v); CREATE TABLE o(k BLOB PRIMARY KEY);"""
    fast, slow = machine("fast", schema), machine("slow", schema)
    random, batch = Random(1), []
    for i in range(300):
        born = stamp(i - 1_000)
        values: list[Value] = [None, i, i / 2, str(i), b"%d" % i]
        v, w, x = (random.choice(values) for _ in range(3))
        batch.append(whole(str(i), born, v=v, w=w, x=x))
        batch.append(Record("n", pack_id([i % 50], Birth(born)), b"", born, {"v": (born, pack_value(v))}))
        batch.append(Record("o", pack_id([b"%d" % i]), stamp(i - 2_000) if i % 3 else b"", born))
        if i % 5 == 0:
            batch[-3].registers["w"] = stamp(i), pack_value("later")
    data = [r.delta() for r in batch]
    for at in range(0, len(data), 100):
        fast.store.apply(data[at : at + 100], fast.clock())
    monkeypatch.setattr(PlainRows, "hold", lambda *_: False)
    monkeypatch.setattr(PlainRows, "holds", lambda *_: False)
    for at in range(0, len(data), 100):
        slow.store.apply(data[at : at + 100], slow.clock())
    monkeypatch.undo()
    assert [r for r in fast.records() if r.collection in "tno"] == [r for r in slow.records() if r.collection in "tno"]
    assert fast.dump() == slow.dump()
    mine = "_replica_record WHERE tbl IN (SELECT tbl FROM _replica_table WHERE local > '')"
    for sql in (
        f"SELECT * FROM {mine} ORDER BY key",
        "SELECT * FROM _replica_row ORDER BY tbl, pk",
        "SELECT * FROM _replica_held ORDER BY key",
        f"SELECT * FROM _replica_extra WHERE key IN (SELECT key FROM {mine}) ORDER BY key, pos",
    ):
        assert fast.rows(sql) == slow.rows(sql)
    assert fast.store.verify() == slow.store.verify() == []


def test_records_and_fragments_of_one_batch_join_in_any_order(machine: Make) -> None:
    m = machine("m", T)
    record = whole("a", stamp(1), v=1, w=2)
    later = Record("t", record.id, b"", b"", {"v": (stamp(5), pack_value(9))})
    m.store.apply([later.delta(), record.delta(), later.delta(), record.delta()], m.clock())
    assert rows(m) == [("a", 9, 2)]
    assert m.store.verify() == []


def test_what_was_applied_is_not_captured_again(machine: Make) -> None:
    m = machine("m", T)
    m.store.apply([whole("a", stamp(1), v=1, w=2).delta()], m.clock())
    m.store.apply([whole("a", stamp(2), v=3, w=2).delta(), Record("t", pack_id(["b"]), stamp(3)).delta()], m.clock())
    assert m.rows("SELECT * FROM _replica_outbox") == []
    assert m.rows("SELECT * FROM _replica_mute") == []


def test_what_waits_is_absorbed_first_so_that_a_local_write_is_later_than_all_it_could_see(machine: Make) -> None:
    m = machine("m", T)
    m.store.apply([whole("a", stamp(300_000), v="seen", w=0).delta()], m.clock())  # A clock five minutes ahead.
    m.sql("UPDATE t SET v = 'mine'")
    m.store.apply([whole("b", stamp(300_001), v=1, w=1).delta()], m.clock())
    assert rows(m) == [("a", "mine", 0), ("b", 1, 1)]
    assert m.record("t", "a").registers["v"][0] > stamp(300_000)


def test_an_unknown_field_and_an_unknown_table_are_kept_and_sent_on(machine: Make) -> None:
    a, b = machine("a", T), machine("b", T)
    unknown = [whole("k", stamp(1), v=1, w=2, extra="e"), Record("nowhere", pack_id([1]), b"", stamp(2))]
    a.store.apply([r.delta() for r in unknown], a.clock())
    meet(a, b)
    assert b.store.root() == a.store.root()
    assert b.record("t", "k") == unknown[0]
    assert b.record("nowhere", 1) == unknown[1]
    assert a.store.verify() == b.store.verify() == []


# --- 2: too far ahead -------------------------------------------------------------------------------------------------


def test_a_stamp_too_far_ahead_is_put_off_in_words_and_the_rest_of_the_record_is_taken(machine: Make) -> None:
    m = machine("m", T)
    record = whole("a", stamp(1), v=1, w=2)
    record.registers["w"] = stamp(61 * MINUTE + 999, b"laptop-7"), pack_value("future")
    applied = m.store.apply([record.delta(), whole("b", stamp(2), v=3, w=4).delta()], m.clock())
    assert rows(m) == [("a", 1, None), ("b", 3, 4)]
    (refusal,) = applied.refused
    assert refusal.reason == (
        f"node {b'laptop-7'.hex()} is 61 min ahead of this node's clock: its write to t a waits until the clocks agree"
    )
    m.clock.ms += 52 * MINUTE
    assert m.store.apply([record.delta()], m.clock()).refused == []
    assert rows(m)[0] == ("a", 1, "future")
    assert m.store.verify() == []


def test_up_to_ten_minutes_ahead_is_ordinary(machine: Make) -> None:
    m = machine("m", T)
    ahead = limits.DRIFT_MS_MAX
    assert m.store.apply([whole("a", stamp(ahead), v=1, w=1).delta()], m.clock()).refused == []
    assert len(m.store.apply([whole("b", stamp(ahead + 1), v=1, w=1).delta()], m.clock()).refused) == 1
    assert [k for k, *_ in rows(m)] == ["a"]


@pytest.mark.parametrize("future", ["floor", "born"])
def test_a_delete_or_an_insert_from_the_future_puts_the_whole_record_off(machine: Make, future: str) -> None:
    m = machine("m", T)
    known = whole("a", stamp(1), v=1, w=2)
    m.store.apply([known.delta()], m.clock())
    setattr(known, future, stamp(61 * MINUTE))
    if future == "floor":
        known.registers.clear()
    applied = m.store.apply([known.delta()], m.clock())
    assert (applied.changed, len(applied.refused)) == (0, 1)
    assert rows(m) == [("a", 1, 2)]


def test_what_was_put_off_is_offered_again_and_the_session_says_why_the_roots_differ(machine: Make) -> None:
    a, b = machine("a", T), machine("b")
    meet(a, b)
    a.clock.ms += 61 * MINUTE
    a.sql("INSERT INTO t VALUES ('future', 1, 1)", f"UPDATE _replica_outbox SET at = {a.clock.ms}")
    one, two = meet(a, b)
    assert (one.code, two.code) == ("differ", "differ")
    assert any("a is 61 min ahead of this node's clock" in reason for reason in two.reasons)
    assert rows(b) == []
    b.clock.ms += 60 * MINUTE
    one, _ = meet(a, b)
    assert one.in_sync
    check_equal([a, b])


def test_a_node_whose_own_stamps_are_ahead_says_so_and_writes_on(machine: Make) -> None:
    a = machine("a", T)
    a.clock.ms += 61 * MINUTE
    a.sql("INSERT INTO t VALUES ('a', 1, 1)", f"UPDATE _replica_outbox SET at = {a.clock.ms}")
    a.store.absorb()
    a.clock.ms -= 61 * MINUTE
    a.sql("UPDATE t SET v = 2")
    a.store.absorb()
    assert "61 min ahead of its wall clock" in a.store.status()["notices"][0]
    assert a.store.notices() == a.store.status()["notices"]
    assert a.store.verify() == []


# --- 3: clones --------------------------------------------------------------------------------------------------------


def test_a_copied_file_that_writes_is_told_apart_and_both_copies_converge(machine: Make) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('a', 0, 0)")
    a.store.absorb()
    a.close()
    b = Machine.copy(a.path, a.path.with_name("copy.db"))
    a.reopen()
    assert a.store.node_id == b.store.node_id
    a.clock.ms = b.clock.ms = NOW_MS + 1_000
    a.sql("UPDATE t SET v = 'a'", "INSERT INTO t VALUES ('x', 1, 1)")
    b.sql("UPDATE t SET v = 'b'", "INSERT INTO t VALUES ('y', 1, 1)", "UPDATE t SET w = 9")
    meet(a, b)
    check_equal([a, b])
    assert a.store.node_id != b.store.node_id
    notices = [*a.store.notices(), *b.store.notices()]
    assert any("another copy of this file wrote as node" in n for n in notices)
    a.sql("UPDATE t SET w = 'after a'")
    b.sql("UPDATE t SET v = 'after b'")
    meet(a, b)
    check_equal([a, b])
    assert {r[1:] for r in rows(a)} == {("after b", "after a")}
    b.close()


def test_a_file_restored_from_a_backup_takes_back_what_it_wrote_after_it_under_a_new_name(machine: Make) -> None:
    a, b = machine("a", T), machine("b")
    a.sql("INSERT INTO t VALUES ('a', 0, 0)")
    meet(a, b)
    a.close()
    old = Machine.copy(a.path, a.path.with_name("backup.db"))
    a.reopen()
    a.clock.ms += 1_000
    a.sql("UPDATE t SET v = 'lost on this disk'")
    meet(a, b)
    old.sql("INSERT INTO t VALUES ('new', 1, 1)")
    node = old.store.node_id
    meet(old, b)
    check_equal([old, b])
    assert old.store.node_id != node
    assert rows(old) == [("a", "lost on this disk", 0), ("new", 1, 1)]
    old.close()


@pytest.mark.parametrize("key", ["TEXT", "INTEGER"])
@pytest.mark.parametrize("gone", [True, False])
def test_an_edit_of_a_copy_brings_nothing_back_that_was_deleted_since_the_copy(machine: Make, key: str, gone: bool) -> None:
    """The row was written before the file was copied, and nothing had absorbed it."""
    a = machine("a", f"CREATE TABLE t(k {key} PRIMARY KEY, v, w);")
    a.sql("INSERT INTO t VALUES (1, 'first', 1)", f"UPDATE _replica_outbox SET at = {NOW_MS}")
    a.close()
    copy = a.path.with_name("copy.db")
    shutil.copy(a.path, copy)
    with closing(foreign(copy)) as db:
        db.execute("UPDATE t SET v = 'edited'")
        db.execute("UPDATE _replica_outbox SET at = ? WHERE op = 2", (NOW_MS + 120_000,))
    a.reopen()
    a.clock.ms = NOW_MS + 60_000
    assert len(a.records("t")) == 1
    a.sql("DELETE FROM t" if gone else "UPDATE t SET w = 2", f"UPDATE _replica_outbox SET at = {a.clock.ms}")
    a.store.absorb()
    b = Machine.copy(copy, a.path.with_name("again.db"), NOW_MS + 120_000)
    meet(a, b)
    check_equal([a, b])
    (record,) = a.records("t")
    assert record.live != gone
    assert rows(a) == ([] if gone else [(1 if key == "INTEGER" else "1", "edited", 1)])
    hidden = [one["values"] for one in a.store.held()]
    assert hidden == ([{"v": "edited", "w": 1}] if gone else [])
    b.close()


def test_one_stamp_with_two_contents_is_a_clone_too(machine: Make) -> None:
    m = machine("m", T)
    m.sql("INSERT INTO t VALUES ('a', 1, 1)")
    mine, node = m.record("t", "a"), m.store.node_id
    mine.registers["v"] = mine.born, pack_value("not mine")
    m.store.apply([mine.delta()], m.clock())
    assert m.store.node_id != node
    assert m.store.notices()
    assert m.store.verify() == []


def test_ones_own_stamps_that_come_back_are_no_clone(machine: Make) -> None:
    m = machine("m", T)
    m.sql("INSERT INTO t VALUES ('a', 1, 1)")
    mine, node = m.record("t", "a"), m.store.node_id
    m.reopen()
    m.store.apply([mine.delta()], m.clock())
    assert m.store.node_id == node
    assert m.store.notices() == []


# --- 4: what lost -----------------------------------------------------------------------------------------------------


def test_the_value_that_lost_is_kept_and_a_delete_erases_it(machine: Make) -> None:
    a, b = machine("a", T), machine("b", T)
    a.sql("INSERT INTO t VALUES ('k', 'first', 0)")
    meet(a, b)
    a.sql("UPDATE t SET v = 'loses'")
    a.store.absorb()
    b.clock.ms += 1_000
    b.sql("UPDATE t SET v = 'wins'")
    meet(a, b)
    (field,) = a.store.why("t", ["k"], "v")["fields"]
    assert (field["value"], field["overwrote"]["value"]) == ("wins", "loses")
    assert (field["by"], field["overwrote"]["by"]) == ("b", "a")
    a.sql("DELETE FROM t")
    meet(a, b)
    assert a.rows("SELECT * FROM _replica_past") == []


def test_a_value_that_was_overwritten_again_is_no_longer_what_the_winner_overwrote(machine: Make) -> None:
    a, b = machine("a", T), machine("b", T)
    a.sql("INSERT INTO t VALUES ('k', 'first', 0)")
    meet(a, b)
    b.sql("UPDATE t SET v = 'second'")
    meet(a, b)
    assert a.store.why("t", ["k"], "v")["fields"][0]["overwrote"]["value"] == "first"
    a.sql("UPDATE t SET v = 'third'")
    a.store.absorb()
    assert "overwrote" not in a.store.why("t", ["k"], "v")["fields"][0]


# --- rows that vanished or changed without capture --------------------------------------------------------------------


def silently(machine: Machine, *statements: str) -> None:
    """As a program does that has triggers switched off."""
    with machine.db:
        machine.db.execute("BEGIN")
        for sql in ("INSERT INTO _replica_mute VALUES (1)", *statements, "DELETE FROM _replica_mute"):
            machine.db.execute(sql)


def test_a_record_whose_row_vanished_unseen_can_still_be_written_by_peers(machine: Make) -> None:
    m = machine("m", T)
    m.store.apply([whole("a", stamp(1), v=1, w=2).delta(), whole("b", stamp(1), v=1, w=2).delta()], m.clock())
    count = m.store.root()[1]
    silently(m, "DELETE FROM t")
    assert len(m.store.verify()) == 2
    m.store.apply([whole("a", stamp(9), v=3, w=4).delta(), Record("t", pack_id(["b"]), stamp(9)).delta()], m.clock())
    assert rows(m) == [("a", 3, 4)]
    assert m.store.root()[1] == count
    assert m.store.verify() == []


def test_a_clock_of_its_own_makes_stamps_that_never_repeat_after_a_batch(machine: Make) -> None:
    m = machine("m", T)
    ahead = Clock(b"somebody", b"").tick(NOW_MS + 9 * MINUTE)
    m.store.apply([whole("a", ahead, v=1, w=1).delta()], m.clock())
    with pytest.raises(sqlite3.OperationalError):
        m.store.execute("SELECT * FROM nowhere")
    m.store.execute("UPDATE t SET v = 2")
    assert m.record("t", "a").registers["v"][0] > ahead

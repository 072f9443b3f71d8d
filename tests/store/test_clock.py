"""The clock of a store: stamps strictly increase, over restarts, jumps, bursts and processes; and the state it leads to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hlc import COUNTER_MAX, Clock, unpack
from tests.store.harness import NOW_MS, Machine, check_equal, foreign, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v);"
DAY = 86_400_000


def insert(machine: Machine, key: object) -> bytes:
    """The stamp of a new row."""
    machine.sql(f"INSERT INTO t VALUES ('{key}', 0)")
    return machine.record("t", str(key)).born


def test_a_restart_goes_on_from_the_last_stamp(machine: Make) -> None:
    a = machine("a", T)
    stamps = []
    for turn in range(5):
        stamps.append(insert(a, turn))
        a.reopen()
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("jump", [-1, -1_000, -40 * DAY, -NOW_MS])
def test_a_clock_set_back_repeats_no_stamp(machine: Make, jump: int) -> None:
    a = machine("a", T)
    before = insert(a, "before")
    a.clock.ms += jump
    a.reopen()
    a.clock.ms = NOW_MS + jump
    after = insert(a, "after")
    assert after > before
    assert unpack(after).millis == NOW_MS


def test_a_full_counter_borrows_a_millisecond(machine: Make) -> None:
    a = machine("a", T)
    insert(a, "first")
    full = ((NOW_MS << 16) | (COUNTER_MAX - 1)).to_bytes(8, "big")
    with foreign(a.path) as db:
        db.execute("UPDATE _replica_meta SET value = ? WHERE name = 'clock'", (full,))
    stamps = [insert(a, turn) for turn in range(4)]
    assert stamps == sorted(set(stamps))
    assert [(unpack(s).millis - NOW_MS, unpack(s).counter) for s in stamps[:2]] == [(0, COUNTER_MAX), (1, 0)]


def test_a_burst_of_more_events_than_a_counter_holds_has_a_stamp_for_each(machine: Make) -> None:
    a = machine("a", T)
    a.store.put_many("t", [(f"{i}", i) for i in range(COUNTER_MAX + 10)])
    stamps = [s for (s,) in a.rows("SELECT born FROM _replica_record WHERE length(stamps) = 16 AND born = stamps")]
    assert len(set(stamps)) == len(stamps) >= COUNTER_MAX + 10
    assert a.store.verify() == []


def test_a_stamp_that_was_rolled_back_is_as_if_never_issued_and_is_no_clone(machine: Make) -> None:
    a, b = machine("a", T), machine("b")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            a.store.put_many("t", ((f"{i}", 1 / (3 - i)) for i in range(5)))
    insert(a, "x")
    meet(a, b)
    meet(b, a)
    check_equal([a, b])
    assert a.store.notices() == b.store.notices() == []


def test_what_was_seen_is_below_what_is_written(machine: Make) -> None:
    a, b = machine("a", T), machine("b")
    meet(a, b)
    a.clock.ms += 500_000
    a.sql("INSERT INTO t VALUES ('k', 'ahead')", f"UPDATE _replica_outbox SET at = {a.clock.ms}")
    meet(a, b)
    b.sql("UPDATE t SET v = 'behind, but later'")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT v FROM t") == [("behind, but later",)]


def test_a_delete_beats_an_edit_that_it_had_seen_and_hides_one_that_it_had_not(machine: Make) -> None:
    a, b = machine("a", T), machine("b")
    insert(a, "k")
    meet(a, b)
    b.sql("UPDATE t SET v = 'seen'")
    meet(a, b)
    a.sql("DELETE FROM t")
    a.store.absorb()
    b.clock.ms += 60_000
    b.sql("UPDATE t SET v = 'not seen, and later'")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM t") == []
    assert [h["values"] for h in a.store.held()] == [{"v": "not seen, and later"}]
    a.store.held_edit(a.store.held()[0]["ref"], {"v": "back"})
    meet(a, b)
    check_equal([a, b])
    assert b.rows("SELECT * FROM t") == [("k", "back")]


def test_fields_that_two_people_edit_are_both_kept_and_of_one_field_the_later_edit(machine: Make) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, x, y, z);"
    a, b = machine("a", schema), machine("b")
    a.sql("INSERT INTO t VALUES ('k', 0, 0, 0)")
    meet(a, b)
    a.clock.ms += 2_000
    b.clock.ms += 1_000
    a.sql("UPDATE t SET x = 'a', z = 'a, later'")
    b.sql("UPDATE t SET y = 'b', z = 'b'")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT x, y, z FROM t") == [("a", "b", "a, later")]


@given(jumps=st.lists(st.tuples(st.integers(-DAY, DAY), st.integers(1, 3)), max_size=20), last=st.integers(0, 1 << 20))
def test_stamps_of_one_node_increase_whatever_its_wall_clock_does(jumps: list[tuple[int, int]], last: int) -> None:
    clock, now, stamps = Clock(b"somebody", last.to_bytes(8, "big")), NOW_MS, [b""]
    for jump, count in jumps:
        now += jump
        stamps += [clock.tick(max(0, now)) for _ in range(count)]
        clock = Clock(clock.node, clock.last)
    assert stamps == sorted(set(stamps))

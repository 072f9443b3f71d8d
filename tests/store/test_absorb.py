"""Absorption: what other programs wrote becomes stamped state, by looking at the rows themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.hlc import millis, pack, unpack
from protocol.record import Birth, Record, pack_id, unpack_id
from protocol.values import pack_value, unpack_value
from replica.store import index
from replica.store.absorb import absorb
from tests.store.harness import NOW_MS, Machine, check_equal, meet

Make = Callable[..., Machine]

BIG = 5 << 20
"""Bytes that no record can carry."""


def later(machine: Machine, ms: int) -> None:
    """Say that what waits in the outbox was written so long after the test began: the triggers note the real time."""
    machine.sql(f"UPDATE _replica_outbox SET at = {NOW_MS + ms} WHERE at > {NOW_MS + 100_000_000}")


def test_a_stamp_is_the_time_of_the_write_if_that_is_after_the_last_stamp_and_not_after_now(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY);")
    a.clock.ms = NOW_MS + 10_000
    for key, at in (("one", 1_000), ("two", 500), ("three", 99_999)):
        a.sql(f"INSERT INTO t VALUES ('{key}')")
        later(a, at)
    stamps = [unpack(a.record("t", key).born) for key in ("one", "two", "three")]
    assert [(s.millis - NOW_MS, s.counter) for s in stamps] == [(1_000, 0), (1_000, 1), (10_000, 0)]


def test_stamps_follow_the_order_of_writes_over_all_tables(machine: Make) -> None:
    """Else an edit of the morning would be stamped after one of the evening, and win over others' edits of noon."""
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY); CREATE TABLE s(k TEXT PRIMARY KEY);")
    a.clock.ms = NOW_MS + 10_000
    for table, key, at in (("t", "early", 1), ("s", "noon", 5_000), ("t", "evening", 9_000), ("s", "night", 9_500)):
        a.sql(f"INSERT INTO {table} VALUES ('{key}')")
        later(a, at)
    born = {key: millis(a.record(t, key).born) - NOW_MS for t, key in
            (("t", "early"), ("s", "noon"), ("t", "evening"), ("s", "night"))}  # fmt: skip
    assert born == {"early": 1, "noon": 5_000, "evening": 9_000, "night": 9_500}


def test_all_fields_of_one_event_share_its_stamp_and_an_insert_writes_every_column(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, x, y DEFAULT 7, z);")
    a.sql("INSERT INTO t(k) VALUES ('k')")
    record = a.record("t", "k")
    assert record.registers == {n: (record.born, pack_value(v)) for n, v in (("x", None), ("y", 7), ("z", None))}
    a.sql("UPDATE t SET x = 1, z = 2")
    record = a.record("t", "k")
    assert record.registers["x"][0] == record.registers["z"][0] > record.registers["y"][0] == record.born


def test_a_row_inserted_and_deleted_between_two_looks_never_was(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY);")
    root = a.store.root()
    a.sql("INSERT INTO t VALUES ('k')", "DELETE FROM t")
    assert a.store.root() == root


def test_a_row_deleted_and_inserted_again_under_a_natural_key_is_an_update(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);")
    a.sql("INSERT INTO t VALUES ('k', 1, 1)")
    before = a.record("t", "k")
    a.sql("DELETE FROM t", "INSERT INTO t VALUES ('k', 1, 2)")
    after = a.record("t", "k")
    assert (after.born, after.floor, after.registers["v"]) == (before.born, b"", before.registers["v"])
    assert after.registers["w"][0] > before.born


def test_a_delete_that_was_absorbed_erases_and_the_next_insert_is_a_rebirth(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES ('k', 'secret')")
    born = a.record("t", "k").born
    a.sql("DELETE FROM t")
    dead = a.record("t", "k")
    assert (dead.live, dead.born, dead.registers) == (False, born, {})
    assert dead.floor > born
    a.sql("INSERT INTO t VALUES ('k', 2)")
    alive = a.record("t", "k")
    assert alive.live
    assert alive.floor == dead.floor
    assert alive.born == alive.registers["v"][0] > dead.floor


def test_under_a_made_up_key_a_row_deleted_and_inserted_anew_is_another_record(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES (1, 'a')")
    a.store.absorb()
    a.sql("DELETE FROM t", "INSERT INTO t VALUES (1, 'b')")
    old, new = sorted(a.records("t"), key=lambda r: r.born)
    assert not old.live
    assert new.live
    assert unpack_id(new.id) == ((1,), new.born)
    assert new.born > old.floor
    assert a.store.verify() == []


def test_a_row_deleted_and_inserted_anew_is_another_record_also_where_the_entries_are_cut_in_two(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES (1, 'a')")
    a.store.absorb()
    a.sql("DELETE FROM t", "INSERT INTO t VALUES (1, 'b')")
    with a.core.transaction(index.flush):
        while absorb(a.core, 1):
            pass
    assert sorted(r.live for r in a.records("t")) == [False, True]
    assert a.store.verify() == []


@pytest.mark.parametrize("limit", [1, 100])
def test_a_held_record_surfaces_when_every_row_was_looked_at(machine: Make, limit: int) -> None:
    """Bob's phone is free before it is seen that Ann, who had his number, is gone: her delete is not of him."""
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, name, phone UNIQUE);")
    a.sql("INSERT INTO t VALUES (7, 'Cid', 5)", "INSERT INTO t VALUES (1, 'Ann', 6)")
    a.store.absorb()
    at = pack(NOW_MS + 1_000, 0, b"writer..")
    bob = Record("t", pack_id([1], Birth(at)), b"", at, {"name": (at, pack_value("Bob")), "phone": (at, pack_value(5))})
    a.store.apply([bob.delta()], a.clock())
    assert a.held().keys() == {1}
    a.sql("UPDATE t SET phone = NULL WHERE k = 7", "DELETE FROM t WHERE k = 1")
    with a.core.transaction(index.flush):
        while absorb(a.core, limit):
            pass
    assert a.rows("SELECT * FROM t ORDER BY k") == [(1, "Bob", 5), (7, "Cid", None)]
    assert bob in a.records("t")
    assert sorted(r.live for r in a.records("t")) == [False, True, True]
    assert a.store.verify() == []


def test_under_a_made_up_key_two_rows_that_swap_their_numbers_are_two_others(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    a.store.absorb()
    a.sql("UPDATE t SET k = -1 WHERE k = 1", "UPDATE t SET k = 1 WHERE k = 2", "UPDATE t SET k = 2 WHERE k = -1")
    assert sorted(r.live for r in a.records("t")) == [False, False, True, True]
    assert a.store.verify() == []


def test_a_replace_of_a_made_up_key_that_is_there_updates_its_fields(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w);")
    a.sql("INSERT INTO t VALUES (1, 1, 1)")
    born = a.record("t", 1).born
    a.sql("REPLACE INTO t VALUES (1, 1, 2)")
    record = a.record("t", 1)
    assert (record.born, record.registers["v"][0]) == (born, born)
    assert record.registers["w"][0] > born


def test_a_value_too_large_to_travel_stays_here_is_listed_and_the_rest_of_the_row_travels(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"), machine("b")
    a.sql(f"INSERT INTO t VALUES ('k', zeroblob({BIG}), 'w')")
    meet(a, b)
    assert b.rows("SELECT * FROM t") == [("k", None, "w")]
    (local,) = a.store.status()["local_only"]
    assert local["table"] == "t"
    assert f"v: {BIG + 5} bytes do not fit" in local["reason"]
    assert a.value("SELECT length(v) FROM t") == BIG
    a.sql("UPDATE t SET w = 'x'")
    meet(a, b)
    assert a.value("SELECT length(v) FROM t") == BIG
    a.sql("UPDATE t SET v = 'small'")
    meet(a, b)
    assert a.store.status()["local_only"] == []
    assert b.rows("SELECT * FROM t") == [("k", "small", "x")]
    check_equal([a, b])


def test_ill_formed_text_is_measured_like_any_other(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v);"), machine("b")
    a.sql(f"INSERT INTO t VALUES ('k', CAST(zeroblob({BIG}) || x'ff' AS TEXT))")
    one, _ = meet(a, b)
    assert one.in_sync
    assert len(a.store.status()["local_only"]) == 1


def test_what_peers_write_beside_a_value_that_stays_here_leaves_it_alone(machine: Make) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w, u UNIQUE);"
    a, b = machine("a", schema), machine("b", schema)
    a.sql("INSERT INTO t VALUES ('k', 'was small', 'w', 1)")
    meet(a, b)
    a.sql(f"UPDATE t SET v = zeroblob({BIG})")
    b.sql("UPDATE t SET w = 'theirs', v = 'theirs'", "INSERT INTO t VALUES ('l', 1, 1, 2), ('m', 1, 1, 3)")
    meet(a, b)
    assert a.rows("SELECT length(v), w FROM t WHERE k = 'k'") == [(BIG, "theirs")]
    assert a.store.root() == b.store.root()
    assert a.store.verify() == b.store.verify() == []
    b.sql("DELETE FROM t WHERE u = 3", "UPDATE t SET u = 3 WHERE k = 'k'", "UPDATE t SET u = 1 WHERE k = 'l'")
    meet(a, b)  # Unique values move in a circle: the rows are deleted and inserted again.
    assert a.rows("SELECT length(v), u FROM t WHERE k = 'k'") == [(BIG, 3)]
    assert a.store.root() == b.store.root()
    assert a.store.verify() == []


def test_many_values_that_only_together_are_too_large_lose_the_largest(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, x, y, z);"), machine("b")
    a.sql("INSERT INTO t VALUES ('k', zeroblob(2000000), zeroblob(1800000), zeroblob(1500000))")
    meet(a, b)
    assert b.rows("SELECT x, length(y), length(z) FROM t") == [(None, 1_800_000, 1_500_000)]


def test_a_row_that_grows_too_large_keeps_what_has_travelled_already(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, x, y);"), machine("b")
    a.sql("INSERT INTO t VALUES ('k', zeroblob(3000000), 0)")
    meet(a, b)
    a.sql("UPDATE t SET y = zeroblob(2000000)")
    meet(a, b)
    assert b.rows("SELECT length(x) FROM t") == [(3_000_000,)]
    assert "y: 2000005 bytes" in a.store.status()["local_only"][0]["reason"]
    assert a.store.root() == b.store.root()


def test_absorbing_changes_no_row(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v REAL, w);")
    a.sql("INSERT INTO t VALUES ('a', '1', -0.0), ('b', 'x', CAST(x'ff' AS TEXT)), (NULL, 1, 1)")
    before = a.rows("SELECT rowid, k, typeof(v), quote(v), typeof(w), hex(w) FROM t")
    changes = a.value("SELECT total_changes()")
    a.store.absorb()
    assert a.rows("SELECT rowid, k, typeof(v), quote(v), typeof(w), hex(w) FROM t") == before
    assert a.value("SELECT total_changes()") == changes


def test_the_row_of_a_held_record_inserted_here_is_a_write_of_all_its_columns(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v NOT NULL, w);")
    at = pack(NOW_MS, 0, b"writer..")
    held = Record("t", pack_id(["k"]), b"", at, {"v": (at, pack_value(None)), "x": (at, pack_value("theirs"))})
    a.store.apply([held.delta()], a.clock())
    assert list(a.held()) == ["k"]
    a.sql("INSERT INTO t VALUES ('k', 1, 2)")
    record = a.record("t", "k")
    assert record.born == at
    assert record.registers["x"] == held.registers["x"]
    assert {n: v for n, (s, v) in record.registers.items() if s > at} == {"v": pack_value(1), "w": pack_value(2)}
    assert a.held() == {}
    assert a.store.verify() == []


def test_edits_hidden_by_a_delete_stay_hidden_when_the_key_is_used_again(machine: Make) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"
    a, b = machine("a", schema), machine("b", schema)
    a.sql("INSERT INTO t VALUES ('k', 1, 1)")
    meet(a, b)
    a.sql("DELETE FROM t")
    b.clock.ms += 1_000
    b.sql("UPDATE t SET v = 'hidden'")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM t") == []
    assert a.store.status()["tables"][0]["hidden_edits"] == 1
    a.clock.ms += 2_000
    a.sql("INSERT INTO t(k) VALUES ('k')")
    meet(a, b)
    check_equal([a, b])
    assert b.rows("SELECT * FROM t") == [("k", None, None)]


def test_thousands_of_entries_are_absorbed_in_parts_and_make_the_same_state(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INT PRIMARY KEY, v);")
    a.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, i FROM n"
    )
    assert a.store.root()[1] >= 20_000
    assert a.store.verify() == []
    a.sql("DELETE FROM t WHERE k % 2")
    assert a.store.verify() == []
    assert sum(r.live for r in a.records("t")) == 10_000


def test_a_value_that_stays_here_outlives_its_record_being_held(machine: Make) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE);"
    a, b = machine("a", schema), machine("b", schema)
    b.sql("INSERT INTO t VALUES ('first', 1, 1)")
    b.store.absorb()
    a.clock.ms += 1_000
    a.sql(f"INSERT INTO t VALUES ('k', zeroblob({BIG}), 1)")
    meet(a, b)
    assert a.rows("SELECT k FROM t") == [("first",)]
    assert a.store.verify() == []
    a.reopen()
    a.clock.ms = b.clock.ms = NOW_MS + 2_000
    b.sql("DELETE FROM t")
    meet(a, b)
    assert a.rows("SELECT k, length(v) FROM t") == [("k", BIG)]
    assert b.rows("SELECT k, v FROM t") == [("k", None)]
    assert a.store.root() == b.store.root()
    assert a.store.verify() == b.store.verify() == []
    b.sql("DELETE FROM t")
    meet(a, b)
    assert a.store.status()["local_only"] == []
    b.sql("INSERT INTO t VALUES ('k', 'new', 2)")
    meet(a, b)
    check_equal([a, b])


def test_a_value_that_stays_here_goes_with_its_record_even_if_that_is_held(machine: Make) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE);"
    a, b = machine("a", schema), machine("b", schema)
    b.sql("INSERT INTO t VALUES ('first', 1, 1)")
    b.store.absorb()
    a.clock.ms += 1_000
    a.sql(f"INSERT INTO t VALUES ('k', zeroblob({BIG}), 1)")
    meet(a, b)
    (held,) = b.store.held()
    b.clock.ms += 2_000
    b.store.held_delete(held["ref"])
    meet(a, b)
    check_equal([a, b])
    assert a.store.status()["local_only"] == []
    assert a.value("SELECT coalesce(max(length(value)), 0) FROM _replica_extra") < 1_000


def test_a_row_written_under_a_held_records_key_is_an_edit_also_if_the_definition_changed_meanwhile(
    machine: Make,
) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v NOT NULL, w);")
    at = pack(NOW_MS, 0, b"writer..")
    a.store.apply([Record("t", pack_id(["k"]), b"", at, {"w": (at, pack_value("held"))}).delta()], a.clock())
    a.sql("INSERT INTO t VALUES ('k', 1, 'mine')", "ALTER TABLE t ADD COLUMN x DEFAULT 5")
    a.store.absorb()
    assert a.rows("SELECT * FROM t") == [("k", 1, "mine", 5)]
    assert a.held() == {}
    assert a.store.verify() == []


def test_the_note_of_a_value_that_stays_here_goes_with_its_column(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);")
    a.sql(f"INSERT INTO t VALUES ('k', zeroblob({BIG}), 1)")
    assert len(a.store.status()["local_only"]) == 1
    a.sql("ALTER TABLE t DROP COLUMN v")
    assert a.store.status()["local_only"] == []
    a.sql("ALTER TABLE t ADD COLUMN v", "UPDATE t SET v = 'small'")
    assert a.store.verify() == []
    assert unpack_value(a.record("t", "k").registers["v"][1]) == "small"


def test_after_a_transaction_it_is_known_whether_something_waits(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY);")
    with a.store.transaction():
        pass
    asked: list[str] = []
    a.core.db.set_trace_callback(asked.append)
    before = a.store.root()
    assert asked == ["PRAGMA data_version"]
    with a.store.transaction() as core:
        core.db.execute("INSERT INTO t VALUES ('captured')")
    with_one = a.store.root()
    assert with_one[1] == before[1] + 1
    with a.store.transaction():
        pass
    a.sql("INSERT INTO t VALUES ('by another program')")
    assert a.store.root()[1] == with_one[1] + 1
    with a.store.transaction() as core:
        core.db.execute("CREATE TABLE other(k TEXT PRIMARY KEY)")
    a.store.root()
    assert not a.core.schema_moved
    a.core.db.set_trace_callback(None)

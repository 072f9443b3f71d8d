"""Cells of the engine's own tables in which bits have flipped: told by name, mended by a rescan or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.record import pack_id
from replica.errors import StoreError
from replica.store.store import Store
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w REAL);"
SURROGATE = "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w REAL);"
HOPELESS = "damaged: .*Restore a backup, or join anew"

CELLS = [
    "born = 'abc'", "born = 5", "floor = x'0102'", "checks = 3", "checks = 'abcdefgh'", "checks = x'00'",
    "checks = zeroblob(400)", "which = 'zz'", "which = x'0900'", "which = x'09000900'", "flags = 'q'", "tbl = 99",
    "tbl = 'x'", "stamps = 'abc'", "stamps = x'00'", "digest = ''", "key = 'abc'", "key = zeroblob(16)",
]  # fmt: skip


def two(machine: Make, schema: str) -> tuple[Machine, Machine]:
    """Equal machines with some rows, and one that both deleted."""
    a, b = machine("a", schema), machine("b", schema)
    a.sql(*(f"INSERT INTO t VALUES ({i}, 'v{i}', {i})" for i in range(1, 41)))
    meet(a, b)
    b.sql("UPDATE t SET v = 'two stamps' WHERE k = 7", "DELETE FROM t WHERE k = 9")
    meet(a, b)
    check_equal([a, b])
    return a, b


def key_in(machine: Machine, where: str) -> str:
    """The record key of one record, as SQL."""
    tbl = machine.core.by_name["t"].tbl
    return f"x'{machine.value(f'SELECT key FROM _replica_record WHERE tbl = {tbl} AND {where} ORDER BY key').hex()}'"


def seven(machine: Machine) -> str:
    """The record with two stamps."""
    return key_in(machine, "length(which) > 0")


@pytest.mark.parametrize("schema", [T, SURROGATE])
@pytest.mark.parametrize("cell", CELLS)
def test_a_record_that_makes_no_sense_is_an_edit_of_its_row(machine: Make, cell: str, schema: str) -> None:
    a, b = two(machine, schema)
    rows = a.dump()
    a.sql(f"UPDATE _replica_record SET {cell} WHERE key = {seven(a)}")
    assert a.store.verify()
    said = a.store.rescan()
    assert [text for text in said if "7" in text and "its row is an edit of now" in text], said
    assert a.store.verify() == []
    assert a.store.rescan() == []
    assert a.dump() == rows
    a.sql("UPDATE t SET w = 0.5 WHERE k = 7")
    meet(a, b)
    check_equal([a, b])
    assert b.value("SELECT w FROM t WHERE k = 7") == 0.5
    assert len(b.dump()["t"]) == len(rows["t"])


@pytest.mark.parametrize("cell", ["floor = 'abc'", "flags = 'q'", "digest = zeroblob(16)", "id = x'00ff'", "born = 7"])
def test_a_record_without_a_row_is_dropped_and_comes_back_from_peers(machine: Make, cell: str) -> None:
    a, b = two(machine, SURROGATE)
    before = a.store.root()
    a.sql(f"UPDATE _replica_record SET {cell} WHERE key = {key_in(a, 'born <= floor')}")
    assert a.store.verify()
    assert [text for text in a.store.rescan() if "it was dropped here; peers that have it bring it back" in text]
    assert a.store.verify() == []
    assert a.store.root() != before
    meet(a, b)
    check_equal([a, b])
    assert a.store.root() == before


def test_a_record_whose_id_is_lost_is_dropped_and_its_row_is_a_new_one(machine: Make) -> None:
    a, b = two(machine, T)
    a.sql(f"UPDATE _replica_record SET id = x'00ff' WHERE key = {seven(a)}")
    assert [text for text in a.store.rescan() if "it was dropped here" in text]
    assert a.store.verify() == []
    meet(a, b)
    check_equal([a, b])


def test_what_a_node_says_of_itself_and_of_its_tables_is_said_anew(machine: Make) -> None:
    a, b = two(machine, T)
    node = a.store.node_id
    a.sql(f"UPDATE _replica_record SET born = 'abc' WHERE tbl <> {a.core.by_name['t'].tbl}")
    assert a.store.rescan()
    assert a.store.verify() == []
    assert a.store.node_id == node
    meet(a, b)
    check_equal([a, b])


@pytest.mark.parametrize("cell", ["born = 'abc'", "checks = 3", "tbl = 99", "flags = 'q'", "which = x'09000900'"])
def test_whoever_reads_what_makes_no_sense_is_told_whose_it_is(machine: Make, cell: str) -> None:
    a, _ = two(machine, T)
    a.sql(f"UPDATE _replica_record SET {cell} WHERE key = {seven(a)}", "UPDATE t SET v = 'edited' WHERE k = 7")
    told = "makes no sense; .*`replica rescan` takes its row as it stands"
    with pytest.raises(StoreError, match=told) as raised:
        a.store.absorb()
    assert seven_named(str(raised.value), cell)
    with pytest.raises(StoreError, match=told):
        a.store.status()
    a.store.rescan()
    assert a.store.verify() == []
    assert a.record("t", "7").registers["v"][1] == b"\xa6edited"


def seven_named(text: str, cell: str) -> bool:
    return ("what is stored of record " if "tbl" in cell else 't ["7"]') in text


def test_an_error_with_another_reason_stays_what_it_is(machine: Make) -> None:
    a, _ = two(machine, T)
    with pytest.raises(ValueError, match="mine"), a.core.transaction(lambda _: None):
        raise ValueError("mine")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO _replica_held VALUES (x'00', 1, 5, 'z')",
        "INSERT INTO _replica_past VALUES (x'00', 1, x'', x'', x'')",
        "INSERT INTO _replica_extra VALUES (x'00', 1, x'')",
        "UPDATE _replica_held SET key = x'00'",
        "DELETE FROM _replica_held",
        "UPDATE _replica_held SET blocker = x'0102030405060708090a0b0c0d0e0f10'",
        "UPDATE _replica_held SET blocker = 'text'",
        "INSERT INTO _replica_held SELECT key, tbl, '', NULL FROM _replica_record WHERE flags = 1 LIMIT 1",
        "DELETE FROM _replica_row",
        "UPDATE _replica_row SET key = zeroblob(16)",
    ],
)
def test_what_stands_beside_the_records_follows_from_them_again(machine: Make, sql: str) -> None:
    a, b = (machine(name, "CREATE TABLE t(k INTEGER PRIMARY KEY, u UNIQUE)") for name in "ab")
    a.store.put_many("t", [(1, "same")])
    b.store.put_many("t", [(2, "same")])
    meet(a, b)
    check_equal([a, b])
    held = a.store.held()
    a.sql(sql)
    assert a.store.verify() or "text" in sql
    assert a.store.rescan()
    assert a.store.verify() == []
    assert a.store.held() == held
    meet(a, b)
    check_equal([a, b])


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE _replica_field SET name = x'00' WHERE pos = 1",
        "UPDATE _replica_field SET name = CAST(x'ff' AS TEXT) WHERE pos = 1",
        "UPDATE _replica_field SET pos = 77 WHERE pos = 1",
        "UPDATE _replica_table SET collection = x'00' WHERE local = 't'",
        "UPDATE _replica_table SET surrogate = 'x' WHERE local = 't'",
        "UPDATE _replica_meta SET value = 'x' WHERE name = 'format'",
        "UPDATE _replica_meta SET value = NULL WHERE name = 'format'",
        "UPDATE _replica_meta SET value = -1 WHERE name = 'format'",
    ],
)
def test_what_nothing_can_mend_says_so(machine: Make, sql: str) -> None:
    a, _ = two(machine, T)
    a.sql(sql)
    for act in (Store.verify, Store.rescan):
        with pytest.raises(StoreError, match=HOPELESS), Store(a.path) as store:
            act(store)


def test_a_row_under_another_records_key_is_found_by_its_id(machine: Make) -> None:
    a, b = two(machine, T)
    id_ = pack_id(["7"]).hex()
    a.sql(f"UPDATE _replica_record SET key = zeroblob(16) WHERE id = x'{id_}'")
    assert 't ["7"]: stands under another record\'s key' in a.store.verify()
    assert a.store.rescan() == ['t ["7"]: what was stored about it made no sense: its row is an edit of now']
    assert a.store.verify() == []
    meet(a, b)
    check_equal([a, b])

"""The nursery: many new records come out as if each had been written by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import chain
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.record import pack_id
from protocol.values import pack_value
from replica.errors import RowRefused
from replica.store import index, nursery, put, shadow, young
from replica.store.absorb import absorb_all
from replica.store.careful import Row
from replica.store.fresh import fresh_rows
from replica.store.nursery import Nursery, cut, of_rows
from replica.store.put import put_many
from replica.store.shadow import ShadowRow, write, write_new
from replica.store.state import key_of
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]

TABLES = (
    "CREATE TABLE t(k TEXT PRIMARY KEY, v, w); CREATE TABLE u(k TEXT PRIMARY KEY, v);"
    "CREATE TABLE alone(k TEXT PRIMARY KEY); CREATE TABLE n(k INTEGER PRIMARY KEY, v);"
)
RECORDS = "SELECT * FROM _replica_record ORDER BY key"


def fresh(machine: Machine, name: str, numbers: list[int]) -> list[ShadowRow]:
    """Shadows of rows with keys of several lengths."""
    table = machine.core.by_name[name]
    ids = [pack_id(["k" * (1 + n % 5) + str(n)]) for n in numbers]
    keys, columns = [key_of(machine.core, table, id_) for id_ in ids], [[f"v{n}" for n in numbers] for _ in table.names]
    return fresh_rows(machine.core, table, keys, ids, [b"%016d" % n for n in numbers], columns)


@given(seed=st.integers(0, 1 << 32))
def test_they_are_stored_as_each_would_be_by_itself(one: Machine, seed: int) -> None:
    random = Random(seed)
    rows = [*chain.from_iterable(fresh(one, name, random.sample(range(999), 40)) for name in ("t", "u", "alone"))]
    random.shuffle(rows)
    stored = []
    for size in (1, len(rows)):
        with one.core.transaction(lambda _: None), one.core.savepoint(keep=False):
            for start in range(0, len(rows), size):
                write(one.core, rows[start : start + size])
            stored.append((one.core.rows(RECORDS), set(cut(b"".join(one.core.toggled.came), 32))))
    with one.core.transaction(lambda _: None), one.core.savepoint(keep=False):
        assert write_new(one.core, rows)
        stored.append((one.core.rows(RECORDS), set(cut(b"".join(one.core.toggled.came), 32))))
    assert stored[0] == stored[1] == stored[2]
    assert {tuple(row) for row in rows} <= set(stored[0][0])


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Any:
    machine = Machine(tmp_path_factory.mktemp("nursery") / "one.db", schema=TABLES)
    yield machine
    machine.close()


def test_a_few_are_bound_one_by_one_and_many_by_columns(one: Machine) -> None:
    asked: list[str] = []
    one.core.db.set_trace_callback(asked.append)
    with one.core.transaction(lambda _: None), one.core.savepoint(keep=False):
        write(one.core, fresh(one, "t", [*range(shadow.COLUMNS_MIN - 1)]))
        assert not any("json_each" in sql for sql in asked)
        write(one.core, fresh(one, "t", [*range(100, 100 + shadow.COLUMNS_MIN)]))
        assert any("json_each" in sql for sql in asked)
    one.core.db.set_trace_callback(None)


@pytest.mark.parametrize("there", [0, 7, 39])
def test_if_one_is_there_already_none_is_stored_and_nothing_noted(one: Machine, there: int) -> None:
    rows = [*fresh(one, "t", [*range(40)]), *fresh(one, "u", [*range(40)])]
    with one.core.transaction(lambda _: None), one.core.savepoint(keep=False):
        write(one.core, [rows[there]])
        before, noted = one.core.rows(RECORDS), list(one.core.toggled.came)
        assert not of_rows(rows).write(one.core)
        assert one.core.rows(RECORDS) == before
        assert one.core.toggled.came == noted


def test_a_table_without_other_columns_has_records_without_stamps_of_fields(machine: Make) -> None:
    a, b = machine("a", TABLES), machine("b")
    a.store.put_many("alone", [(f"k{n}",) for n in range(600)])
    assert a.value("SELECT count(*) FROM _replica_record WHERE stamps = x'' AND length(born) = 16") >= 600
    assert a.store.verify() == []
    meet(a, b)
    check_equal([a, b])


def counted_merges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records are sorted in, each time from now on."""
    merged, merge = list[int](), Nursery.merge

    def counted(nursery: Nursery, core: Any) -> bool:
        merged.append(nursery.count)
        return merge(nursery, core)

    monkeypatch.setattr(Nursery, "merge", counted)
    return merged


def test_many_rows_are_sorted_in_at_once(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put, "ROWS", 300)
    monkeypatch.setattr(put, "WAITING_MAX", 1_000)
    m, merged = machine("m", TABLES), counted_merges(monkeypatch)
    m.store.put_many("t", [(f"k{n}", n, None) for n in range(6_000)])
    assert merged == [900] * 6 + [600]
    assert m.store.verify() == []


@pytest.mark.parametrize("name", ["t", "n"])
def test_rows_that_are_there_already_are_updated_wherever_they_stand(
    machine: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(put, "ROWS", 400)
    m, told = machine("m", TABLES), list[str]()

    def row(n: int, value: str) -> tuple[object, ...]:
        return (n, value) if name == "n" else (f"k{n}", value, None)

    m.store.put_many(name, [row(n, "old") for n in (5, 1_700)])
    m.store.listen(lambda changes: told.extend(change.kind for change in changes))
    assert m.store.put_many(name, [row(n, "new") for n in range(2_000)]) == 2_000
    assert m.rows(f"SELECT v, count(*) FROM {name} GROUP BY v") == [("new", 2_000)]
    assert (told.count("insert"), told.count("update")) == (1_998, 2)
    assert m.store.verify() == []
    assert m.rows("SELECT * FROM _replica_outbox") == []


def test_a_row_that_comes_twice_in_one_call_has_the_last_values(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put, "ROWS", 300)
    m = machine("m", TABLES)
    m.store.put_many("t", [(f"k{n % 1_000}", n, None) for n in range(2_500)])
    assert m.rows("SELECT min(v), max(v), count(*) FROM t") == [(1_500, 2_499, 1_000)]
    assert m.store.verify() == []


def test_numbers_of_rows_that_were_deleted_unheard_are_looked_at_within_the_call(machine: Make) -> None:
    m = machine("m", TABLES)
    m.store.put_many("n", [(n, "old") for n in range(600)])
    m.store.root()
    m.sql("INSERT INTO _replica_mute VALUES (1)", "DELETE FROM n WHERE k < 9", "DELETE FROM _replica_mute")
    with m.core.transaction(index.flush):
        put_many(m.core, "n", [(n, "again") for n in [*range(9), *range(600, 900)]])
    assert m.rows("SELECT * FROM _replica_outbox") == []
    assert m.store.verify() == []
    assert len(m.records("n")) == 900


@pytest.mark.parametrize("change", ["", "INSERT INTO u VALUES ('x', 1)", "DELETE FROM t WHERE v = 7"])
def test_a_first_load_makes_the_trie_without_reading_what_it_wrote(machine: Make, change: str) -> None:
    m, asked = machine("m", TABLES), list[str]()
    m.core.db.set_trace_callback(asked.append)
    with m.store.transaction() as core:
        put_many(core, "t", [(f"k{n}", n, None) for n in range(3_000)])
        assert len(core.dirty.every) == 32 * core.rows("SELECT count(*) FROM _replica_record")[0][0]
        core.db.execute(change)
        absorb_all(core)
    m.core.db.set_trace_callback(None)
    read = [sql for sql in asked if "key, digest FROM _replica_record WHERE" in sql]
    assert bool(read) == bool(change)
    assert m.store.verify() == []


def test_a_savepoint_that_is_taken_back_takes_along_what_is_known_of_all(machine: Make) -> None:
    m = machine("m", TABLES)
    with m.store.transaction() as core:
        with core.savepoint(keep=False):
            put_many(core, "t", [(f"k{n}", n, None) for n in range(600)])
            assert core.dirty.every
        assert not core.dirty.every
        put_many(core, "u", [(f"k{n}", n) for n in range(5)])
    assert m.store.verify() == []


def test_long_keys_are_stored_in_parts(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "BYTES_MAX", 40_000)
    monkeypatch.setattr(put, "BYTES_MAX", 40_000)
    monkeypatch.setattr(young, "BATCH_MAX", 1_000)
    monkeypatch.setattr(put, "ROWS", 300)
    m, merged = machine("m", TABLES), counted_merges(monkeypatch)
    m.core.db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    m.store.put_many("t", [("x" * (3, 900, 5_000)[n % 3] + str(n), n, None) for n in range(1_200)])
    assert merged == [300] * 4
    m.core.db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)
    m.store.put_many("u", [("y" * 900 + str(n), n) for n in range(299)])
    assert m.store.root()[1] >= 1_499
    assert m.store.verify() == []


@pytest.mark.parametrize("sql", ["DELETE FROM t WHERE v BETWEEN 3 AND 5", "DELETE FROM t", "UPDATE t SET w = 1 WHERE v < 9"])
def test_a_source_may_use_the_store_while_it_is_read(machine: Make, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr(put, "ROWS", 300)
    monkeypatch.setattr(young, "BATCH_MAX", 300)  # So many are read before the first is put.
    m = machine("m", TABLES)

    def source() -> Iterator[tuple[object, ...]]:
        yield from ((f"k{n}", n, None) for n in range(1_000))
        m.store.execute(sql)
        m.store.put_many("t", [("k7", "again", None)])
        yield ("last", 0, None)

    assert m.store.put_many("t", source()) == 1_001
    assert m.store.verify() == []
    assert m.rows("SELECT v FROM t WHERE k = 'k7'") == [("again",)]


@pytest.mark.parametrize("bad", [("bad", float("nan"), None), ("first", 1, None)], ids=["value", "constraint"])
@pytest.mark.parametrize("count", [20, 700, 5_000])
def test_a_caller_whose_rows_were_refused_may_go_on(machine: Make, bad: Row, count: int) -> None:
    check = "CHECK(k <> 'first' OR w IS 1)"
    m = machine("m", f"CREATE TABLE t(k TEXT PRIMARY KEY, v, w, {check}); CREATE TABLE u(k PRIMARY KEY)")
    rows: list[Row] = [(f"k{n}", n, None) for n in range(count)]

    def source() -> Iterator[Row]:
        yield from (("first", 0, 1), ("second", 0, 1))
        for some in ([*rows, bad], [bad, *rows]):
            with pytest.raises(RowRefused):
                m.store.put_many("t", some)
        m.store.execute("INSERT INTO u VALUES ('still')")
        yield ("third", 0, None)

    assert m.store.put_many("t", source()) == 3
    assert m.store.verify() == []
    assert m.rows("SELECT k FROM t") == [("first",), ("second",), ("third",)]
    m.sql("UPDATE t SET v = 'heard'")
    assert [dict(record.registers)["v"][1] for record in m.records("t")] == [pack_value("heard")] * 3


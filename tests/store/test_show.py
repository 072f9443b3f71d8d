"""What is shown is a pure function of state and schema: the nine rules' fifth, in every order of arrival."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hlc import pack
from protocol.record import Birth, Record, pack_id, unpack_id
from protocol.values import Value, pack_value, unpack_value
from tests.store.harness import NOW_MS, Machine, check_equal, meet

Make = Callable[..., Machine]

PEOPLE = "CREATE TABLE p(id TEXT PRIMARY KEY, mail TEXT UNIQUE, phone TEXT UNIQUE, age INT NOT NULL CHECK(age < 200));"


def record(collection: str, key: Value, stamp: int, **fields: Value) -> Record:
    """A record that node `writer..` made, all at one time."""
    at = pack(NOW_MS - 1_000 + stamp, 0, b"writer..")
    return Record(collection, pack_id([key]), b"", at, {n: (at, pack_value(v)) for n, v in fields.items()})


def person(key: Value, stamp: int, mail: Value = None, phone: Value = None, age: Value = 1) -> Record:
    return record("p", key, stamp, mail=mail, phone=phone, age=age)


def take(machine: Machine, *records: Record) -> None:
    """A peer's records arrive, one batch each."""
    for one in records:
        machine.store.apply([one.delta()], machine.clock())


def shown(machine: Machine) -> set[str]:
    return {k for (k,) in machine.rows("SELECT id FROM p")}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_of_records_that_cannot_stand_together_the_earliest_is_shown_in_any_order(
    machine: Make, order: tuple[int, ...]
) -> None:
    """b gives way to a, which takes both its values; so c, which shares the phone with b alone, stands."""
    records = [
        person("a", 1, mail="x", phone="1"),
        person("b", 2, mail="x", phone="2"),
        person("c", 3, mail="y", phone="2"),
        person("d", 4, mail="y", phone="3"),
    ]
    m = machine("m", PEOPLE)
    take(m, *(records[i] for i in order))
    assert shown(m) == {"a", "c"}
    assert set(m.held()) == {"b", "d"}
    assert all("UNIQUE constraint failed" in reason for reason in m.held().values())
    assert m.store.verify() == []


def test_a_held_record_surfaces_when_what_held_it_goes_away(machine: Make) -> None:
    m = machine("m", PEOPLE)
    take(m, person("a", 1, mail="x"), person("b", 2, mail="x"), person("c", 3, mail="x"))
    assert shown(m) == {"a"}
    m.sql("DELETE FROM p WHERE id = 'a'")
    m.store.absorb()
    assert shown(m) == {"b"}
    m.sql("UPDATE p SET mail = 'other'")
    m.store.absorb()
    assert shown(m) == {"b", "c"}
    assert m.held() == {}
    assert m.store.verify() == []


def test_a_held_record_that_surfaces_keeps_a_value_that_its_column_changes(machine: Make) -> None:
    m = machine("m", PEOPLE)
    take(m, person("a", 1, mail="x"), person("b", 2, mail="x", phone=5))
    m.sql("DELETE FROM p WHERE id = 'a'")
    m.store.absorb()
    assert m.rows("SELECT id, phone FROM p") == [("b", "5")]
    assert unpack_value(m.record("p", "b").registers["phone"][1]) == 5
    assert m.store.verify() == []


def test_a_shown_record_gives_way_to_an_earlier_one_and_those_that_it_held_surface(machine: Make) -> None:
    m = machine("m", PEOPLE)
    take(m, person("b", 2, mail="x", phone="2"), person("c", 3, phone="2"))
    assert shown(m) == {"b"}
    take(m, person("a", 1, mail="x"))
    assert shown(m) == {"a", "c"}


def test_a_local_write_that_loses_is_held_and_not_lost(machine: Make) -> None:
    a, b = machine("a", PEOPLE), machine("b", PEOPLE)
    a.sql("INSERT INTO p VALUES ('first', 'x', NULL, 1)")
    b.clock.ms += 1_000
    b.sql("INSERT INTO p VALUES ('second', 'x', NULL, 2)")
    meet(b, a)
    check_equal([a, b])
    assert shown(b) == {"first"}
    (held,) = b.store.held()
    assert held["values"] == {"mail": "x", "phone": None, "age": 2}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"age": None}, "NOT NULL constraint failed: p.age"),
        ({}, "NOT NULL constraint failed: p.age"),
        ({"age": 200}, "CHECK constraint failed: age < 200"),
    ],
)
def test_a_record_that_cannot_stand_at_all_is_held_until_it_can(
    machine: Make, fields: dict[str, Value], reason: str
) -> None:
    m = machine("m", PEOPLE)
    take(m, record("p", "a", 1, **fields))
    assert m.held() == {"a": reason}
    take(m, record("p", "a", 2, age=3))
    assert shown(m) == {"a"}
    assert m.held() == {}
    take(m, record("p", "a", 3, age=999))
    assert shown(m) == set()
    assert m.store.verify() == []


@pytest.mark.parametrize(("kind", "key", "fits"), [
    ("INTEGER", "abc", True), ("INTEGER", "1", False), ("INTEGER", 1.5, True), ("TEXT", 1, False), ("TEXT", b"x", True),
    ("REAL", 1, True), ("REAL", 2**53 + 1, False), ("NUMERIC", "1e3", False), ("BLOB", "1", True), ("", 1.5, True),
])  # fmt: skip
def test_a_key_that_the_column_would_change_is_held(machine: Make, kind: str, key: Value, *, fits: bool) -> None:
    m = machine("m", f"CREATE TABLE t(k {kind}, v, PRIMARY KEY(k, v));")
    at = pack(NOW_MS, 0, b"writer..")
    take(m, Record("t", pack_id([key, 1]), b"", at))
    assert (m.value("SELECT count(*) FROM t") == 1) is fits
    assert m.store.verify() == []
    if not fits:
        assert "key type differs: k is" in next(iter(m.held().values()))


def test_a_number_is_the_only_key_of_a_rowid(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k INTEGER PRIMARY KEY, v);")
    take(m, record("t", "abc", 1, v=1), record("t", 5, 2, v=2))
    assert m.held() == {"abc": "key type differs: k is INTEGER, the key is str"}
    assert m.rows("SELECT * FROM t") == [(5, 2)]


def test_a_key_of_another_width_is_held(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    take(m, Record("t", pack_id(["a", "b"]), b"", pack(NOW_MS, 0, b"writer..")))
    assert m.held() == {("a", "b"): "its key has 2 parts, the table's 1"}


def test_two_people_under_one_number_are_two_records_one_of_them_held(machine: Make) -> None:
    schema = "CREATE TABLE t(k INTEGER PRIMARY KEY, name, phone);"
    a, b = machine("a", schema), machine("b", schema)
    a.sql("INSERT INTO t VALUES (NULL, 'Ann', 1)")
    b.clock.ms += 1
    b.sql("INSERT INTO t VALUES (NULL, 'Bob', 2)")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM t") == [(1, "Ann", 1)]
    (held,) = b.store.held()
    assert held["values"] == {"name": "Bob", "phone": 2}
    assert b.store.held_rekey(held["ref"])[0] == 2
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM t") == [(1, "Ann", 1), (2, "Bob", 2)]


@pytest.mark.parametrize("first", [1, 0])
def test_numbers_of_autoincrement_tables_come_from_ranges_of_each_node_so_that_no_two_are_equal(
    machine: Make, first: int
) -> None:
    schema = "CREATE TABLE t(k INTEGER PRIMARY KEY AUTOINCREMENT, name);"
    a = Machine(machine("x").path.with_name("a.db"), schema=schema, secrets=None)
    b = Machine(a.path.with_name("b.db"), secrets=a.store.secrets())
    if first:
        a.sql("INSERT INTO t(name) VALUES ('a0')")
    meet(b, a)
    for turn in range(1, 4):
        a.sql(f"INSERT INTO t(name) VALUES ('a{turn}'), ('a{turn}+')")
        b.sql(f"INSERT INTO t(name) VALUES ('b{turn}'), ('b{turn}+')")
        meet(b, a)
        check_equal([a, b])
    assert a.held() == {}
    assert a.value("SELECT count(*) FROM t") == 12 + first
    a.close()
    b.close()


def test_a_number_used_again_after_a_delete_is_another_record(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, name, phone);"), machine("b")
    a.sql("INSERT INTO t VALUES (2, 'old', 0)")
    meet(a, b)
    b.clock.ms += 5
    b.sql("UPDATE t SET phone = 'meant for old'")
    a.sql("DELETE FROM t", "INSERT INTO t(name) VALUES ('new')")
    a.sql("UPDATE t SET k = 2")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM t") == [(2, "new", None)]


def test_foreign_keys_are_not_enforced_on_apply_and_orphans_are_listed(machine: Make) -> None:
    schema = "CREATE TABLE f(id TEXT PRIMARY KEY); CREATE TABLE c(id TEXT PRIMARY KEY, f TEXT REFERENCES f(id));"
    a, b = machine("a", schema), machine("b", schema)
    a.sql("INSERT INTO f VALUES ('x')")
    meet(a, b)
    a.sql("DELETE FROM f")
    b.sql("INSERT INTO c VALUES ('child', 'x')")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM c") == [("child", "x")]
    assert a.store.status()["orphans"] == b.store.status()["orphans"] == 1


def test_users_triggers_do_not_fire_on_apply_and_are_there_afterwards(machine: Make) -> None:
    schema = """CREATE TABLE t(k TEXT PRIMARY KEY, v, n INT DEFAULT 0);
    CREATE TRIGGER "a b" AFTER UPDATE OF v ON t BEGIN UPDATE t SET n = n + 1 WHERE k = NEW.k; END;
    CREATE TRIGGER refuse BEFORE INSERT ON t WHEN NEW.k = 'no' BEGIN SELECT RAISE(ABORT, 'no'); END;"""
    a, b = machine("a", schema), machine("b", schema)
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    before = b.rows(sql)
    a.sql("DROP TRIGGER refuse", "INSERT INTO t(k, v) VALUES ('no', 1), ('k', 1)", "UPDATE t SET v = 2")
    meet(a, b)
    assert b.rows("SELECT * FROM t ORDER BY k") == [("k", 2, 1), ("no", 2, 1)]
    assert b.rows(sql) == before
    b.sql("UPDATE t SET v = 3")
    assert b.rows("SELECT n FROM t") == [(2,), (2,)]
    meet(a, b)
    assert a.dump() == b.dump()


def test_a_row_with_a_key_that_cannot_travel_holds_what_it_stands_in_the_way_of(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE);")
    m.sql("INSERT INTO t VALUES (NULL, 'x')")
    m.store.absorb()
    take(m, record("t", "a", 1, u="x"))
    assert m.held() == {"a": "UNIQUE constraint failed: t.u"}
    m.sql("UPDATE t SET u = 'y' WHERE k IS NULL")
    m.store.absorb()
    assert m.held() == {}
    assert m.store.verify() == []


def test_unique_indexes_of_any_kind_are_found_by_their_victims(machine: Make) -> None:
    m = machine("m", """CREATE TABLE t(k TEXT PRIMARY KEY, a TEXT, b INT, s TEXT, g AS (b % 10));
    CREATE UNIQUE INDEX i ON t(lower(a)); CREATE UNIQUE INDEX j ON t(b) WHERE s = 'open'; CREATE UNIQUE INDEX l ON t(g);
    """)  # fmt: skip
    take(m, record("t", "1", 4, a="X", b=11, s="open"), record("t", "2", 3, a="x", b=12, s=None))
    assert [k for (k,) in m.rows("SELECT k FROM t")] == ["2"]
    take(m, record("t", "3", 2, a="q", b=12, s="open"))
    assert [k for (k,) in m.rows("SELECT k FROM t ORDER BY k")] == ["1", "3"]
    take(m, record("t", "4", 1, a="w", b=1, s=None))
    assert [k for (k,) in m.rows("SELECT k FROM t ORDER BY k")] == ["3", "4"]
    assert m.store.verify() == []


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    schema = PEOPLE + "CREATE TABLE s(id INTEGER PRIMARY KEY, v UNIQUE);"
    m = Machine(tmp_path_factory.mktemp("show") / "m.db", schema=schema)
    m.close()
    return m.path


@given(seed=st.integers(0, 1 << 32))
def test_the_same_records_show_the_same_rows_whatever_the_order_and_the_batches(seed: int, empty: Path) -> None:
    random = Random(seed)
    few = [None, "x", "y", "z"]
    events = []
    for stamp in range(1, random.randint(3, 25)):
        if random.random() < 0.5:
            age = random.choice([1, 2, 300, None])
            one = person(random.choice("abcde"), stamp, random.choice(few), random.choice(few), age)
        else:
            one = record("s", random.randint(1, 3), stamp, v=random.choice(few))
            if random.random() < 0.7:
                one.id = pack_id(unpack_id(one.id)[0], Birth(one.born))
        if random.random() < 0.2:
            one = Record(one.collection, one.id, one.born)  # Deleted as soon as it was born.
        events.append(one.delta())
    dumps, roots = [], set()
    with TemporaryDirectory() as folder:
        for turn in range(3):
            m = Machine.copy(empty, Path(folder) / f"{turn}.db")
            random.shuffle(events)
            rest = [*events, *random.choices(events, k=3)]
            while rest:
                count = random.randint(1, 6)
                m.store.apply(rest[:count], m.clock())
                rest = rest[count:]
            assert m.store.verify() == []
            roots.add(m.store.root())
            dumps.append((m.dump(), sorted(h["ref"] for h in m.store.held())))
            m.close()
    assert len(roots) == 1
    assert dumps[0] == dumps[1] == dumps[2]

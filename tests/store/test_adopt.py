"""Adoption: any table with a primary key becomes replicated as it is; others are refused in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from protocol import limits
from protocol.errors import DifferentRows
from protocol.hlc import is_base
from protocol.record import unpack_id
from replica.errors import TableRefused
from replica.store import adopt
from replica.store.catalog import shape
from tests.store.harness import Machine, all_meet, check_equal, meet

Make = Callable[..., Machine]

KEYS = {
    "text": "k TEXT PRIMARY KEY, v",
    "integer": "k INTEGER PRIMARY KEY, v",
    "autoincrement": "k INTEGER PRIMARY KEY AUTOINCREMENT, v",
    "descending": "k INTEGER PRIMARY KEY DESC, v",
    "int, which is no rowid": "k INT PRIMARY KEY, v",
    "real": "k REAL PRIMARY KEY, v",
    "numeric": "k NUMERIC PRIMARY KEY, v",
    "date": "k DATE PRIMARY KEY, v",
    "blob": "k BLOB PRIMARY KEY, v",
    "untyped": "k PRIMARY KEY, v",
    "nocase": "k TEXT COLLATE NOCASE PRIMARY KEY, v",
    "composite": "v, j TEXT, k INTEGER, PRIMARY KEY(k, j)",
    "composite nocase": "v, j TEXT COLLATE NOCASE, k REAL, PRIMARY KEY(j, k)",
    "key only": "k TEXT PRIMARY KEY",
}


@pytest.mark.parametrize("without_rowid", ["", " WITHOUT ROWID"])
@pytest.mark.parametrize("kind", KEYS)
def test_a_table_with_any_kind_of_primary_key_is_adopted(machine: Make, kind: str, without_rowid: str) -> None:
    if without_rowid and kind == "autoincrement":
        pytest.skip("SQLite has no such table")
    rows = "INSERT INTO t(k) VALUES (1), (2), (300)"
    if "j TEXT" in KEYS[kind]:
        rows = "INSERT INTO t(j, k) VALUES ('a', 1), ('b', 1), ('a', 2)"
    a = machine("a", f"CREATE TABLE t({KEYS[kind]}){without_rowid}; {rows}")
    b = machine("b")
    meet(a, b)
    assert a.store.status()["tables"][0]["live"] == 3
    check_equal([a, b])
    b.sql("UPDATE t SET k = k + 1000 WHERE k = 1" if kind != "blob" else "UPDATE t SET k = x'00' WHERE k = 1")
    a.sql("DELETE FROM t WHERE k = 2")
    all_meet([a, b])
    check_equal([a, b])


ODD_NAMES = [
    ("order", "select", "na\"me"),
    ("two words", "a b", "c'd"),
    ("[t]", "[k]", "`v`"),
    ("表", "鍵", "値"),
    ("Straße", "ID", "Ünïcode"),
    ("t.x", "k,", "v)"),
    ("index", "primary", "key"),
    ("a\nb", "c\td", "--e"),
    ("_", "rowid", "oid"),
    ("T;DROP TABLE T", "?", ":v"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "key", "column"), ODD_NAMES)
def test_names_may_hold_anything(machine: Make, table: str, key: str, column: str) -> None:
    t, k, v = ('"' + name.replace('"', '""') + '"' for name in (table, key, column))
    a = machine("a", f"CREATE TABLE {t}({k} TEXT PRIMARY KEY, {v} TEXT COLLATE NOCASE UNIQUE);")
    b = machine("b")
    a.sql(f"INSERT INTO {t} VALUES ('1', 'x'), ('2', NULL)")
    meet(a, b)
    b.sql(f"UPDATE {t} SET {v} = 'y' WHERE {k} = '1'", f"INSERT OR REPLACE INTO {t} VALUES ('3', 'Y')")
    meet(a, b)
    check_equal([a, b])
    assert sorted(a.rows(f"SELECT {k}, {v} FROM {t}")) == [("2", None), ("3", "Y")]
    assert b.rows(f"SELECT sql LIKE '%NOCASE%' FROM sqlite_master WHERE type = 'table' AND name = '{table}'") == [(1,)]


def test_a_table_without_primary_key_is_refused_with_what_to_do(machine: Make) -> None:
    a = machine("a", "CREATE TABLE log(line TEXT); CREATE TABLE t(k TEXT PRIMARY KEY);", adopt=False)
    results = {r.table: r.refused for r in a.store.adopt()}
    assert results["t"] is None
    assert results["log"] is not None
    assert "'log' has no primary key" in results["log"]
    assert "id TEXT PRIMARY KEY DEFAULT" in results["log"]
    with pytest.raises(TableRefused, match="has no primary key"):
        a.store.adopt(["log"])


def test_views_are_left_alone(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY); CREATE VIEW w AS SELECT * FROM t;", adopt=False)
    assert [r.table for r in a.store.adopt()] == ["t"]
    with pytest.raises(TableRefused, match="'w' is a view: adopt the tables that it reads"):
        a.store.adopt(["w"])


def test_virtual_tables_are_refused(machine: Make) -> None:
    a = machine("a", "CREATE VIRTUAL TABLE f USING fts5(body);", adopt=False)
    results = {r.table: r.refused for r in a.store.adopt()}
    assert "'f' is a virtual table" in (results["f"] or "")
    assert all(results.values()), "the tables that feed a virtual table are its own affair"


@pytest.mark.parametrize("name", ["_replica_meta", "sqlite_sequence", "nowhere", "_replica.table"])
def test_tables_that_are_not_the_users_are_refused(machine: Make, name: str) -> None:
    schema = 'CREATE TABLE t(k INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE "_replica.table"(k TEXT PRIMARY KEY);'
    a = machine("a", schema, adopt=False)
    with pytest.raises(TableRefused):
        a.store.adopt([name])


def test_generated_columns_do_not_travel(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, n INT, s AS (n * 2) STORED, v AS (n * 3));")
    b = machine("b")
    a.sql("INSERT INTO t(k, n) VALUES ('a', 1)")
    meet(a, b)
    assert b.rows("SELECT * FROM t") == [("a", 1)]
    (record,) = a.records("t")
    assert set(record.registers) == {"n"}
    c = machine("c", "CREATE TABLE t(k TEXT PRIMARY KEY, n INT, s AS (n * 2) STORED, v AS (n * 3));")
    meet(a, c)
    assert c.rows("SELECT * FROM t") == [("a", 1, 2, 3)]
    assert c.store.root() == a.store.root()


def test_rows_get_a_base_stamp_of_their_content_so_that_copies_are_identical(machine: Make) -> None:
    schema = "CREATE TABLE t(k INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES (1, 'x', 2.5), (2, NULL, x'00');"
    a, b = machine("a", schema), machine("b", schema)
    assert a.records() == b.records()
    for record in a.records("t"):
        assert len(record.stamps()) == 1
        assert is_base(record.born)


def test_of_adopted_rows_that_differ_one_wins_whole_and_any_later_write_wins_over_both(machine: Make) -> None:
    schema = "CREATE TABLE t(k INTEGER PRIMARY KEY, name, phone);"
    a = machine("a", schema + "INSERT INTO t VALUES (1, 'Bob', 'b'), (2, 'Bob', 'b');")
    b = machine("b", schema + "INSERT INTO t VALUES (1, 'Ann', 'a'), (2, 'Ann', 'a');")
    b.sql("UPDATE t SET phone = 'new' WHERE k = 2")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT name, phone FROM t WHERE k = 1")[0] in {("Bob", "b"), ("Ann", "a")}
    assert a.value("SELECT phone FROM t WHERE k = 2") == "new"


def test_the_id_of_an_adopted_row_is_its_key_and_of_a_new_row_under_a_made_up_key_also_its_birth(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1);")
    a.sql("INSERT INTO t VALUES (2, 2)")
    old, new = sorted(a.records("t"), key=lambda record: record.born)
    assert unpack_id(old.id) == ((1,), b"")
    assert unpack_id(new.id) == ((2,), new.born)


def test_a_natural_integer_key_is_the_id(machine: Make) -> None:
    schema = "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w);"
    a, b = machine("a", schema, adopt=False), machine("b", schema, adopt=False)
    for one in (a, b):
        one.store.adopt(natural=["t"])
    a.sql("INSERT INTO t VALUES (7, 1, NULL)")
    meet(a, b)
    a.sql("UPDATE t SET v = 2")
    b.sql("UPDATE t SET w = 3")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM t") == [(7, 2, 3)]


def test_a_row_too_large_to_travel_is_adopted_without_the_value_that_makes_it_so(machine: Make) -> None:
    a = machine("a", f"CREATE TABLE t(k TEXT PRIMARY KEY, v, w); INSERT INTO t VALUES ('a', zeroblob({5 << 20}), 'w');")
    b = machine("b")
    one, _ = meet(a, b)
    assert one.in_sync, one.text
    assert b.rows("SELECT k, v, w FROM t") == [("a", None, "w")]
    assert "do not fit" in a.store.status()["local_only"][0]["reason"]
    assert a.store.verify() == b.store.verify() == []


def test_rows_whose_key_cannot_travel_stay_and_are_listed(machine: Make) -> None:
    rows = "(NULL, 1), (NULL, 2), (CAST(x'ff' AS TEXT), 3), ('ok', 4), (zeroblob(70000), 5), (x'ff', 6)"
    a = machine("a", f"CREATE TABLE t(k PRIMARY KEY, v); INSERT INTO t VALUES {rows};")
    b = machine("b")
    meet(a, b)
    assert sorted(v for (v,) in b.rows("SELECT v FROM t")) == [4, 6]
    assert a.value("SELECT count(*) FROM t") == 6
    reasons = " ".join(x["reason"] for x in a.store.status()["local_only"])
    for word in ("NULL in a key", "not UTF-8", "at most"):
        assert word in reasons
    assert a.store.verify() == b.store.verify() == []


def test_a_table_with_a_name_too_long_to_travel_is_refused(machine: Make) -> None:
    long = "x" * (limits.NAME_BYTES_MAX + 1)
    a = machine(
        "a", f"CREATE TABLE {long}(k TEXT PRIMARY KEY); CREATE TABLE t(k TEXT PRIMARY KEY, {long});", adopt=False
    )
    assert all("at most 1024 bytes" in (r.refused or "") for r in a.store.adopt())


def test_an_empty_name_cannot_travel(machine: Make) -> None:
    a, b = machine("a", 'CREATE TABLE ""(k TEXT PRIMARY KEY); CREATE TABLE o(k PRIMARY KEY, v)', adopt=False), machine("b")
    a.sql('CREATE TABLE t(k TEXT PRIMARY KEY, "")')
    refused = {result.table: result.refused for result in a.store.adopt()}
    assert refused.pop("o") is None
    assert all("empty name" in (text or "") for text in refused.values())
    assert len(refused) == 2
    a.sql('ALTER TABLE o ADD COLUMN ""', "INSERT INTO o VALUES (1, 2, 3)", "CREATE TABLE p(k PRIMARY KEY)")
    meet(a, b)
    assert a.store.verify() == b.store.verify() == []


def test_natural_tables_are_adopted_beside_all_others(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INTEGER PRIMARY KEY); CREATE TABLE u(k INTEGER PRIMARY KEY)", adopt=False)
    assert [(r.table, r.refused) for r in a.store.adopt(natural=["T"])] == [("t", None), ("u", None)]
    assert [a.core.by_name[name].surrogate for name in "tu"] == [False, True]
    b = machine("b", "CREATE TABLE t(k INTEGER PRIMARY KEY); CREATE TABLE u(k INTEGER PRIMARY KEY)", adopt=False)
    assert [(r.table, r.refused) for r in b.store.adopt(["t"], natural=["t"])] == [("t", None)]


def test_a_table_that_only_another_program_can_write_is_refused(machine: Make) -> None:
    a = machine("a", "CREATE TABLE x(k TEXT PRIMARY KEY);")
    a.db.create_function("theirs", 1, lambda v: v, deterministic=True)
    a.sql("CREATE TABLE t(k TEXT PRIMARY KEY, v CHECK(theirs(v)))")
    with pytest.raises(
        TableRefused, match=r"only the program that made table .t. can write it \(unknown function: theirs"
    ):
        a.store.adopt(["t"])


def test_adopting_twice_changes_nothing(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY); INSERT INTO t VALUES ('a');")
    root = a.store.root()
    assert [r.refused for r in a.store.adopt()] == ["already adopted"]
    assert a.store.root() == root


def test_a_renamed_table_is_not_adopted_again_and_its_old_name_is_taken(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY); INSERT INTO t VALUES ('a');")
    a.sql("ALTER TABLE t RENAME TO u")
    a.store.absorb()
    a.sql("CREATE TABLE t(k TEXT PRIMARY KEY)")
    refused = {r.table: r.refused for r in a.store.adopt()}
    assert refused["u"] == "already adopted"
    assert refused["t"] == ("the group knows the records of table 'u', which was renamed, by this name: choose another")
    assert a.store.verify() == []


def test_a_table_that_the_group_knows_is_merged_with_the_groups_records(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE);")
    a.sql("INSERT INTO t VALUES ('both', 'group', 1), ('gone', 1, 2), ('theirs', 'a', 3)")
    a.store.absorb()
    a.sql("DELETE FROM t WHERE k = 'gone'")
    b = machine("b", "CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE);", adopt=False)
    b.sql("INSERT INTO t VALUES ('both', 'old', 7), ('gone', 'old', 8), ('mine', 'b', 3)")
    meet(b, a)
    assert "run `replica adopt`" in b.store.status()["tables"][0]["state"]
    assert b.store.adopt()[0].refused is None
    meet(b, a)
    check_equal([a, b])
    assert sorted(b.rows("SELECT k, v FROM t")) == [("both", "group"), ("mine", "b")]
    assert "theirs" in b.held()


def test_many_rows_that_the_group_knows_and_that_stand_in_each_others_way_are_adopted(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row has the unique value of one that is adopted in another part."""
    monkeypatch.setattr(adopt, "ROWS", 100)
    schema = "CREATE TABLE t(k INT PRIMARY KEY, u UNIQUE);"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t SELECT i, "
    a = machine("a", schema)
    a.sql(f"{numbers} i FROM n")
    b = machine("b", schema, adopt=False)
    b.sql(f"{numbers} 501 - i FROM n")
    meet(b, a)
    b.store.adopt()
    meet(b, a)
    check_equal([a, b])
    assert b.value("SELECT count(*) FROM t WHERE k = u") == 500


NUMBERED = (
    "CREATE TABLE t(k INTEGER PRIMARY KEY, name); INSERT INTO t SELECT value, '{}' || value FROM json_each('[{}]');"
)


def test_databases_that_were_never_copies_of_each_other_are_stopped_before_anything_is_applied(machine: Make) -> None:
    keys = ",".join(map(str, range(40)))
    a, b = machine("a", NUMBERED.format("Ann", keys)), machine("b", NUMBERED.format("Bob", keys))
    before = a.dump(), b.dump(), a.store.root(), b.store.root()
    with pytest.raises(DifferentRows, match="same keys, different rows: of 40 adopted rows compared, 40 differ"):
        meet(a, b, sample=True)
    assert (a.dump(), b.dump(), a.store.root(), b.store.root()) == before
    meet(a, b)
    check_equal([a, b])


def test_copies_of_which_few_rows_differ_are_no_strangers(machine: Make) -> None:
    keys = ",".join(map(str, range(40)))
    changes = "UPDATE t SET name = 'other' WHERE k < 8;"
    a, b = machine("a", NUMBERED.format("Ann", keys)), machine("b", NUMBERED.format("Ann", keys) + changes)
    one, _ = meet(a, b, sample=True)
    assert one.in_sync
    check_equal([a, b])


def test_a_table_is_that_of_the_file_whatever_the_connection_has_of_its_name() -> None:
    table = "(k TEXT, n INT REFERENCES o(k), e TEXT, PRIMARY KEY(k, n)) STRICT, WITHOUT ROWID"
    own = f"CREATE TABLE t{table}; CREATE UNIQUE INDEX later ON t(e); CREATE UNIQUE INDEX first ON t(n, e DESC);"
    other = "CREATE TEMP TABLE t(x); CREATE INDEX temp.later ON t(x); ATTACH ':memory:' AS a; CREATE TABLE a.t(y)"
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(own + "CREATE INDEX i ON t(n)")
        found = shape(db, "t")
        assert [unique.name for unique in found.uniques] == ["first", "later", "sqlite_autoindex_t_1"]
        db.executescript(other)
        assert shape(db, "t") == found

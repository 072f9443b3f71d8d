"""Definitions arrive from peers: nothing is lost, and nothing that a peer says is executed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from protocol.hlc import Millis, pack
from protocol.record import Delta, Record, pack_id
from protocol.values import Value, pack_value, unpack_value
from replica.store.ddl import COLUMNS, TABLES
from tests.store.harness import Machine, check_equal
from tests.store.test_mend import SCHEMA, healthy, state

Make = Callable[..., Machine]

RICH = """
CREATE TABLE parent("Id" INTEGER PRIMARY KEY AUTOINCREMENT, "The Name" TEXT COLLATE NOCASE NOT NULL DEFAULT 'it''s' UNIQUE);
CREATE TABLE child(z REAL DEFAULT -1.5, b BLOB, a INTEGER NOT NULL DEFAULT 0, parent INT REFERENCES parent("Id"),
                   t TEXT COLLATE RTRIM, n NUMERIC, x, "at" DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY(t, a), UNIQUE(b, n));
"""


def described(machine: Machine, table: str) -> dict[str, Any]:
    """What SQLite says of a table: columns in order, their indexes and foreign keys."""
    indexes = machine.rows('SELECT name FROM pragma_index_list(?) WHERE "unique" ORDER BY origin', (table,))
    parts = 'SELECT name, coll, "desc" FROM pragma_index_xinfo(?) WHERE key'
    return {
        "columns": machine.rows('SELECT name, "notnull", dflt_value, pk FROM pragma_table_info(?)', (table,)),
        "uniques": sorted(machine.rows(parts, index) for index in indexes),
        "references": machine.rows(
            'SELECT "from", lower("table"), lower("to") FROM pragma_foreign_key_list(?)', (table,)
        ),
    }


def test_a_table_arrives_with_order_defaults_uniques_collations_and_foreign_keys(machine: Make) -> None:
    a, b = machine("a", RICH), machine("b")
    a.sql("""INSERT INTO parent("The Name") VALUES ('x')""", "INSERT INTO child(t, parent) VALUES ('c', 1)")
    healthy(a, b)
    check_equal([a, b])
    for table in ("parent", "child"):
        assert described(b, table) == described(a, table)
    b.sql("INSERT INTO parent DEFAULT VALUES")
    assert b.value("SELECT seq FROM sqlite_sequence") == b.value('SELECT max("Id") FROM parent') > 1
    healthy(a, b)
    check_equal([a, b])


def test_a_table_of_the_same_name_that_was_not_adopted_is_left_alone_and_said_so(machine: Make) -> None:
    a, b = machine("a", SCHEMA), machine("b", "CREATE TABLE T(secret); INSERT INTO T VALUES ('mine');", adopt=False)
    healthy(a, b)
    assert b.rows("SELECT * FROM t") == [("mine",)]
    assert "that is not replicated: run `replica adopt`" in state(b)
    assert len(a.records("t")) == len(b.records("t")) == 2
    b.sql("INSERT INTO T VALUES ('more')")
    healthy(a, b)
    assert len(a.records("t")) == 2


HOSTILE: list[Value] = [
    "0); DROP TABLE safe; --", "(SELECT load_extension('x'))", "x'00' CHECK(0)", "'a' REFERENCES safe(k)", "1 UNIQUE",
    "(1); DELETE FROM safe", "safe", 'a"b', "TEXT); DROP TABLE safe; --", "\0", "NOCASE UNIQUE", 5, None, b"\xff", -1, 1e300,
    '"; DROP TABLE safe; --', "t.k); DROP TABLE safe; --", 'p"p.q"q', '[["k"], ["k\\"); DROP TABLE safe; --"]]', "[[[[",
    "[[1]]",
]  # fmt: skip


@pytest.mark.parametrize(
    "field", ["name", "affinity", "collation", "key", "notnull", "default", "unique", "references", "position"]
)
def test_what_a_peer_says_of_a_column_is_never_executed(machine: Make, field: str) -> None:
    stamp = pack(Millis(1_000), 1, b"peerpeer")
    good: dict[str, Value] = {
        "name": "v", "affinity": "TEXT", "collation": "BINARY", "key": 0, "notnull": 0, "default": None, "unique": None,
        "references": None, "position": 1,
    }  # fmt: skip
    a = machine("a", "CREATE TABLE safe(k TEXT PRIMARY KEY); INSERT INTO safe VALUES ('kept');")

    def record(collection: str, key: list[Value], fields: dict[str, Value]) -> Delta:
        registers = {name: (stamp, pack_value(value)) for name, value in fields.items()}
        return Record(collection, pack_id(key), b"", stamp, registers).delta()

    for number, value in enumerate(HOSTILE):
        name = f"t{number}"
        table: dict[str, Value] = {"name": name, "natural": 1, "rowid": 0, "autoincrement": 0, "keys": 1}
        key = record(COLUMNS, [name, "k"], {**good, "name": "k", "key": 1, "position": 0})
        bad = record(COLUMNS, [name, "v"], {**good, field: value})
        odd = record(COLUMNS, ["safe", name], {**good, "name": name, field: value})
        a.store.apply([record(TABLES, [name], table), key, bad, odd, record(name, ["row"], {"v": "x"})], a.clock())
    assert a.rows("SELECT k FROM safe") == [("kept",)]
    tables = {
        name for (name,) in a.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 1) = 't'")
    }
    assert len(tables) > len(HOSTILE) // 2 or field == "key", "one odd field kept a whole table out"
    assert a.store.verify() == []
    made = [
        sql for (sql,) in a.rows("SELECT sql FROM sqlite_master WHERE name NOT LIKE '%replica%' AND sql IS NOT NULL")
    ]
    bare = re.sub(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""", "", " ".join(made))
    assert not re.search("load_extension|CHECK|DROP", bare)
    a.sql("INSERT INTO safe(k) VALUES ('still writable')")
    a.store.absorb()


def test_a_table_of_which_not_all_key_columns_arrived_waits_for_them(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k, j, v, PRIMARY KEY(k, j)); INSERT INTO t VALUES (1, 2, 3);"), machine("b")
    described = a.records(TABLES, COLUMNS)
    late = [r for r in described if r.id == pack_id(["t", "j"])]
    b.store.apply([r.delta() for r in described if r not in late], b.clock())
    b.store.apply([r.delta() for r in a.records("t")], b.clock())
    assert b.rows("SELECT name FROM sqlite_master WHERE name = 't'") == []
    b.store.apply([r.delta() for r in late], b.clock())
    assert b.rows("SELECT * FROM t") == [(1, 2, 3)]
    healthy(a, b)


def test_what_a_table_says_of_itself_is_what_its_records_hold(machine: Make) -> None:
    a = machine("a", RICH)
    fields = {r.id: {n: unpack_value(v) for n, (_, v) in r.registers.items()} for r in a.records(COLUMNS)}
    assert fields[pack_id(["child", "n"])] == {
        "name": "n", "affinity": "NUMERIC", "collation": "BINARY", "key": 0, "notnull": 0, "default": None,
        "unique": json.dumps([["b", "n"]]), "references": None, "position": 5,
    }  # fmt: skip
    assert fields[pack_id(["child", "parent"])]["references"] == "parent.id"

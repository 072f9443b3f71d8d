"""Whatever a peer says about tables, columns and nodes: it is taken or left, and what is here stays whole and writable."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import PeerFault
from protocol.hlc import Millis, pack
from protocol.record import Delta, Record, pack_id
from protocol.values import Value, pack_value
from replica.errors import StoreError
from replica.store.ddl import COLUMNS, NODES, TABLES, node_name
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]

HERE = "CREATE TABLE here(k TEXT PRIMARY KEY, v); INSERT INTO here VALUES ('kept', 1);"
STAMP = pack(Millis(1_000), 1, b"peerpeer")


def record(collection: str, key: list[Value], fields: dict[str, Value], stamp: bytes = STAMP) -> Delta:
    """A record that one event made."""
    registers = {name: (stamp, pack_value(value)) for name, value in fields.items()}
    return Record(collection, pack_id(key), b"", stamp, registers).delta()


def table(name: str, *columns: str, keys: int = 1, **more: Mapping[str, Value]) -> list[Delta]:
    """What a peer says of a table whose first columns are its key; `more`: fields of a column."""
    fields: dict[str, Value] = {"name": name, "natural": 1, "rowid": 0, "autoincrement": 0, "keys": keys}
    described = [record(TABLES, [name], fields)]
    for place, column in enumerate(columns):
        key = place + 1 if place < keys else 0
        said: dict[str, Value] = {
            "name": column,
            "affinity": "TEXT",
            "key": key,
            "position": place,
            **more.get(column, {}),
        }
        described.append(record(COLUMNS, [name, column], said))
    return described


def enforced(machine: Machine, sql: str) -> None:
    """A program that has SQLite enforce foreign keys writes."""
    with closing(sqlite3.connect(machine.path, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(sql)


@pytest.mark.parametrize(
    "unique", ["5", "null", '{"a": 1}', '[["k", 5]]', "[[]]", "[null]", "true", '"k"', '[["k"]]', "1e999"]
)
def test_a_unique_that_is_no_list_of_lists_of_names_is_left(machine: Make, unique: str) -> None:
    m = machine("m", HERE)
    said = [
        *table("ghost", "k", "v", v={"unique": unique}),
        record(COLUMNS, ["here", "n"], {"name": "n", "unique": unique}),
    ]
    m.store.apply(said, m.clock())
    m.sql("INSERT INTO ghost VALUES ('a', 'b')")
    assert m.store.verify() == []


@pytest.mark.parametrize("target", ["nowhere.k", "here.v", "here.nowhere", "ghost.v", "here_too.k"])
def test_a_reference_to_what_is_not_there_is_not_made(machine: Make, target: str) -> None:
    m = machine("m", HERE + "CREATE VIEW here_too AS SELECT k FROM here;")
    column: dict[str, Value] = {"name": "r", "affinity": "TEXT", "references": target}
    m.store.apply(
        [record(COLUMNS, ["here", "r"], column), *table("ghost", "k", "v", v={"references": target})], m.clock()
    )
    enforced(m, "INSERT INTO here(k, r) VALUES ('new', NULL)")
    enforced(m, "INSERT INTO ghost VALUES ('a', 'x')")
    assert m.store.verify() == []


def test_references_are_made_also_in_a_circle_and_to_a_table_that_comes_with_it(machine: Make) -> None:
    m = machine("m", HERE)
    b, here = {"references": "b.k"}, {"references": "here.k"}
    said = [*table("a", "k", "v", "w", v=b, w=here), *table("b", "k", "v", v={"references": "a.k"})]
    m.store.apply(said, m.clock())
    links = 'SELECT "table" FROM pragma_foreign_key_list(?) ORDER BY 1'
    assert (m.rows(links, ["a"]), m.rows(links, ["b"])) == ([("b",), ("here",)], [("a",)])
    enforced(m, "INSERT INTO a VALUES ('x', NULL, 'kept')")
    with pytest.raises(sqlite3.IntegrityError):
        enforced(m, "INSERT INTO b VALUES ('x', 'no such a')")


def test_a_reference_that_could_not_be_made_here_is_not_taken_from_the_others(machine: Make) -> None:
    schema = "CREATE TABLE local(k TEXT PRIMARY KEY); CREATE TABLE t(k TEXT PRIMARY KEY, r REFERENCES local(k));"
    a, b = machine("a", schema, adopt=False), machine("b")
    a.store.adopt(["t"])
    meet(a, b)
    b.sql("ALTER TABLE t ADD COLUMN n", "INSERT INTO t VALUES ('x', 'y', 1)")
    b.store.absorb()
    meet(a, b)
    (said,) = [r for r in b.records(COLUMNS) if r.id == pack_id(["t", "r"])]
    assert said.registers["references"][1] == pack_value("local.k")


def test_a_name_that_is_not_folded_names_nothing(machine: Make) -> None:
    m = machine("m", HERE)
    m.store.apply([*table("Here", "K", "V"), record(COLUMNS, ["here", "V"], {"name": "V"})], m.clock())
    assert m.rows("SELECT name FROM pragma_table_info('here')") == [("k",), ("v",)]
    assert {t["table"] for t in m.store.status()["tables"]} == {"here"}


def test_a_table_too_wide_to_be_followed_is_said_so(machine: Make) -> None:
    m = machine("m", HERE)
    m.store.apply(table("wide", *(f"c{n}" for n in range(1_500)), keys=1_500), m.clock())
    (state,) = [t["state"] for t in m.store.status()["tables"] if t["table"] == "wide"]
    assert state == "its key has 1500 columns: at most 100 can be followed"
    unique = '[["' + '", "'.join(f"c{n}" for n in range(900)) + '"]]'
    m.store.apply(table("long", *(f"c{n}" for n in range(900)), c5={"unique": unique}), m.clock())
    m.sql("INSERT INTO long(c0) VALUES ('a')")
    assert m.store.verify() == []


def test_the_name_of_a_node_forges_no_line(machine: Make) -> None:
    m = machine("m", HERE)
    m.store.apply([record(NODES, [b"peerpeer"], {"name": "hq\n2026 all well\x1b[2J"})], m.clock())
    assert node_name(m.core, b"peerpeer") == r"hq\x0a2026 all well\x1b[2J"


NAMES = st.sampled_from(
    ["here", "ghost", "other", "k", "v", "K", "", "_replica_x", "sqlite_x", "a\0b", 'q"q', "rowid", "x.y"]
)
TEXTS = st.sampled_from([
    "TEXT", "INTEGER", "NUMERIC", "blob", "NOCASE", "RTRIM", "0); DROP TABLE here; --", "'it''s'", "CURRENT_TIME", "1e999",
    "x'0'", "(1)", "\t(CURRENT_DATE)", "5", "null", '[["k"]]', '[["k", "v"], ["v"]]', '[["k", "k"]]', "[[[", '{"k": []}',
    "here.k", "here.v", "ghost.k", "nowhere.k", "other.v", "\0",
])  # fmt: skip
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(), st.integers(-2, 3), st.integers(-(1 << 63), (1 << 63) - 1), NAMES, TEXTS, st.text(max_size=5),
    st.floats(allow_nan=False), st.binary(max_size=5),
)  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["name", "affinity", "collation", "key", "notnull", "default", "unique", "references", "position", "natural",
         "rowid", "autoincrement", "keys", "odd"], VALUES,
    ),
)  # fmt: skip
USUAL = st.fixed_dictionaries({"key": st.sampled_from([0, 1, 1, 2])}, optional=dict.fromkeys(
    ["name", "affinity", "collation", "notnull", "default", "unique", "references", "position"], VALUES))  # fmt: skip
KEYS = st.lists(st.one_of(NAMES, NAMES, VALUES.filter(lambda v: v is not None)), min_size=1, max_size=3)
SAID = st.one_of(
    st.tuples(st.sampled_from([TABLES, COLUMNS, NODES]), KEYS, FIELDS),
    st.tuples(st.just(COLUMNS), st.tuples(NAMES, NAMES).map(list), USUAL),
    st.tuples(st.just(TABLES), NAMES.map(lambda n: [n]), FIELDS.map(lambda f: {**f, "keys": 1})),
)


@given(st.lists(st.lists(SAID, min_size=1, max_size=12), min_size=1, max_size=3))
def test_whatever_a_peer_says_of_tables_the_store_stays_whole(
    batches: list[list[tuple[str, list[Value], dict[str, Value]]]],
) -> None:
    with TemporaryDirectory() as folder:
        m = Machine(Path(folder) / "m.db", schema=HERE)
        try:
            for number, batch in enumerate(batches):
                stamp = pack(Millis(1_000 + number), 1, b"peerpeer")
                records = [record(collection, key, fields, stamp) for collection, key, fields in batch]
                try:
                    m.store.apply(records, m.clock())
                except (PeerFault, StoreError):
                    continue
            assert m.store.verify() == []
            enforced(m, "INSERT INTO here(k, v) VALUES ('new', 2)")
            enforced(m, "UPDATE here SET v = 3 WHERE k = 'kept'")
            for name in ("ghost", "other"):
                if m.rows("SELECT 1 FROM sqlite_master WHERE name = ?", [name]):
                    enforced(m, f"DELETE FROM {name}")
            assert m.store.held_count() == 0
            assert m.store.verify() == []
        finally:
            m.close()

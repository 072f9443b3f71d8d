"""Whole databases into an archive and back: what other programs see is the same"""

from __future__ import annotations

import sqlite3
import zipfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.values import IllFormedText
from replica.backup import archive
from replica.backup.dump import dump
from replica.backup.load import load
from replica.errors import UsageError
from replica.store.catalog import marks, quote
from replica.store.store import Store
from tests.backup.nodes import join, make, rows, seen, sync, write
from tests.backup.test_cells import VALUES, exactly

ROOT = Path(__file__).parent.parent.parent
NORTHWIND = ROOT.parent / "shared" / "data" / "northwind.db"

SCHEMA = '''
CREATE TABLE "Order ""Details"""(a INTEGER, "b c" TEXT COLLATE NOCASE, PRIMARY KEY(a, "b c")) WITHOUT ROWID;
CREATE TABLE org(id TEXT PRIMARY KEY, boss REFERENCES org(id), rating REAL CHECK(rating < 10), up AS (upper(id)) STORED);
CREATE TABLE 订单(id INTEGER PRIMARY KEY AUTOINCREMENT, org TEXT REFERENCES org(id) ON DELETE CASCADE, x, n NUMERIC);
CREATE TABLE strictly(id INTEGER PRIMARY KEY, a ANY, b BLOB NOT NULL DEFAULT x'00') STRICT;
CREATE TABLE plain(x, y);
CREATE TABLE log(what TEXT);
CREATE UNIQUE INDEX org_up ON org(lower(id)) WHERE rating > 0;
CREATE INDEX "i; -- x" ON plain(y, x DESC);
CREATE VIEW best AS SELECT * FROM org WHERE rating > 5 -- the best
;
CREATE TRIGGER noted AFTER INSERT ON org BEGIN INSERT INTO log VALUES ('new ' || NEW.id); SELECT ';'; END;
CREATE TRIGGER through INSTEAD OF INSERT ON best BEGIN INSERT INTO org(id, rating) VALUES (NEW.id, 9); END;
INSERT INTO "Order ""Details""" VALUES (1, 'x'), (1, 'y');
INSERT INTO org VALUES ('b', 'a', 1.0), ('a', NULL, -0.0), ('c', 'nobody', 9e999 * -1);
INSERT INTO 订单(id, org, x, n) VALUES (9, 'a', -0.0, '007'), (40, NULL, x'00ff', 9007199254740993);
DELETE FROM 订单 WHERE id = 40;
INSERT INTO strictly VALUES (-9223372036854775808, '1', x''), (9223372036854775807, 1.0, x'ff');
INSERT INTO plain VALUES (1, 1.0), ('1', NULL), (CAST(x'61ff' AS TEXT), 'a' || char(0) || 'b'), (9e999, ''), (2, 3);
PRAGMA user_version = 77;
PRAGMA application_id = -5;
'''


def shown(path: Path) -> dict[str, Any]:
    """All that another program can see: schema, rows exactly, counters, version numbers."""
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = exactly_text
        every = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        schema = [one for one in every if not archive.reserved(str(one[1])) and not archive.reserved(str(one[2]))]
        found: dict[str, Any] = {"schema": sorted(schema, key=repr)}
        for kind, name, *_ in schema:
            if kind == "table":
                every = db.execute(f"SELECT * FROM {quote(str(name))}").fetchall()
                found[str(name)] = sorted(([exactly(v) for v in row] for row in every), key=repr)
        for name in ("user_version", "application_id"):
            found[name] = db.execute(f"PRAGMA {name}").fetchone()
        return found


def exactly_text(data: bytes) -> str | IllFormedText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return IllFormedText(data)


def made(path: Path, script: str = SCHEMA) -> Path:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
    return path


# --- 1: round trips ---------------------------------------------------------------------------------------------------


def test_load_1_everything_comes_back(tmp_path: Path) -> None:
    file = made(tmp_path / "a.db")
    dump(file, tmp_path / "a.zip")
    loaded = load(tmp_path / "a.zip", tmp_path / "b.db", name="new")
    assert shown(tmp_path / "b.db") == shown(file)
    assert loaded.orphans == 1
    assert [one.table for one in loaded.adopted if one.refused] == ["plain", "log"]
    sql = "SELECT name, seq FROM sqlite_sequence"
    assert rows(tmp_path / "b.db", sql) == rows(file, sql) == [("订单", 40)]
    write(tmp_path / "b.db", "INSERT INTO best(id) VALUES ('by view')")
    assert rows(tmp_path / "b.db", "SELECT * FROM log ORDER BY 1")[-1] == ("new c",)
    assert ("new by view",) in rows(tmp_path / "b.db", "SELECT * FROM log")
    assert seen(tmp_path / "b.db")["wrong"] == []


def test_load_1_a_store_becomes_the_first_node_of_a_new_group(tmp_path: Path) -> None:
    file = made(tmp_path / "a.db", "CREATE TABLE n(id INTEGER PRIMARY KEY, v); CREATE TABLE s(id INTEGER PRIMARY KEY, v);")
    write(file, "INSERT INTO n VALUES (5, 'x')", "INSERT INTO s VALUES (5, 'x')", "CREATE TABLE mine(id TEXT PRIMARY KEY)")
    import replica

    replica.initialize(file, "old")
    with Store(file) as store:
        store.adopt(["s"], natural=["n"])
        secrets = store.secrets()
    written = dump(file, tmp_path / "a.zip")
    assert (written.manifest.adopt, written.manifest.natural, written.held) == (["n", "s"], ["n"], 0)
    data = b"".join(zipfile.ZipFile(tmp_path / "a.zip").read(n) for n in zipfile.ZipFile(tmp_path / "a.zip").namelist())
    for secret in secrets:
        assert secret not in data
        assert secret.hex().encode() not in data
    assert b"_replica" not in data
    loaded = load(tmp_path / "a.zip", tmp_path / "b.db")
    assert shown(tmp_path / "b.db") == shown(file)
    with Store(tmp_path / "b.db") as store:
        assert store.group_keys.group != secrets.group
    sql = "SELECT local, surrogate FROM _replica_table WHERE local > '' ORDER BY 1"
    assert rows(tmp_path / "b.db", sql) == rows(file, sql) == [("n", 0), ("s", 1)]
    assert (loaded.name, loaded.records) == ("b", seen(tmp_path / "b.db")["count"])


def test_load_1_an_empty_store_of_a_group_is_filled(tmp_path: Path) -> None:
    file = made(tmp_path / "a.db", "CREATE TABLE c(id TEXT PRIMARY KEY, v); INSERT INTO c VALUES ('1', 'x');")
    dump(file, tmp_path / "a.zip")
    hq = make(tmp_path / "hq.db", rows=2)
    branch = join(tmp_path / "branch.db", hq, "branch")
    loaded = load(tmp_path / "a.zip", branch)
    assert loaded.name == "branch"
    sync(branch, hq)
    assert rows(hq, "SELECT * FROM c") == [("1", "x")]
    assert seen(hq)["root"] == seen(branch)["root"]
    with pytest.raises(UsageError, match="exists"):
        load(tmp_path / "a.zip", branch)


def test_load_1_northwind(tmp_path: Path) -> None:
    if not NORTHWIND.exists():
        pytest.skip("no ../shared/data/northwind.db")
    dump(NORTHWIND, tmp_path / "n.zip")
    loaded = load(tmp_path / "n.zip", tmp_path / "n.db")
    assert shown(tmp_path / "n.db") == shown(NORTHWIND)
    assert len(loaded.adopted) == 13
    assert [one for one in loaded.adopted if one.refused] == []
    dump(tmp_path / "n.db", tmp_path / "again.zip")
    load(tmp_path / "again.zip", tmp_path / "again.db")
    assert shown(tmp_path / "again.db") == shown(NORTHWIND)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda n: not archive.reserved(n) and n.isprintable()
)
KINDS = st.sampled_from(["", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "DATE", "VARCHAR(9) COLLATE NOCASE"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_load_1_whatever_schema_and_rows(tmp_path: Path, data: st.DataObject) -> None:
    for left in tmp_path.iterdir():
        left.unlink()
    file = tmp_path / "a.db"
    names = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique_by=lambda n: n.casefold()))
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        for name in names:
            columns = data.draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=lambda n: n.casefold()))
            kinds = [data.draw(KINDS) for _ in columns]
            key = data.draw(st.sampled_from(["", f", PRIMARY KEY({quote(columns[0])})"]))
            tail = " WITHOUT ROWID" if key and data.draw(st.booleans()) else ""
            parts = ", ".join(f"{quote(c)} {k}" for c, k in zip(columns, kinds, strict=True))
            db.execute(f"CREATE TABLE {quote(name)}({parts}{key}){tail}")
            for row in data.draw(st.lists(st.tuples(*[VALUES] * len(columns)), max_size=6)):
                with suppress(sqlite3.IntegrityError):  # An INTEGER PRIMARY KEY takes no text.
                    db.execute(f"INSERT OR IGNORE INTO {quote(name)} VALUES({marks(row)})", row)
    dump(file, tmp_path / "a.zip")
    load(tmp_path / "a.zip", tmp_path / "b.db")
    assert shown(tmp_path / "b.db") == shown(file)


# --- the dump ---------------------------------------------------------------------------------------------------------


def test_dump_1_all_tables_are_of_one_moment(tmp_path: Path) -> None:
    file = make(tmp_path / "a.db", rows=2_000)
    write(file, "UPDATE person SET name = 0 WHERE id = 1", "UPDATE contact SET phone = 0 WHERE id = 'c1'")
    before = shown(file)

    def meanwhile(*_: object) -> None:
        write(file, "UPDATE person SET name = name + 1 WHERE id = 1", "UPDATE contact SET phone = phone - 1 WHERE id = 'c1'")

    dump(file, tmp_path / "a.zip", progress=meanwhile)
    assert shown(file) != before
    load(tmp_path / "a.zip", tmp_path / "b.db")
    assert {k: v for k, v in shown(tmp_path / "b.db").items() if k != "schema"} == {
        k: v for k, v in before.items() if k != "schema"
    }


def test_dump_2_virtual_tables_and_what_needs_them_are_left_out_and_said(tmp_path: Path) -> None:
    file = made(
        tmp_path / "a.db",
        "CREATE TABLE c(id TEXT PRIMARY KEY, v); CREATE VIRTUAL TABLE find USING fts5(v, content=c);"
        "CREATE TRIGGER fill AFTER INSERT ON c BEGIN INSERT INTO find(v) VALUES (NEW.v); END;"
        "CREATE VIEW found AS SELECT * FROM Find; CREATE VIEW findings AS SELECT * FROM c;"
        "CREATE VIEW nosy AS SELECT * FROM _replica_meta; INSERT INTO c VALUES ('1', 'x');",
    )
    written = dump(file, tmp_path / "a.zip")
    assert sorted(one.name for one in written.manifest.left_out) == ["fill", "find", "found", "nosy"]
    load(tmp_path / "a.zip", tmp_path / "b.db")
    write(tmp_path / "b.db", "INSERT INTO c VALUES ('2', 'y')")
    assert rows(tmp_path / "b.db", "SELECT id FROM findings ORDER BY 1") == [("1",), ("2",)]


def test_dump_2_held_records_are_counted(tmp_path: Path) -> None:
    hq = made(tmp_path / "hq.db", "CREATE TABLE p(id TEXT PRIMARY KEY, mail UNIQUE); INSERT INTO p VALUES ('1', 'a@x');")
    import replica

    replica.initialize(hq, "hq")
    with Store(hq) as store:
        store.adopt()
    two = join(tmp_path / "two.db", hq, "two")
    sync(two, hq)
    write(hq, "INSERT INTO p VALUES ('2', 'b@x')")
    write(two, "INSERT INTO p VALUES ('3', 'b@x')")
    sync(two, hq)
    assert dump(hq, tmp_path / "a.zip").held == 1


def test_dump_3_the_same_bytes(tmp_path: Path) -> None:
    file = made(tmp_path / "a.db")
    dump(file, tmp_path / "1.zip")
    dump(file, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with pytest.raises(UsageError, match="--force"):
        dump(file, tmp_path / "1.zip")
    with pytest.raises(UsageError, match="exists"):
        dump(file, file, force=True)
    dump(file, tmp_path / "1.zip", force=True)


def test_dump_3_rows_keep_their_order_whatever_index_there_is(tmp_path: Path) -> None:
    wide = "".join(f", y{n} TEXT AS (x || 'y') STORED" for n in range(9))
    script = f"CREATE TABLE t(x{wide}); CREATE INDEX i ON t(x); INSERT INTO t VALUES (3), (1), (2);"
    file = made(tmp_path / "a.db", script)
    dump(file, tmp_path / "1.zip")
    load(tmp_path / "1.zip", tmp_path / "b.db")
    assert rows(tmp_path / "b.db", "SELECT x FROM t NOT INDEXED") == [(3,), (1,), (2,)]

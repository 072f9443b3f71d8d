"""Whole databases into an archive and back: what other programs see is the same; an archive is trusted in nothing."""

from __future__ import annotations

import json
import sqlite3
import time
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.values import IllFormedText
from replica.backup import archive
from replica.backup.backup import backup
from replica.backup.dump import dump
from replica.backup.load import _define, load
from replica.errors import FileRefused, StoreError, UsageError
from replica.store.catalog import marks, quote
from replica.store.store import Store
from tests.backup.nodes import join, make, rows, seen, sync, write
from tests.backup.test_cells import VALUES, exactly
from tests.nodes import program

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


# --- 2: what an archive may not do ------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any], dict[str, bytes]], None]


def forged(tmp_path: Path, change: Change) -> Path:
    """A good dump of one table, changed."""
    file = made(tmp_path / "good.db", "CREATE TABLE t(id TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('1', 'x'), ('2', 'y');")
    dump(file, tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as good:
        entries = {name: good.read(name) for name in good.namelist()}
    manifest = json.loads(entries["manifest.json"])
    change(manifest, entries)
    entries["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w", zipfile.ZIP_DEFLATED) as bad:
        for name, data in entries.items():
            bad.writestr(name, data)
    return tmp_path / "bad.zip"


def refused(tmp_path: Path, path: Path, match: str = "zip") -> None:
    """Both ways in refuse it within a second, and nothing is kept."""
    store = join(tmp_path / "store.db", make(tmp_path / "hq.db", rows=1), "store")
    before = shown(store)
    for target in (tmp_path / "new.db", store):
        started = time.monotonic()
        with pytest.raises(FileRefused, match=match):
            load(path, target)
        assert time.monotonic() - started < 1
    assert not (tmp_path / "new.db").exists()
    assert shown(store) == before
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize(
    ("kind", "name", "table", "sql"),
    [
        ("table", "x", "x", "CREATE TABLE x AS SELECT 1"),
        ("table", "x", "x", "CREATE TABLE x AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n"),
        ("table", "x", "x", "CREATE TABLE temp.x(a)"),
        ("table", "x", "x", "CREATE TABLE x(a); ATTACH 'y' AS y"),
        ("table", "x", "x", "ATTACH 'y' AS y"),
        ("table", "x", "x", "CREATE VIRTUAL TABLE x USING fts5(a)"),
        ("table", "x", "x", "CREATE TEMP TABLE x(a)"),
        ("table", "x", "x", "CREATE TABLE y(a)"),
        ("table", "x", "x", "CREATE TABLE IF NOT EXISTS t(a)"),
        ("table", "x", "x", "CREATE TABLE x(a DEFAULT (load_extension('y')))"),
        ("table", "x", "x", "CREATE TABLE x(a CHECK(load_extension(a)))"),
        ("table", "x", "x", "CREATE TABLE x(" + "(" * 5_000),
        ("table", "_replica_x", "_replica_x", "CREATE TABLE _replica_x(a)"),
        ("table", "sqlite_stat1", "sqlite_stat1", "CREATE TABLE sqlite_stat1(a)"),
        ("index", "x", "t", "CREATE INDEX x ON _replica_meta(value)"),
        ("index", "x", "t", "CREATE INDEX x ON nothing(value)"),
        ("index", "x", "t", "CREATE INDEX y ON t(v)"),
        ("index", "x", "t", "CREATE INDEX x ON t(load_extension(v))"),
        ("trigger", "x", "t", "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM _REPLICA_meta; END"),
        ("trigger", "x", "t", "CREATE TRIGGER temp.x AFTER INSERT ON t BEGIN SELECT 1; END"),
        ("view", "x", "x", "CREATE TEMP VIEW x AS SELECT 1"),
        ("view", "x", "x", "CREATE VIEW temp.x AS SELECT 1"),
        ("pragma", "x", "x", "PRAGMA writable_schema = 1"),
        ("table", "x", "x", "PRAGMA writable_schema = 1"),
    ],
    ids=range(24),
)
def test_load_2_a_schema_that_would_do_anything_else_is_refused(
    tmp_path: Path, kind: str, name: str, table: str, sql: str
) -> None:
    def change(manifest: dict[str, Any], entries: dict[str, bytes]) -> None:
        manifest["schema"].append({"kind": kind, "name": name, "table": table, "sql": sql})
        if kind == "table":
            rows_of = {"name": name, "columns": ["a"], "file": "tables/9999.jsonl", "rows": 1, "sha256": "?"}
            manifest["tables"].append(rows_of)
            entries["tables/9999.jsonl"] = b"[1]\n"

    refused(tmp_path, forged(tmp_path, change))
    assert not Path("y").exists()


def test_load_2_code_from_files_is_refused_although_the_connection_would_allow_it() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        evil = archive.Made("table", "x", "x", "CREATE TABLE x(a CHECK(load_extension(a)))")
        with pytest.raises(FileRefused, match="not authorized"):
            _define(db, [evil], "z")
        _define(db, [evil._replace(sql="CREATE TABLE x(a CHECK(length(a)))")], "z")


def rows_changed(data: bytes) -> Change:
    def change(_: dict[str, Any], entries: dict[str, bytes]) -> None:
        (name,) = (n for n in entries if n.startswith("tables/"))
        entries[name] = data

    return change


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'["1","x"]\n', "1 rows are not the 2"),
        (b'["1","x"]\n["2","y"]\n["3","z"]\n', "3 rows are not the 2"),
        (b'["1","x"]\n["2","Y"]\n', "are not the 2 that were dumped"),
        (b'["1","x"]\n["1","y"]\n', "UNIQUE"),
        (b'["1","x"]\n["2"]\n', "has not 2 cells"),
        (b'["1","x"]\n["2","y"]', "no end"),
        (b"", "0 rows are not"),
    ],
)
def test_load_3_other_rows_are_refused(tmp_path: Path, data: bytes, match: str) -> None:
    refused(tmp_path, forged(tmp_path, rows_changed(data)), match)


def _set(**values: Any) -> Change:
    return lambda manifest, _: manifest.update(values)


def _put(**entries: bytes) -> Change:
    return lambda _, there: there.update({name.replace("__", "/").replace("_X_", ".."): d for name, d in entries.items()})


def _table(**values: Any) -> Change:
    return lambda manifest, _: manifest["tables"][0].update(values)


@pytest.mark.parametrize(
    "change",
    [
        _put(_X___etc__passwd=b"x"), _put(more=b"x"), _set(format="zip"), _set(version=2), _set(version=True),
        _set(tables=[]), _set(tables=None), _set(schema=[]), _set(schema=[1]), _set(user_version=1 << 31),
        _set(user_version="1; ATTACH 'x' AS y"), _set(adopt=["nothing"]), _set(natural=["nothing"]),
        _set(sequences={"t": "x"}),
        _set(sequences={"other": 1}), _set(sequences={"t": 1}), _set(adopt="t"), _table(file="../../etc/passwd"),
        _table(file="manifest.json"), _table(file="tables/1.jsonl"), _table(columns=["id"]), _table(columns=["v", "id"]),
        _table(rows=-1), _table(rows=1 << 70), _table(sha256=""), _table(name="other"),
    ],
    ids=range(26),
)  # fmt: skip
def test_archive_1_and_3_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, change: Change) -> None:
    refused(tmp_path, forged(tmp_path, change))


def test_archive_2_bombs_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, forged(tmp_path, rows_changed(b" " * (1 << 26))), "would unpack to")


def test_archive_2_overlapping_entries_are_refused(tmp_path: Path) -> None:
    """Many names in the catalog of one entry: each may be small, together they are not."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made_of:
        made_of.writestr("kernel", bytes(1 << 20))
        (kernel,) = made_of.infolist()
        for number in range(10_000):
            copy = zipfile.ZipInfo(f"{number}")
            for part in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(copy, part, getattr(kernel, part))
            made_of.filelist.append(copy)
    refused(tmp_path, bomb, "would unpack to")


def test_archive_1_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    for data, match in ((b"", "no zip"), (b"x" * 1_000, "no zip")):
        path.write_bytes(data)
        refused_once(path, tmp_path, match)
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("hello.txt", "x")
    refused_once(path, tmp_path, "has no manifest.json")
    for text in (b"[" * 100_000, b"[]", b"\xff", b"1" * 9_999, b"{", b"null"):
        with zipfile.ZipFile(path, "w") as other:
            other.writestr("manifest.json", text)
        refused_once(path, tmp_path, "its manifest is no")
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("manifest.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            other.writestr("manifest.json", "{}")
    refused_once(path, tmp_path, "two entries")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as other:
        other.writestr("manifest.json", "{}")
    refused_once(path, tmp_path, "packed in a way")


def refused_once(path: Path, tmp_path: Path, match: str) -> None:
    with pytest.raises(FileRefused, match=match):
        load(path, tmp_path / "new.db")


def test_archive_a_cut_or_a_flipped_byte_is_found(tmp_path: Path) -> None:
    file = make(tmp_path / "a.db", rows=50)
    dump(file, tmp_path / "a.zip")
    good = (tmp_path / "a.zip").read_bytes()
    bad, wanted = tmp_path / "bad.zip", shown(file)
    for cut in range(0, len(good) - 1, 499):
        bad.write_bytes(good[:cut])
        refused_once(bad, tmp_path, "bad.zip")
    for at in range(0, len(good), 101):
        flipped = bytearray(good)
        flipped[at] ^= 64
        bad.write_bytes(bytes(flipped))
        new = tmp_path / "new.db"
        try:
            load(bad, new)
        except FileRefused:
            assert not new.exists()
        else:  # A date, an attribute or the README: nothing that is loaded.
            found = shown(new)
            assert {k: v for k, v in found.items() if k != "schema"} == {k: v for k, v in wanted.items() if k != "schema"}
            new.unlink()


def test_load_4_what_is_there_stays(tmp_path: Path) -> None:
    file = made(tmp_path / "a.db")
    dump(file, tmp_path / "a.zip")
    before = file.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        load(tmp_path / "a.zip", file)
    assert file.read_bytes() == before

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for command in (lambda: load(tmp_path / "a.zip", tmp_path / "b.db", progress=interrupt),
                    lambda: dump(file, tmp_path / "b.db", progress=interrupt)):  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            command()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.db", "a.zip"]
    with pytest.raises(StoreError):
        dump(tmp_path / "none.db", tmp_path / "c.zip")


def test_a_backup_is_no_dump_and_a_dump_no_backup(tmp_path: Path) -> None:
    file = make(tmp_path / "a.db", rows=1)
    dump(file, tmp_path / "a.zip")
    backup(file, tmp_path / "a.bak")
    refused_once(tmp_path / "a.bak", tmp_path, "no zip")
    with pytest.raises(UsageError, match="is no backup and would be lost"):
        backup(file, tmp_path / "a.zip")
    with program(file) as db:
        assert db.execute("SELECT count(*) FROM contact").fetchone() == (1,)

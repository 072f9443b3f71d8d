"""What an archive may not do: schemas that act, rows that are not theirs, bombs, cuts; what is there stays."""

from __future__ import annotations

import json
import sqlite3
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from replica.backup import archive
from replica.backup.backup import backup
from replica.backup.dump import dump
from replica.backup.load import _define, load
from replica.errors import FileRefused, StoreError, UsageError
from tests.backup.nodes import join, make
from tests.backup.test_dump import made, shown
from tests.nodes import program

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

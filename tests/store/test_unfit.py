"""Every way in which a file can fail to be a store: each is said in words, and the file is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from replica.errors import DiskFull, NewerStore, NotAStore, StoreBusy, StoreError, StoreReadOnly
from replica.store import connection, schema
from replica.store.store import Store, initialize
from tests.store.harness import Machine, foreign

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v);"


def test_a_file_that_is_no_database_is_said_so_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are notes, and they are longer than the header of a database. " * 20)
    text = path.read_text()
    for opening in (Store, lambda p: initialize(p, "a")):
        with pytest.raises(NotAStore, match="is not an SQLite database"):
            opening(path)
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_database_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(foreign(path)) as db:
        db.execute("CREATE TABLE t(k TEXT PRIMARY KEY)")
    before = path.read_bytes()
    with pytest.raises(NotAStore, match="not part of a replication group yet: run `replica init"):
        Store(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["theirs.db"]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for path in (tmp_path / "none.db", tmp_path / "folder" / "none.db"):
        with pytest.raises(StoreError, match=r"none\.db"):
            Store(path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotAStore, match="is a folder"):
        Store(tmp_path)
    with pytest.raises(StoreError, match=r"cannot open .*: check that the folder exists"):
        initialize(tmp_path / "folder" / "none.db", "a")


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_what_names_no_file_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for make in (Store, partial(initialize, name="a")):
        with pytest.raises(NotAStore, match="names no file"):
            make(path)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_an_older_version_is_brought_up_to_date(machine: Make) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('a', 1)")
    root = a.store.root()
    a.sql(
        "DROP TABLE _replica_import",
        "DROP TABLE _replica_import_row",
        "DROP TABLE _replica_import_known",
        "DROP TABLE _replica_history",
        "DROP TABLE _replica_sketch",
        "DROP TABLE _replica_young",
        "DROP INDEX _replica_hidden",
        "ALTER TABLE _replica_peer DROP COLUMN agreed",
        "UPDATE _replica_meta SET value = 1 WHERE name = 'format'",
    )
    a.reopen()
    assert a.store.root() == root
    assert a.store.verify() == []
    assert a.value("SELECT value FROM _replica_meta WHERE name = 'format'") == schema.FORMAT
    assert a.value("SELECT count(*) FROM _replica_import") == 0


def test_a_store_of_a_newer_version_is_refused_unread(machine: Make) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('a', 1)", "UPDATE _replica_meta SET value = 99 WHERE name = 'format'")
    a.close()
    before = a.path.read_bytes()
    with pytest.raises(NewerStore, match=r"was written by a newer version .store format 99, this is 4.: update"):
        Store(a.path)
    assert a.path.read_bytes() == before
    a.db = foreign(a.path)
    a.sql(f"UPDATE _replica_meta SET value = {schema.FORMAT} WHERE name = 'format'")
    a.reopen()
    assert len(a.records("t")) == 1


def test_a_store_that_somebody_keeps_locked_is_busy_and_nothing_is_lost(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_MS", 20)
    a = machine("a", T)
    with closing(foreign(a.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="is locked by another program: close it, or try again in a moment"):
            a.store.put_many("t", [("a", 1)])
        other.execute("ROLLBACK")
    assert a.store.put_many("t", [("a", 1)]) == 1
    assert a.store.verify() == []


def test_opening_waits_for_no_lock(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a = machine("a", T)
    monkeypatch.setattr(connection, "BUSY_MS", 20)
    with closing(foreign(a.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Store(a.path) as second:
            assert second.query("SELECT count(*) FROM t") == [(0,)]


def test_a_store_that_cannot_be_written_says_so_and_can_be_read(machine: Make) -> None:
    a = machine("a", T)
    a.sql("INSERT INTO t VALUES ('a', 1)")
    a.store.absorb()
    a.core.db.execute("PRAGMA query_only = ON")  # What SQLite says of a read-only file; root may write any file.
    with pytest.raises(StoreReadOnly, match="cannot be written: check the permissions"):
        a.store.put_many("t", [("b", 1)])
    assert a.store.query("SELECT k FROM t") == [("a",)]
    assert a.store.verify() == []
    a.core.db.execute("PRAGMA query_only = OFF")
    assert a.store.put_many("t", [("b", 1)]) == 1


@pytest.mark.parametrize("act", ["put", "absorb", "adopt"])
def test_a_full_disk_changes_nothing_and_all_goes_on_once_there_is_room(machine: Make, act: str) -> None:
    a = machine("a", T)
    a.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO t SELECT i, i FROM n"
          if act == "absorb" else "CREATE TABLE s AS SELECT 1")  # fmt: skip
    a.sql("CREATE TABLE big(k INTEGER PRIMARY KEY, v)", "INSERT INTO big SELECT value, zeroblob(500) FROM json_each('[" +
          ",".join(map(str, range(2_000))) + "]')")  # fmt: skip
    if act != "absorb":
        a.store.absorb()
    before = a.dump(), a.rows("SELECT * FROM _replica_record")
    a.core.db.execute(f"PRAGMA max_page_count = {a.value('PRAGMA page_count') + 3}")
    actions: dict[str, Callable[[], object]] = {
        "put": lambda: a.store.put_many("t", [(f"{i}", "x" * 500) for i in range(500)]),
        "absorb": a.store.root,
        "adopt": lambda: a.store.adopt(["big"]),
    }
    with pytest.raises(DiskFull, match=r"no room left for .*: the change under way was not made, those before it stay"):
        actions[act]()
    assert (a.dump(), a.rows("SELECT * FROM _replica_record")) == before
    a.core.db.execute("PRAGMA max_page_count = 1000000")
    actions[act]()
    assert a.store.verify() == []


def test_a_damaged_file_is_said_so(machine: Make) -> None:
    a = machine("a", T)
    a.store.put_many("t", [(f"{i}", "x" * 100) for i in range(1_000)])
    a.close()
    data = bytearray(a.path.read_bytes())
    data[8_192:-4_096] = b"\xa5" * (len(data) - 12_288)
    a.path.write_bytes(data)
    with (
        pytest.raises(StoreError, match=r"is damaged: restore a backup|file is not a database"),
        Store(a.path) as store,
    ):
        assert store.verify() != []
        raise StoreError("is damaged: restore a backup")
    a.path.write_bytes(b"")
    Machine(a.path).close()
    a.reopen()

"""What rots is found, and what must not rot does not, as the header of the module promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from replica.store.store import Store
from sim.disk import Disk
from sim.rot import definitions, spoil
from tests.sim.disks import engine


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Disk, Callable[[], Store]]:
    return engine(tmp_path, monkeypatch)


@pytest.mark.parametrize("what", ["row", "digest", "trie"])
def test_rot_is_found_by_verify(store: tuple[Disk, Callable[[], Store]], what: str) -> None:
    disk, opened = store
    with opened() as one:
        assert one.verify() == []
    assert disk.rot(what)
    with opened() as one:
        assert one.verify() != []


def test_rot_of_a_page_is_one_bit(store: tuple[Disk, Callable[[], Store]]) -> None:
    disk, _ = store
    disk.close_all()
    before = disk.backup().db
    assert disk.rot("page")
    after = disk.backup().db
    assert sum((a ^ b).bit_count() for a, b in zip(before, after, strict=True)) == 1
    assert before[:100] == after[:100]


def test_a_row_that_waits_does_not_rot(store: tuple[Disk, Callable[[], Store]]) -> None:
    disk, opened = store
    disk.foreign().execute("UPDATE c SET age = 77 WHERE id = 'c7'")
    before = disk.foreign().execute("SELECT * FROM c ORDER BY id").fetchall()
    assert disk.rot("row") == ""
    assert disk.foreign().execute("SELECT * FROM c ORDER BY id").fetchall() == before
    with opened() as one:
        one.absorb()
    assert disk.rot("row")


def filled(path: Path, tables: int) -> bytes:
    """A file with so many tables of long names, a row in the first, and free pages."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA page_size = 512")
        for n in range(tables):
            db.execute(f"CREATE TABLE t{n}(n, {'x' * 100})")
        db.execute("CREATE TABLE gone(x)")
        db.execute("INSERT INTO gone VALUES (zeroblob(5000))")
        db.execute("INSERT INTO t0 VALUES (1, 2)")
        db.execute("DROP TABLE gone")
    return path.read_bytes()


@pytest.mark.parametrize("tables", [1, 20, 600])
def test_definitions_do_not_rot(tmp_path: Path, tables: int) -> None:
    path = tmp_path / "some.db"
    data = filled(path, tables)
    spared = definitions(data)
    with closing(sqlite3.connect(path)) as db:
        definition = db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        others = {n for (n,) in db.execute("SELECT rootpage FROM sqlite_master")}
    assert 1 in spared
    assert (len(spared) > 1) == (tables > 1)
    assert not spared & others
    for seed in range(30):
        path.write_bytes(data)
        said = spoil(path, "page", Random(seed))
        assert int(said.split()[1].rstrip(":")) not in spared
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == definition


def test_where_nothing_can_rot_nothing_does(tmp_path: Path) -> None:
    path = tmp_path / "bare.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t(n)")
    assert spoil(path, "page", Random(1)) == ""
    assert spoil(tmp_path / "new.db", "page", Random(1)) == ""

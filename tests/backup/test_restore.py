"""A restored store is another node: nothing is lost, nothing is stamped twice, nobody is taken for a clone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from replica.backup.backup import backup
from replica.backup.restore import restore
from replica.errors import FileRefused, StoreBusy, UsageError
from replica.store.store import Store
from tests.backup.nodes import join, make, rows, seen, sync, write


def equal(*paths: Path) -> None:
    found = [seen(path) for path in paths]
    assert len({one["root"] for one in found}) == 1
    assert len({one["node"] for one in found}) == len(paths)
    assert all(one["wrong"] == one["notices"] == [] for one in found)
    for table in ("contact", "ticket", "person"):
        shown = [rows(path, f"SELECT * FROM {table} ORDER BY 1") for path in paths]
        assert all(one == shown[0] for one in shown)


def test_1_backup_both_go_on_and_meet(tmp_path: Path) -> None:
    hq, copy = make(tmp_path / "hq.db"), tmp_path / "copy.db"
    write(hq, "UPDATE contact SET name = 'before' WHERE id = 'c1'")
    backup(hq, tmp_path / "o")
    write(hq, "UPDATE contact SET name = 'hq later' WHERE id = 'c2'", "DELETE FROM contact WHERE id = 'c3'")
    write(hq, "INSERT INTO person(name) VALUES ('new at hq')", "INSERT INTO ticket(title) VALUES ('t hq')")
    made = restore(tmp_path / "o", copy, name="copy")
    assert made.node == seen(copy)["node"] != seen(hq)["node"] == made.backup.manifest.node
    assert (made.root, made.records) == (seen(copy)["root"], made.backup.manifest.records + 1)  # It introduced itself.
    write(copy, "UPDATE contact SET phone = 'copy' WHERE id = 'c2'", "INSERT INTO contact(id) VALUES ('c-copy')")
    write(copy, "INSERT INTO person(name) VALUES ('new at copy')", "INSERT INTO ticket(title) VALUES ('t copy')")
    for _ in range(2):
        sync(copy, hq)
        sync(hq, copy)
        write(hq, "UPDATE contact SET phone = 'again' WHERE id = 'c4'")
        write(copy, "UPDATE contact SET phone = 'again' WHERE id = 'c5'")
    sync(copy, hq)
    equal(hq, copy)
    assert rows(hq, "SELECT name, phone FROM contact WHERE id = 'c2'") == [("hq later", "copy")]
    assert rows(copy, "SELECT id FROM contact WHERE id IN ('c3', 'c-copy')") == [("c-copy",)]
    assert rows(hq, "SELECT title FROM ticket WHERE title LIKE 't %' ORDER BY 1") == [("t copy",), ("t hq",)]
    assert len(rows(hq, "SELECT 1 FROM person WHERE name LIKE 'new at %'")) + seen(hq)["status"]["tables"][1]["held"] == 2


def test_1_two_restores_of_one_backup_are_two_nodes(tmp_path: Path) -> None:
    hq = make(tmp_path / "hq.db", rows=10)
    backup(hq, tmp_path / "o")
    copies = [tmp_path / "one.db", tmp_path / "two.db"]
    for number, copy in enumerate(copies):
        restore(tmp_path / "o", copy, name=f"copy {number}")
        write(copy, f"UPDATE contact SET name = 'by {number}' WHERE id = 'c{number}'")
    backup(copies[0], tmp_path / "of a copy")
    restore(tmp_path / "of a copy", tmp_path / "three.db")
    assert seen(tmp_path / "three.db")["name"] == "copy 0 (restored)"
    copies.append(tmp_path / "three.db")
    for _ in range(2):
        for copy in copies:
            sync(copy, hq)
    equal(hq, *copies)


def test_2_what_a_dead_original_wrote_later_comes_back(tmp_path: Path) -> None:
    hq = make(tmp_path / "hq.db", rows=20)
    laptop = join(tmp_path / "laptop.db", hq, "laptop")
    sync(laptop, hq)
    backup(hq, tmp_path / "o")
    write(hq, "UPDATE contact SET name = 'after the backup' WHERE id = 'c1'", "INSERT INTO contact(id) VALUES ('new')")
    sync(laptop, hq)
    old = seen(hq)["node"]
    restore(tmp_path / "o", hq, force=True, name="hq")
    assert rows(hq, "SELECT name FROM contact WHERE id = 'c1'") == [("Name 1",)]
    sync(hq, laptop)
    equal(hq, laptop)
    assert rows(hq, "SELECT name FROM contact WHERE id = 'c1'") == [("after the backup",)]
    write(hq, "UPDATE contact SET name = 'newer still' WHERE id = 'c1'")
    sync(laptop, hq)
    equal(hq, laptop)
    assert rows(laptop, "SELECT name FROM contact WHERE id = 'c1'") == [("newer still",)]
    with Store(laptop) as store:
        by = store.why("contact", ["new"])["born"]
    assert (by["node"], by["by"]) == (old.hex(), "hq")


def test_2_a_clock_that_was_ahead_stays_ahead(tmp_path: Path) -> None:
    hq = make(tmp_path / "hq.db", rows=3)
    with Store(hq) as store:
        last = store.status()["clock"]["now_ms"] + 300_000
    write(hq, "UPDATE contact SET name = 'from the future' WHERE id = 'c1'", f"UPDATE _replica_outbox SET at = {last}")
    with Store(hq, now_ms=lambda: last) as store:
        store.absorb()
    backup(hq, tmp_path / "o")
    restore(tmp_path / "o", tmp_path / "b.db")
    write(tmp_path / "b.db", "UPDATE contact SET name = 'after it' WHERE id = 'c1'")
    sync(tmp_path / "b.db", hq)
    assert rows(hq, "SELECT name FROM contact WHERE id = 'c1'") == [("after it",)]


def test_a_stamp_of_the_new_id_that_it_never_issued_is_a_clones(tmp_path: Path) -> None:
    """What the old node issued must not pass for issued by the new one."""
    hq, copy = make(tmp_path / "hq.db", rows=3), tmp_path / "copy.db"
    write(hq, "UPDATE contact SET name = 'x'")
    backup(hq, tmp_path / "o")
    restore(tmp_path / "o", copy)
    settings = "SELECT value FROM _replica_meta WHERE name = 'issued'"
    assert rows(hq, settings) > [(b"",)] == rows(copy, settings)
    twin = tmp_path / "twin.db"
    twin.write_bytes(copy.read_bytes())
    write(twin, "UPDATE contact SET name = 'by the twin' WHERE id = 'c1'")
    sync(twin, hq)
    sync(copy, hq)
    assert ["another copy of this file wrote" in notice for notice in seen(copy)["notices"]] == [True]
    assert len({seen(path)["node"] for path in (hq, copy, twin)}) == 3


def test_a_clone_notice_of_the_original_is_not_the_copys(tmp_path: Path) -> None:
    hq = make(tmp_path / "hq.db", rows=3)
    write(hq, "INSERT OR REPLACE INTO _replica_meta VALUES ('clone', '1: a copy wrote')")
    assert seen(hq)["notices"] == ["a copy wrote"]
    backup(hq, tmp_path / "o")
    restore(tmp_path / "o", tmp_path / "b.db")
    assert seen(tmp_path / "b.db")["notices"] == []


def test_what_is_known_of_peers_stays_without_their_counts(tmp_path: Path) -> None:
    hq = make(tmp_path / "hq.db", rows=3)
    laptop = join(tmp_path / "laptop.db", hq, "laptop")
    sync(laptop, hq)
    with Store(laptop) as store:
        home, agreed = store.home(), store.agreed(store.home())
    assert home.startswith("ws://")
    assert agreed == seen(hq)["root"]
    backup(laptop, tmp_path / "o")
    restore(tmp_path / "o", tmp_path / "b.db")
    with Store(tmp_path / "b.db") as store:
        assert store.home() == home
        assert store.agreed(home) == agreed
    (peer,) = seen(tmp_path / "b.db")["status"]["peers"]
    assert (peer["name"], peer["sent"], peer["received"]) == ("hq", 0, 0)
    assert "not met since the restore" in peer["outcome"]


# --- 3: places --------------------------------------------------------------------------------------------------------


def test_3_what_is_there_stays_unless_forced(tmp_path: Path) -> None:
    hq, other = make(tmp_path / "hq.db", rows=3), make(tmp_path / "other.db", rows=3, name="other")
    backup(hq, tmp_path / "o")
    before = rows(other, "PRAGMA journal_mode"), seen(other)["root"]
    with pytest.raises(UsageError, match="--force"):
        restore(tmp_path / "o", other)
    (tmp_path / "bad").write_bytes((tmp_path / "o").read_bytes()[:-5])
    with pytest.raises(FileRefused):
        restore(tmp_path / "bad", other, force=True)
    assert (rows(other, "PRAGMA journal_mode"), seen(other)["root"]) == before
    with pytest.raises(UsageError, match="the backup itself"):
        restore(tmp_path / "o", tmp_path / "o", force=True)
    with pytest.raises(UsageError, match="is a folder"):
        restore(tmp_path / "o", tmp_path, force=True)
    with pytest.raises(UsageError, match="printable"):
        restore(tmp_path / "o", tmp_path / "new.db", name="a\nb")
    assert restore(tmp_path / "o", other, force=True).name == "hq (restored)"
    assert seen(other)["wrong"] == []


def test_3_a_database_in_use_is_never_replaced(tmp_path: Path) -> None:
    hq, other = make(tmp_path / "hq.db", rows=3), make(tmp_path / "other.db", rows=3)
    backup(hq, tmp_path / "o")
    write(other, "UPDATE contact SET name = 'kept'")
    with closing(sqlite3.connect(other)) as reader:
        assert reader.execute("SELECT count(*) FROM contact").fetchone() == (3,)  # It idles, but has the file open.
        with pytest.raises(StoreBusy, match="open in another program"):
            restore(tmp_path / "o", other, force=True)
        assert reader.execute("SELECT name FROM contact WHERE id = 'c1'").fetchone() == ("kept",)
    restore(tmp_path / "o", other, force=True)
    assert rows(other, "SELECT name FROM contact WHERE id = 'c1'") == [("Name 1",)]


def test_3_the_write_ahead_log_of_another_database_is_never_read(tmp_path: Path) -> None:
    hq, gone = make(tmp_path / "hq.db", rows=3), make(tmp_path / "gone.db", rows=3)
    backup(hq, tmp_path / "o")
    with closing(sqlite3.connect(gone)) as db:
        db.execute("UPDATE contact SET name = 'from the log'")
        db.commit()
        log = Path(f"{gone}-wal").read_bytes()
    new = tmp_path / "new.db"
    Path(f"{new}-wal").write_bytes(log)
    with pytest.raises(UsageError, match="left from another database"):
        restore(tmp_path / "o", new)
    assert not new.exists()
    restore(tmp_path / "o", new, force=True)
    assert rows(new, "SELECT name FROM contact WHERE id = 'c1'") == [("Name 1",)]
    assert seen(new)["wrong"] == []


def test_3_a_name_that_is_taken_meanwhile_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hq = make(tmp_path / "hq.db", rows=3)
    backup(hq, tmp_path / "o")
    monkeypatch.setattr("replica.backup.restore.check_new_database", lambda *_, **__: None)

    def taken(*_: object) -> None:
        (tmp_path / "new.db").write_text("somebody was faster")

    def no_links(*_: object) -> None:
        raise OSError(95, "not supported")

    for _ in range(2):
        with pytest.raises(UsageError, match="exists"):
            restore(tmp_path / "o", tmp_path / "new.db", progress=taken)
        assert (tmp_path / "new.db").read_text() == "somebody was faster"
        monkeypatch.setattr("os.link", no_links)
    restore(tmp_path / "o", tmp_path / "other.db")
    assert seen(tmp_path / "other.db")["wrong"] == []


def test_3_a_file_that_is_no_database_can_be_forced_away(tmp_path: Path) -> None:
    hq, junk = make(tmp_path / "hq.db", rows=3), tmp_path / "junk"
    backup(hq, tmp_path / "o")
    junk.write_text("no database" * 1_000)
    restore(tmp_path / "o", junk, force=True)
    assert seen(junk)["wrong"] == []


def test_3_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    hq = make(tmp_path / "hq.db", rows=3)
    backup(hq, tmp_path / "o")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "o", tmp_path / "new.db", progress=interrupt)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hq.db", "o"]


def test_4_new_rows_get_other_numbers(tmp_path: Path) -> None:
    hq, copy = make(tmp_path / "hq.db", rows=5), tmp_path / "copy.db"
    backup(hq, tmp_path / "o")
    restore(tmp_path / "o", copy)
    sql = "INSERT INTO ticket(title) VALUES ('mine')"
    write(hq, sql)
    write(copy, sql)
    one, two = (rows(path, "SELECT max(id) FROM ticket")[0][0] for path in (hq, copy))
    assert one == 6
    assert two > 4_096
    sync(copy, hq)
    equal(hq, copy)
    assert rows(hq, "SELECT id FROM ticket WHERE title = 'mine' ORDER BY 1") == [(one,), (two,)]

"""Backups while others write, what they never replace, and what an interruption leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from replica.backup import payload, snapshot
from replica.backup.backup import backup, check
from replica.backup.keys import make_key, read_key
from replica.backup.restore import restore
from replica.backup.sealed import HEADER_BYTES, KEY_FILE, PIECE, Appended, CutShort, Damaged, Key, WrongKey
from replica.errors import DiskFull, FileRefused, NotAStore, StoreBusy, StoreError, UsageError
from replica.store.store import Store
from tests.backup.nodes import make, rows, seen, write

KEY = Key(KEY_FILE, b"k" * 32)


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(("-wal", "-shm")))


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "key"])
def test_what_a_backup_says_is_what_the_store_is(tmp_path: Path, key: Key | None) -> None:
    file, out = make(tmp_path / "a.db"), tmp_path / "a.bak"
    made = backup(file, out, key)
    store = seen(file)
    m = made.manifest
    assert (m.root, m.records, m.node, m.name) == (store["root"], store["count"], store["node"], "hq")
    assert check(out, key) == made
    assert made.bytes == out.stat().st_size
    assert made.encrypted is (key is not None)
    assert left(tmp_path) == ["a.bak", "a.db"]
    if key:
        assert store["node"].hex().encode() not in out.read_bytes()


def test_progress_is_told(tmp_path: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    backup(make(tmp_path / "a.db"), tmp_path / "o", progress=lambda what, done, of: told.update({what: (done, of)}))
    assert {"copying pages", "packing bytes"} <= set(told)
    assert all(done == of > 0 for done, of in told.values())


# --- the snapshot -----------------------------------------------------------------------------------------------------


class Writer(threading.Thread):
    """Another program that writes without a pause: each transaction moves one unit between two rows of another table."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.stop, self.done = path, threading.Event(), 0

    def run(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            while not self.stop.is_set():
                db.execute("BEGIN IMMEDIATE")
                db.execute("UPDATE person SET name = name + 1 WHERE id = 1")
                db.execute("UPDATE contact SET phone = phone - 1 WHERE id = 'c1'")
                db.execute("INSERT INTO ticket(title) VALUES ('more')")
                db.execute("COMMIT")
                self.done += 1


def test_snapshot_1_and_2_whole_transactions_and_nothing_that_waits(tmp_path: Path) -> None:
    file = make(tmp_path / "a.db", rows=3_000)
    write(file, "UPDATE person SET name = 0 WHERE id = 1", "UPDATE contact SET phone = 0 WHERE id = 'c1'")
    writer = Writer(file)
    writer.start()
    during = []
    try:
        for turn in range(3):
            before = writer.done
            out = tmp_path / f"{turn}.bak"
            made = backup(file, out, progress=lambda *_: during.append(writer.done))
            assert writer.done > before, "nobody wrote meanwhile"
            copy = tmp_path / f"{turn}.db"
            restored = restore(out, copy)
            ((up,),) = rows(copy, "SELECT name FROM person WHERE id = 1")
            ((down,),) = rows(copy, "SELECT phone FROM contact WHERE id = 'c1'")
            ((more,),) = rows(copy, "SELECT count(*) FROM ticket WHERE title = 'more'")
            assert int(up) == -int(down) == more
            assert rows(copy, "SELECT * FROM _replica_outbox") == []
            assert restored.backup == made
            assert seen(copy)["wrong"] == []
    finally:
        writer.stop.set()
        writer.join()
    assert len(set(during)) > 3


def test_snapshot_2_what_waits_is_absorbed_before_and_never_stamped_twice(tmp_path: Path) -> None:
    file = make(tmp_path / "a.db")
    write(file, "INSERT INTO person(name) VALUES ('waits')")
    backup(file, tmp_path / "o")
    restore(tmp_path / "o", tmp_path / "b.db")
    sql = "SELECT key FROM _replica_row WHERE pk = (SELECT id FROM person WHERE name = 'waits')"
    assert rows(file, sql) == rows(tmp_path / "b.db", sql) != []


def test_snapshot_2_a_writer_that_cannot_be_caught_up_with_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(tmp_path / "a.db", rows=2)
    monkeypatch.setattr(Store, "absorb", lambda _: write(file, "INSERT INTO person(name) VALUES ('x')"))
    with pytest.raises(StoreBusy, match="pause one of them"):
        backup(file, tmp_path / "o")
    assert left(tmp_path) == ["a.db"]


def test_snapshot_3_a_store_that_does_not_verify_is_not_backed_up(tmp_path: Path) -> None:
    file = make(tmp_path / "a.db")
    write(
        file, "INSERT INTO _replica_mute VALUES (1)", "UPDATE contact SET name = 'sneaked'", "DELETE FROM _replica_mute"
    )
    with pytest.raises(StoreError, match=r"(?s)does not verify.*and 99 more.*replica rescan"):
        backup(file, tmp_path / "o")
    assert left(tmp_path) == ["a.db"]


def test_snapshot_the_copy_knows_its_definitions(tmp_path: Path) -> None:
    """Otherwise each restored store begins by comparing every table."""
    file = make(tmp_path / "a.db", rows=2)
    with Store(file) as store:
        snapshot.take(store, tmp_path / "copy.db")
    sql = "PRAGMA schema_version"
    assert rows(tmp_path / "copy.db", sql) == rows(file, sql)


# --- 1: interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["copying pages", "verifying records", "packing bytes"])
def test_1_an_interruption_keeps_the_older_backup(tmp_path: Path, what: str) -> None:
    file, out = make(tmp_path / "a.db"), tmp_path / "o"
    backup(file, out, KEY)
    before = out.read_bytes()

    def interrupt(now: str, _: int, __: int) -> None:
        if now == what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(file, out, KEY, progress=interrupt)
    assert out.read_bytes() == before
    with pytest.raises(KeyboardInterrupt):
        backup(file, tmp_path / "new", progress=interrupt)
    assert left(tmp_path) == ["a.db", "o"]


@pytest.mark.parametrize("what", ["copying pages", "verifying records", "packing bytes"])
def test_1_a_kill_leaves_nothing_under_the_name_and_the_next_day_sweeps(tmp_path: Path, what: str) -> None:
    file = make(tmp_path / "a.db")
    code = (
        "import os, signal, sys; from replica.backup.backup import backup\n"
        f"die = lambda what, *_: what == {what!r} and os.kill(os.getpid(), {signal.SIGKILL:d})\n"
        "backup(sys.argv[1], sys.argv[2], progress=die)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(file), str(tmp_path / "o")], check=False, timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "o").exists()
    folders = [p for p in tmp_path.iterdir() if p.is_dir()]
    assert folders
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o700 for p in folders)
    backup(file, tmp_path / "o")
    assert all(p.exists() for p in folders), "it may belong to one that runs"
    for folder in folders:
        os.utime(folder, (1, 1))
    backup(file, tmp_path / "o")
    assert left(tmp_path) == ["a.db", "o"]


def test_1_a_full_disk_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make(tmp_path / "a.db", rows=2)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DiskFull, match="10 bytes free"):
        backup(file, tmp_path / "o")
    assert left(tmp_path) == ["a.db"]


# --- 2 and 3: places --------------------------------------------------------------------------------------------------


def test_2_what_is_no_backup_is_never_replaced(tmp_path: Path) -> None:
    file, other = make(tmp_path / "a.db", rows=2), make(tmp_path / "b.db", rows=2)
    backup(file, tmp_path / "o")
    before = other.read_bytes()
    for out in (other, file):
        with pytest.raises(UsageError, match="is no backup and would be lost"):
            backup(file, out)
    assert other.read_bytes() == before
    with pytest.raises(UsageError, match="would be lost"):
        backup(tmp_path / "o", file)  # The two in the wrong order.
    with pytest.raises(UsageError, match="is a folder"):
        backup(file, tmp_path)
    with pytest.raises(UsageError, match="check the name"):
        backup(file, tmp_path / "no" / "folder")
    with pytest.raises(NotAStore, match="no such file"):
        backup(tmp_path / "none", tmp_path / "o")


def test_3_backups_and_what_comes_of_them_are_the_owners_alone(tmp_path: Path) -> None:
    file, out = make(tmp_path / "a.db", rows=2), tmp_path / "o"
    old = os.umask(0)
    try:
        backup(file, out)
        restore(out, tmp_path / "b.db")
        make_key(tmp_path / "key")
    finally:
        os.umask(old)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("o", "b.db", "key")} == {0o600}


# --- 4: check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "key"])
def test_4_check_and_restore_find_whatever_is_wrong_and_write_nothing(tmp_path: Path, key: Key | None) -> None:
    file, out = make(tmp_path / "a.db", rows=3_000), tmp_path / "o"
    backup(file, out, key)
    good = out.read_bytes()
    assert len(good) > HEADER_BYTES + 2 * PIECE
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    file.unlink()
    for bad, kind in ((good[:-1], CutShort), (good + b"\0", Appended), (bytes(flipped), Damaged)):
        out.write_bytes(bad)
        with pytest.raises(kind):
            check(out, key)
        with pytest.raises(kind):
            restore(out, tmp_path / "new.db", key)
    out.write_bytes(good)
    with pytest.raises(WrongKey):
        check(out, Key(KEY_FILE, b"w" * 32))
    assert left(tmp_path) == ["o"]


def sealed_payload(path: Path, data: bytes) -> Path:
    from replica.backup.sealed import Sealer

    with open(path, "wb+") as file:
        sealer = Sealer(file, None, os.urandom)
        sealer.write(data)
        sealer.close()
    return path


def test_payload_2_forged_payloads_are_refused(tmp_path: Path) -> None:
    import zstandard
    from blake3 import blake3

    def manifest(size: int, digest: bytes = bytes(32)) -> bytes:
        return payload.Manifest(1, b"n" * 8, "x", b"g" * 16, b"r" * 16, 0, size, digest).encode()

    zeros = bytes(1 << 20)
    frame = zstandard.ZstdCompressor().compress(zeros)
    sum_of = blake3(zeros).digest()
    for data, match in (
        (b"", "ends within its manifest"),
        (b"\xff" * 9, "its manifest has 4294967295 bytes"),
        (b"\0\0\0\2[]", "makes no sense"),
        (b"\0\0\xff\0" + b"[" * 0xFF00, "makes no sense"),
        (manifest(1 << 50), "no database packs like that"),
        (manifest(-5), "no database packs like that"),
        (manifest(1 << 19) + frame, "unpacks to more"),
        (manifest(1 << 20) + frame, "not unpack to what its manifest says"),
        (manifest(1 << 20, sum_of) + frame[:-9], "not unpack"),
        (manifest(1 << 20, sum_of) + frame + b"x", "does not unpack"),
        (manifest(1 << 20, sum_of) + frame + bytes(100), "does not unpack"),
        (manifest(1 << 20, sum_of) + frame + bytes(3 << 20), "does not unpack"),
        (manifest(1 << 20, sum_of) + frame + frame, "does not unpack|unpacks to more"),
        (manifest(2 << 20, blake3(zeros + zeros).digest()) + frame + frame, "does not unpack|not unpack to"),
        (manifest(1 << 20, sum_of) + b"no frame", "does not unpack"),
    ):
        with pytest.raises(FileRefused, match=match):
            check(sealed_payload(tmp_path / "f", data))
    check(sealed_payload(tmp_path / "f", manifest(1 << 20, sum_of) + frame))
    with pytest.raises((NotAStore, StoreError)):  # All is well with it, but it is no database.
        restore(tmp_path / "f", tmp_path / "new.db")
    assert left(tmp_path) == ["f"]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_1_are_made_once(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    assert len(before) == 65
    with pytest.raises(UsageError, match="backups may need it"):
        make_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before
    make_key(tmp_path / "other")
    assert (tmp_path / "other").read_bytes() != before


def test_keys_2_hex_and_raw_are_one_key_and_anything_else_is_refused(tmp_path: Path) -> None:
    file, raw = tmp_path / "key", bytes(range(32))
    for data in (raw, raw.hex().encode(), raw.hex().upper().encode() + b"\r\n"):
        file.write_bytes(data)
        assert read_key(file) == Key(KEY_FILE, raw)
    for data in (b"", raw[:31], raw + b"\n", raw.hex().encode()[:62], b"g" * 64, bytes(9_999)):
        file.write_bytes(data)
        with pytest.raises(UsageError):
            read_key(file)
    for data in (b"words\nmore", b"words", b"words\r\n"):
        file.write_bytes(data)
        assert read_key(None, file) == (2, b"words")
    file.write_bytes(b"\nwords")
    with pytest.raises(UsageError, match="no passphrase"):
        read_key(None, file)
    with pytest.raises(UsageError, match="cannot read"):
        read_key(tmp_path / "none")
    with pytest.raises(UsageError, match="one lock"):
        read_key(file, file)
    assert read_key() is None

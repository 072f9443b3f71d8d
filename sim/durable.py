"""What of a machine's files is on the disk for good, and what a power cut leaves of the rest.

Python's sqlite3 offers no hook below SQL, so what is synced is not observed but modelled by SQLite's contract for the
settings of the connection: in WAL, FULL (2) syncs the log at each commit, NORMAL (1) when a checkpoint runs, OFF (0)
never; a checkpoint syncs the log first and the file after; a new log's header is synced before its frames. Commits and
checkpoints are seen in the index of the log, the -shm file. The loss of directory entries is not modelled, nor a kill
between two writes of one statement. One test each:

1. A power cut loses an arbitrary part of what was not synced: under FULL no commit that returned, under OFF some; under
   FULL and NORMAL the file stays whole.
2. A kill loses nothing, and syncs nothing.
3. The same chance makes the same cut.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from sim.connection import Connection

SECTOR = 512
BLOCK = 8 * SECTOR

SUFFIXES = ("", "-wal", "-journal")

READING = frozenset({"SELECT", "VALUES", "PRAGMA", "EXPLAIN", "ROLLBACK", "RELEASE", "ATTACH", "DETACH"})
"""First words of statements that write nothing."""


class Image(NamedTuple):
    """What the files hold: the database, its write-ahead log, its rollback journal."""

    db: bytes = b""
    wal: bytes = b""
    journal: bytes = b""


class _Log(NamedTuple):
    """What the index of the write-ahead log says: how far it goes, and how much of it is in the database."""

    page: int
    frames: int
    salt: bytes
    backfilled: int


class Durable:
    """The files of one database, and what of them is synced. `random` is drawn from only at a cut."""

    def __init__(self, path: Path, random: Random, decide: Callable[[bytes], None]) -> None:
        """`decide` hears of every draw."""
        self._db_path, self._random, self._decide = path, random, decide
        self._log: _Log | None = None
        self._db, self._wal, self._change = b"", bytearray(), b""
        self._upto: tuple[bytes, int] = b"", 0
        self._loose = False
        """Whether something was written that nothing orders, since all was synced."""
        self.keep(self.image())

    # --- the files ----------------------------------------------------------------------------------------------------

    def image(self) -> Image:
        """The files as they stand."""
        return Image(*(_read(self._path(x)) for x in SUFFIXES))

    def put(self, image: Image) -> None:
        """Write these files; nobody has them open. That alone syncs nothing."""
        for suffix, data in zip(SUFFIXES, image, strict=True):
            Path(self._path(suffix)).write_bytes(data) if data else Path(self._path(suffix)).unlink(missing_ok=True)
        Path(self._path("-shm")).unlink(missing_ok=True)
        self._log, self._change = None, self._head()

    def keep(self, image: Image) -> None:
        """All of this is on the disk for good."""
        self._db, self._wal, self._upto = image.db, bytearray(image.wal), (b"", 0)
        self._log, self._loose, self._change = None, False, self._head()

    # --- what is synced -----------------------------------------------------------------------------------------------

    def note(self, db: Connection, word: str, level: int | None = None) -> None:
        """After a step of this connection, or its end (then `level` is what it was): what has SQLite synced?"""
        if word == "SELECT" and self._log is not None and db.in_transaction:
            return  # It syncs nothing, and every step that may was noted: the files need not be looked at.
        before, now, head = self._log, self._look(), b""
        if now is None and (level is not None or not db.in_transaction):
            head = self._head()
        if before == now and (now or head in {b"", self._change}):
            return
        self._log, head = now, self._head()
        alone, self._change = before is None and head != self._change, head  # A commit without a log.
        level = db.plain("PRAGMA synchronous") if level is None else level
        if level == 0:
            self._loose = True
            return
        anew = before is not None and (now is None or now.salt != before.salt)
        seen = 0 if anew or before is None else before.backfilled
        moved = now is not None and now.backfilled != seen
        # Opening a log that is there syncs nothing.
        if now is not None and (moved or (level > 1 and (before or word not in READING))):
            self._sync_log(now)
        # A log begins anew when all of it is in the file: since an earlier step, or this one put it there and synced it.
        behind = before is not None and before.backfilled < before.frames
        if alone or (anew and behind) or (now is not None and moved and now.backfilled == now.frames):
            self._db, self._loose = _read(self._path("")), False
        if now is None:
            self._wal.clear()

    def _sync_log(self, log: _Log) -> None:
        done = self._upto[1] if self._upto[0] == log.salt else 0
        start, end = (32 + n * (24 + log.page) if n else 0 for n in (done, log.frames))
        self._wal[start:end] = _read(self._path("-wal"), start, end - start)
        self._upto = log.salt, log.frames

    def _look(self) -> _Log | None:
        """The index of the log, if there is one. Mind: who closes a file of SQLite's drops the process's locks on it; here
        all connections live in one process, and SQLite settles their locks in memory."""
        data = _read(self._path("-shm"), 0, 100)
        if len(data) < 100 or not data[12]:
            return None
        page, frames = struct.unpack_from("=HI", data, 14)
        return _Log(page if page > 1 else 65_536, frames, data[32:40], *struct.unpack_from("=I", data, 96))

    def _head(self) -> bytes:
        return _read(self._path(""), 18, 10)

    def _path(self, suffix: str) -> str:
        return f"{self._db_path}{suffix}"

    # --- a cut --------------------------------------------------------------------------------------------------------

    def cut(self, middle: bool) -> Image:
        """What a power cut leaves."""
        new, wal = self.image(), bytes(self._wal)
        coin = self._random.random() < 0.5
        if self._loose:
            return Image(self._torn(self._db, new.db), self._torn(wal, new.wal))
        if not wal and not new.wal:  # A rollback journal takes back what is not committed.
            return Image(new.db if middle and coin else self._db)
        if coin and new.db != self._db:
            return Image(self._torn(self._db, new.db), new.wal)
        # The header of a new log is synced before its frames.
        return Image(self._db, self._torn(new.wal[:32] + wal[32:] if new.wal else wal, new.wal))

    def _torn(self, old: bytes, new: bytes) -> bytes:
        """Some sectors of the new, the others as they were. Draws do not depend on what the sectors hold."""
        count = -(-max(len(old), len(new)) // SECTOR)
        one, two = (self._random.getrandbits(count + 1) for _ in range(2))
        every = (1 << count) - 1
        prefix = (1 << self._random.randint(0, count)) - 1
        mask = self._random.choice((0, every, one, one & two, one | two, prefix)).to_bytes(count // 8 + 1, "little")
        sized = self._random.random() < 0.5
        self._decide(mask + bytes([sized]))
        out, kept = bytearray(old.ljust(len(new), b"\0")), 0
        for block in range(0, len(new), BLOCK):
            if old[block : block + BLOCK] == new[block : block + BLOCK]:
                continue
            for at in range(block, min(block + BLOCK, len(new)), SECTOR):
                if mask[at // SECTOR // 8] >> (at // SECTOR % 8) & 1:
                    part = new[at : at + SECTOR]
                    out[at : at + len(part)] = part
                    kept = at + len(part)
        return bytes(out[: len(new) if sized else max(len(old), kept)])


def _read(path: str, start: int = 0, size: int = -1) -> bytes:
    """Part of a file; nothing if there is none."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(file, os.fstat(file).st_size if size < 0 else size, start)
    finally:
        os.close(file)

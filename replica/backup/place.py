"""Files that appear whole or not at all, and never in the place of something else.

One test each:

1. Work goes on in a folder of its own, readable to its owner alone; it is gone afterwards, whatever happened. What a killed
   process left is removed by the next one, a day later.
2. A finished file takes its place at once, on the disk before it is seen, with permissions 0600.
3. A database that is open in another program is never replaced, nor one put beside another's write-ahead log, which SQLite
   would read into it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from replica import system
from replica.errors import DiskFull, StoreBusy, StoreError, StoreReadOnly, UsageError

_STALE_MS = 86_400_000
_SIDES = ("-wal", "-shm", "-journal")


@contextmanager
def disk_errors(what: str | Path) -> Iterator[None]:
    """Turn the disk's errors into ours."""
    try:
        yield
    except OSError as error:
        reason = f"{what}: {error.strerror or error}"
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"{reason}; check the name and that the folder exists") from error
        if error.errno in {28, 122}:  # ENOSPC, EDQUOT
            raise DiskFull(f"{reason}; nothing was changed: free some space and run it again") from error
        if isinstance(error, PermissionError):
            raise StoreReadOnly(f"{reason}; check the permissions of the file and its folder") from error
        raise StoreError(f"{reason}; nothing was changed") from error


@contextmanager
def workroom(beside: Path, now_ms: Callable[[], int] = system.now_ms) -> Iterator[Path]:
    """A private folder beside a file, for the time of some work."""
    folder, prefix = beside.absolute().parent, f".{beside.name}.replica-"
    with disk_errors(folder):
        for left in folder.glob(_literally(prefix) + "*"):
            with suppress(FileNotFoundError):  # Another process swept it first, or has just finished.
                if left.stat().st_mtime_ns // 1_000_000 < now_ms() - _STALE_MS:
                    shutil.rmtree(left)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _literally(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def private(path: Path) -> int:
    """Open a new file for writing that its owner alone may read; its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)


def settle(source: Path, target: Path, *, over: bool) -> None:
    """Move a finished file to its place, durably. Raises UsageError if there is one and it must not be replaced."""
    with disk_errors(target):
        with open(source, "rb+") as file:
            os.fsync(file.fileno())
        if over:
            os.replace(source, target)
        else:
            _move_to_new(source, target)
        _sync_folder(target.absolute().parent)


def _move_to_new(source: Path, target: Path) -> None:
    """Give the file its name, if nothing has that. A second name cannot replace anything; where the file system knows
    none (FAT), an empty file holds the place for a moment."""
    try:
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:
            os.close(private(target))
            os.replace(source, target)
        else:
            source.unlink()
    except FileExistsError:
        raise UsageError(f"{target} exists: choose another name") from None


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def room_for(size: int, beside: Path) -> None:
    """Raise DiskFull unless so many bytes fit there."""
    with disk_errors(beside):
        free = shutil.disk_usage(beside.absolute().parent).free
    if free < size:
        raise DiskFull(f"{beside.absolute().parent} has {free} bytes free, {size} are needed: free some space")


def check_new_database(path: Path, *, force: bool | None, clear: bool = False) -> None:
    """Raise unless a new database may take this place. With `force`, an old one that nobody uses may be replaced; with
    `clear` too, what is left beside it is removed, so that it can be now. None: there is no way to force it."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file")
    sides = [Path(f"{path}{side}") for side in _SIDES]
    if path.exists():
        if not force:
            how = "" if force is None else ", or say --force to replace it for good"
            raise UsageError(f"{path} exists: choose another name{how}")
        _check_unused(path, back=not clear)
    left = [side for side in sides if side.exists()]
    if left and not force:
        raise UsageError(
            f"{left[0]} is left from another database, and SQLite would read it into this one: move it away, or choose "
            "another name"
        )
    with disk_errors(path):
        for side in left if clear else ():
            side.unlink(missing_ok=True)


def _check_unused(path: Path, *, back: bool) -> None:
    """Leaving write-ahead logging needs the file for oneself alone, so it shows who else has it open. It also empties the
    log; `back`: and then it is as it was."""
    busy = f"{path} is open in another program (`replica serve`, perhaps): end that first, or choose another name"
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, isolation_level=None)) as db:
            db.execute("PRAGMA busy_timeout = 200")
            (mode,) = db.execute("PRAGMA journal_mode").fetchone()
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("BEGIN EXCLUSIVE")
            db.execute("ROLLBACK")
            if back and mode == "wal":
                db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StoreBusy(busy) from error
        raise StoreError(f"{path} cannot be replaced: {error}") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname not in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
            raise StoreError(f"{path} cannot be replaced: {error}") from error

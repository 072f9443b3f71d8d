"""Backup: one sealed file that holds the whole store, made while other programs write, and proven before it takes its place.

One test each:

1. A backup that is interrupted, at any point, leaves nothing under its name, or the older backup.
2. It never replaces what is no backup: a database named by mistake stays.
3. It is readable to its owner alone: it holds the secrets of the group.
4. `check` proves every byte, and writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from replica import system
from replica.backup import payload, snapshot
from replica.backup.payload import Manifest
from replica.backup.place import disk_errors, private, room_for, settle, workroom
from replica.backup.sealed import MAGIC, Key, Sealer, Unsealer
from replica.errors import UsageError
from replica.store.adopt import Progress
from replica.store.store import Store


class Backup(NamedTuple):
    """A backup: its manifest, its bytes on the disk, and whether it is encrypted."""

    manifest: Manifest
    bytes: int
    encrypted: bool


def backup(
    file: str | Path,
    out: str | Path,
    key: Key | None = None,
    *,
    progress: Progress | None = None,
    now_ms: Callable[[], int] = system.now_ms,
    random: Callable[[int], bytes] = system.random_bytes,
) -> Backup:
    """Write a backup of the store `file` to `out`, replacing an older backup there. The plain copy that it is made of stands
    beside `file` meanwhile, never beside `out`. Raises StoreError, UsageError."""
    file, out = Path(file), Path(out)
    _check_out(out)
    with Store(file, now_ms=now_ms, random=random) as store, workroom(file, now_ms) as room:
        room_for(file.stat().st_size, file)
        copy = room / "copy.db"
        os.close(private(copy))
        snapshot.take(store, copy, progress)
        with Store(copy, now_ms=now_ms, random=random) as copied:
            root, count = snapshot.prove(copied, file, progress)
            made, node, name, group = now_ms(), copied.node_id, copied.name, copied.group_keys.group
        with workroom(out, now_ms) as beside, disk_errors(out):
            sealed = beside / "backup"
            with open(copy, "rb") as database, open(private(sealed), "wb+") as sink:
                size, digest = payload.digest_of(database)
                manifest = Manifest(made, node, name, group, root, count, size, digest)
                sealer = Sealer(sink, key, random)
                payload.write(sealer, manifest, database, progress)
                sealer.close()
            settle(sealed, out, over=True)
            return Backup(manifest, out.stat().st_size, key is not None)


def _check_out(out: Path) -> None:
    """What is there may be an older backup, and nothing else."""
    if not out.exists():
        return
    if out.is_dir():
        raise UsageError(f"{out} is a folder: name a file in it")
    with disk_errors(out), open(out, "rb") as old:
        start = old.read(len(MAGIC))
    if start and start != MAGIC:
        raise UsageError(f"{out} is no backup and would be lost: choose another name for the backup")


def check(path: str | Path, key: Key | None = None, *, progress: Progress | None = None) -> Backup:
    """Prove every byte of a backup, and that it unpacks to the database that was verified when it was made. Raises
    FileRefused and its kin: WrongKey, Damaged, CutShort, Appended, Reordered."""
    with disk_errors(path), open(path, "rb") as file:
        unsealer = Unsealer(file, key, str(path))
        manifest = payload.read_manifest(unsealer, str(path))
        for _ in payload.read(unsealer, manifest, str(path), progress):
            pass
        return Backup(manifest, unsealer.size, unsealer.locked)

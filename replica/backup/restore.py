"""Restore: a backup becomes a store again, as a new node of the same group.

A restored copy never takes the old identity: the original may live, or have written after the backup and told its peers,
and two nodes that issue one stamp for two things cannot agree. One test each:

1. Backup, both go on, both sync: nothing is lost, roots are equal, ids differ, nobody is taken for a clone.
2. What a dead original wrote after the backup comes back from its peers, and is not overwritten by what is older.
3. Nothing is under the name unless it was proven whole; what was there stays otherwise.
4. Numbers that the copy gives to new rows are not those that the original gives.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from replica import system
from replica.backup import payload, snapshot
from replica.backup.backup import Backup
from replica.backup.place import check_new_database, disk_errors, private, room_for, settle, workroom
from replica.backup.sealed import Key, Unsealer
from replica.errors import FileRefused, UsageError
from replica.store import index
from replica.store.adopt import Progress
from replica.store.connection import connect
from replica.store.core import Core
from replica.store.identity import renew
from replica.store.mend import follow_schema
from replica.store.store import Store

_SUFFIX = " (restored)"
_NAME_MAX = 64


class Restored(NamedTuple):
    """A restored store: whose backup it is, its new id and name, and its root and number of records now, which speak of the
    new node too."""

    backup: Backup
    node: bytes
    name: str
    root: bytes
    records: int


def restore(
    path: str | Path,
    file: str | Path,
    key: Key | None = None,
    *,
    name: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    now_ms: Callable[[], int] = system.now_ms,
    random: Callable[[int], bytes] = system.random_bytes,
) -> Restored:
    """Make the database `file` of the backup at `path`, as a new node; `name`: for people (default: the old one and
    "(restored)"). `force`: replace a database that is there and that nobody uses. Raises FileRefused, StoreError,
    UsageError."""
    path, file = Path(path), Path(file)
    if name is not None and (not name or len(name) > _NAME_MAX or not name.isprintable()):
        raise UsageError("a node's name has 1 to 64 printable characters")
    if file.exists() and path.exists() and file.samefile(path):
        raise UsageError(f"{file} is the backup itself: name another file to restore into")
    check_new_database(file, force=force)  # Now, and again when all is ready: that may take a while.
    with disk_errors(path), open(path, "rb") as source, workroom(file, now_ms) as room:
        copy = room / "restored.db"
        unsealer = Unsealer(source, key, str(path))
        backup = _unpack(unsealer, copy, path, file, progress)
        node, name = _renew(copy, backup, path, name, now_ms, random, progress)
        with Store(copy, now_ms=now_ms, random=random) as store:
            root, count = store.root()
        check_new_database(file, force=force, clear=True)
        settle(copy, file, over=force)
        return Restored(backup, node, name, root, count)


def _unpack(unsealer: Unsealer, copy: Path, path: Path, file: Path, progress: Progress | None) -> Backup:
    manifest = payload.read_manifest(unsealer, str(path))
    room_for(manifest.size, file)
    with disk_errors(file), open(private(copy), "wb") as sink:
        for part in payload.read(unsealer, manifest, str(path), progress):
            sink.write(part)
    return Backup(manifest, unsealer.size, unsealer.locked)


def _renew(
    copy: Path,
    backup: Backup,
    path: Path,
    name: str | None,
    now_ms: Callable[[], int],
    random: Callable[[int], bytes],
    progress: Progress | None,
) -> tuple[bytes, str]:
    """Prove the copy, as the old node that it still is, then make it another."""
    manifest = backup.manifest
    with Store(copy, now_ms=now_ms, random=random) as store:
        if snapshot.prove(store, path, progress) != (manifest.root, manifest.records) or store.node_id != manifest.node:
            raise FileRefused(f"{path} holds another database than its manifest says: take an older backup")
    name = name or manifest.name.removesuffix(_SUFFIX)[: _NAME_MAX - len(_SUFFIX)] + _SUFFIX
    core = Core(connect(copy), str(copy), now_ms, random, follow_schema)
    try:
        with core.transaction(index.flush):
            _, node = renew(core, name)
    finally:
        core.db.close()
    return node, name

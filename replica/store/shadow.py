"""A row of `_replica_record`, the shadow of a record: its stamps and digest, and what was last seen of its values.

Whoever writes shadows says which stamps those records had, so that the history learns which items came and went.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from replica.store.core import Core
from replica.store.toggled import distinct

SHOWN, EXTRA = 1, 2
ABSENT = 0xFFFF
NEW_ROWS = 2_000
"""Shadows that are made ready for SQLite together: each takes half a kilobyte meanwhile."""
_COLUMNS = "key, tbl, id, floor, born, stamps, which, checks, digest, flags"
_INTO = f"INTO _replica_record({_COLUMNS}) VALUES "
_MARKS = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FRESH_MARKS = f"(?, ?, ?, x'', ?, ?, x'', ?, ?, {SHOWN})"

_KEY_AND_BIRTH = itemgetter(0, 3)

ShadowRow = tuple[bytes, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes, int]
FreshRow = tuple[bytearray, int, bytearray, bytearray, bytearray, bytearray, bytearray]
"""Key, table, id, birth, the same as the stamp of all fields, checks and digest of a record that is shown, whole and written
by one event, as they are bound."""


@dataclass(slots=True)
class Shadow:
    """A row of `_replica_record`. `stamps` by position, empty bytes for absent; `checks` by position."""

    key: bytes
    tbl: int
    id: bytes
    floor: bytes
    born: bytes
    stamps: list[bytes]
    checks: list[int]
    digest: bytes
    flags: int

    @property
    def live(self) -> bool:
        """Whether the record exists for its users."""
        return self.born > self.floor

    @property
    def shown(self) -> bool:
        """Whether it stands in the user's table."""
        return bool(self.flags & SHOWN)

    def seen(self) -> set[bytes]:
        """Every stamp in it."""
        return {stamp for stamp in (self.floor, self.born, *self.stamps) if stamp}


def load_shadows(core: Core, keys: Sequence[bytes]) -> dict[bytes, Shadow]:
    """Shadows by key, of those that exist."""
    sql = f"SELECT {_COLUMNS} FROM _replica_record WHERE key IN ("
    return {row[0]: parse(row) for row in core.select_in(sql, keys)}


def stamps_of(core: Core, keys: Sequence[bytes]) -> dict[bytes, set[bytes]]:
    """Key -> every stamp in the record's state, of those that exist."""
    sql = "SELECT key, floor, born, stamps FROM _replica_record WHERE key IN ("
    return {key: distinct(floor, born, stamps) for key, floor, born, stamps in core.select_in(sql, keys)}


def parse(row: Sequence[Any]) -> Shadow:
    """A shadow from its stored form."""
    key, tbl, id_, floor, born, stamps, which, checks, digest, flags = row
    count = len(checks) // 4
    numbers = memoryview(checks).cast("I").tolist() if checks else []
    if not which:
        per_field = [stamps] * count if stamps else [b""] * count
    else:
        index = array("H")
        index.frombytes(which)
        distinct = [stamps[i : i + 16] for i in range(0, len(stamps), 16)]
        per_field = [distinct[i] if i != ABSENT else b"" for i in index]
    return Shadow(key, tbl, id_, floor, born, per_field, numbers, digest, flags)


def store_form(stamps: list[bytes]) -> tuple[bytes, bytes]:
    present = {s for s in stamps if s}
    if not present:
        return b"", b""
    if len(present) == 1 and b"" not in stamps:
        return next(iter(present)), b""
    distinct = sorted(present)
    number = {s: i for i, s in enumerate(distinct)}
    return b"".join(distinct), array("H", [number[s] if s else ABSENT for s in stamps]).tobytes()


def write(core: Core, rows: Iterable[ShadowRow], before: Mapping[bytes, set[bytes]] = MappingProxyType({})) -> None:
    """Store shadows. `before`: the stamps that these records had, of those that were there. The caller keeps `core.dirty`
    up to date."""
    fresh, others = _stored(rows)
    _toggle(core, fresh, others, before)
    core.insert("INSERT OR REPLACE " + _INTO, _FRESH_MARKS, fresh)
    core.insert("INSERT OR REPLACE " + _INTO, _MARKS, others)


def write_new(core: Core, rows: Iterable[ShadowRow]) -> bool:
    """Store shadows of new records. If one of the keys is there already, store nothing and return False."""
    every = sorted(rows, key=itemgetter(0))
    return _write_new(core, (_stored(every[start : start + NEW_ROWS]) for start in range(0, len(every), NEW_ROWS)))


def write_fresh(core: Core, parts: Iterable[list[FreshRow]]) -> bool:
    """The same, of what is ready for SQLite, in key order, about NEW_ROWS at a time."""
    return _write_new(core, ((part, []) for part in parts))


def _write_new(core: Core, parts: Iterable[tuple[list[FreshRow], list[ShadowRow]]]) -> bool:
    mark, written = core.toggled.mark(), list[tuple[Any, ...]]()
    for fresh, others in parts:
        before = core.db.total_changes
        try:
            core.insert("INSERT OR FAIL " + _INTO, _FRESH_MARKS, fresh)
            core.insert("INSERT OR FAIL " + _INTO, _MARKS, others)
        except sqlite3.IntegrityError:
            written += [row[:1] for row in [*fresh, *others][: core.db.total_changes - before]]
            core.db.executemany("DELETE FROM _replica_record WHERE key = ?", written)
            core.toggled.back(mark)
            return False
        written += [row[:1] for row in (*fresh, *others)]
        _toggle(core, fresh, others, {})
    return True


def _toggle(
    core: Core, fresh: list[FreshRow], others: list[ShadowRow], before: Mapping[bytes, set[bytes]]
) -> None:
    if not before:
        core.toggled.born(map(_KEY_AND_BIRTH, fresh))
    for row in fresh if before else ():
        key = bytes(row[0])
        core.toggled.changed(key, before.get(key, set()), {bytes(row[3])})
    for key, _, _, floor, born, stamps, *_ in others:
        core.toggled.changed(key, before.get(key, set()), distinct(floor, born, stamps))


def _stored(rows: Iterable[ShadowRow]) -> tuple[list[FreshRow], list[ShadowRow]]:
    """Shadows as they are bound, in key order: (fresh ones, all others). Half of what a fresh one says is not new.

    Python's sqlite3 looks for an adapter of every `bytes`, which takes longer than to store it; of a `bytearray` it asks
    nothing."""
    own = bytearray
    fresh: list[FreshRow] = []
    others: list[ShadowRow] = []
    for row in sorted(rows, key=itemgetter(0)):
        key, tbl, id_, floor, born, stamps, which, checks, digest, flags = row
        if floor or which or stamps != born or flags != SHOWN:
            others.append(row)
        else:
            stamp = own(born)
            fresh.append((own(key), tbl, own(id_), stamp, stamp, own(checks), own(digest)))
    return fresh, others

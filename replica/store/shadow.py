"""A row of `_replica_record`, the shadow of a record: its stamps and digest, and what was last seen of its values.

Whoever writes shadows says which stamps those records had, so that the history learns which items came and went.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from replica.store import nursery
from replica.store.core import Core
from replica.store.toggled import distinct

SHOWN, EXTRA = nursery.SHOWN, 2
ABSENT = 0xFFFF
COLUMNS_MIN = 32
"""Fewer shadows are not worth columns."""
COLUMNS = "key, tbl, id, floor, born, stamps, which, checks, digest, flags"
_MARKS = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_KEY_AND_BIRTH = itemgetter(0, 4)

ShadowRow = tuple[bytes, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes, int]


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
    sql = f"SELECT {COLUMNS} FROM _replica_record WHERE key IN ("
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
    fresh: list[ShadowRow] = []
    others: list[ShadowRow] = []
    for row in sorted(rows, key=itemgetter(0)):
        _, _, _, floor, born, stamps, which, _, _, flags = row
        (others if floor or which or stamps != born or flags != SHOWN else fresh).append(row)
    if before:
        for key, _, _, _, born, *_ in fresh:
            core.toggled.changed(key, before.get(key, set()), {born})
    else:
        core.toggled.born(map(_KEY_AND_BIRTH, fresh), len(fresh))
    for key, _, _, floor, born, stamps, *_ in others:
        core.toggled.changed(key, before.get(key, set()), distinct(floor, born, stamps))
    if len(fresh) < COLUMNS_MIN:
        others += fresh
    else:
        nursery.of_rows(fresh).replace(core)
    core.insert(f"INSERT OR REPLACE INTO _replica_record({COLUMNS}) VALUES ", _MARKS, others)


def write_new(core: Core, rows: Iterable[ShadowRow]) -> bool:
    """Store shadows of new records, each shown, whole and written by one event. If one of the keys is there already, store
    nothing and return False."""
    return nursery.of_rows(rows).write(core)

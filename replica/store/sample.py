"""A sample of adopted rows that nobody has changed since: were two databases copies of each other (SPEC section 8)?

Where few rows were adopted, a search for them goes through all records. Who has gone through all items knows their keys, so
that only those are looked at. One test each:

1. With those keys, the sample is the one that a search finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from protocol.hlc import STAMP_BYTES
from protocol.prints import ITEM_BYTES
from protocol.trie import Entry
from replica.store import ddl
from replica.store.core import Core
from replica.store.lists import CHUNK, filled, places

ADOPTED = (1).to_bytes(8, "big")
"""What the stamp of an adopted row begins with: ms 0, counter 1."""
KEYS_MAX = CHUNK
"""Keys that are remembered. Of more adopted rows a search finds enough, and soon if they were not changed since."""
_KNOWN, _MANY = b"\0", b"\1"


class Adopted:
    """The keys of all records that have an item of an adopted row, and of some that had one, if they are not too many."""

    def __init__(self) -> None:
        self._keys: set[bytes] | None = set()

    def note(self, items: bytes) -> None:
        """These came, 32 bytes each."""
        at = items.find(ADOPTED) if self._keys is not None else -1
        while at >= 0 and self._keys is not None:
            if at % ITEM_BYTES == STAMP_BYTES:
                self._keys.add(items[at - STAMP_BYTES : at])
                if len(self._keys) > KEYS_MAX:
                    self._keys = None
            at = items.find(ADOPTED, at + 1)

    def first(self, core: Core, limit: int) -> list[Entry]:
        """`first`, of the records of now."""
        if self._keys is None:
            return first(core, limit)
        if not self._keys:
            return []
        keys = filled(list(self._keys))
        return _adopted(core, f"key IN ({places(len(keys))}) ORDER BY key LIMIT ?", (*keys, limit))

    def to_bytes(self) -> bytes:
        """All of it, to be kept."""
        return _MANY if self._keys is None else _KNOWN + b"".join(sorted(self._keys))

    @classmethod
    def from_bytes(cls, kept: bytes) -> Self | None:
        """What was kept, if that is what this is."""
        made = cls()
        if kept == _MANY:
            made._keys = None
        elif kept[:1] == _KNOWN and len(kept) % STAMP_BYTES == 1:
            made._keys = {kept[at : at + STAMP_BYTES] for at in range(1, len(kept), STAMP_BYTES)}
        else:
            return None
        return made


def first(core: Core, limit: int) -> list[Entry]:
    """(key, birth stamp) of the first ones, by key."""
    return _adopted(core, "1 ORDER BY key LIMIT ?", (limit,))


def compare(core: Core, entries: Sequence[Entry]) -> tuple[int, int]:
    """(how many of these this store has too, how many of those differ)."""
    if not entries:
        return 0, 0
    keys = filled([key for key, _ in entries])
    mine = dict(_adopted(core, f"key IN ({places(len(keys))})", keys))
    common = [(key, born) for key, born in entries if key in mine]
    return len(common), sum(mine[key] != born for key, born in common)


def _adopted(core: Core, tail: str, parameters: Sequence[object]) -> list[Entry]:
    system = [t.tbl for t in core.tables.values() if t.collection in ddl.SYSTEM]
    return core.db.execute(
        f"SELECT key, born FROM _replica_record WHERE tbl NOT IN ({','.join('?' * len(system))}) AND stamps = born "
        f"AND floor = x'' AND substr(born, 1, 8) = x'0000000000000001' AND {tail}",
        (*system, *parameters),
    ).fetchall()

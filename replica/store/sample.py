"""A sample of adopted rows that nobody has changed since: were two databases copies of each other (SPEC section 8)?"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.trie import Entry
from replica.store import ddl
from replica.store.core import Core
from replica.store.lists import filled, places


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

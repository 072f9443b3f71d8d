"""The young generation: what is known of rows that `put_many` wrote, in the order in which they came.

`_replica_record` and the trie are ordered by a hash: a thousand new rows touch a thousand pages of both, batch after batch.
So a batch leaves its shadows beside them as one blob, in the transaction that writes its rows, and many batches are sorted
in at once later: by whoever reads state, syncs or writes in another way, before anything else that waits is looked at. One
test each:

1. However rows are put, edited and deleted, in batches of whatever size, records, root and history items come out the same.
2. No more than WAITING_MAX rows wait.
3. A blob that is damaged is told, never read; `rescan` takes its rows as they stand.
4. A row that was deleted unheard, and then put again, is looked at: one key, or one number, stands for one record.
5. A blob reads the same on every machine, but for the checks, which are bytes as `_replica_record` holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from struct import Struct

from protocol.hlc import STAMP_BYTES
from protocol.keys import DIGEST_BYTES, KEY_BYTES
from replica.errors import StoreError
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.nursery import Born, Nursery, cut
from replica.store.toggled import ITEMS_MAX

BATCH_MIN, BATCH_MAX = 256, 4_096
"""Rows of a batch that waits. A smaller one is hardly dearer in its place; a larger one is sorted by itself."""
WAITING_MAX = ITEMS_MAX
"""Rows that wait at most: all of them are one line of the history."""

_HEAD = Struct("<4I")
"""Of a batch: the number of its table, how many rows, bytes of the checks of one, whether the rows have numbers."""


def room(core: Core, count: int) -> bool:
    """Whether so many rows may wait beside those that do."""
    least, most = core.rows("SELECT min(total), max(total) FROM _replica_young")[0]
    if most is None:  # None waits.
        return True
    return type(least) is type(most) is int and least > 0 and most + count <= WAITING_MAX  # The number has no digest.


def hidden(core: Core, keys: Sequence[bytes]) -> bool:
    """Whether any of these is the key of a record that no table shows. (SQLite would look each up among all records.)"""
    sql = "SELECT key FROM _replica_record INDEXED BY _replica_hidden WHERE NOT flags & 1"
    few = core.db.execute(f"{sql} LIMIT ?", (len(keys) // 4,)).fetchall()
    if 4 * len(few) + 4 > len(keys):
        few = list(core.select_in(f"{sql} AND key IN (", keys))
    return not {key for (key,) in few}.isdisjoint(keys)


def keep(core: Core, table: Table, records: Sequence[Born]) -> None:
    """Store what is known of new records with fields until the next `merge`."""
    assert table.shape is not None
    keys, digests, born, checks, ids = map(list, map(chain.from_iterable, zip(*records, strict=True)))
    head = _HEAD.pack(table.tbl, len(ids), len(checks[0]), table.shape.rowid_alias)
    sizes = Struct(f"<{len(ids)}I").pack(*map(len, ids))
    body = b"".join((head, *keys, *born, *digests, *checks, sizes, *ids))
    sql = "INSERT INTO _replica_young(total, digest, body) SELECT coalesce(max(total), 0) + ?, ?, ? FROM _replica_young"
    core.db.execute(sql, (len(ids), core.keys.digest(body), body))


def merge(core: Core) -> bool:
    """Put all that wait where they belong, in the caller's transaction. Returns whether there were any. Raises StoreError if
    something there is damaged, OurFault if they cannot all be kept."""
    nursery, found = Nursery(), core.rows("SELECT seq, digest, body FROM _replica_young ORDER BY seq")
    for seq, digest, body in found:
        if not _sound(core, digest, body):
            raise StoreError(
                f"{core.path} is damaged: what is stored of the rows that were put last (batch {seq}) makes no sense; "
                "`replica rescan` takes them as they stand"
            )
        _read(nursery, body)
    if found:
        core.db.execute("DELETE FROM _replica_young")
        nursery.merge(core)
    return bool(found)


def _read(nursery: Nursery, body: bytes) -> None:
    tbl, count, checks, numbered = _HEAD.unpack_from(body)
    widths = KEY_BYTES, STAMP_BYTES, DIGEST_BYTES, checks, 4
    ends = list(accumulate((width * count for width in widths), initial=_HEAD.size))
    parts = (body[low:high] for low, high in pairwise(ends))
    keys, born, digests, each_checks = (cut(part, width) for part, width in zip(parts, widths[:-1], strict=False))
    sizes = Struct(f"<{count}I").unpack(body[ends[-2] : ends[-1]])
    ids = [body[low:high] for low, high in pairwise(accumulate(sizes, initial=ends[-1]))]
    nursery.add(tbl, bool(numbered), Born(keys, digests, born, each_checks, ids))


def drop_damaged(core: Core) -> list[str]:
    """Drop what makes no sense, in the caller's transaction: then nothing is known of its rows. Returns what was done."""
    said = []
    for seq, digest, body in core.rows("SELECT seq, digest, body FROM _replica_young ORDER BY seq"):
        if not _sound(core, digest, body):
            core.db.execute("DELETE FROM _replica_young WHERE seq = ?", (seq,))
            what = f"what was stored of the rows that were put last (batch {seq}) made no sense"
            said.append(f"{what}: they are writes of now")
    return said


def _sound(core: Core, digest: object, body: object) -> bool:
    return type(body) is bytes and digest == core.keys.digest(body)

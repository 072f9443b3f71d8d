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

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from operator import itemgetter
from struct import Struct
from typing import TypeVar

from protocol.errors import OurFault
from protocol.record import unpack_id
from protocol.values import Value
from replica.errors import StoreError
from replica.store import capture
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.shadow import NEW_ROWS, FreshRow, ShadowRow, write_fresh
from replica.store.toggled import ITEMS_MAX

BATCH_MIN, BATCH_MAX = 256, 4_096
"""Rows of a batch that waits. A smaller one is hardly dearer in its place; a larger one is sorted by itself."""
WAITING_MAX = ITEMS_MAX
"""Rows that wait at most: all of them are one line of the history."""
_LOST = "rows that were put have the keys of others, which cannot be: nothing was changed; please report it"

_HEAD = Struct("<4I")
"""Of a batch: the number of its table, how many rows, bytes of the checks of one, whether the rows have numbers."""

_Name = TypeVar("_Name")


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


def keep(core: Core, table: Table, shadows: Sequence[ShadowRow]) -> None:
    """Store the shadows of new records, shown, with fields, and written by one event each, until the next `merge`."""
    assert table.shape is not None
    in_order = sorted(shadows, key=itemgetter(0))  # Then a merge reads on in a few places, and not in all at random.
    keys, _, ids, _, born, _, _, checks, digests, _ = zip(*in_order, strict=True)
    head = _HEAD.pack(table.tbl, len(ids), len(checks[0]), table.shape.rowid_alias)
    sizes = Struct(f"<{len(ids)}I").pack(*map(len, ids))
    body = b"".join((head, *keys, *born, *digests, *checks, sizes, *ids))
    sql = "INSERT INTO _replica_young(total, digest, body) SELECT coalesce(max(total), 0) + ?, ?, ? FROM _replica_young"
    core.db.execute(sql, (len(ids), core.keys.digest(body), body))


def merge(core: Core) -> bool:
    """Put all that wait where they belong, in the caller's transaction. Returns whether there were any. Raises StoreError if
    something there is damaged, OurFault if they cannot all be kept."""
    tables: dict[tuple[int, int], _Waiting] = {}
    for seq, digest, body in core.rows("SELECT seq, digest, body FROM _replica_young ORDER BY seq"):
        if not _sound(core, digest, body):
            raise StoreError(
                f"{core.path} is damaged: what is stored of the rows that were put last (batch {seq}) makes no sense; "
                "`replica rescan` takes them as they stand"
            )
        tbl, _, width, numbered = _HEAD.unpack_from(body)
        tables.setdefault((tbl, width), _Waiting(tbl, width, numbered)).add(body)
    for waiting in tables.values():
        waiting.sort()
    core.db.execute("DELETE FROM _replica_young")
    taken: set[tuple[int, Value]] = set()
    for waiting in tables.values():
        waiting.leave_taken(core, taken)
    if not write_fresh(core, chain.from_iterable(waiting.parts() for waiting in tables.values())):
        known: set[bytes] = set()
        for waiting in tables.values():
            waiting.leave_known(core, known)
        if not write_fresh(core, chain.from_iterable(waiting.parts() for waiting in tables.values())):
            raise OurFault(_LOST)
    for waiting in tables.values():
        core.dirty.born(waiting.born())
        core.db.executemany("INSERT INTO _replica_row VALUES (?, ?, ?)", waiting.numbers())
    return bool(tables)


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


class _Waiting:
    """The records of one table that wait. Of a column only its bytes are held, side by side."""

    def __init__(self, tbl: int, checks: int, numbered: int) -> None:
        self._tbl, self._width, self._numbered = tbl, checks, numbered
        self._born, self._digests, self._checks = bytearray(), bytearray(), bytearray()
        self._ids, self._ends = bytearray(), [0]
        self._keys: list[bytes] = []
        self._order: list[int] = []
        self._numbers: list[Value] = []

    def add(self, body: bytes) -> None:
        """The records of one batch."""
        count = _HEAD.unpack_from(body)[1]
        at = _HEAD.size + 16 * count
        self._keys += [body[n : n + 16] for n in range(_HEAD.size, at, 16)]
        for column, width in (self._born, 16), (self._digests, 16), (self._checks, self._width):
            column += body[at : at + width * count]
            at += width * count
        sizes = Struct(f"<{count}I").unpack_from(body, at)
        self._ends += list(accumulate(chain((self._ends[-1] + sizes[0],), sizes[1:])))
        self._ids += body[at + 4 * count :]

    def sort(self) -> None:
        """Once all are here."""
        self._order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
        self._numbers = [self._pk(n)[0] for n in range(len(self._keys))] if self._numbered else []

    def parts(self) -> Iterator[list[FreshRow]]:
        """They, sorted, as SQLite takes them."""
        keys, ids, ends, born, digests, checks = (
            self._keys,
            self._ids,
            self._ends,
            self._born,
            self._digests,
            self._checks,
        )
        tbl, width, own = self._tbl, self._width, bytearray
        for start in range(0, len(self._order), NEW_ROWS):
            yield [
                (
                    own(keys[n]),
                    tbl,
                    ids[ends[n] : ends[n + 1]],
                    stamp := born[16 * n : 16 * n + 16],
                    stamp,
                    checks[width * n : width * n + width],
                    digests[16 * n : 16 * n + 16],
                )
                for n in self._order[start : start + NEW_ROWS]
            ]

    def leave_taken(self, core: Core, taken: set[tuple[int, Value]]) -> None:
        """Of rows with numbers, keep those whose number stands for no record yet, and is not in `taken`, which learns them.
        SQLite made the numbers up: each of these rows has another birth, and so another key than the one before it."""
        if self._numbered:
            sql = "SELECT tbl, pk FROM _replica_row WHERE tbl = ? AND pk IN ("
            taken.update((tbl, pk) for tbl, pk in core.select_in(sql, self._numbers, self._tbl))
            self._leave(core, [(self._tbl, number) for number in self._numbers], taken)

    def leave_known(self, core: Core, known: set[bytes]) -> None:
        """Keep those whose key is not there yet, and not in `known`, which learns them."""
        known.update(key for (key,) in core.select_in("SELECT key FROM _replica_record WHERE key IN (", self._keys))
        self._leave(core, self._keys, known)

    def _leave(self, core: Core, names: Sequence[_Name], known: set[_Name]) -> None:
        """Keep the first of each name that is new. Somebody deleted the rows of the others unheard before they were put: so
        they are to be looked at, as rows that another program wrote."""
        left: set[int] = set()
        for n in sorted(self._order):  # As they came.
            if names[n] in known:
                left.add(n)
                pk = self._pk(n)
                columns = "".join(f", k{number}" for number in range(len(pk)))
                sql = f"INSERT INTO _replica_outbox(tbl, op, at{columns}) VALUES (?, ?, ?{', ?' * len(pk)})"
                core.db.execute(sql, (self._tbl, capture.INSERT, core.now_ms(), *pk))
            known.add(names[n])
        self._order = [n for n in self._order if n not in left]

    def born(self) -> list[bytes]:
        """The keys of those that are new."""
        return [self._keys[n] for n in self._order]

    def numbers(self) -> list[tuple[int, object, bytes]]:
        """Rows of `_replica_row`, where rows have numbers."""
        return [(self._tbl, self._numbers[n], self._keys[n]) for n in self._order] if self._numbered else []

    def _pk(self, n: int) -> tuple[Value, ...]:
        return unpack_id(bytes(self._ids[self._ends[n] : self._ends[n + 1]]))[0]

"""New records of whole rows, column by column in memory, until many are sorted into `_replica_record` at once.

Records and trie are ordered by a hash: rows that are sorted in by the ten thousand touch each page once. A column is bytes
side by side, and SQLite cuts the rows out of it by itself: Python takes longer to bind a row's values than SQLite to store
them. Where ids are of several lengths, the number that says a row's place also says where its id begins and how long it is.
One test each:

1. Whatever the lengths of ids and the numbers of fields, all come out as if each had been written by itself.
2. If one is there already, none is stored and nothing is noted.
3. A key, or a number that SQLite made up, stands for one record: of others the rows are left to be looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from operator import add
from typing import Any, NamedTuple, TypeVar

from protocol.errors import OurFault
from protocol.hlc import STAMP_BYTES
from protocol.keys import DIGEST_BYTES, KEY_BYTES
from protocol.record import unpack_id
from protocol.values import Value
from replica.store import capture
from replica.store.core import Core

SHOWN = 1
"""Flag of a record that stands in the user's table."""


BYTES_MAX = 1 << 26
"""Of one column that is given to SQLite, which takes 10**9 at most; and of what waits, until it is sorted in."""
_SIZE_BITS, _START_BITS, _PLACE_BITS = 20, 26, 17
"""Of a place that also says where an id is: together they are an integer of SQLite's. An id has ID_BYTES_MAX at most."""
_AT_ONCE = 1 << _PLACE_BITS


def _into(place: str, id_: str) -> str:
    def cell(column: int, width: object) -> str:
        return f"substr(?{column}, 1 + {width} * {place}, {width})"

    stamp, digest = cell(4, STAMP_BYTES), cell(7, DIGEST_BYTES)
    return (
        "INTO _replica_record(key, tbl, id, floor, born, stamps, which, checks, digest, flags) "
        f"SELECT {cell(1, KEY_BYTES)}, ?2, {id_}, x'', {stamp}, CASE WHEN ?6 THEN {stamp} ELSE x'' END, x'', "
        f"CASE WHEN ?6 THEN {cell(5, '?6')} ELSE x'' END, {digest}, {SHOWN} FROM json_each(?8)"
    )


_INTO = _into("value", "substr(?3, 1 + ?9 * value, ?9)")
"""In the order of the places that the list ?8 names. A record without fields has no stamp of them, and no checks."""
_INTO_LONG_AND_SHORT = _into(
    f"(value >> {_SIZE_BITS + _START_BITS})",
    f"substr(?3, 1 + (value >> {_SIZE_BITS} & {(1 << _START_BITS) - 1}), value & {(1 << _SIZE_BITS) - 1} + ?9)",
)
"""The same where ids are of several lengths; ?9 is 0."""
FEW = 8
"""So many times as many new records as there are others make the trie anew without reading any of them again."""
_LOST = "rows that were put have the keys of others, which cannot be: nothing was changed; please report it"

_Name = TypeVar("_Name")


class Born(NamedTuple):
    """Columns of records of one table that are shown, whole and written by one event each, whose stamp is `born`. Side by
    side: `checks` as many bytes for each, `ids` as many as `sizes` say."""

    keys: Sequence[bytes]
    born: bytes
    digests: bytes
    checks: bytes
    sizes: Sequence[int]
    ids: bytes

    def each(self) -> Iterator[bytes]:
        """The ids."""
        at = 0
        for size in self.sizes:
            yield self.ids[at : at + size]
            at += size

    def first(self, count: int) -> Born:
        """The first so many, at most."""
        if count >= len(self.sizes):
            return self
        wide, sizes = len(self.checks) // len(self.sizes), self.sizes[:count]
        fixed = self.keys[:count], self.born[: STAMP_BYTES * count], self.digests[: DIGEST_BYTES * count]
        return Born(*fixed, self.checks[: wide * count], sizes, self.ids[: sum(sizes)])


class Nursery:
    """New records of any tables."""

    def __init__(self) -> None:
        self._columns: dict[tuple[int, int], _Columns] = {}
        self.count = self.size = 0
        """How many, and how many bytes of what varies in length."""

    def add(self, tbl: int, numbered: bool, records: Born) -> None:
        """They too. `numbered`: whether SQLite numbers the rows of this table."""
        if not records.sizes:
            return
        self.count += len(records.sizes)
        self.size += len(records.ids) + len(records.checks)
        name = tbl, len(records.checks) // len(records.sizes)
        if name not in self._columns:
            self._columns[name] = _Columns(*name, numbered)
        self._columns[name].add(records)

    def merge(self, core: Core) -> bool:
        """Put all where they belong, in the caller's transaction, and forget them. Returns whether some were left to be
        looked at, as rows that another program wrote. Raises OurFault if they cannot all be kept."""
        every, others, left = list(self._columns.values()), _few(core, self.count), 0
        self._columns, self.count, self.size = {}, 0, 0
        taken: set[tuple[int, Value]] = set()
        for columns in every:
            left += columns.leave_taken(core, taken)
        if not _write(core, every):
            known: set[bytes] = set()
            for columns in every:
                left += columns.leave_known(core, known)
            if not _write(core, every):
                raise OurFault(_LOST)
        _note(core, every, others)
        return bool(left)

    def enter(self, core: Core) -> bool:
        """Put all where they belong, in the caller's transaction. If a key is there already, do nothing and return False. No
        number of theirs stands for a record."""
        others = _few(core, self.count)
        if entered := _write(core, self._columns.values()):
            _note(core, self._columns.values(), others)
        return entered

    def write(self, core: Core) -> bool:
        """Store them all, but for the numbers of their rows; the caller keeps `core.dirty` up to date. If a key is there
        already, store none and return False."""
        return _write(core, self._columns.values())

    def replace(self, core: Core) -> None:
        """Store them all, also over those that are there; the caller keeps `core.dirty` and `core.toggled` up to date."""
        for columns in self._columns.values():
            columns.write(core, "REPLACE")


def _few(core: Core, beside: int) -> list[bytes] | None:
    """Key and digest of all records, if they are few beside so many."""
    most = beside // FEW
    found = core.rows("SELECT key, digest FROM _replica_record LIMIT ?", (most + 1,))
    return [key + digest for key, digest in found] if len(found) <= most else None


def of_rows(rows: Iterable[Sequence[Any]]) -> Nursery:
    """Of these rows of `_replica_record`, each shown, whole and written by one event."""
    nursery, alike = Nursery(), dict[tuple[int, int], list[Sequence[Any]]]()
    for row in rows:
        alike.setdefault((row[1], len(row[7])), []).append(row)
    join = b"".join
    for (tbl, _), some in alike.items():
        keys, _, ids, _, born, _, _, checks, digests, _ = zip(*some, strict=True)
        nursery.add(tbl, False, Born(keys, join(born), join(digests), join(checks), list(map(len, ids)), join(ids)))
    return nursery


def _write(core: Core, every: Iterable[_Columns]) -> bool:
    mark, before = core.toggled.mark(), core.db.total_changes
    written: list[_Columns] = []
    for columns in every:
        written.append(columns)
        try:
            columns.write(core, "FAIL")  # What stands before it is in then.
        except sqlite3.IntegrityError:
            count = core.db.total_changes - before
            keys = islice(chain.from_iterable(some.in_order() for some in written), count)
            core.db.executemany("DELETE FROM _replica_record WHERE key = ?", [(key,) for key in list(keys)])
            core.toggled.back(mark)
            return False
        core.toggled.born(columns.items(), columns.count)
    return True


def _note(core: Core, every: Iterable[_Columns], others: list[bytes] | None) -> None:
    """Tell the trie of what was written, and whose numbers are whose. `others`: see `_few`."""
    for columns in every:
        core.dirty.born(columns.keys())
        core.db.executemany("INSERT INTO _replica_row VALUES (?, ?, ?)", columns.numbers())
    if others is not None:
        core.dirty.every = b"".join(sorted(chain(others, *(columns.entries() for columns in every))))


def cut(column: bytes, width: int) -> list[bytes]:
    """The values of a column that has so many bytes for each."""
    return [column[at : at + width] for at in range(0, len(column), width)]


def _pick(column: bytes | bytearray, width: int, places: Iterable[int]) -> bytes:
    return b"".join([column[width * n : width * n + width] for n in places])


class _Columns:
    """Records of one table."""

    def __init__(self, tbl: int, checks: int, numbered: bool) -> None:
        self._tbl, self._numbered, self._width = tbl, numbered, checks
        self._born, self._digests, self._checks, self._ids = bytearray(), bytearray(), bytearray(), bytearray()
        self._keys: list[bytes] = []
        self._sizes: list[int] = []
        self._order: list[int] | None = None

    def add(self, records: Born) -> None:
        self._keys += records.keys
        self._born += records.born
        self._digests += records.digests
        self._checks += records.checks
        self._ids += records.ids
        self._sizes += records.sizes
        self._order = None

    def _sorted(self) -> list[int]:
        """Their places, by key."""
        if self._order is None:
            self._order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
        return self._order

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self._sorted())

    def in_order(self) -> Iterator[bytes]:
        """Their keys as they are written."""
        return map(self._keys.__getitem__, self._sorted())

    def keys(self) -> Sequence[bytes]:
        """Their keys in any order."""
        return self._keys if self.count == len(self._keys) else list(self.in_order())

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Key and stamp of each."""
        places = range(len(self._keys)) if self.count == len(self._keys) else self._sorted()
        born = bytes(self._born)
        return ((self._keys[n], born[STAMP_BYTES * n : STAMP_BYTES * (n + 1)]) for n in places)

    def entries(self) -> Iterator[bytes]:
        """Key and digest of each, in order of the keys."""
        digests = cut(bytes(self._digests), DIGEST_BYTES)
        return map(add, self.in_order(), map(digests.__getitem__, self._sorted()))

    def write(self, core: Core, how: str) -> None:
        """Store them. `how`: what SQLite shall do where a key is there already. Raises sqlite3.IntegrityError."""
        order = self._sorted()
        if len(self._keys) <= _AT_ONCE and max(len(self._ids), len(self._checks)) <= BYTES_MAX:
            self._store(core, how, order)
            return
        starts, most = self._starts(), min(_AT_ONCE, max(1, BYTES_MAX // max(*self._sizes, self._width, KEY_BYTES)))
        for at in range(0, len(order), most):
            some, part = order[at : at + most], _Columns(self._tbl, self._width, self._numbered)
            part._keys, part._sizes = [self._keys[n] for n in some], [self._sizes[n] for n in some]
            part._ids += b"".join([self._ids[starts[n] : starts[n] + self._sizes[n]] for n in some])
            part._checks += _pick(self._checks, self._width, some)
            part._born += _pick(self._born, STAMP_BYTES, some)
            part._digests += _pick(self._digests, DIGEST_BYTES, some)
            part._store(core, how, list(range(len(some))))

    def _store(self, core: Core, how: str, order: list[int]) -> None:
        sizes, into, one = self._sizes, _INTO, self._sizes[0]
        if len(set(sizes)) > 1:
            starts, into, one = self._starts(), _INTO_LONG_AND_SHORT, 0
            shift = _SIZE_BITS + _START_BITS
            order = [n << shift | starts[n] << _SIZE_BITS | sizes[n] for n in order]
        columns = b"".join(self._keys), self._tbl, self._ids, self._born, self._checks, self._width, self._digests
        core.db.execute(f"INSERT OR {how} {into}", (*columns, str(order), one))

    def _starts(self) -> list[int]:
        """Where each id begins."""
        return list(accumulate(self._sizes[:-1], initial=0))

    # --- what is there already --------------------------------------------------------------------------------------

    def leave_taken(self, core: Core, taken: set[tuple[int, Value]]) -> int:
        """Of rows with numbers, keep those whose number stands for no record yet, and is not in `taken`, which learns them.
        SQLite made the numbers up: each of these rows has another birth, and so another key than the one before it."""
        if not self._numbered:
            return 0
        numbers = [pk[0] for pk in self._pks()]
        sql = "SELECT tbl, pk FROM _replica_row WHERE tbl = ? AND pk IN ("
        taken.update((tbl, pk) for tbl, pk in core.select_in(sql, numbers, self._tbl))
        return self._leave(core, [(self._tbl, number) for number in numbers], taken)

    def leave_known(self, core: Core, known: set[bytes]) -> int:
        """Keep those whose key is not there yet, and not in `known`, which learns them."""
        known.update(key for (key,) in core.select_in("SELECT key FROM _replica_record WHERE key IN (", self._keys))
        return self._leave(core, self._keys, known)

    def _leave(self, core: Core, names: Sequence[_Name], known: set[_Name]) -> int:
        """Keep the first of each name that is new. Somebody deleted the rows of the others unheard before they were put: so
        they are to be looked at, as rows that another program wrote. Returns how many."""
        left: set[int] = set()
        pks = list(self._pks()) if not known.isdisjoint(names) or len(set(names)) < len(names) else []
        for n in sorted(self._sorted()):  # As they came.
            if names[n] in known:
                left.add(n)
                pk = pks[n]
                columns = "".join(f", k{number}" for number in range(len(pk)))
                sql = f"INSERT INTO _replica_outbox(tbl, op, at{columns}) VALUES (?, ?, ?{', ?' * len(pk)})"
                core.db.execute(sql, (self._tbl, capture.INSERT, core.now_ms(), *pk))
            known.add(names[n])
        self._order = [n for n in self._sorted() if n not in left]
        return len(left)

    def numbers(self) -> list[tuple[int, object, bytes]]:
        """Rows of `_replica_row`, where rows have numbers."""
        if not self._numbered:
            return []
        pks = list(self._pks())
        return [(self._tbl, pks[n][0], self._keys[n]) for n in self._sorted()]

    def _pks(self) -> Iterator[tuple[Value, ...]]:
        ids = bytes(self._ids)
        return (unpack_id(ids[at : at + size])[0] for at, size in zip(self._starts(), self._sizes, strict=True))

"""New records of whole rows, each kept as one string of bytes until many are sorted into `_replica_record` at once.

Records and trie are ordered by a hash: rows that are sorted in by the ten thousand touch each page once. A record is kept as
what differs from one to the next, side by side and its key first. Sorted and joined, they go to SQLite as one value, and it
cuts the columns out by itself: Python takes longer to bind the values of a row than SQLite to store them. Where ids are of
several lengths, the number that says where a record begins also says how long its id is. One test each:

1. Whatever the lengths of ids and the numbers of fields, all come out as if each had been written by itself.
2. If one is there already, none is stored and nothing is noted.
3. A key, or a number that SQLite made up, stands for one record: of others the rows are left to be looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from protocol import limits
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
"""Of what is given to SQLite at once, which takes 10**9 at most; and of what waits, until it is sorted in."""
_DIGEST = slice(KEY_BYTES, KEY_BYTES + DIGEST_BYTES)
_BORN = slice(_DIGEST.stop, _DIGEST.stop + STAMP_BYTES)
_FIXED = _BORN.stop
"""Bytes of a record before its checks, after which its id is the rest."""
_SIZE_BITS = limits.ID_BYTES_MAX.bit_length()
"""Of a number that says where a record begins, and how long its id is."""


def _into(start: str, size: str) -> str:
    def cell(at: slice) -> str:
        return f"substr(?1, {start} + {at.start}, {at.stop - at.start})"

    return (
        "INTO _replica_record(key, tbl, id, floor, born, stamps, which, checks, digest, flags) "
        f"SELECT {cell(slice(0, KEY_BYTES))}, ?2, substr(?1, {start} + {_FIXED} + ?3, {size}), x'', {cell(_BORN)}, "
        f"CASE WHEN ?3 THEN {cell(_BORN)} ELSE x'' END, x'', "
        f"CASE WHEN ?3 THEN substr(?1, {start} + {_FIXED}, ?3) ELSE x'' END, {cell(_DIGEST)}, {SHOWN} FROM json_each(?4)"
    )


_INTO = _into("value", "?5")
"""Of joined records ?1 with checks of ?3 bytes those that begin where the list ?4 says, counted from 1. A record without
fields has no stamp of them, and no checks."""
_INTO_LONG_AND_SHORT = _into(f"(value >> {_SIZE_BITS})", f"(value & {(1 << _SIZE_BITS) - 1}) + ?5")
"""The same where ids are of several lengths; ?5 is 0."""
FEW = 8
"""So many times as many new records as there are others make the trie anew without reading any of them again."""
_LOST = "rows that were put have the keys of others, which cannot be: nothing was changed; please report it"

_Name = TypeVar("_Name")


class Born(NamedTuple):
    """Records of one table that are shown, whole and written by one event each, by columns. All checks have one size, and
    `_DIGEST`, `_BORN` and `_FIXED` say where in the string of a record each column stands."""

    keys: Sequence[bytes]
    digests: Sequence[bytes]
    born: Sequence[bytes]
    checks: Sequence[bytes]
    ids: Sequence[bytes]

    def first(self, count: int) -> Born:
        """So many of them."""
        return self if count >= len(self.ids) else Born(*(column[:count] for column in self))


class Nursery:
    """New records of any tables."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[int, int], _Kind] = {}
        self.count = self.size = 0
        """How many, and of how many bytes together."""

    def add(self, tbl: int, numbered: bool, records: Born) -> None:
        """They too, at least one. `numbered`: whether SQLite numbers the rows of this table."""
        each = list(map(b"".join, zip(*records, strict=True)))
        self.count += len(each)
        self.size += sum(map(len, each))
        name = tbl, len(records.checks[0])
        if name not in self._kinds:
            self._kinds[name] = _Kind(*name, numbered)
        self._kinds[name].add(each)

    def merge(self, core: Core) -> bool:
        """Put all where they belong, in the caller's transaction, and forget them. Returns whether some were left to be
        looked at, as rows that another program wrote. Raises OurFault if they cannot all be kept."""
        every, others, left = list(self._kinds.values()), _few(core, self.count), 0
        self._kinds, self.count, self.size = {}, 0, 0
        taken: set[tuple[int, Value]] = set()
        for kind in every:
            left += kind.leave_taken(core, taken)
        if not _write(core, every):
            known: set[bytes] = set()
            for kind in every:
                left += kind.leave_known(core, known)
            if not _write(core, every):
                raise OurFault(_LOST)
        _note(core, every, others)
        return bool(left)

    def enter(self, core: Core) -> bool:
        """Put all where they belong, in the caller's transaction. If a key is there already, do nothing and return False. No
        number of theirs stands for a record."""
        others = _few(core, self.count)
        if entered := _write(core, self._kinds.values()):
            _note(core, self._kinds.values(), others)
        return entered

    def write(self, core: Core) -> bool:
        """Store them all, but for the numbers of their rows; the caller keeps `core.dirty` up to date. If a key is there
        already, store none and return False."""
        return _write(core, self._kinds.values())

    def replace(self, core: Core) -> None:
        """Store them all, also over those that are there; the caller keeps `core.dirty` and `core.toggled` up to date."""
        for kind in self._kinds.values():
            kind.write(core, "REPLACE")


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
    for (tbl, _), some in alike.items():
        keys, _, ids, _, born, _, _, checks, digests, _ = zip(*some, strict=True)
        nursery.add(tbl, False, Born(keys, digests, born, checks, ids))
    return nursery


def _write(core: Core, every: Iterable[_Kind]) -> bool:
    mark, before = core.toggled.mark(), core.db.total_changes
    written: list[_Kind] = []
    for kind in every:
        written.append(kind)
        try:
            kind.write(core, "FAIL")  # What stands before it is in then.
        except sqlite3.IntegrityError:
            count = core.db.total_changes - before
            keys = islice(chain.from_iterable(map(_Kind.written, written)), count)
            core.db.executemany("DELETE FROM _replica_record WHERE key = ?", [(key,) for key in list(keys)])
            core.toggled.back(mark)
            return False
        core.toggled.born(kind.items(), kind.count)
    return True


def _note(core: Core, every: Iterable[_Kind], others: list[bytes] | None) -> None:
    """Tell the trie of what was written, and whose numbers are whose. `others`: see `_few`."""
    for kind in every:
        core.dirty.born(kind.keys())
        core.db.executemany("INSERT INTO _replica_row VALUES (?, ?, ?)", kind.numbers())
    if others is not None:
        core.dirty.every = b"".join(sorted(chain(others, *(kind.entries() for kind in every))))


def cut(column: bytes, width: int) -> list[bytes]:
    """The values of a column that has so many bytes for each."""
    return [column[at : at + width] for at in range(0, len(column), width)]


class _Kind:
    """Records of one table with as many fields."""

    def __init__(self, tbl: int, checks: int, numbered: bool) -> None:
        self._tbl, self._checks, self._numbered = tbl, checks, numbered
        self._each: list[bytes] = []
        self._in_order: list[bytes] | None = None

    def add(self, each: list[bytes]) -> None:
        self._each += each
        self._in_order = None

    def _sorted(self) -> list[bytes]:
        """They, by key."""
        if self._in_order is None:
            self._in_order = sorted(self._each)
        return self._in_order

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self._each)

    def keys(self) -> list[bytes]:
        """Their keys, as they came."""
        return [one[:KEY_BYTES] for one in self._each]

    def written(self) -> Iterator[bytes]:
        """Their keys as they are written."""
        return (one[:KEY_BYTES] for one in self._sorted())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and stamp of each, as they came."""
        return ((one[:KEY_BYTES], one[_BORN]) for one in self._each)

    def entries(self) -> list[bytes]:
        """Key and digest of each, in order of the keys."""
        return [one[: _DIGEST.stop] for one in self._sorted()]

    def write(self, core: Core, how: str) -> None:
        """Store them. `how`: what SQLite shall do where a key is there already. Raises sqlite3.IntegrityError."""
        every = self._sorted()
        at_once = max(1, BYTES_MAX // max(map(len, every), default=1))
        for at in range(0, len(every), at_once):
            self._store(core, how, every[at : at + at_once])

    def _store(self, core: Core, how: str, each: list[bytes]) -> None:
        sizes, into, before = set(map(len, each)), _INTO, _FIXED + self._checks
        if len(sizes) == 1:
            (size,) = sizes
            starts, one = list(range(1, 1 + size * len(each), size)), size - before
        else:
            into, one, starts = _INTO_LONG_AND_SHORT, 0, []
            start = 1
            for record in each:
                starts.append(start << _SIZE_BITS | len(record) - before)
                start += len(record)
        core.db.execute(f"INSERT OR {how} {into}", (b"".join(each), self._tbl, self._checks, str(starts), one))

    # --- what is there already --------------------------------------------------------------------------------------

    def leave_taken(self, core: Core, taken: set[tuple[int, Value]]) -> int:
        """Of rows with numbers, keep those whose number stands for no record yet, and is not in `taken`, which learns them.
        SQLite made the numbers up: each of these rows has another birth, and so another key than the one before it."""
        if not self._numbered:
            return 0
        numbers = [pk[0] for pk in self._pks(self._each)]
        sql = "SELECT tbl, pk FROM _replica_row WHERE tbl = ? AND pk IN ("
        taken.update((tbl, pk) for tbl, pk in core.select_in(sql, numbers, self._tbl))
        return self._leave(core, [(self._tbl, number) for number in numbers], taken)

    def leave_known(self, core: Core, known: set[bytes]) -> int:
        """Keep those whose key is not there yet, and not in `known`, which learns them."""
        keys = self.keys()
        known.update(key for (key,) in core.select_in("SELECT key FROM _replica_record WHERE key IN (", keys))
        return self._leave(core, keys, known)

    def _leave(self, core: Core, names: Sequence[_Name], known: set[_Name]) -> int:
        """Keep the first of each name that is new. Somebody deleted the rows of the others unheard before they were put: so
        they are to be looked at, as rows that another program wrote. Returns how many."""
        kept: list[bytes] = []
        for name, one in zip(names, self._each, strict=True):
            if name in known:
                (pk,) = self._pks([one])
                columns = "".join(f", k{number}" for number in range(len(pk)))
                sql = f"INSERT INTO _replica_outbox(tbl, op, at{columns}) VALUES (?, ?, ?{', ?' * len(pk)})"
                core.db.execute(sql, (self._tbl, capture.INSERT, core.now_ms(), *pk))
            else:
                kept.append(one)
            known.add(name)
        left = len(self._each) - len(kept)
        self._each, self._in_order = kept, None
        return left

    def numbers(self) -> list[tuple[int, object, bytes]]:
        """Rows of `_replica_row`, where rows have numbers."""
        if not self._numbered:
            return []
        every = self._sorted()
        return [(self._tbl, pk[0], one[:KEY_BYTES]) for pk, one in zip(self._pks(every), every, strict=True)]

    def _pks(self, each: list[bytes]) -> list[tuple[Value, ...]]:
        return [unpack_id(one[_FIXED + self._checks :])[0] for one in each]

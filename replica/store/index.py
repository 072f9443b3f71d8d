"""The Merkle trie as it lies in SQLite: one row for each inner node, with the counts and digests of its 16 children.

Leaves have no rows: a leaf is a range of `_replica_record`, which is ordered by record key. One test each:

1. After any history, the stored trie equals `protocol.trie.digest` of the records.
2. A batch costs a path for each record, or one scan of what it touches if that is cheaper.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, chain, islice
from struct import Struct
from typing import Any

from protocol import limits
from protocol.collector import uncollected
from protocol.trie import EMPTY, NIBBLES, Entry, Inner, Leaf, Node, inner_digest, key_range, leaf_digest
from replica.errors import StoreError
from replica.store import history
from replica.store.core import Core
from replica.store.grow import COUNTS, ENTRY_BYTES, Row, grow
from replica.store.lists import length

SCAN_MAX = 32_768
"""Entries that are held in memory at a time when a subtree is built anew."""

READ_MAX, RANGES = 256, 128
"""A part of so few records is read together with so many others: as much as SCAN_MAX at a time."""

CHANGES_MAX = 4_096
"""Changes that are taken through the trie together. In a large trie each has a path of its own, a few kilobytes; and what is
read of a small part is still in SQLite's cache when it is written."""

_DIGESTS = Struct("16s" * 16)
_NOTHING = b"\x01", b""
"""A range of no key: it fills a list of ranges up."""


def root(core: Core) -> tuple[bytes, int]:
    """Root digest and number of records, as of the last commit."""
    return root_in(core, core.settings())


def root_in(core: Core, settings: Mapping[str, Any]) -> tuple[bytes, int]:
    """The same, of these settings."""
    digest, count = settings.get("root"), settings.get("count")
    if type(digest) is not bytes or len(digest) != len(EMPTY) or type(count) is not int:
        raise _damaged(core, "")
    return digest, count


def entries(core: Core, prefix: str, after: bytes = b"", limit: int = -1) -> list[Entry]:
    """Entries below a prefix with keys above `after`, ascending."""
    low, high = key_range(prefix)
    comparison = ">" if after >= low else ">="
    return core.db.execute(
        f"SELECT key, digest FROM _replica_record WHERE key {comparison} ? AND key <= ? ORDER BY key LIMIT ?",
        (max(low, after), high, limit),
    ).fetchall()


def nodes(core: Core, prefixes: Sequence[str]) -> dict[str, Node]:
    """The nodes at these prefixes; an empty leaf where nothing is."""
    sql = "SELECT prefix, digests FROM _replica_trie WHERE prefix IN ("
    found: dict[str, Node] = {
        prefix: Inner(tuple([d if d != EMPTY else b"" for d in _apart(core, prefix, digests, _DIGESTS)]))
        for prefix, digests in core.select_in(sql, prefixes)
    }
    leaves = [prefix for prefix in prefixes if prefix not in found]
    for prefix, below in _ranges(core, leaves):
        found[prefix] = Leaf(tuple(below[: limits.LEAF_MAX]))
    return found


def first_keys(core: Core, heads: Sequence[bytes]) -> dict[bytes, bytes]:
    """Head of a key -> the first key that begins so, if there is one."""
    bounds = [(head, head + b"\xff" * 16) for head in heads]
    parts = select_ranges(core, "n, min(key)", bounds, " GROUP BY n")
    return {heads[start + n]: key for start, rows in parts for n, key in rows}


def _ranges(core: Core, prefixes: Sequence[str]) -> Iterator[tuple[str, list[Entry]]]:
    """All entries below each of these prefixes, ascending."""
    for start, rows in select_ranges(core, "n, key, digest", [key_range(prefix) for prefix in prefixes]):
        some = prefixes[start : start + RANGES]
        below: list[list[Entry]] = [[] for _ in some]
        for n, key, digest in rows:
            below[n].append((key, digest))
        yield from zip(some, below, strict=True)


def select_ranges(
    core: Core, columns: str, bounds: Sequence[tuple[bytes, bytes]], tail: str = ""
) -> Iterator[tuple[int, sqlite3.Cursor]]:
    """Rows of `_replica_record` from many short ranges of keys, by few queries: (place, rows of the ranges from there on,
    to be read before the next). `n` is a range's number after that place."""
    for start in range(0, len(bounds), RANGES):
        some = bounds[start : start + RANGES]
        some = [*some, *[_NOTHING] * (length(len(some)) - len(some))]
        rows = core.db.execute(
            f"WITH r(n, low, high) AS (VALUES {_numbered(len(some))}) SELECT {columns} FROM r "
            f"CROSS JOIN _replica_record WHERE key BETWEEN low AND high{tail}",
            list(map(bytearray, chain.from_iterable(some))),
        )
        yield start, rows


@lru_cache(RANGES)
def _numbered(count: int) -> str:
    return ", ".join([f"({n}, ?, ?)" for n in range(count)])


def flush(core: Core) -> None:
    """At the end of a transaction: bring the trie up to date, and note in the history what this transaction did."""
    catch_up(core)
    if core.toggled.due:
        history.write(core)


@uncollected()
def catch_up(core: Core) -> None:
    """Bring the trie up to date with the records that changed so far in this transaction."""
    dirty = core.dirty
    if not dirty:
        return
    before, count = root(core)
    update = _Update(core)
    digest, count = update.whole(dirty.every) if dirty.every else update.change(count, dirty.whole())
    dirty.clear()
    if digest != before:
        core.set_meta("root", digest)
    core.set_meta("count", count)
    core.toggled.due = True


def rebuild(core: Core) -> None:
    """Make the stored trie anew from the records, in the caller's transaction, whatever became of it; the history, which
    may have suffered as much, begins anew."""
    core.dirty.clear()
    history.begin_anew(core)
    digest, count, rows = build(core)
    core.db.execute("DELETE FROM _replica_trie")
    core.db.executemany("INSERT INTO _replica_trie VALUES (?, ?, ?)", rows)
    core.set_meta("root", digest)
    core.set_meta("count", count)


def build(core: Core) -> tuple[bytes, int, list[Row]]:
    """Root, count and rows of the trie, made anew from the records alone."""
    update = _Update(core)
    digest, count = update.build("", core.db.execute("SELECT count(*) FROM _replica_record").fetchone()[0])
    return digest, count, update.rows


def _damaged(core: Core, prefix: str) -> StoreError:
    node = f"node {prefix} of the trie" if prefix else "the root of the trie"
    return StoreError(
        f"{core.path} is damaged: {node} is missing or broken; `replica verify` says what else is, `replica rescan` makes "
        "the trie anew from the records"
    )


def _apart(core: Core, prefix: str, stored: object, form: Struct) -> list[Any]:
    """What is stored of a node's 16 children. The table is plain SQL: anything may stand there."""
    if type(stored) is not bytes or len(stored) != form.size:
        raise _damaged(core, prefix)
    return list(form.unpack(stored))


@dataclass(slots=True)
class _Part:
    """A prefix under which records changed: those from `low` to `high` in the list of changes."""

    prefix: str
    before: int
    low: int
    high: int
    count: int
    digest: bytes = EMPTY
    counts: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    children: list[_Part] = field(default_factory=list)

    def stays_inner(self) -> bool:
        """Whether it was and is an inner node, and few enough of its records changed to go down into it."""
        return min(self.before, self.count) > limits.LEAF_MAX and 4 * (self.high - self.low) <= self.count


class _Update:
    def __init__(self, core: Core) -> None:
        self._core, self._hash = core, core.keys.trie
        self.rows: list[Row] = []

    def _write(self) -> None:
        self._core.db.executemany("INSERT OR REPLACE INTO _replica_trie VALUES (?, ?, ?)", self.rows)
        self.rows = []

    def change(self, before: int, dirty: dict[bytes, int]) -> tuple[bytes, int]:
        """Write what becomes of a trie that held `before` records and of which these keys changed; its root and count."""
        count = before + sum(dirty.values())
        if READ_MAX < count < 4 * len(dirty):
            self._forget("")
            made = self.build("", count)
            self._write()
            return made
        self._keys = sorted(dirty)
        self._sums = [0, *accumulate(map(dirty.__getitem__, self._keys))]
        root = _Part("", before, 0, len(dirty), count)
        self._change(root)
        return root.digest, root.count

    def whole(self, every: bytes) -> tuple[bytes, int]:
        """Write the trie of these entries, which are all there are; its root and count."""
        self._forget("")
        (digest,), rows = grow(self._core.keys, [("", every)])
        self.rows = sorted(rows)  # In order of their prefixes they fill pages.
        self._write()
        return digest, len(every) // ENTRY_BYTES

    def _change(self, part: _Part) -> None:
        """Bring a part up to date: one with many changes child by child."""
        if part.high - part.low <= CHANGES_MAX or not part.stays_inner():
            self._change_few(part)
        else:
            self._open([part])
            for child in part.children:
                self._change(child)
            self._close(part)
        self._write()

    def _change_few(self, root: _Part) -> None:
        """It goes down level by level, so that one query reads many nodes and one many leaves."""
        levels: list[list[_Part]] = []
        few: list[_Part] = []
        level = [root]
        while level:
            inner: list[_Part] = []
            for part in level:
                if part.stays_inner():
                    inner.append(part)
                    continue
                if part.before > limits.LEAF_MAX:
                    self._forget(part.prefix)
                if part.count <= READ_MAX:
                    few.append(part)
                else:
                    part.digest, part.count = self.build(part.prefix, part.count)
            self._open(inner)
            levels.append(inner)
            level = [child for part in inner for child in part.children]
        self._read(few)
        for part in chain.from_iterable(reversed(levels)):
            self._close(part)

    def _close(self, part: _Part) -> None:
        """Make an inner node of its children."""
        for child in part.children:
            digit = int(child.prefix[-1], 16)
            part.digests[digit], part.counts[digit] = child.digest, child.count
        part.digest = self._inner(part.prefix, part.digests, part.counts)
        part.children = []

    def _open(self, inner: list[_Part]) -> None:
        """Read these inner nodes, and find their children that changed."""
        sql = "SELECT prefix, counts, digests FROM _replica_trie WHERE prefix IN ("
        stored = {row[0]: row for row in self._core.select_in(sql, [part.prefix for part in inner])}
        for part in inner:
            if part.prefix not in stored:
                raise _damaged(self._core, part.prefix)
            _, counts, digests = stored[part.prefix]
            part.counts = _apart(self._core, part.prefix, counts, COUNTS)
            part.digests = _apart(self._core, part.prefix, digests, _DIGESTS)
            byte, odd = divmod(len(part.prefix), 2)
            low = part.low
            while low < part.high:
                digit = self._keys[low][byte] & 15 if odd else self._keys[low][byte] >> 4
                prefix = part.prefix + NIBBLES[digit]
                high = bisect_right(self._keys, key_range(prefix)[1], low, part.high)
                before = part.counts[digit]
                part.children.append(_Part(prefix, before, low, high, before + self._sums[high] - self._sums[low]))
                low = high

    def _read(self, few: list[_Part]) -> None:
        """Make these small parts from their records."""
        found = _ranges(self._core, [part.prefix for part in few])
        while some := list(islice(found, RANGES)):
            digests = self._from_entries(some)
            for part, digest, (_, below) in zip(few, digests, some, strict=False):
                part.digest, part.count = digest, len(below)
            few = few[len(some) :]

    def build(self, prefix: str, estimate: int) -> tuple[bytes, int]:
        """Digest and count of a prefix, made from its records."""
        if estimate <= SCAN_MAX:
            below = entries(self._core, prefix)
            return self._from_entries([(prefix, below)])[0], len(below)
        parts = [self.build(prefix + digit, estimate // 16) for digit in NIBBLES]
        counts = [count for _, count in parts]
        if sum(counts) <= limits.LEAF_MAX:
            return leaf_digest(self._hash, entries(self._core, prefix)), sum(counts)
        return self._inner(prefix, [digest for digest, _ in parts], counts), sum(counts)

    def _from_entries(self, parts: Sequence[tuple[str, list[Entry]]]) -> list[bytes]:
        digests, rows = grow(self._core.keys, [(prefix, b"".join(chain.from_iterable(below))) for prefix, below in parts])
        self.rows += rows
        return digests

    def _inner(self, prefix: str, digests: list[bytes], counts: list[int]) -> bytes:
        self.rows.append((prefix, COUNTS.pack(*counts), b"".join(digests)))
        return inner_digest(self._hash, [d if d != EMPTY else b"" for d in digests])

    def _forget(self, prefix: str) -> None:
        self._core.db.execute("DELETE FROM _replica_trie WHERE prefix >= ? AND prefix < ?", (prefix, prefix + "g"))

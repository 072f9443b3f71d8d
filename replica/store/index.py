"""The Merkle trie as it lies in SQLite: one row for each inner node, with the counts and digests of its 16 children.

Leaves have no rows: a leaf is a range of `_replica_record`, which is ordered by record key. One test each:

1. After any history, the stored trie equals `protocol.trie.digest` of the records.
2. A batch costs a path for each record, or one scan of what it touches if that is cheaper.
"""

from __future__ import annotations

from bisect import bisect_left
from struct import Struct

from protocol import limits
from protocol.trie import EMPTY, NIBBLES, Entry, Inner, Leaf, Node, inner_digest, key_range, leaf_digest, split
from replica.store.core import Core, uncollected

SCAN_MAX = 32_768
"""Entries that are held in memory at a time when a subtree is built anew."""

_COUNTS = Struct(">16I")

_Row = tuple[str, bytes, bytes]


def root(core: Core) -> tuple[bytes, int]:
    """Root digest and number of records, as of the last commit."""
    return core.meta("root"), core.meta("count")


def entries(core: Core, prefix: str, after: bytes = b"", limit: int = -1) -> list[Entry]:
    """Entries below a prefix with keys above `after`, ascending."""
    low, high = key_range(prefix)
    comparison = ">" if after >= low else ">="
    return core.db.execute(
        f"SELECT key, digest FROM _replica_record WHERE key {comparison} ? AND key <= ? ORDER BY key LIMIT ?",
        (max(low, after), high, limit),
    ).fetchall()


def node(core: Core, prefix: str) -> Node:
    """The node at a prefix; an empty leaf where nothing is."""
    row = core.db.execute("SELECT digests FROM _replica_trie WHERE prefix = ?", (prefix,)).fetchone()
    if row is None:
        return Leaf(tuple(entries(core, prefix, limit=limits.LEAF_MAX)))
    return Inner(tuple(d if d != EMPTY else b"" for d in _digests(row[0])))


@uncollected()
def flush(core: Core) -> None:
    """Bring the trie up to date with the records changed in this transaction."""
    if not core.dirty:
        return
    changes = sorted(core.dirty.items())
    core.dirty.clear()
    before, count = root(core)
    update = _Update(core)
    digest, count = update.node("", count, changes)
    update.write()
    if digest != before:
        core.set_meta("root", digest)
    core.set_meta("count", count)


def build(core: Core) -> tuple[bytes, int, list[_Row]]:
    """Root, count and rows of the trie, made anew from the records alone."""
    update = _Update(core)
    digest, count = update.build("", core.db.execute("SELECT count(*) FROM _replica_record").fetchone()[0])
    return digest, count, update.rows


def _digests(blob: bytes) -> list[bytes]:
    return [blob[i : i + 16] for i in range(0, 256, 16)]


def _counts(blob: bytes) -> list[int]:
    return list(_COUNTS.unpack(blob))


class _Update:
    def __init__(self, core: Core) -> None:
        self._core, self._hash = core, core.keys.trie
        self.rows: list[_Row] = []

    def write(self) -> None:
        self._core.db.executemany("INSERT OR REPLACE INTO _replica_trie VALUES (?, ?, ?)", self.rows)

    def node(self, prefix: str, before: int, changes: list[tuple[bytes, int]]) -> tuple[bytes, int]:
        """Digest and count of a prefix that held `before` records and of which these keys changed."""
        count = before + sum(delta for _, delta in changes)
        was_inner = before > limits.LEAF_MAX
        if count <= limits.LEAF_MAX:
            if was_inner:
                self._forget(prefix)
            return leaf_digest(self._hash, entries(self._core, prefix)), count
        if not was_inner or 4 * len(changes) > count:
            if was_inner:
                self._forget(prefix)
            return self.build(prefix, count)
        row = self._core.db.execute("SELECT counts, digests FROM _replica_trie WHERE prefix = ?", (prefix,)).fetchone()
        counts, digests = _counts(row[0]), _digests(row[1])
        low = 0
        for i, digit in enumerate(NIBBLES):
            child = prefix + digit
            bound = key_range(child)[1]
            high = bisect_left(changes, (bound, 2), low)
            if high > low:
                digests[i], counts[i] = self.node(child, counts[i], changes[low:high])
                low = high
        return self._inner(prefix, digests, counts), count

    def build(self, prefix: str, estimate: int) -> tuple[bytes, int]:
        """Digest and count of a prefix, made from its records."""
        if estimate <= SCAN_MAX:
            below = entries(self._core, prefix)
            return self._from_entries(prefix, below), len(below)
        parts = [self.build(prefix + digit, estimate // 16) for digit in NIBBLES]
        counts = [count for _, count in parts]
        if sum(counts) <= limits.LEAF_MAX:
            return leaf_digest(self._hash, entries(self._core, prefix)), sum(counts)
        return self._inner(prefix, [digest for digest, _ in parts], counts), sum(counts)

    def _from_entries(self, prefix: str, below: list[Entry]) -> bytes:
        if len(below) <= limits.LEAF_MAX:
            return leaf_digest(self._hash, below)
        parts = split(below, len(prefix))
        digests = [
            leaf_digest(self._hash, part) if len(part) <= limits.LEAF_MAX else self._from_entries(prefix + digit, part)
            for digit, part in zip(NIBBLES, parts, strict=True)
        ]
        return self._inner(prefix, digests, list(map(len, parts)))

    def _inner(self, prefix: str, digests: list[bytes], counts: list[int]) -> bytes:
        self.rows.append((prefix, _COUNTS.pack(*counts), b"".join(digests)))
        return inner_digest(self._hash, [d if d != EMPTY else b"" for d in digests])

    def _forget(self, prefix: str) -> None:
        self._core.db.execute("DELETE FROM _replica_trie WHERE prefix >= ? AND prefix < ?", (prefix, prefix + "g"))

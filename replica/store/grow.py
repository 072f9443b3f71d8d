"""Parts of the trie made from all their entries, many at once.

It goes down with bytes instead of entries, then hashes all leaves together, then comes up again. A test holds it equal
to `protocol.trie.digest`, which is the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from protocol import limits
from protocol.keys import Keys
from protocol.trie import EMPTY, NIBBLES, inner_digest

Row = tuple[str, bytes, bytes]
"""A row of `_replica_trie`: prefix, counts and digests of the 16 children."""

COUNTS = Struct(">16I")

ENTRY_BYTES = 32
"""Key and digest of a record."""
_LEAF_BYTES = ENTRY_BYTES * limits.LEAF_MAX
_HIGH, _LOW = bytes(n >> 4 for n in range(256)), bytes(n & 15 for n in range(256))


def grow(keys: Keys, parts: Sequence[tuple[str, bytes]]) -> tuple[list[bytes], list[Row]]:
    """Digest of each of these prefixes, which hold exactly these entries, joined, ascending by key; and the rows of all
    inner nodes at and below them."""
    growing = _Growing()
    roots = [growing.place(prefix, below) for prefix, below in parts]
    growing.go_down()
    digests, rows = growing.come_up(keys)
    return [digests[root] for root in roots], rows


class _Growing:
    """A node is named by a number: 0 for what is empty, from 1 on for a leaf, from -1 down for an inner node."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []
        self._inner: list[tuple[str, bytes]] = []
        self._children: list[tuple[list[int], list[int]]] = []

    def place(self, prefix: str, below: bytes) -> int:
        """Number of the node that holds these joined entries."""
        if len(below) > _LEAF_BYTES and len(prefix) < limits.DEPTH_MAX:
            self._inner.append((prefix, below))
            return -len(self._inner)
        if below:
            self._leaves.append(b"\x00" + below)
            return len(self._leaves)
        return 0

    def go_down(self) -> None:
        """Tell the children of every inner node apart."""
        place, leaves = self.place, self._leaves
        for prefix, below in self._inner:  # It grows meanwhile.
            byte, odd = divmod(len(prefix), 2)
            nibbles = below[byte::ENTRY_BYTES].translate(_LOW if odd else _HIGH)
            counts = list(map(nibbles.count, range(16)))
            children = [0] * 16
            low = 0
            for n, count in enumerate(counts):
                if not count:
                    continue
                high = low + ENTRY_BYTES * count
                if count > limits.LEAF_MAX:
                    children[n] = place(prefix + NIBBLES[n], below[low:high])
                else:
                    leaves.append(b"\x00" + below[low:high])
                    children[n] = len(leaves)
                low = high
            self._children.append((children, counts))

    def come_up(self, keys: Keys) -> tuple[list[bytes], list[Row]]:
        """Digests by number, and the rows of the inner nodes."""
        digests = [b"", *keys.tries(self._leaves), *[b""] * len(self._inner)]
        rows: list[Row] = []
        for number in range(len(self._inner), 0, -1):
            children, counts = self._children[number - 1]
            found = [digests[child] for child in children]
            stored = b"".join(found if all(children) else [d or EMPTY for d in found])
            rows.append((self._inner[number - 1][0], COUNTS.pack(*counts), stored))
            digests[-number] = inner_digest(keys.trie, found)
        digests[0] = EMPTY
        return digests, rows

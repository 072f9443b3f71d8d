"""Parts of the trie made many at once are what the definition makes of each."""

from __future__ import annotations

from random import Random

from protocol import limits
from protocol.keys import Keys, Secrets
from protocol.trie import NIBBLES, Entry, digest
from replica.store.grow import COUNTS, grow

KEYS = Keys(Secrets(b"g" * 16, b"d" * 32, b"a" * 32))


def entries(random: Random, prefix: str, count: int, alike: int) -> list[Entry]:
    """So many entries below a prefix, whose keys share one of three heads of so many bytes."""
    first, heads = bytes.fromhex(prefix.ljust(2, "0")), [random.randbytes(alike) for _ in range(3)]
    keys = {(first + random.choice(heads) + random.randbytes(16))[:16] for _ in range(count)}
    return sorted((key, random.randbytes(16)) for key in keys)


def test_parts_that_grow_together_are_what_the_definition_makes_of_each() -> None:
    """None, a leaf, a leaf and one more, a deep part, a wide one; and each inner node has its row."""
    random = Random(5)
    shapes = [("a0", 0, 1), ("b1", 16, 9), ("c2", 17, 9), ("d3", 2_000, 4), ("4", 900, 0)]
    parts = [(prefix, entries(random, prefix, count, alike)) for prefix, count, alike in shapes]
    joined = [(prefix, b"".join(key + value for key, value in below)) for prefix, below in parts]
    digests, rows = grow(KEYS, joined)
    assert digests == [digest(KEYS.trie, below, len(prefix)) for prefix, below in parts]
    stored = {prefix: (COUNTS.unpack(counts), found) for prefix, counts, found in rows}
    assert {prefix for prefix, below in parts if len(below) > limits.LEAF_MAX} <= stored.keys()
    for prefix, (counts, found) in stored.items():
        (below,) = [some for head, some in parts if prefix.startswith(head)]
        for n, nibble in enumerate(NIBBLES):
            child = [e for e in below if e[0].hex().startswith(prefix + nibble)]
            assert counts[n] == len(child)
            assert found[16 * n : 16 * n + 16] == digest(KEYS.trie, child, len(prefix) + 1)
            assert (prefix + nibble in stored) == (len(child) > limits.LEAF_MAX)

"""The Merkle trie over the records of a scope: equal roots prove equal contents.

A radix trie of fanout 16 over the 16-byte record keys, written as hex, so that a prefix is a string of hex digits. A
prefix is a leaf iff it holds at most LEAF_MAX records, so that the shape depends on the set alone. One test each:

1. The same set gives the same root, by any history of inserts and deletes.
2. No node of one kind can pass for another: every hash begins with a tag.
3. The root of the empty set is 16 zero bytes.

This file is the definition; how the trie lies in SQLite is the store's business. SPEC section 7; vectors:
tests/vectors/trie.json.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from protocol import limits

EMPTY = bytes(16)
NIBBLES = "0123456789abcdef"
_BITS = [0x8000 >> n for n in range(16)]

Entry = tuple[bytes, bytes]
"""(record key, record digest), 16 bytes each."""

Hash = Callable[[bytes], bytes]
"""keys.Keys.trie: tagged bytes -> 16 bytes."""


class Leaf(NamedTuple):
    """A prefix with at most LEAF_MAX records, in ascending order of key."""

    entries: tuple[Entry, ...]


class Inner(NamedTuple):
    """A prefix with more. Digests of its 16 children in order; empty bytes for an absent child."""

    children: tuple[bytes, ...]


Node = Leaf | Inner


def leaf_digest(hash_: Hash, entries: Sequence[Entry]) -> bytes:
    """Digest of a leaf with these entries, sorted by key."""
    if not entries:
        return EMPTY
    return hash_(b"\x00" + b"".join(itertools.chain.from_iterable(entries)))


def inner_digest(hash_: Hash, children: Sequence[bytes]) -> bytes:
    """Digest of an inner node with these 16 children (empty bytes: absent)."""
    bitmap = 0xFFFF
    if not all(children):
        bitmap = sum([bit for bit, child in zip(_BITS, children, strict=True) if child])
    return hash_(b"\x01" + bitmap.to_bytes(2, "big") + b"".join(children))


def fingerprint(hash_: Hash, entry: Entry) -> bytes:
    """What stands for one entry of a leaf on the wire (a slice of it)."""
    return hash_(b"\x02" + entry[0] + entry[1])


def digest(hash_: Hash, entries: Sequence[Entry], depth: int = 0) -> bytes:
    """Digest of the prefix that holds exactly these entries, sorted by key: the definition, without any store."""
    if len(entries) <= limits.LEAF_MAX:
        return leaf_digest(hash_, entries)
    return inner_digest(hash_, [digest(hash_, part, depth + 1) if part else b"" for part in split(entries, depth)])


def split(entries: Sequence[Entry], depth: int) -> list[list[Entry]]:
    """The entries below each of the 16 children of a prefix of length `depth`."""
    parts: list[list[Entry]] = [[] for _ in NIBBLES]
    byte, high = divmod(depth, 2)
    for entry in entries:
        parts[entry[0][byte] & 15 if high else entry[0][byte] >> 4].append(entry)
    return parts


def key_range(prefix: str) -> tuple[bytes, bytes]:
    """The least and the greatest record key below a prefix."""
    return bytes.fromhex(prefix.ljust(limits.DEPTH_MAX, "0")), bytes.fromhex(prefix.ljust(limits.DEPTH_MAX, "f"))


def slice_of(digest_: bytes, attempt: int) -> bytes:
    """The part of a digest that travels at the n-th attempt: another slice each time, at last all of it, so that two
    digests that agree in one slice are told apart by the next."""
    return digest_[cut(attempt)]


def cut(attempt: int) -> slice:
    """Where `slice_of` cuts: for those who cut many."""
    if attempt >= limits.SLICES:
        return slice(None)
    return slice(attempt * limits.SLICE_BYTES, (attempt + 1) * limits.SLICE_BYTES)


def slice_width(attempt: int) -> int:
    """Bytes of each slice at the n-th attempt."""
    return 16 if attempt >= limits.SLICES else limits.SLICE_BYTES

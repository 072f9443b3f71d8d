"""Equal roots mean equal sets: the trie's shape and digests are functions of the set alone."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits, trie
from protocol.trie import EMPTY, Entry, digest, fingerprint, inner_digest, key_range, leaf_digest
from tests.protocol.memory_store import KEYS, MemoryStore, fragment
from tests.vectors import vectors

crowded = st.binary(min_size=1, max_size=3).map(lambda b: b.rjust(16, b"\0") if len(b) % 2 else b.ljust(16, b"\0"))
"""Keys that share long prefixes, at the head or at the tail."""

entries = st.dictionaries(
    st.one_of(st.binary(min_size=16, max_size=16), crowded), st.binary(min_size=16, max_size=16), max_size=60
)


def made(count: int, salt: str = "") -> list[Entry]:
    """Entries that are spread as hashes are."""
    hashes = [sha256(f"{salt}{i}".encode()).digest() for i in range(count)]
    return sorted((h[:16], h[16:]) for h in hashes)


def root(of: dict[bytes, bytes] | list[Entry]) -> bytes:
    """The root of a set."""
    return digest(KEYS.trie, sorted(dict(of).items()))


def plain_root(below: list[Entry], prefix: str = "") -> bytes:
    """SPEC section 7, word by word and without any cleverness."""
    if not below:
        return bytes(16)
    if len(below) <= 16:
        return KEYS.trie(b"\x00" + b"".join(key + value for key, value in sorted(below)))
    bitmap, children = 0, b""
    for nibble in range(16):
        child = [e for e in below if e[0].hex().startswith(f"{prefix}{nibble:x}")]
        if child:
            bitmap |= 0x8000 >> nibble
            children += plain_root(child, f"{prefix}{nibble:x}")
    return KEYS.trie(b"\x01" + bitmap.to_bytes(2, "big") + children)


@given(entries)
def test_the_root_is_the_one_of_the_spec(of: dict[bytes, bytes]) -> None:
    assert root(of) == plain_root(sorted(of.items()))


@given(entries, entries)
def test_equal_roots_mean_equal_sets(a: dict[bytes, bytes], b: dict[bytes, bytes]) -> None:
    assert (root(a) == root(b)) == (a == b)


def test_1_the_same_set_gives_the_same_root_by_any_history() -> None:
    """A store that grew and one that got the same in reverse, in pieces and twice agree with the definition."""
    rows = [fragment(bytes([0x91, n]), born=bytes([n]) * 16, fields={"n": n}) for n in range(1, 100)]
    forwards, backwards = MemoryStore(), MemoryStore()
    roots = set()
    for row in rows:
        forwards.take(row)
        roots.add(forwards.root()[0])
    for row in [*reversed(rows), *rows[::3]]:
        backwards.take(row)
        backwards.root()
    assert len(roots) == len(rows)
    assert forwards.root() == backwards.root()
    assert forwards.root()[0] == digest(KEYS.trie, forwards.entries("", b"", 1_000))


@pytest.mark.parametrize("count", [1, 16, 17, 300])
def test_a_prefix_is_a_leaf_iff_it_holds_at_most_16_records(count: int) -> None:
    some = made(count)
    assert (root(some) == leaf_digest(KEYS.trie, some)) == (count <= 16)


def test_seventeen_records_in_one_branch_make_inner_nodes_all_the_way_down_to_where_they_part() -> None:
    some = [(b"\xab\xcd" + bytes([i]) * 14, bytes(16)) for i in range(17)]
    leaves = [leaf_digest(KEYS.trie, some[:16]), leaf_digest(KEYS.trie, some[16:])]
    node = inner_digest(KEYS.trie, [leaves[0], leaves[1], *[b""] * 14])
    for nibble in reversed("abcd"):
        node = inner_digest(KEYS.trie, [node if digit == nibble else b"" for digit in trie.NIBBLES])
    assert root(some) == node


def test_2_no_node_of_one_kind_can_pass_for_another() -> None:
    """Every hash begins with a tag of its kind."""
    heard: list[bytes] = []

    def hash_(data: bytes) -> bytes:
        heard.append(data)
        return KEYS.trie(data)

    digest(hash_, made(17))
    fingerprint(hash_, made(1)[0])
    kinds = {data[0]: len(data) for data in heard}
    assert set(kinds) == {0, 1, 2}
    assert kinds[2] == 33


def test_3_the_root_of_the_empty_set_is_16_zero_bytes() -> None:
    assert root({}) == leaf_digest(KEYS.trie, []) == MemoryStore().root()[0] == EMPTY == bytes(16)


@given(entries)
def test_every_prefix_of_a_store_has_the_digest_that_its_parent_says(of: dict[bytes, bytes]) -> None:
    below = sorted(of.items())

    def walk(prefix: str, said: bytes) -> None:
        mine = [e for e in below if e[0].hex().startswith(prefix)]
        assert digest(KEYS.trie, mine, len(prefix)) == said
        if len(mine) > limits.LEAF_MAX:
            parts = trie.split(mine, len(prefix))
            for digit, part in zip(trie.NIBBLES, parts, strict=True):
                if part:
                    walk(prefix + digit, digest(KEYS.trie, part, len(prefix) + 1))

    walk("", root(of))


@given(st.integers(0, 32), st.binary(min_size=16, max_size=16))
def test_a_key_is_in_the_range_of_its_prefixes_and_of_no_other(depth: int, key: bytes) -> None:
    prefix = key.hex()[:depth]
    low, high = key_range(prefix)
    assert low <= key <= high
    assert low.hex().startswith(prefix)
    assert high.hex().startswith(prefix)
    if depth:
        other = prefix[:-1] + ("0" if prefix[-1] != "0" else "1")
        assert not key_range(other)[0] <= key <= key_range(other)[1]


def test_every_attempt_shows_another_slice_and_the_last_ones_the_whole_digest() -> None:
    whole = bytes(range(16))
    shown = [trie.slice_of(whole, attempt) for attempt in range(limits.ROUNDS_MAX)]
    assert b"".join(shown[: limits.SLICES]) == whole[: limits.SLICES * limits.SLICE_BYTES]
    assert shown[limits.SLICES :] == [whole] * (limits.ROUNDS_MAX - limits.SLICES)
    assert [len(s) for s in shown] == [trie.slice_width(attempt) for attempt in range(limits.ROUNDS_MAX)]
    assert trie.slice_of(b"", 0) == trie.slice_of(b"", limits.SLICES) == b"", "an absent child stays absent"


def test_vectors() -> None:
    cases = vectors("trie")
    for case in cases["sets"]:
        some = [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in case["entries"]]
        assert root(some).hex() == case["bytes"], case["name"]
    for case in cases["fingerprints"]:
        key, value = (bytes.fromhex(part) for part in case["entry"])
        assert fingerprint(KEYS.trie, (key, value)).hex() == case["bytes"], case["name"]

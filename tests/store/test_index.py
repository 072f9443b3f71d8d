"""The stored trie is the one made anew, however it came to be."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from protocol.trie import Inner, Leaf, digest, key_range
from replica.store import index
from tests.store.harness import Machine

Make = Callable[..., Machine]


@pytest.mark.parametrize("together", [index.CHANGES_MAX, 30])
@pytest.mark.parametrize("seed", range(4))
def test_after_any_history_the_stored_trie_is_the_one_made_anew(
    machine: Make, seed: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "CHANGES_MAX", together)
    m, random = machine("m", "CREATE TABLE t(k INTEGER PRIMARY KEY, v);"), Random(seed)
    for _ in range(8):
        size = random.choice([1, 10, 100, 3_000])
        m.sql("BEGIN")
        for key in random.sample(range(6_000), size):
            act = random.choice(["INSERT OR REPLACE INTO t VALUES (?, 1)", "DELETE FROM t WHERE k = ?"])
            m.sql(act if random.random() < 0.7 else "UPDATE t SET v = random() WHERE k = ?", values=[key])
        m.sql("COMMIT")
        root, count = m.store.root()
        made = index.build(m.core)
        assert (root, count) == made[:2]
        assert m.rows("SELECT * FROM _replica_trie ORDER BY prefix") == sorted(made[2])
        entries = m.store.entries("", b"", -1)
        assert root == digest(m.core.keys.trie, entries)
        assert count == len(entries)


def test_many_changes_are_taken_through_a_large_trie_in_parts(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    m.store.put_many("t", [(f"{i}", 0) for i in range(8_000)])
    held: list[int] = []
    write = index._Update._write

    def counted(self: index._Update) -> None:
        held.append(len(self.rows))
        write(self)

    monkeypatch.setattr(index._Update, "_write", counted)
    for together, parts in ((2_000, 1), (200, 16)):
        monkeypatch.setattr(index, "CHANGES_MAX", together)
        held.clear()
        m.store.put_many("t", [(f"{i}", together) for i in range(0, 8_000, 8)])
        assert max(held) * parts < 2 * sum(held)
        assert sum(map(bool, held)) == parts + (parts > 1)
    made = index.build(m.core)
    assert m.rows("SELECT * FROM _replica_trie ORDER BY prefix") == sorted(made[2])


def test_many_nodes_are_what_each_is(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w TEXT, x INTEGER, u UNIQUE);")
    m.store.put_many("t", [(f"{i}", i, None, None, None) for i in range(3_000)])
    entries = m.store.entries("", b"", -1)
    prefixes = ["", *"0f", "00", "a1", "a1b", "a1b2", "f" * 32, *{e[0].hex()[:4] for e in entries[::7]}]
    nodes = m.store.nodes([*prefixes, "a1"])
    assert nodes.keys() == set(prefixes)
    for prefix, node in nodes.items():
        low, high = key_range(prefix)
        below = [e for e in entries if low <= e[0] <= high]
        assert isinstance(node, Leaf if len(below) <= 16 else Inner)
        if isinstance(node, Leaf):
            assert node.entries == tuple(below)
    heads = [e[0][:6] for e in entries[::5]]
    assert m.store.keys([*heads, b"\xff" * 6]) == {e[0][:6]: e[0] for e in entries[::5]}

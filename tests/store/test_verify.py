"""Verify names each difference between tables and state; the trie in SQLite is the trie of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import trie
from protocol.hlc import pack
from protocol.record import Delta, Record, pack_id
from protocol.trie import Inner, Leaf
from protocol.values import pack_value
from replica.errors import StoreError
from replica.store import index, store, verify
from replica.store.core import Core
from replica.store.store import Store
from tests.store.harness import NOW_MS, Machine, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w REAL);"


@pytest.fixture(autouse=True)
def the_long_way_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is verified here is also looked at row by row and record by record, where less would do."""
    usual = verify.verify

    def both(core: Core, *progress: verify.Progress | None) -> Iterator[str]:
        said = list(usual(core, *progress))
        with monkeypatch.context() as patched:
            patched.setattr(verify, "_as_many", lambda *_: False)
            patched.setattr(verify, "_as_made", lambda *_: set[bytes]())
            assert list(usual(core)) == said
        return iter(said)

    monkeypatch.setattr(store, "verify", both)


def filled(machine: Make, rows: int = 100) -> Machine:
    m = machine("m", T)
    m.store.put_many("t", [(f"{i}", i, f"{i}") for i in range(rows)])
    return m


def silently(machine: Machine, *statements: str) -> None:
    """As a program does that has triggers switched off."""
    machine.db.execute("BEGIN")
    for sql in ("INSERT INTO _replica_mute VALUES (1)", *statements, "DELETE FROM _replica_mute"):
        machine.db.execute(sql)
    machine.db.execute("COMMIT")


DIFFERS = "from its digest: changed without capture, or damaged"


@pytest.mark.parametrize(("damage", "words"), [
    ("UPDATE t SET v = 'x' WHERE k = '7'", [f't ["7"]: the row differs in v {DIFFERS}']),
    ("UPDATE t SET w = 0.5, v = NULL WHERE k = '7'", [f't ["7"]: the row differs in v, w {DIFFERS}']),
    ("DELETE FROM t WHERE k = '7'", ['t ["7"]: its row is gone, and no delete was captured']),
    ("INSERT INTO t VALUES ('new', 1, 1)", ["t ['new']: a row that was never captured"]),
])  # fmt: skip
def test_a_row_that_was_written_behind_the_triggers_is_named_and_a_rescan_takes_it_as_a_local_write(
    machine: Make, damage: str, words: list[str]
) -> None:
    m, other = filled(machine), machine("other")
    meet(m, other)
    silently(m, damage)
    assert m.store.verify() == words
    m.store.rescan()
    assert m.store.verify() == []
    meet(m, other)
    assert other.dump() == m.dump()
    assert other.store.root() == m.store.root()


def test_a_key_changed_behind_the_triggers_is_two_differences(machine: Make) -> None:
    m = filled(machine)
    silently(m, "UPDATE t SET k = 'moved' WHERE k = '7'")
    assert sorted(m.store.verify()) == [
        't ["7"]: its row is gone, and no delete was captured', "t ['moved']: a row that was never captured",
    ]  # fmt: skip


ROOT = "trie node root: differs from the records below it"


@pytest.mark.parametrize(("damage", "words"), [
    ("_record SET digest = zeroblob(16) WHERE id = {seven}", [f't ["7"]: the row differs {DIFFERS}']),
    ("_record SET born = zeroblob(15) || x'01' WHERE id = {seven}", [f't ["7"]: the row differs {DIFFERS}']),
    ("_record SET key = zeroblob(16) WHERE id = {plain}", ['t ["plain"]: stands under another record\'s key', ROOT]),
    ("DELETE FROM _replica_record WHERE id = {plain}", ["t ['plain']: a row that was never captured", ROOT]),
    ("_extra SET value = x'01' WHERE key = (SELECT key FROM _replica_record WHERE id = {seven})",
     [f't ["7"]: the row differs {DIFFERS}']),
    ("_trie SET digests = zeroblob(256) WHERE prefix = ''", [ROOT]),
    ("_trie SET counts = zeroblob(64) WHERE prefix = ''", [ROOT]),
    ("DELETE FROM _replica_trie WHERE prefix = ''", [ROOT]),
    ("_trie SET digests = 'text' WHERE prefix = ''", [ROOT]),
    ("_trie SET counts = 7 WHERE prefix = ''", [ROOT]),
    ("_trie SET prefix = x'00' WHERE prefix = ''", [ROOT, "trie node b'\\x00': stands where no node belongs"]),
    ("_meta SET value = 'text' WHERE name = 'root'", ["root: 'text' is stored, the records make"]),
    ("_meta SET value = 'many' WHERE name = 'count'", ["root: "]),
    ("INSERT INTO _replica_trie VALUES ('abc', zeroblob(64), x'')", ["trie node abc: stands where no node belongs"]),
    ("_meta SET value = zeroblob(16) WHERE name = 'root'", [f"root: {'00' * 16} is stored, the records make"]),
    ("_meta SET value = 5 WHERE name = 'count'", ["root: "]),
])  # fmt: skip
def test_damage_to_the_engines_own_tables_is_named(machine: Make, damage: str, words: list[str]) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v INT);")
    peer = machine("peer", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    peer.store.put_many("t", [("plain", None), *((f"{i}", f"{i}") for i in range(100))])
    meet(m, peer)
    assert m.store.verify() == []
    sql = damage.format(**{name: f"x'{pack_id([key]).hex()}'" for name, key in (("seven", "7"), ("plain", "plain"))})
    m.sql(f"UPDATE _replica{sql}" if sql[0] == "_" else sql)
    found = m.store.verify()
    for word in words:
        assert any(line.startswith(word) for line in found), found


def test_verify_says_how_far_it_is_and_changes_nothing(machine: Make) -> None:
    m = filled(machine, 5_000)
    seen: list[tuple[str, int, int]] = []
    before = m.core.db.total_changes
    assert m.store.verify(lambda *step: seen.append(step)) == []
    assert m.core.db.total_changes == before
    assert seen[-1][1] == seen[-1][2] == m.store.root()[1]
    assert len(seen) == 2


def test_what_differs_by_affinity_by_being_held_and_by_being_hidden_is_no_difference(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v INT UNIQUE, w NOT NULL DEFAULT 'd');")
    at = pack(NOW_MS, 0, b"somebody")

    def record(key: str, floor: bytes = b"", **fields: object) -> Delta:
        return Record("t", pack_id([key]), floor, at, {n: (at, pack_value(v)) for n, v in fields.items()}).delta()

    late = pack(NOW_MS + 1, 0, b"somebody")
    hidden = Record("t", pack_id(["d"]), late, at, {"v": (pack(NOW_MS + 2, 0, b"somebody"), pack_value(9))})
    m.store.apply(
        [record("a", v="1", w=1.0), record("b", v=1.0, x="unknown"), record("c", v=None), hidden.delta()], m.clock()
    )
    assert m.store.verify() == []
    assert len(m.held()) == 2


@pytest.mark.parametrize("value", ["7", "1.5", "'text'", "x'00'", "CAST(x'ff' AS TEXT)"])
@pytest.mark.parametrize("column", ["counts", "digests"])
def test_a_node_of_the_trie_that_is_none_is_named_and_made_anew(machine: Make, column: str, value: str) -> None:
    m, peer = machine("m", T), machine("peer", T)
    m.store.put_many("t", [{"k": f"k{i}", "v": i} for i in range(400)])
    good, rows = m.store.root(), m.rows("SELECT * FROM _replica_trie ORDER BY prefix")
    m.sql(f"UPDATE _replica_trie SET {column} = {value} WHERE prefix = ''")
    assert any(line.startswith("trie node root") for line in m.store.verify())
    with pytest.raises(StoreError, match=r"the root of the trie is missing or broken; .*`replica rescan` makes"):
        m.store.put_many("t", [{"k": "new"}])
    if column == "digests":
        with pytest.raises(StoreError, match="the root of the trie is missing or broken"):
            meet(peer, m)
    m.store.rescan()
    assert (m.store.root(), m.rows("SELECT * FROM _replica_trie ORDER BY prefix")) == (good, rows)
    assert m.store.verify() == []


# --- the trie ---------------------------------------------------------------------------------------------------------


def definition(machine: Machine) -> bytes:
    """The root as the protocol defines it, from the records alone."""
    entries = [
        (
            machine.store.group_keys.record_key(pack_value(r.collection), r.id),
            machine.store.group_keys.digest(r.encode()),
        )
        for r in machine.store.records([key for key, _ in machine.store.entries("", b"", -1)])
    ]
    return trie.digest(machine.store.group_keys.trie, sorted(entries))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    m = Machine(tmp_path_factory.mktemp("trie") / "m.db", schema="CREATE TABLE t(k INT PRIMARY KEY, v);")
    m.close()
    return m.path


@given(seed=st.integers(0, 1 << 32))
def test_after_any_history_the_stored_trie_is_the_one_of_the_records(seed: int, empty: Path) -> None:
    """Grown and shrunk around the sizes at which a leaf splits; `forget` takes records away for good."""
    random = Random(seed)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "SCAN_MAX", random.choice([20, 100, 32_768]))
        m = Machine.copy(empty, Path(folder) / "m.db")
        try:
            for _ in range(random.randint(1, 6)):
                low = random.randrange(600)
                high = low + random.choice([1, 5, 17, 40, 300])
                match random.randrange(5):
                    case 0 | 1:
                        m.store.put_many("t", [(i, i) for i in range(low, high)])
                    case 2:
                        m.sql(f"UPDATE t SET v = v + 1 WHERE k BETWEEN {low} AND {high}")
                    case 3:
                        m.sql(f"DELETE FROM t WHERE k BETWEEN {low} AND {high}")
                    case _:
                        m.sql("DROP TABLE t", "CREATE TABLE t(k INT PRIMARY KEY, v)")
                        m.store.adopt()
                assert m.store.root() == (definition(m), m.value("SELECT count(*) FROM _replica_record"))
                assert m.store.verify() == []
        finally:
            m.close()


def test_nodes_and_entries_are_those_of_the_records_in_order(machine: Make) -> None:
    m = filled(machine, 1_000)
    keys = [k for (k,) in m.rows("SELECT key FROM _replica_record ORDER BY key")]
    assert [k for k, _ in m.store.entries("", b"", -1)] == keys
    assert [k for k, _ in m.store.entries("", keys[500], 7)] == keys[501:508]
    prefix, nowhere = keys[500].hex()[:31], "f" * 32
    nodes = m.store.nodes(["", prefix, nowhere])
    root = nodes[""]
    assert isinstance(root, Inner)
    for digit, digest in zip(trie.NIBBLES, root.children, strict=True):
        below = [e for e in m.store.entries("", b"", -1) if e[0].hex()[0] == digit]
        assert m.store.entries(digit, b"", -1) == below
        assert (digest or trie.EMPTY) == trie.digest(m.store.group_keys.trie, below, 1)
    below = [e for e in m.store.entries("", b"", -1) if e[0].hex().startswith(prefix)]
    assert (nodes[prefix], nodes[nowhere]) == (Leaf(tuple(below)), Leaf(()))
    assert m.store.keys([keys[3][:6], b"\xff" * 6]) == {keys[3][:6]: keys[3]}


def test_a_small_batch_costs_a_path_for_each_record(machine: Make) -> None:
    m = filled(machine, 20_000)
    seen: list[str] = []
    m.core.db.set_trace_callback(seen.append)
    m.store.put_many("t", [("0", "changed", 1.0), ("1", "changed", 1.0)])
    m.core.db.set_trace_callback(None)
    written = [s for s in seen if s.startswith("INSERT OR REPLACE INTO _replica_trie")]
    depth = m.value("SELECT max(length(prefix)) FROM _replica_trie WHERE prefix NOT LIKE '0000%'") + 1
    assert 0 < len(written) <= 2 * depth
    assert m.store.verify() == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE _replica_held SET key = x'00'", "held from view, and no record"),
        ("DELETE FROM _replica_held", "neither shown nor held from view"),
        ("UPDATE _replica_held SET blocker = x'0102030405060708090a0b0c0d0e0f10'", "by a record that is not shown"),
    ],
)
def test_what_is_held_is_compared_with_what_is_shown(machine: Make, sql: str, said: str) -> None:
    a, b = (machine(name, "CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE)") for name in "ab")
    a.store.put_many("t", [("1", "same")])
    b.store.put_many("t", [("2", "same")])
    meet(a, b)
    assert a.store.held_count() == 1
    assert a.store.verify() == []
    a.sql(sql)
    assert any(said in text for text in a.store.verify())


@pytest.mark.parametrize("name", ["group", "digest_secret", "access_key"])
def test_a_damaged_secret_is_found(machine: Make, name: str) -> None:
    m = machine("m", T)
    secret = bytearray(m.core.meta(name))
    secret[3] ^= 4
    m.core.db.execute("UPDATE _replica_meta SET value = ? WHERE name = ?", (bytes(secret), name))
    with Store(m.path) as store:
        assert any("secrets of the group are damaged" in text for text in store.verify())


def test_what_makes_no_sense_is_told_record_by_record(machine: Make) -> None:
    m = machine("m", T)
    m.store.put_many("t", [("a", 1, 1.0), ("b", 2, 2.0), ("c", 3, 3.0)])
    (key,) = m.core.db.execute("SELECT key FROM _replica_record WHERE id = ?", (pack_id(["b"]),)).fetchone()
    m.core.db.execute("INSERT INTO _replica_extra VALUES (?, x'00', x'00')", (key,))
    m.core.db.execute("UPDATE _replica_record SET flags = flags | 2 WHERE key = ?", (key,))
    found = [text for text in m.store.verify() if key.hex() in text]
    assert len(found) == 1
    assert "makes no sense" in found[0]


NUMBERED = "CREATE TABLE t(k INTEGER PRIMARY KEY, v UNIQUE);"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM _replica_row WHERE pk = 1", "its number does not stand"),
        ("UPDATE _replica_row SET key = zeroblob(16) WHERE pk = 1", "its number does not stand"),
        ("INSERT INTO _replica_row VALUES (1, 9, zeroblob(16))", "its number does not stand"),
        ("INSERT INTO _replica_held SELECT key, tbl, '', NULL FROM _replica_record WHERE flags = 1 LIMIT 1", "but shown"),
        ("UPDATE _replica_meta SET value = CAST(x'77ff' AS TEXT) WHERE name = 'name'", "setting name: damaged text"),
        ("INSERT INTO _replica_past VALUES (zeroblob(16), 0, x'', x'', x'')", "a lost value, and no record"),
        ("INSERT INTO _replica_extra VALUES (zeroblob(16), 0, x'')", "a value that no column shows, and no record"),
        ("INSERT INTO _replica_past VALUES ('text', 0, x'', x'', x'')", "'text': a lost value, and no record"),
        ("UPDATE _replica_meta SET value = 5 WHERE name = 'check'", "secrets of the group are damaged"),
        ("UPDATE _replica_meta SET value = zeroblob(8) WHERE name = 'clock'", "the clock is damaged"),
    ],
)
def test_the_small_tables_are_held_against_the_records(machine: Make, sql: str, words: str) -> None:
    m = machine("m", NUMBERED)
    m.store.put_many("t", [(1, "a"), (2, "b")])
    assert m.store.verify() == []
    tbl = m.core.by_name["t"].tbl
    m.core.db.execute(sql.replace("VALUES (1, 9", f"VALUES ({tbl}, 9"))
    with Store(m.path) as store:
        assert any(words in text for text in store.verify())


def test_a_cell_of_which_no_register_speaks_is_looked_at(machine: Make) -> None:
    m = filled(machine, 3)
    m.sql("ALTER TABLE t ADD COLUMN z DEFAULT 1")
    m.sql("UPDATE t SET v = 7 WHERE k = '1'")
    assert m.store.verify() == []
    silently(m, "UPDATE t SET z = 'rotten' WHERE k = '1'")
    assert any("z differs" in text or "in z" in text for text in m.store.verify())


@pytest.mark.parametrize(("whole", "broken"), [("false", "falSe"), ('"v"', '"w"')])
def test_what_is_stored_of_a_definition_is_compared_with_it(machine: Make, whole: str, broken: str) -> None:
    m = filled(machine, 3)
    assert m.store.verify() == []
    m.core.db.execute("UPDATE _replica_table SET signature = replace(signature, ?, ?)", (whole, broken))
    m.reopen()
    assert m.store.verify() == ["t: its definition is not the one that was followed"]


def test_who_cannot_tell_what_changed_in_a_definition_changes_nothing(machine: Make) -> None:
    m = filled(machine, 3)
    m.core.db.execute("UPDATE _replica_table SET signature = replace(signature, 'false', 'falSe')")
    m.sql("ALTER TABLE t ADD COLUMN z", "INSERT INTO t(k) VALUES ('new')")
    before = m.core.rows("SELECT * FROM _replica_record")
    for act in (m.store.absorb, m.store.rescan):
        with pytest.raises(StoreError, match=r"definition of 't' makes no sense. Restore a backup"):
            act()
    assert m.core.rows("SELECT * FROM _replica_record") == before


def test_a_damaged_time_of_the_last_write_is_found_and_the_next_write_sets_it_right(machine: Make) -> None:
    m = filled(machine, 3)
    assert m.store.verify() == []
    m.core.db.execute("UPDATE _replica_meta SET value = zeroblob(8) WHERE name = 'issued'")
    m.reopen()
    assert any("last write is damaged" in text for text in m.store.verify())
    m.store.put_many("t", [("next", 1, 1.0)])
    assert m.store.verify() == []


def test_a_damaged_node_id_is_found_and_a_rescan_takes_a_new_one(machine: Make) -> None:
    a, b = machine("a", T), machine("b", T)
    meet(a, b)
    told, true = a.store.verify(), a.store.node_id
    flipped = bytes([true[0], true[1] ^ 32, *true[2:]])
    a.core.db.execute("UPDATE _replica_meta SET value = ? WHERE name = 'node'", (flipped,))
    a.reopen()
    assert a.store.node_id == flipped
    assert told == []
    assert [text for text in a.store.verify() if "the node's id is damaged" in text]
    a.sql("INSERT INTO t VALUES ('k', 1, 1.0)")
    a.store.rescan()
    assert a.store.node_id not in {true, flipped}
    assert a.store.verify() == []
    one, two = meet(a, b)
    assert one.in_sync
    assert two.in_sync
    assert b.rows("SELECT k FROM t") == [("k",)]
    renewed = a.store.node_id
    a.store.rescan()
    assert a.store.node_id == renewed

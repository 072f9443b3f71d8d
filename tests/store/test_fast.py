"""The short ways come to the same bytes as the long ones: fresh rows, edits of shown records, absorption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ValueRefused
from protocol.record import Delta, Record, pack_id, unpack_id
from protocol.values import Value, pack_value
from replica.store import absorb, apply, capture, edits, index, retouch
from replica.store.absorb import _Looking
from replica.store.core import ALONE_MAX
from replica.store.fresh import fresh_row, fresh_rows
from replica.store.retouch import Retouched
from replica.store.shadow import write_new
from replica.store.state import key_of, load
from tests.store.harness import NOW_MS, Machine

Make = Callable[..., Machine]

TABLE = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w TEXT, x INTEGER, u UNIQUE);"
INSIDE = (
    "SELECT key, id, floor, born, digest, flags FROM _replica_record WHERE tbl IN "
    "(SELECT tbl FROM _replica_table WHERE collection = 't') ORDER BY key",
    "SELECT * FROM _replica_extra WHERE key IN (SELECT key FROM _replica_record WHERE tbl IN "
    "(SELECT tbl FROM _replica_table WHERE collection = 't')) ORDER BY key, pos",
    "SELECT * FROM _replica_past ORDER BY key, pos",
    "SELECT * FROM _replica_held ORDER BY key",
    "SELECT * FROM _replica_row ORDER BY tbl, pk",
    "SELECT * FROM t ORDER BY k",
)


def stamp(number: int, node: bytes = b"peerpeer") -> bytes:
    return ((NOW_MS << 16) + number).to_bytes(8, "big") + node


def same(one: Machine, two: Machine) -> None:
    for sql in INSIDE:
        assert one.rows(sql) == two.rows(sql)
    assert one.records("t") == two.records("t")
    assert one.store.verify() == two.store.verify() == []


# --- edits ------------------------------------------------------------------------------------------------------------


def some_edits(random: Random, count: int) -> list[Delta]:
    """Fragments of one or two fields, most of them plain."""
    made = []
    for number in range(count):
        values: list[Value] = [None, number, number / 2, f"n{number}", b"%d" % number, "v"]
        record = Record("t", pack_id([str(random.randrange(40))]))
        for name in random.sample(["v", "w", "x", "u", "new"], random.choice([1, 1, 1, 2])):
            if name == "new" and random.random() < 0.8:
                continue
            value = random.choice(values) if name != "u" else 1_000 + number if random.random() < 0.98 else 1
            record.registers[name] = stamp(random.randrange(-50, 200)), pack_value(value)
        if random.random() < 0.05:
            record.floor = stamp(random.randrange(-50, 20))
            record.registers = {n: r for n, r in record.registers.items() if r[0] > record.floor}
        if record.floor or record.registers:
            made.append(record.delta())
    return made


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("schema", [TABLE, TABLE.replace(" UNIQUE", "")])
def test_edits_join_as_the_general_way_joins_them(
    machine: Make, monkeypatch: pytest.MonkeyPatch, seed: int, schema: str
) -> None:
    random = Random(seed)
    whole = [
        Record(
            "t", pack_id([str(i)]), b"", stamp(-100 + i), {n: (stamp(-100 + i), pack_value(v)) for n, v in row.items()}
        )
        for i in range(40)
        for row in [{"v": i, "w": f"w{i}", "x": i, "u": i}]
    ]
    batches = [[r.delta() for r in whole], *(some_edits(random, 30) for _ in range(6))]
    fast, slow = machine("fast", schema), machine("slow", schema)
    taken: list[int] = []
    real = edits.join_edits

    def counted(*arguments: object) -> tuple[set[bytes], list[bytes]]:
        done, changed = real(*arguments)  # type: ignore[arg-type]
        taken.append(len(done))
        return done, changed

    monkeypatch.setattr(apply, "join_edits", counted)
    applied = [fast.store.apply(batch, fast.clock()) for batch in batches]
    assert sum(taken) > 5
    monkeypatch.setattr(apply, "join_edits", lambda *_: (set(), []))
    assert applied == [slow.store.apply(batch, slow.clock()) for batch in batches]
    same(fast, slow)


def test_an_edit_of_a_record_that_says_nothing_yet(machine: Make) -> None:
    b = machine("b", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);")
    for record in (
        Record("t", pack_id(["a"]), b"", stamp(-9)),
        Record("t", pack_id(["a"]), registers={"v": (stamp(1), pack_value(1))}),
        Record("t", pack_id(["a"]), registers={"v": (stamp(2), pack_value(2))}),
    ):
        assert b.store.apply([record.delta()], b.clock()).changed == 1
    assert b.rows("SELECT * FROM t") == [("a", 2, None)]
    assert b.store.verify() == []


@pytest.mark.parametrize("count", [1, ALONE_MAX + 1])
def test_edits_that_cannot_stand_together_are_settled_alone_or_with_savepoints(machine: Make, count: int) -> None:
    a, b = machine("a", TABLE), machine("b", TABLE)
    a.store.put_many("t", [("a", 1, 1, 1, 1), *((f"b{i}", 2, 2, 2, -i) for i in range(count))])
    records = [r.delta() for r in a.records()]
    b.store.apply(records, b.clock())
    unique = [1, *range(100, 99 + count)]
    edits = [
        Record("t", pack_id([f"b{i}"]), registers={"u": (stamp(9 + i), pack_value(unique[i]))}).delta()
        for i in range(count)
    ]
    applied = b.store.apply(edits, b.clock())
    assert (applied.changed, applied.held) == (count, 1)
    assert (b.store._cautious > 0) == (count > 1)
    assert [h["key"] for h in b.store.held()] == [["b0"]]
    assert b.store.verify() == []


@pytest.mark.parametrize("count", [1, ALONE_MAX + 1])
def test_new_rows_that_cannot_stand_together_are_settled_alone_or_with_savepoints(machine: Make, count: int) -> None:
    a, b, c = (machine(name, TABLE) for name in "abc")
    a.store.put_many("t", [("a", 1, 1, 1, 1)])
    b.store.put_many("t", [(f"b{i}", 2, 2, 2, 1 - i) for i in range(count)])
    for records in ([r.delta() for r in a.records()], [r.delta() for r in b.records()]):
        applied = c.store.apply(records, c.clock())
    assert (applied.changed, c.store.held_count()) == (count, 1)
    assert applied.held == (1 if c.store.held()[0]["key"] == ["b0"] else 0)
    assert (c.store._cautious > 0) == (count > 1)
    assert c.store.verify() == []
    d = machine("d", TABLE)
    d.store.apply([r.delta() for m in (b, a) for r in m.records()], d.clock())
    same(c, d)


def test_a_new_row_that_gives_way_in_its_own_batch_is_told_once(machine: Make) -> None:
    b = machine("b", TABLE)
    told: list[tuple[str, str]] = []
    b.store.listen(lambda changes: told.extend((str(unpack_id(c.id)[0][0]), c.kind) for c in changes))

    def new(key: str, at: int) -> Record:
        row = {name: (stamp(at), pack_value(1)) for name in "uvwx"}
        return Record("t", pack_id([key]), b"", stamp(at), row)

    applied = b.store.apply([r.delta() for r in (new("late", 5), new("early", 3), new("gone", 7))], b.clock())
    assert (applied.changed, applied.held) == (3, 2)
    assert sorted(told) == [("early", "insert"), ("gone", "insert"), ("late", "insert")]
    told.clear()
    gone = Record("t", pack_id(["gone"]), stamp(9))
    late = Record("t", pack_id(["late"]), registers={"u": (stamp(9), pack_value(2))})
    applied = b.store.apply([r.delta() for r in (gone, late, new("new", 6))], b.clock())
    assert applied.held == 1
    assert sorted(told) == [("gone", "delete"), ("late", "insert"), ("new", "insert")]
    assert b.store.verify() == []


# --- fresh rows -------------------------------------------------------------------------------------------------------

VALUE = (
    st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.text(max_size=9) | st.binary()
)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    m = Machine(tmp_path_factory.mktemp("fast") / "m.db", schema=TABLE)
    yield m
    m.close()


@given(rows=st.lists(st.tuples(VALUE, VALUE, VALUE, VALUE), min_size=1, max_size=5))
def test_many_fresh_rows_are_each_made_as_one_is(one: Machine, rows: list[tuple[Value, ...]]) -> None:
    m = one
    table = m.core.by_name["t"]
    ids = [pack_id([str(i)]) for i in range(len(rows))]
    keys = [key_of(m.core, table, id_) for id_ in ids]
    stamps = [stamp(i) for i in range(len(rows))]
    many = fresh_rows(m.core, table, keys, ids, stamps, list(zip(*rows, strict=True)))
    each = [fresh_row(m.core, table, *one) for one in zip(keys, ids, stamps, rows, strict=True)]
    assert many == each


def test_a_fresh_row_too_large_to_travel_is_refused_before_anything_is_written(machine: Make) -> None:
    m = machine("m", TABLE)
    table = m.core.by_name["t"]
    columns: list[list[Value]] = [["x" * (5 << 20)], [None], [None], [None]]
    with pytest.raises(ValueRefused, match="4194304 bytes"):
        fresh_rows(m.core, table, [b"k" * 16], [pack_id(["1"])], [stamp(1)], columns)


def test_new_shadows_are_stored_all_or_none(machine: Make) -> None:
    m = machine("m", TABLE)
    m.store.put_many("t", [("5", 1, None, None, None)])
    table, before = m.core.by_name["t"], m.rows("SELECT * FROM _replica_record ORDER BY key")
    ids = [pack_id([str(i)]) for i in range(300)]
    keys = [key_of(m.core, table, id_) for id_ in ids]
    rows = fresh_rows(m.core, table, keys, ids, [stamp(i) for i in range(300)], [[None] * 300] * 4)
    assert not write_new(m.core, rows)
    assert not m.core.toggled.came
    assert m.rows("SELECT * FROM _replica_record ORDER BY key") == before
    assert write_new(m.core, [row for row in rows if row[0] not in {old[0] for old in before}])
    assert m.value("SELECT count(*) FROM _replica_record") == len(before) + 299
    assert len(b"".join(m.core.toggled.came)) == 299 * 32


def test_many_are_asked_for_by_statements_of_few_lengths(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k INTEGER PRIMARY KEY);")
    m.store.put_many("t", [(k,) for k in range(700)])
    there = [key for key, _ in m.store.entries("", b"", 700)]
    asked: set[int] = set()
    m.core.db.set_trace_callback(lambda sql: asked.add(sql.count(",")))
    for count in range(1, 700, 23):
        keys = list(range(count))
        assert sorted(m.core.select_in("SELECT k FROM t WHERE k IN (", keys)) == [(k,) for k in keys]
        ranges = index.select_ranges(m.core, "n, key", [(key, key) for key in there[:count]])
        assert [there[start + n] == key for start, rows in ranges for n, key in rows] == [True] * count
    m.core.db.set_trace_callback(None)
    assert len(asked) <= 20
    assert not m.core.select_in("SELECT k FROM t WHERE k IN (", [])


def test_a_large_put_leaves_the_triggers_as_they_were(machine: Make) -> None:
    m = machine("m", TABLE)
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    before = m.rows(sql)
    assert m.store.put_many("t", ((f"{i}", i, None, i, i) for i in range(9_000))) == 9_000
    table = m.core.by_name["t"]
    assert table.shape is not None
    assert m.rows(sql) == before == sorted(capture.triggers(table.tbl, table.shape).items())
    m.sql("INSERT INTO t VALUES ('theirs', 1, 1, 1, -1)")
    assert m.record("t", "theirs").live
    assert m.store.verify() == []


# --- absorption -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["k TEXT PRIMARY KEY", "k INTEGER PRIMARY KEY", "k PRIMARY KEY", "k BLOB, l, v, w, PRIMARY KEY(k, l)"]
)
def test_new_rows_are_absorbed_together_as_one_by_one(machine: Make, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    schema = f"CREATE TABLE t({key});" if "l," in key else f"CREATE TABLE t({key}, v, w);"
    fast, slow = machine("one", schema), machine("two", schema)
    own = slow.store.node_id
    slow.core.set_meta("node", fast.store.node_id)
    for m in (fast, slow):
        if m is slow:
            monkeypatch.setattr(_Looking, "take_new", lambda _, some: some)
        for start in (0, 100):
            m.sql("BEGIN")
            for i in range(start, start + 150):
                row = [
                    i if "INTEGER" in key else f"key {i}",
                    *([i] if " l," in key else []),
                    i / 2,
                    None if i % 3 else "w",
                ]
                m.sql(f"INSERT OR REPLACE INTO t VALUES ({', '.join('?' * len(row))})", values=row)
            m.sql(f"DELETE FROM t WHERE rowid % 7 = {start % 5}", "COMMIT")
            m.store.absorb()
    assert fast.dump() == slow.dump()
    ours, theirs = fast.records("t"), slow.records("t")
    assert sorted(r.live for r in ours) == sorted(r.live for r in theirs)
    values = [
        sorted((r.id[:8], sorted((n, v) for n, (_, v) in r.registers.items())) for r in some) for some in (ours, theirs)
    ]
    assert values[0] == values[1]
    slow.core.set_meta("node", own)
    assert fast.store.verify() == slow.store.verify() == []


@pytest.mark.parametrize("key", ["k TEXT PRIMARY KEY", "k INTEGER PRIMARY KEY", "k, l, PRIMARY KEY(k, l)"])
@pytest.mark.parametrize("seed", range(6))
def test_edits_are_absorbed_together_as_one_by_one(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, seed: int
) -> None:
    """Edits among rows that come, go and come again, of values great and small, true and false, UTF-8 and not."""
    columns, _, constraint = key.partition(", PRIMARY")
    schema = f"CREATE TABLE t({columns}, u, v, w{', PRIMARY' + constraint if constraint else ''});"
    first = machine("one", schema)
    first.close()
    fast, slow = (Machine.copy(first.path, tmp_path / f"{name}.db") for name in ("fast", "slow"))
    ways = list[int]()

    def counted(*args: Any) -> Retouched:
        found = retouch.retouch(*args)
        ways.append(len(found.rows))
        return found

    for m in (fast, slow):
        random = Random(seed)
        monkeypatch.setattr(absorb, "retouch", counted if m is fast else lambda *_: Retouched({}, {}))
        new = f"INSERT OR REPLACE INTO t VALUES (?, {'0, ' if 'l,' in key else ''}?, ?, ?)"
        for n in range(60):
            m.sql(new, values=[n, n, None, "w"])
        m.store.absorb()
        for _ in range(8):
            m.sql("BEGIN")
            for _ in range(random.choice([1, 12, 40])):
                some = [random.choice([None, 0, -0.0, 1.5, "x", b"x", "é" * random.randrange(9)]) for _ in range(3)]
                acts: list[tuple[str, list[object]]] = [
                    (new, [random.randrange(60), *some]),
                    ("UPDATE t SET v = ? WHERE k = ?", [some[0], random.randrange(60)]),
                    ("UPDATE t SET v = ?, w = ? WHERE k > ?", [*some[:2], random.randrange(60)]),
                    ("UPDATE t SET u = u, w = CAST(x'c3' AS TEXT) WHERE k = ?", [random.randrange(60)]),
                    ("UPDATE OR IGNORE t SET k = ? WHERE k = ?", [random.randrange(70), random.randrange(60)]),
                    ("DELETE FROM t WHERE k = ?", [random.randrange(60)]),
                ]
                sql, values = random.choice(acts)
                m.sql(sql, values=values)
            m.sql("COMMIT")
            m.store.absorb()
    assert sum(ways) > 20
    assert fast.dump() == slow.dump()
    for table in ("record", "extra", "row", "held", "local", "trie"):
        sql = f"SELECT * FROM _replica_{table} ORDER BY 1, 2"
        assert fast.rows(sql) == slow.rows(sql), table
    sql = "SELECT root, came, went FROM _replica_history ORDER BY seq"
    for ours, theirs in zip(fast.rows(sql), slow.rows(sql), strict=True):
        assert ours[0] == theirs[0]
        assert [sorted(ours[n][i : i + 32] for i in range(0, len(ours[n]), 32)) for n in (1, 2)] == [
            sorted(theirs[n][i : i + 32] for i in range(0, len(theirs[n]), 32)) for n in (1, 2)
        ]
    assert fast.store.verify() == []
    fast.close()
    slow.close()


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["k TEXT PRIMARY KEY", "k INTEGER PRIMARY KEY"])
def test_records_are_read_by_the_short_way_as_by_states(machine: Make, key: str) -> None:
    a, b = machine("a", f"CREATE TABLE t({key}, v, w); CREATE TABLE lone(k TEXT PRIMARY KEY);"), machine("b")
    random = Random(3)
    for i in range(60):
        a.sql("INSERT INTO t VALUES (?, ?, 'w')", values=(i, random.choice([i, i / 2, None, "x", b"x"])))
    for number in range(40):
        a.clock.ms += 1
        a.sql(f"UPDATE t SET {random.choice('vw')} = ? WHERE k = ?", values=(number, random.randrange(60)))
        a.store.absorb()
    a.sql("DELETE FROM t WHERE k < 5", "INSERT INTO t VALUES (3, 'again', NULL)", "INSERT INTO lone VALUES ('x')")
    a.store.absorb()
    keys = [key for key, _ in a.store.entries("", b"", -1)]
    b.store.apply(a.store.deltas(keys), b.clock())
    for m in (a, b):
        states = sorted((state.record for state in load(m.core, keys).values()), key=lambda r: (r.collection, r.id))
        assert sorted(m.store.records(keys), key=lambda r: (r.collection, r.id)) == states
        assert sorted(delta.encode() for delta in m.store.deltas(keys)) == sorted(record.encode() for record in states)
    assert any(len(record.stamps()) > 2 for record in states)

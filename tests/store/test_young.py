"""The young generation: rows that wait to be sorted in come out as if they had been at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import OurFault
from protocol.prints import ITEM_BYTES
from protocol.record import pack_id
from replica.backup import snapshot
from replica.errors import RowRefused, StoreError
from replica.store import history, nursery, put, store, young
from replica.store.changes import Change
from replica.store.nursery import cut
from replica.store.store import Store
from tests.store.harness import Machine, check_equal, check_inside, foreign, meet

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"
TABLES = {
    "text": T,
    "number": "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w);",
    "unique": "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE, w);",
    "two": "CREATE TABLE t(v, k TEXT, w INT, PRIMARY KEY(k, w)) WITHOUT ROWID;",
}
STATE = (
    "SELECT * FROM _replica_record ORDER BY key",
    "SELECT * FROM _replica_row ORDER BY tbl, pk",
    "SELECT * FROM _replica_trie ORDER BY prefix",
    "SELECT * FROM _replica_held ORDER BY key",
    "SELECT name, value FROM _replica_meta WHERE name <> 'schema_version' ORDER BY name",
    "SELECT * FROM t ORDER BY k",
)


def rows(first: int, count: int = 300) -> list[tuple[str, int, None]]:
    """Rows for T."""
    return [(f"k{n}", n, None) for n in range(first, first + count)]


def waiting(machine: Machine) -> int:
    """How many rows wait."""
    return int(machine.value("SELECT coalesce(max(total), 0) FROM _replica_young"))


def items(machine: Machine) -> set[bytes]:
    """The items that the history knows of."""
    came, went, _ = history.since(machine.core, 0)
    apart = [{data[at : at + ITEM_BYTES] for at in range(0, len(data), ITEM_BYTES)} for data in (came, went)]
    return apart[0] - apart[1]


def state(machine: Machine) -> tuple[Any, ...]:
    """All that is known, and what a judge says of it."""
    root = machine.store.root()
    assert machine.store.verify() == []
    return root, items(machine), *(machine.rows(sql) for sql in STATE)


def step(machine: Machine, kind: str, random: Random) -> None:
    """Something that is done with the table, by us or by another program."""
    machine.clock.ms += random.randrange(5)

    def row() -> tuple[object, ...]:
        number = random.randrange(random.choice([9, 1_000]))
        key: object = number if kind == "number" else f"k{number}"
        v, w = random.choice([None, "x", 1.5, b"y", random.random()]), random.randrange(3)
        more = [None] * (int(machine.value("SELECT count(*) FROM pragma_table_info('t')")) - 3)
        return (v, key, w, *more) if kind == "two" else (key, v, w, *more)

    what = random.choice(["put", "put", "put", "put", "edit", "delete", "read", "refused", "add", "reopen"])
    if what == "put":
        some = [row() for _ in range(random.choice([1, 2, 4, 9]))]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(put, "UNCAPTURED_MIN", random.choice([1, 1_000]))
            with suppress(RowRefused):  # A unique value of another row: then as without us.
                machine.store.put_many("t", some)
    elif what == "refused":
        with pytest.raises(RowRefused):
            machine.store.put_many("t", [row(), (random.choice([float("nan"), "\ud800"]),) * len(row()), row()])
    elif what == "read":
        machine.store.root()
    elif what == "reopen":
        machine.reopen()
    else:
        sql = {
            "edit": "UPDATE OR IGNORE t SET w = w + 3 WHERE {0} % 3 = 1",
            "delete": "DELETE FROM t WHERE {0} % 5 = 2",
            "add": f"ALTER TABLE t ADD COLUMN c{random.randrange(1 << 30)} DEFAULT 7",
        }[what]
        if what != "add" or random.random() < 0.2:
            machine.sql(sql.format("k" if kind == "number" else "substr(k, 2)"))
            machine.sql(f"UPDATE _replica_outbox SET at = {machine.clock.ms}")


@given(seed=st.integers(0, 1 << 32), kind=st.sampled_from(sorted(TABLES)))
def test_after_any_history_all_is_as_if_nothing_had_waited(seed: int, kind: str) -> None:
    states = []
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CAUTIOUS", 0)
        first = Machine(Path(folder) / "first.db", schema=TABLES[kind])
        first.close()
        for least, most in ((1, Random(seed).choice([9, 20, 1_000])), (1_000, 1_000)):
            patch.setattr(young, "BATCH_MIN", least)
            patch.setattr(young, "WAITING_MAX", most)
            machine, random = Machine.copy(first.path, Path(folder) / f"{least}.db"), Random(seed)
            try:
                for _ in range(random.randrange(1, 12)):
                    step(machine, kind, random)
                    assert waiting(machine) <= most
                    assert least == 1 or not waiting(machine)
                states.append(state(machine))
            finally:
                machine.close()
    assert states[0] == states[1]


def test_no_more_rows_wait_than_may(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(young, "WAITING_MAX", 1_000)
    m = machine("m", T)
    before, waited = m.value("SELECT count(*) FROM _replica_history"), []
    for batch in range(8):
        m.store.put_many("t", rows(300 * batch))
        waited.append(waiting(m))
    assert waited == [300, 600, 900] * 2 + [300, 600]
    assert m.value("SELECT count(*) FROM _replica_history") == before + 2
    assert m.store.root()[1] >= 2_400
    assert waiting(m) == 0
    assert m.store.verify() == []


@pytest.mark.parametrize("count", [1, young.BATCH_MIN - 1, young.BATCH_MAX + 1])
def test_a_small_batch_and_a_large_one_do_not_wait(machine: Make, count: int) -> None:
    m = machine("m", T)
    m.store.put_many("t", rows(0, count))
    assert waiting(m) == 0
    assert m.store.verify() == []


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("damage", ["zeroblob(length(body))", "substr(body, 1, 99)", "'text'", "flipped", "digest"])
def test_damage_is_told_and_a_rescan_takes_the_rows_as_they_stand(machine: Make, damage: str, moved: bool) -> None:
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", rows(0))
    a.store.put_many("t", rows(300))
    if damage == "flipped":
        body = bytearray(a.value("SELECT body FROM _replica_young WHERE seq = 1"))
        body[len(body) // 2] ^= 4
        a.sql("UPDATE _replica_young SET body = ? WHERE seq = 1", values=(bytes(body),))
    elif damage == "digest":
        a.sql("UPDATE _replica_young SET digest = 'x' WHERE seq = 1")
    else:
        a.sql(f"UPDATE _replica_young SET body = {damage} WHERE seq = 1")
    if moved:
        a.sql("ALTER TABLE t ADD COLUMN x")
    for act in (Store.root, Store.verify, Store.absorb):
        with pytest.raises(StoreError, match=r"rows that were put last .batch 1. makes no sense; `replica rescan`"):
            act(a.store)
    (said,) = a.store.rescan()
    assert "(batch 1) made no sense: they are writes of now" in said
    assert a.store.verify() == []
    assert len(a.records("t")) == 600
    assert meet(a, b)[0].in_sync
    if not moved:
        check_equal([a, b])


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("kind", ["number", "text"])
def test_a_row_that_was_deleted_unheard_and_put_again_is_looked_at(
    machine: Make, tmp_path: Path, kind: str, merged: bool
) -> None:
    def some(first: int) -> list[tuple[Any, ...]]:
        return [(n if kind == "number" else f"k{n}", n, None) for n in range(first, first + 300)]

    first, b, states = Machine(tmp_path / "first.db", schema=TABLES[kind]), machine("b", TABLES[kind]), []
    first.close()
    unheard = "DELETE FROM t WHERE v BETWEEN 3 AND 5"
    for least in (1_000, 256):
        a = Machine.copy(first.path, tmp_path / f"{least}.db")
        with closing(a), pytest.MonkeyPatch.context() as patch:
            patch.setattr(young, "BATCH_MIN", least)
            a.store.put_many("t", some(0))
            if merged:
                a.store.root()
            a.sql("INSERT INTO _replica_mute VALUES (1)", unheard, "DELETE FROM _replica_mute")
            four = some(4)[0][0]
            a.store.put_many("t", [(four, "again", 4), *some(300)])
            assert waiting(a) == (0 if least == 1_000 else 301 if merged else 601)
            assert a.record("t", four).registers["v"][0] > a.record("t", four).born
            assert waiting(a) == 0
            assert len(a.store.verify()) == 2, "3 and 5 are still gone, unheard"
            states.append([a.store.root(), items(a), a.dump(), *(a.rows(sql) for sql in STATE)])
            a.sql("UPDATE t SET w = 7 WHERE v = 'again'", "DELETE FROM t WHERE v = 300")
            a.store.rescan()
            if least == 256:
                assert sum(record.live for record in a.records("t")) == 597
                assert meet(a, b)[0].in_sync
                check_equal([a, b])
    assert states[0] == states[1]


@given(seed=st.integers(0, 1 << 32), kind=st.sampled_from(sorted(TABLES)))
def test_whatever_is_deleted_unheard_and_put_again_no_key_and_no_number_is_known_twice(seed: int, kind: str) -> None:
    random, number = Random(seed), "k" if kind == "number" else "substr(k, 2)"
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CAUTIOUS", 0)
        patch.setattr(young, "BATCH_MIN", 1)
        patch.setattr(young, "WAITING_MAX", random.choice([9, 20, 1_000]))
        with closing(Machine(Path(folder) / "m.db", schema=TABLES[kind])) as m:
            for _ in range(random.randrange(2, 12)):
                step(m, kind, random)
                some = f"t WHERE {number} % 3 = {random.randrange(3)}"
                gone = m.rows(f"SELECT * FROM {some}")
                m.sql("INSERT INTO _replica_mute VALUES (1)", f"DELETE FROM {some}", "DELETE FROM _replica_mute")
                m.store.put_many("t", [row for row in gone if random.random() < 0.7])
            m.store.rescan()
            assert m.store.verify() == []
            check_inside(m)
            assert sum(record.live for record in m.records("t")) == m.value("SELECT count(*) FROM t")


def test_a_number_that_is_left_again_and_again_stands_for_one_record(machine: Make) -> None:
    a, b = machine("a", TABLES["number"]), machine("b", TABLES["number"])
    for turn in range(3):
        a.sql("INSERT INTO _replica_mute VALUES (1)", "DELETE FROM t", "DELETE FROM _replica_mute")
        a.store.put_many("t", [(n, turn, None) for n in range(300)])
    assert waiting(a) == 900
    assert len(a.records("t")) == 300
    meet(a, b)
    check_equal([a, b])


def test_rows_that_cannot_all_be_kept_go_on_waiting(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine("m", T)
    m.store.put_many("t", rows(0))
    with monkeypatch.context() as patch:
        patch.setattr(nursery, "_write", lambda *_: False)
        with pytest.raises(OurFault, match="nothing was changed"):
            m.store.root()
    assert waiting(m) == 300
    assert m.store.root()[1] >= 300
    assert m.store.verify() == []


@pytest.mark.parametrize("total", [-(10**9), 0, 10**12, 1.5, "many", b""])
def test_a_number_of_waiting_rows_that_makes_no_sense_lets_none_wait_longer(machine: Make, total: object) -> None:
    m = machine("m", T)
    m.store.put_many("t", rows(0))
    m.store.put_many("t", rows(300))
    m.sql("UPDATE _replica_young SET total = ? WHERE seq = 2", values=(total,))
    m.store.put_many("t", rows(600))
    assert m.rows("SELECT total FROM _replica_young") == [(300,)]
    assert m.store.verify() == []


def test_the_numbers_in_a_blob_are_of_one_byte_order(machine: Make) -> None:
    m = machine("m", T)
    m.store.put_many("t", [("k" * (1 + n % 3), n, None) for n in range(3)] + rows(0, 297))
    body: bytes = m.value("SELECT body FROM _replica_young")
    tbl, count, checks, numbered = (int.from_bytes(body[at : at + 4], "little") for at in range(0, 16, 4))
    assert (tbl, count, checks, numbered) == (m.store._core.by_name["t"].tbl, 300, 8, 0)
    at = 16 + count * (3 * 16 + checks)
    sizes = [int.from_bytes(body[n : n + 4], "little") for n in range(at, at + 4 * count, 4)]
    assert len(body) == at + 4 * count + sum(sizes)
    assert set(sizes) == {len(pack_id(("k" * n,))) for n in (1, 2, 3, 4)}
    starts = list(accumulate((16, 16 * count, 16 * count, 16 * count, checks * count)))
    widths, ids = (16, 16, 16, checks), [body[low:high] for low, high in pairwise(accumulate([at + 4 * count, *sizes]))]
    columns = [cut(body[start : start + width * count], width) for start, width in zip(starts, widths, strict=False)]
    m.store.root()
    sql = "SELECT key, born, digest, checks, id FROM _replica_record WHERE tbl = ?"
    assert set(zip(*columns, ids, strict=True)) == set(m.core.rows(sql, (tbl,)))


def test_changes_are_told_when_the_rows_are_put(machine: Make) -> None:
    m = machine("m", T)
    told: list[Change] = []
    m.store.listen(told.extend)
    m.store.put_many("t", rows(0))
    assert [(c.collection, c.kind, c.remote) for c in told] == [("t", "insert", False)] * 300
    m.store.root()
    m.store.put_many("t", [("k0", 1, None), *rows(300)])
    assert [c.kind for c in told[300:]].count("update") == 1
    assert len(told) == 601


DEFINITIONS = (
    ("ALTER TABLE t RENAME TO u",),
    ("ALTER TABLE t ADD COLUMN x DEFAULT 5",),
    ("ALTER TABLE t DROP COLUMN v",),
    ("DROP TABLE t",),
    (
        "CREATE TABLE u(k TEXT PRIMARY KEY, v, w)",
        "INSERT INTO u SELECT * FROM t",
        "DROP TABLE t",
        "ALTER TABLE u RENAME TO t",
    ),
)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("statements", DEFINITIONS)
def test_definitions_may_change_while_rows_wait(tmp_path: Path, statements: tuple[str, ...], numbered: bool) -> None:
    schema = TABLES["number"] if numbered else T
    first = Machine(tmp_path / "first.db", schema=schema)
    first.close()
    states = []
    for least in (256, 1_000):
        m = Machine.copy(first.path, tmp_path / f"{least}.db")
        with closing(m), pytest.MonkeyPatch.context() as patch:
            patch.setattr(young, "BATCH_MIN", least)
            m.store.put_many("t", [(n if numbered else f"k{n}", n, None) for n in range(300)])
            assert waiting(m) == (300 if least == 256 else 0)
            m.sql("UPDATE t SET w = 7 WHERE v = 3", "DELETE FROM t WHERE v = 4", *statements)
            m.sql(f"UPDATE _replica_outbox SET at = {m.clock.ms}")
            assert m.store.verify() == []
            states.append([m.store.root(), m.dump(), *(m.rows(sql) for sql in STATE[:4])])
    assert states[0] == states[1]


def test_two_processes_on_one_file_put_and_read_in_turn(machine: Make) -> None:
    m, other = machine("m", T), machine("other", T)
    with Store(m.path, durable=False, now_ms=m.clock) as second:
        for batch in range(3):
            m.store.put_many("t", rows(600 * batch))
            second.put_many("t", rows(600 * batch + 300))
        assert waiting(m) == 1_800
        assert second.root() == m.store.root()
        second.put_many("t", rows(1_800))
        assert m.store.root() == second.root()
        assert second.verify() == []
    meet(m, other)
    check_equal([m, other])


def test_nothing_waits_in_a_backup(machine: Make, tmp_path: Path) -> None:
    m = machine("m", T)
    m.store.put_many("t", rows(0))
    assert waiting(m) == 300
    snapshot.take(m.store, tmp_path / "copy.db")
    with closing(foreign(tmp_path / "copy.db")) as db:
        assert db.execute("SELECT count(*) FROM _replica_young").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM _replica_record").fetchone()[0] >= 300


def test_rows_that_wait_survive_the_end_of_the_process(machine: Make) -> None:
    a, b = machine("a", T), machine("b", T)
    a.store.put_many("t", rows(0))
    a.reopen()
    assert waiting(a) == 0, "the sketch was asked for"
    a.store.put_many("t", rows(300))
    a.close()
    a.store, a.db = Store(a.path), foreign(a.path)
    assert waiting(a) == 300
    meet(b, a)
    check_equal([a, b])

"""`put_many`: what plain SQL would have made of the same rows, by the fast way and the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import OurFault
from protocol.values import INT_MAX
from replica.errors import RowRefused, UsageError
from replica.store import put
from replica.store.show import PlainRows
from tests.store.harness import Machine, check_equal, foreign, meet, table_dump

Make = Callable[..., Machine]
Row = Mapping[str, object] | Sequence[object]

TABLES = {
    "text": "CREATE TABLE t(k TEXT PRIMARY KEY, v, w INT);",
    "nocase": "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v, w INT);",
    "number": "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w INT);",
    "unique": "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE, w INT DEFAULT 5);",
    "typed": "CREATE TABLE t(v REAL, k NUMERIC PRIMARY KEY NOT NULL, w DATE) WITHOUT ROWID;",
    "trigger": """CREATE TABLE t(k TEXT PRIMARY KEY, v, w INT);
        CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET w = w + 100 WHERE k = NEW.k; END;""",
    "generated": "CREATE TABLE t(k TEXT PRIMARY KEY, v, g AS (v || 'x'), w INT);",
}


def upsert(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """The same rows as plain SQL, one by one."""
    with closing(foreign(path)) as db:
        db.execute("BEGIN")
        for row in rows:
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            sets = ", ".join(f"{n} = excluded.{n}" for n in row if n != "k")
            action = f"UPDATE SET {sets}" if sets else "NOTHING"
            conflict = f"ON CONFLICT(k) DO {action}" if "k" in row else ""
            db.execute(f"INSERT INTO t({names}) VALUES ({marks}) {conflict}", list(row.values()))
        db.execute("COMMIT")


@given(seed=st.integers(0, 1 << 32), kind=st.sampled_from(sorted(TABLES)))
def test_put_many_makes_the_rows_that_plain_sql_makes(seed: int, kind: str) -> None:
    random = Random(seed)
    values: list[Any] = [None, 1, 2, 3.0, 0.5, "1", "a", "A", "b", b"a", True, -0.0, "x" * 40, INT_MAX]
    keys: list[Any] = [1, 2, 3, 4] if kind == "number" else [1, 2, 2.0, "1", "a", "A", "b", "c", b"a", 1.5]
    rows: list[dict[str, object]] = []
    for _ in range(random.randint(1, 25)):
        row = {"k": random.choice(keys), "v": random.choice(values), "w": random.choice(values)}
        if random.random() < 0.2:
            del row[random.choice(["v", "w", "k"] if kind == "number" else ["v", "w"])]
        rows.append(row)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(put, "ROWS", random.choice([1, 3, 1_000]))
        patch.setattr(put, "UNCAPTURED_MIN", random.choice([1, 1_000]))
        patch.setattr(put, "LATER_MIN", random.choice([1, 2, 1_000]))
        patch.setattr(put, "WAITING_MAX", random.choice([2, 5, 1_000]))
        ours = Machine(Path(folder) / "ours.db", schema=TABLES[kind])
        plain = Machine(Path(folder) / "plain.db", schema=TABLES[kind])
        try:
            for batch in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                try:
                    upsert(plain.path, batch)
                except Exception:
                    with pytest.raises(OurFault):
                        ours.store.put_many("t", batch)
                else:
                    assert ours.store.put_many("t", batch) == len(batch)
            assert table_dump(ours.db) == table_dump(plain.db)
            assert ours.store.verify() == []
            assert ours.rows("SELECT * FROM _replica_outbox") == []
            assert not ours.rows("SELECT * FROM _replica_mute")
        finally:
            ours.close()
            plain.close()


def test_a_unique_value_moves_from_row_to_row_within_a_call(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE, w);")
    rows = [("a", 3, None), ("a", None, 2), ("new", 3, 1)]
    assert m.store.put_many("t", rows) == 3
    assert m.rows("SELECT * FROM t ORDER BY k") == [("a", None, 2), ("new", 3, 1)]
    assert m.store.put_many("t", [("a", 4, 0), ("new", None, 0), ("third", 3, 0), ("a", 5, 0), ("fourth", 4, 0)]) == 5
    assert m.rows("SELECT k, v FROM t ORDER BY k") == [("a", 5), ("fourth", 4), ("new", None), ("third", 3)]
    assert m.store.verify() == []


def test_both_ways_make_the_same_records(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"k": f"{i}", "v": i, "w": i / 2 if i % 2 else None} for i in range(500)]
    fast, slow = machine("fast", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"), machine("slow")
    slow.sql("CREATE TABLE t(k TEXT PRIMARY KEY, v, w)")
    slow.store.adopt()
    fast.store.put_many("t", rows)
    monkeypatch.setattr(PlainRows, "hold", lambda *_: False)
    monkeypatch.setattr(PlainRows, "holds", lambda *_: False)
    slow.store.put_many("t", rows)
    assert fast.dump() == slow.dump()
    for one, two in zip(fast.records("t"), slow.records("t"), strict=True):
        assert one.id == two.id
        assert {n: v for n, (_, v) in one.registers.items()} == {n: v for n, (_, v) in two.registers.items()}
        assert one.stamps() == {one.born}
        assert two.stamps() == {two.born}


def test_rows_are_mappings_in_any_case_or_sequences_in_the_tables_order(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(v, k TEXT PRIMARY KEY, a);")
    rows: list[Row] = [(1, "a", 2), [3, "b", 4], {"K": "c", "V": 5}, {"a": 6, "k": "d", "v": 7}]
    assert m.store.put_many("T", rows) == 4
    assert m.rows("SELECT * FROM t ORDER BY k") == [(1, "a", 2), (3, "b", 4), (5, "c", None), (7, "d", 6)]


def test_only_the_fields_that_a_row_names_are_written(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);")
    m.store.put_many("t", [("a", 1, 2)])
    born = m.record("t", "a").born
    m.store.put_many("t", [{"k": "a", "w": 3}])
    record = m.record("t", "a")
    assert record.registers["v"][0] == record.born == born
    assert record.registers["w"][0] > born
    root = m.store.root()
    m.store.put_many("t", [("a", 1, 3)])
    assert m.store.root() == root, "a row that is there already is free"


@pytest.mark.parametrize(("rows", "error", "words"), [
    ([("a", 1), ("b", float("nan"))], RowRefused, "row 2, v: NaN"),
    ([("a", 1 << 63)], RowRefused, "row 1, v: 9223372036854775808 does not fit"),
    ([("a", "\ud800")], RowRefused, "row 1, v: text with half of a surrogate pair"),
    ([("\ud800", 1)], RowRefused, "row 1, k: text with half of a surrogate pair"),
    ([("a", object())], RowRefused, "row 1, v: a field cannot hold a object"),
    ([("a", 1), ("b", 1)], RowRefused, "UNIQUE constraint failed: t.v"),
    ([("a", 300)], RowRefused, "CHECK constraint failed"),
    ([("a",)], UsageError, "row 1 has 1 values, t 2 columns"),
    ([("a", 1), {"k": "b", "x": 1}], UsageError, "row 2: t has no column 'x'"),
])  # fmt: skip
def test_a_row_that_cannot_be_refuses_all_and_says_which(
    machine: Make, rows: list[Row], error: type[OurFault], words: str
) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v INT UNIQUE CHECK(v < 200 OR typeof(v) <> 'integer'));")
    before = m.store.root()
    with pytest.raises(error, match=words):
        m.store.put_many("t", rows)
    assert m.store.root() == before
    assert m.rows("SELECT * FROM t") == []
    assert m.store.put_many("t", [("a", 1)]) == 1


def test_a_number_over_64_bits_as_a_key_is_refused_in_the_same_words(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k INTEGER PRIMARY KEY, v);")
    with pytest.raises(RowRefused, match=r"row 2, \w+: \d+ does not fit into 64 bits"):
        m.store.put_many("t", [(1, 1), (1 << 63, 1)])


def test_a_table_that_is_not_replicated_is_refused(machine: Make) -> None:
    m = machine("m")
    with pytest.raises(UsageError, match="table 'nowhere' is not replicated: run `replica adopt` first"):
        m.store.put_many("nowhere", [(1,)])


def test_an_error_of_the_source_changes_nothing(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")

    def source() -> Iterator[Row]:
        yield from (("a", 1), ("b", 2))
        raise OSError("the disk of the source")

    with pytest.raises(OSError, match="the disk of the source"):
        m.store.put_many("t", source())
    assert m.rows("SELECT * FROM t") == []
    assert m.store.verify() == []


def test_a_row_too_large_to_travel_is_put_without_the_value_that_makes_it_so(machine: Make) -> None:
    a, b = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v, w);"), machine("b")
    a.store.put_many("t", [("k", b"x" * (5 << 20), 1), ("l", 1, 1)])
    one, _ = meet(a, b)
    assert one.in_sync
    assert b.rows("SELECT * FROM t ORDER BY k") == [("k", None, 1), ("l", 1, 1)]
    assert len(a.store.status()["local_only"]) == 1


def test_a_key_too_long_to_travel_stays_here(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    a.store.put_many("t", [("x" * 70_000, 1), ("k", 1)])
    assert a.value("SELECT count(*) FROM t") == 2
    assert len(a.records("t")) == 1
    assert "at most 65536" in a.store.status()["local_only"][0]["reason"]
    assert a.store.verify() == []


def test_put_into_a_deleted_and_into_a_held_record_brings_it_back(machine: Make) -> None:
    schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE);"
    a, b = machine("a", schema), machine("b", schema)
    a.store.put_many("t", [("dead", 1), ("first", 2)])
    b.clock.ms += 1_000
    b.store.put_many("t", [("held", 2)])
    meet(a, b)
    a.sql("DELETE FROM t WHERE k = 'dead'")
    a.store.put_many("t", [("dead", 7), ("held", 8), ("new", 9)])
    assert a.rows("SELECT * FROM t ORDER BY k") == [("dead", 7), ("first", 2), ("held", 8), ("new", 9)]
    assert a.held() == {}
    meet(a, b)
    check_equal([a, b])


def test_a_unique_value_may_move_from_a_row_to_a_new_one_within_one_call(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE);")
    m.store.put_many("t", [("a", "x")])
    m.store.put_many("t", [("a", "y"), ("b", "x")])
    assert m.rows("SELECT * FROM t ORDER BY k") == [("a", "y"), ("b", "x")]
    assert m.store.verify() == []


def test_the_last_of_several_rows_for_one_key_wins_whatever_their_form(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k NUMERIC PRIMARY KEY, v, w);")
    m.store.put_many("t", [{"k": 1, "v": "early"}, {"k": 1, "v": "late", "w": 2}])
    m.store.put_many("t", [(2.0, "early", 1), (2, "late", 1)])
    m.store.put_many("t", [("3", "early", 1), (3, "late", 1)])
    assert [v for (v,) in m.rows("SELECT v FROM t")] == ["late"] * 3


def test_a_number_that_sqlite_chooses_is_chosen_in_the_order_of_rows(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k INTEGER PRIMARY KEY, v, w);")
    m.store.put_many("t", [{"v": "chosen"}, {"k": 1, "v": "over it", "w": 0}, {"v": "next"}])
    assert m.rows("SELECT k, v FROM t") == [(1, "over it"), (2, "next")]


def test_changes_are_told_after_the_commit(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    told: list[tuple[str, str, bool]] = []
    m.store.listen(lambda changes: told.extend((c.collection, c.kind, c.remote) for c in changes))
    m.store.put_many("t", [("a", 1), ("b", 2)])
    m.store.put_many("t", [("a", 3), ("b", 2)])
    assert told == [("t", "insert", False), ("t", "insert", False), ("t", "update", False)]


@pytest.mark.parametrize(
    ("schema", "row"),
    [("v, k TEXT PRIMARY KEY", (-0.0,)), ("v, w, k TEXT PRIMARY KEY", ("x", -0.0)), ("k TEXT PRIMARY KEY, v, w", None)],
)
def test_a_number_is_known_for_one_wherever_its_column_stands(
    machine: Make, schema: str, row: tuple[object, ...] | None
) -> None:
    m = machine("m", f"CREATE TABLE t({schema});")
    m.store.put_many("t", [(*row, f"k{n}") if row else (f"k{n}", "x", -0.0) for n in range(300)])
    assert m.store.verify() == []


@pytest.mark.parametrize("count", [3, 300, 5_000])
@pytest.mark.parametrize("kind", [dict, list])
def test_who_makes_rows_may_use_one_object_for_them_all(machine: Make, kind: type, count: int) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")

    def rows() -> Iterator[Any]:
        row: Any = {"k": "", "v": 0} if kind is dict else ["", 0]
        key, value = row if kind is dict else (0, 1)
        for n in range(count):
            row[key], row[value] = f"k{n}", n
            yield row

    assert m.store.put_many("t", rows()) == count
    assert m.value("SELECT count(*) FROM t WHERE k = 'k' || v") == count
    assert m.store.verify() == []


@pytest.mark.parametrize("count", [0, 300, 5_000, 20_000])
def test_what_fails_in_the_source_of_rows_is_told_as_it_is(machine: Make, tmp_path: Path, count: int) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    (tmp_path / "other").write_text("no database, however long one looks at it: " * 99)

    def rows() -> Iterator[tuple[str, int]]:
        yield from ((f"k{n}", n) for n in range(count))
        with closing(foreign(tmp_path / "other")) as other:
            yield from other.execute("SELECT k, v FROM t")

    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        m.store.put_many("t", rows())
    assert m.value("SELECT count(*) FROM t") == 0
    assert m.store.verify() == []

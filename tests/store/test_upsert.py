"""Upsert: rows of another system join what is here, under stamps that the import chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.hlc import pack
from replica.errors import UsageError
from replica.store.core import Collision
from replica.store.upsert import Conflict, Fate, Rows, Upserted, upsert
from tests.store.harness import NOW_MS, Machine, check_equal, meet

Make = Callable[..., Machine]
KEEP = object()
SOURCE = b"SOURCE__"

CONTACTS = """CREATE TABLE c(id TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT 'nobody', mail TEXT UNIQUE, age INTEGER,
    CHECK(age IS NULL OR age < 200));"""


def at(ms: int) -> bytes:
    return pack(ms, 0, SOURCE)


def put(
    machine: Machine,
    rows: Sequence[dict[str, Any]],
    stamp: bytes = b"",
    run: str = "",
    marked: Sequence[Fate] = (),
    **how: Any,
) -> Upserted:
    """Rows with an `id`; a field that a row lacks is left as it is."""
    names = sorted({n for row in rows for n in row if n != "id"})
    for bold in (True, False):
        try:
            with machine.store.transaction() as core:
                core.bold = bold
                try:
                    stamps = [stamp or core.clock.tick(core.now_ms())] * len(rows)
                    columns = {n: [row.get(n, KEEP) for row in rows] for n in names}
                    made = Rows("c", [(r["id"],) for r in rows], columns, stamps, KEEP, **how)
                    return upsert(core, made, run, marked=marked)
                finally:
                    core.bold = False
        except Collision:
            continue
    raise AssertionError


def test_only_what_differs_is_written(machine: Make) -> None:
    a = machine("a", CONTACTS)
    first = put(a, [{"id": "1", "name": "Ana", "mail": "a@x", "age": 30}, {"id": "2", "name": "陈思源"}])
    assert first.fates == [Fate.CREATED, Fate.CREATED]
    root = a.store.root()
    again = put(a, [{"id": "1", "name": "Ana", "mail": "a@x", "age": 30}, {"id": "2", "name": "陈思源"}])
    assert again.fates == [Fate.UNCHANGED, Fate.UNCHANGED]
    assert a.store.root() == root
    stamp = a.record("c", "1").registers["name"][0]
    third = put(a, [{"id": "1", "name": "Ana", "mail": "b@x"}])
    assert third.fates == [Fate.UPDATED]
    assert third.before == {0: {"mail": "a@x"}}
    assert a.record("c", "1").registers["name"][0] == stamp
    assert a.rows("SELECT * FROM c ORDER BY id") == [("1", "Ana", "b@x", 30), ("2", "陈思源", None, None)]
    assert a.store.verify() == []


def test_a_new_row_shows_the_defaults_of_what_its_source_does_not_speak_of(machine: Make) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "1", "mail": "a@x"}])
    assert a.rows("SELECT * FROM c") == [("1", "nobody", "a@x", None)]
    assert set(a.record("c", "1").registers) == {"name", "mail", "age"}


def test_an_old_row_never_overwrites_newer_edits(machine: Make) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "1", "name": "Ana", "mail": "a@x"}], at(NOW_MS - 5_000))
    a.sql("UPDATE c SET name = 'Anna' WHERE id = '1'")
    late = put(a, [{"id": "1", "name": "Hanna", "mail": "h@x"}], at(NOW_MS - 1_000))
    assert late.fates == [Fate.UPDATED]
    assert late.before == {0: {"mail": "a@x"}}
    assert a.rows("SELECT name, mail FROM c") == [("Anna", "h@x")]
    older = put(a, [{"id": "1", "name": "Hanna", "mail": "z@x"}], at(NOW_MS - 3_000))
    assert older.fates == [Fate.NEWER]


def test_two_machines_that_take_in_the_same_rows_at_their_time_are_equal_at_once(machine: Make) -> None:
    a, b = machine("a", CONTACTS), machine("b", CONTACTS)
    rows = [{"id": str(i), "name": f"n{i}", "mail": f"{i}@x"} for i in range(300)]
    put(a, rows, at(NOW_MS - 9_000))
    put(b, rows[::-1], at(NOW_MS - 9_000))
    assert [r.encode() for r in a.records("c")] == [r.encode() for r in b.records("c")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "9", "name": "x", "mail": "a@x"}, "UNIQUE"),
        ({"id": "9", "name": None}, "NOT NULL"),
        ({"id": "9", "name": "x", "age": 300}, "CHECK"),
        ({"id": "1", "mail": "b@x"}, "UNIQUE"),
    ],
)
def test_a_row_that_a_constraint_refuses_is_told_and_changes_nothing(
    machine: Make, row: dict[str, Any], words: str
) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "1", "name": "Ana", "mail": "a@x"}, {"id": "2", "name": "Bo", "mail": "b@x"}])
    before, shown = a.store.root(), a.rows("SELECT * FROM c ORDER BY id")
    good = [{"id": f"g{i}", "name": "g"} for i in range(150)]
    with pytest.raises(Conflict) as refused:
        put(a, [*good[:70], row, *good[70:]])
    assert list(refused.value.reasons) == [70]
    assert words in refused.value.reasons[70]
    assert (a.store.root(), a.rows("SELECT * FROM c ORDER BY id")) == (before, shown)
    put(a, good)
    assert a.store.held() == []


def test_a_row_with_an_older_stamp_does_not_push_another_from_view(machine: Make) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "1", "name": "Ana", "mail": "a@x"}])
    with pytest.raises(Conflict) as refused:
        put(a, [{"id": "2", "name": "Bo", "mail": "a@x"}], at(NOW_MS - 9_000))
    assert list(refused.value.reasons) == [0]
    assert a.rows("SELECT id FROM c") == [("1",)]


def test_what_a_column_would_change_is_refused(machine: Make) -> None:
    a = machine("a", CONTACTS)
    done = put(a, [{"id": "1", "age": "00123"}, {"id": "2", "age": "42"}, {"id": 3, "age": "old", "name": 5}])
    assert done.fates == [Fate.REFUSED, Fate.CREATED, Fate.REFUSED]
    assert "'00123'" in done.reasons[0]
    assert "'old'" in done.reasons[2]
    assert a.rows("SELECT id, age, typeof(age) FROM c") == [("2", 42, "integer")]


def test_a_row_without_a_key_or_over_the_limit_is_refused(machine: Make) -> None:
    a = machine("a", CONTACTS)
    done = put(a, [{"id": None}, {"id": "2", "name": "x" * 2_000_000}, {"id": "k" * 70_000}, {"id": "4"}])
    assert done.fates == [Fate.REFUSED] * 3 + [Fate.CREATED]
    assert done.reasons.keys() == {0, 1, 2}
    with pytest.raises(UsageError, match="no column 'nose'"):
        put(a, [{"id": "1", "nose": 1}])


def test_blank_cells_leave_what_is_there_if_so_chosen(machine: Make) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "1", "name": "Ana", "mail": "a@x"}])
    assert put(a, [{"id": "1", "name": "", "mail": None}], blank=True).fates == [Fate.UNCHANGED]
    assert put(a, [{"id": "1", "name": "", "mail": None}]).fates == [Fate.UPDATED]
    assert a.rows("SELECT name, mail FROM c") == [("", None)]
    put(a, [{"id": "1", "name": "Ana"}])
    assert put(a, [{"id": "1", "name": "made up"}], blank=True, defaulted={"name": {0}}).fates == [Fate.UNCHANGED]


def test_deleted_records_stay_deleted_unless_told(machine: Make) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "1", "name": "Ana"}])
    a.sql("DELETE FROM c")
    assert put(a, [{"id": "1", "name": "Ana"}]).fates == [Fate.DELETED]
    floor = a.record("c", "1").floor
    assert put(a, [{"id": "1", "name": "Ana"}], pardoned=frozenset({floor})).fates == [Fate.CREATED]
    a.sql("DELETE FROM c")
    assert put(a, [{"id": "1", "name": "Ana"}], at(NOW_MS - 50_000), resurrect=True).fates == [Fate.CREATED]
    assert a.rows("SELECT id, name FROM c") == [("1", "Ana")]
    assert a.store.verify() == []


def test_a_deleted_record_among_many_new_ones_stays_deleted(machine: Make) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "z", "name": "Zoe", "mail": "z@x", "age": 1}])
    a.sql("DELETE FROM c")
    rows = [{"id": f"{i}", "name": "n", "mail": f"{i}@x", "age": i % 90} for i in range(700)]
    found = put(a, [*rows, {"id": "z", "name": "Zoe", "mail": "z@x", "age": 1}])
    assert found.fates == [*[Fate.CREATED] * 700, Fate.DELETED]
    assert a.value("SELECT count(*) FROM c") == 700
    assert a.store.verify() == []


def test_marks_are_of_rows_that_would_change_nothing_again(machine: Make) -> None:
    a = machine("a", CONTACTS)
    ana, bo, cy = ({"id": i, "name": i, "mail": f"{i}@x", "age": 5} for i in "123")
    every = (Fate.CREATED, Fate.UPDATED, Fate.UNCHANGED)

    def stored(found: Upserted) -> list[int]:
        digests = dict(a.core.db.execute("SELECT key, substr(digest, 1, 8) FROM _replica_record"))
        assert all(digests[mark[:16]] == mark[16:] for mark in found.marks.values())
        return sorted(found.marks)

    assert put(a, [ana]).marks == {}
    assert stored(put(a, [bo, cy], marked=every)) == [0, 1]
    assert stored(put(a, [ana, bo | {"age": 6}, cy], marked=every[:2])) == [1]
    assert stored(put(a, [ana, bo, cy], marked=every)) == [0, 1, 2]
    old = at(NOW_MS - 9_000)
    assert stored(put(a, [ana | {"age": 7}, cy], old, marked=every)) == [1]
    a.sql("DELETE FROM c WHERE id = '2'")
    assert stored(put(a, [bo, cy], marked=every)) == [1]
    assert stored(put(a, [bo, cy], resurrect=True, marked=every)) == [1]
    assert stored(put(a, [bo, cy], marked=every)) == [0, 1]


def test_numbers_that_sqlite_makes_up_name_the_same_records_on_both_machines(machine: Make) -> None:
    schema = "CREATE TABLE c(id INTEGER PRIMARY KEY, name TEXT);"
    a, b = machine("a", schema), machine("b", schema)
    for one in (a, b):
        put(one, [{"id": 7, "name": "Ana"}, {"id": "8", "name": "Bo"}], at(NOW_MS - 9_000))
    meet(a, b)
    check_equal([a, b])
    assert a.held() == {}
    assert a.rows("SELECT * FROM c") == [(7, "Ana"), (8, "Bo")]
    assert put(a, [{"id": None, "name": "Cy"}, {"id": "x", "name": "?"}]).fates == [Fate.CREATED, Fate.REFUSED]
    assert a.rows("SELECT * FROM c WHERE id > 8") == [(9, "Cy")]


def test_what_a_run_wrote_is_noted(machine: Make) -> None:
    a = machine("a", CONTACTS)
    put(a, [{"id": "1", "name": "Ana"}])
    put(a, [{"id": "1", "name": "Anna"}, {"id": "2", "name": "Bo"}], run="r")
    rows = a.rows("SELECT run, before IS NULL FROM _replica_import ORDER BY 2")
    assert rows == [("r", 0), ("r", 1)]


@settings(max_examples=20)
@given(seed=st.integers(0, 1 << 32))
def test_the_same_rows_in_any_batching_come_to_the_same_state(seed: int) -> None:
    random = Random(seed)
    kind = random.choice(["TEXT PRIMARY KEY", "INTEGER PRIMARY KEY", "PRIMARY KEY"])
    schema = f"CREATE TABLE c(id {kind}, name TEXT, age INTEGER, other);"
    rows = [
        {
            "id": i,
            "name": random.choice(["a", "", None]),
            "age": random.choice([1, "2", None]),
            "other": random.choice([1.5, b"x", "y"]),
        }
        for i in range(1, random.randint(2, 12))
    ]
    stamps = [at(NOW_MS - random.randint(1, 9)) for _ in rows]
    with TemporaryDirectory() as folder:
        states = []
        for name in "ab":
            one = Machine(Path(folder) / f"{name}.db", schema=schema)
            order = list(range(len(rows))) * 2
            random.shuffle(order)
            while order:
                some = list(dict.fromkeys(order[: random.randint(1, len(order))]))
                order = order[len(some) :]
                for i in some if random.random() < 0.5 else ():
                    put(one, [rows[i]], stamps[i])
                with one.store.transaction() as core:
                    columns = {n: [rows[i][n] for i in some] for n in ("name", "age", "other")}
                    upsert(core, Rows("c", [(rows[i]["id"],) for i in some], columns, [stamps[i] for i in some], KEEP))
            assert one.store.verify() == []
            states.append([r.encode() for r in one.records("c")])
            one.close()
        assert states[0] == states[1]

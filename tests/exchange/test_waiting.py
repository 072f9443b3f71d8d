"""Relations in any order: chains of any length, circles, and records that two nodes make of one file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.exchange.importing import run
from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.importing.waiting import Waiting
from replica.exchange.maps import mapfile
from replica.exchange.rows import ReadOptions
from tests.exchange.imports import CSV, counts, take, write
from tests.exchange.pace import spent
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]
NUMBERED = "CREATE TABLE people(nr INTEGER PRIMARY KEY, mail TEXT, boss INTEGER, firm INTEGER);"
NUMBERED += "CREATE TABLE firms(nr INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, head INTEGER);"
WORDED = NUMBERED.replace("INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT PRIMARY KEY").replace("INTEGER", "TEXT")
MAP = """version = 1
source = "crm"
[[collection]]
name = "people"
key = "mail"
[collection.fields]
mail = "mail"
boss = { from = "boss", refers = "people" }
firm = { from = "firm", refers = "firms", optional = true }

[[collection]]
name = "firms"
key = "title"
[collection.fields]
title = { from = "firm", optional = true }
head = { from = "head", refers = "people", optional = true }
"""
PEOPLE = MAP[: MAP.index("\n[[collection]]\nname = \"firms\"")]
SHOWN = "SELECT p.mail, b.mail FROM people AS p LEFT JOIN people AS b ON b.nr = p.boss ORDER BY p.mail"


@pytest.mark.parametrize("schema", [NUMBERED, WORDED])
def test_records_of_one_file_are_one_set_on_two_nodes(machine: Make, tmp_path: Path, schema: str) -> None:
    a, b = machine("a", schema), machine("b", schema)
    a.sql("INSERT INTO people(nr, mail) VALUES (101, 'old@x')")
    b.sql("INSERT INTO people(nr, mail) VALUES (1, 'other@x'), (2, 'more@x')")
    file = write(tmp_path / "1.csv", "mail,boss,firm,head\na@x,b@x,One,a@x\nb@x,a@x,Two,b@x\nc@x,old@x,One,\nd@x,a@x,Two,\n")
    assert counts(take(a.store, file, map=MAP)) == (4, 0, 0, 0, 0)
    outcome = take(b.store, file, map=MAP)
    assert counts(outcome) == (3, 0, 0, 0, 1)
    assert outcome.rejected[0].reasons == ("boss: no record of people has the key 'old@x'",)
    meet(a, b)
    meet(b, a)
    check_equal([a, b])
    sql = "SELECT p.mail, b.mail, f.title, h.mail FROM people AS p JOIN people AS b ON b.nr = p.boss "
    sql += "JOIN firms AS f ON f.nr = p.firm JOIN people AS h ON h.nr = f.head ORDER BY p.mail"
    assert a.rows(sql) == [
        ("a@x", "b@x", "One", "a@x"), ("b@x", "a@x", "Two", "b@x"),
        ("c@x", "old@x", "One", "a@x"), ("d@x", "a@x", "Two", "b@x"),
    ]  # fmt: skip
    assert a.value("SELECT count(*) FROM firms") == 2
    assert counts(take(a.store, file, map=MAP)) == (0, 0, 4, 0, 0)


def test_a_number_whose_key_was_edited_is_not_made_a_second_time(machine: Make, tmp_path: Path) -> None:
    a = machine("a", NUMBERED)
    file = write(tmp_path / "1.csv", "mail,boss\na@x,\n")
    take(a.store, file, map=PEOPLE)
    a.sql("UPDATE people SET mail = 'new@x'")
    outcome = take(a.store, file, map=PEOPLE)
    assert counts(outcome) == (0, 0, 0, 0, 1)
    why = "which people has with the key 'new@x': only a person can tell if that was changed"
    assert outcome.rejected[0].reasons[0].endswith(why)


@pytest.mark.parametrize("policy", ["keep", "resurrect", "new"])
def test_deleted_records_with_made_up_numbers(machine: Make, tmp_path: Path, policy: str) -> None:
    a, b = machine("a", NUMBERED), machine("b", NUMBERED)
    file = write(tmp_path / "1.csv", "mail,boss\na@x,\n")
    take(a.store, file, map=PEOPLE)
    number = a.value("SELECT nr FROM people")
    a.sql("DELETE FROM people")
    meet(a, b)
    expected = (0, 0, 1, 0, 0) if policy == "keep" else (1, 0, 0, 0, 0)
    assert counts(take(a.store, file, map=PEOPLE, on_deleted=policy)) == expected
    take(b.store, file, map=PEOPLE, on_deleted=policy)
    meet(a, b)
    check_equal([a, b])
    found = [nr for (nr,) in a.rows("SELECT nr FROM people")]
    assert (found, number in found) == ([] if policy == "keep" else found[:1], policy == "resurrect")
    child = write(tmp_path / "2.csv", "mail,boss\na@x,\nc@x,a@x\n")
    outcome = take(a.store, child, map=PEOPLE)
    assert counts(outcome)[4] == (policy == "keep")


@pytest.mark.parametrize(
    ("schema", "order"),
    [(NUMBERED, "children first"), (NUMBERED, "parents first"), (WORDED, "mixed"), ("", "children first")],
)
def test_a_chain_of_any_length(machine: Make, tmp_path: Path, schema: str, order: str) -> None:
    a = machine("a", schema)
    count = 25_000  # More than a batch.
    rows = [f"p{n}@x,{f'p{n - 1}@x' if n else ''}\n" for n in range(count)]
    if order == "children first":
        rows.reverse()
    elif order == "mixed":
        Random(1).shuffle(rows)
    map = PEOPLE if schema else PEOPLE.replace('refers = "people"', 'refers = "people", exists = true')
    began = time.process_time()
    assert counts(take(a.store, write(tmp_path / "1.csv", "mail,boss\n" + "".join(rows)), map=map)) == (count, 0, 0, 0, 0)
    assert spent(began) < 30
    id_ = "nr" if schema else "id"
    assert a.value(f"SELECT count(*) FROM people AS p JOIN people AS b ON b.{id_} = p.boss") == count - 1


def test_a_chain_without_its_first_falls_whole_and_fast(machine: Make, tmp_path: Path) -> None:
    a = machine("a", NUMBERED)
    rows = [f"p{n}@x,p{n - 1}@x\n" for n in range(12_000)]
    began = time.process_time()
    outcome = take(a.store, write(tmp_path / "1.csv", "mail,boss\n" + "".join(rows) + "q@x,\n"), map=PEOPLE)
    assert counts(outcome) == (1, 0, 0, 0, 12_000)
    assert spent(began) < 15
    assert a.rows(SHOWN) == [("q@x", None)]


def test_circles_stand_or_fall_together(machine: Make, tmp_path: Path) -> None:
    schema = NUMBERED.replace("mail TEXT", "mail TEXT CHECK(mail <> 'bad@x')")
    a = machine("a", schema)
    text = "mail,boss\na@x,b@x\nb@x,c@x\nc@x,a@x\nself@x,self@x\nd@x,bad@x\nbad@x,d@x\ne@x,d@x\n"
    outcome = take(a.store, write(tmp_path / "1.csv", text), map=PEOPLE)
    assert counts(outcome) == (4, 0, 0, 0, 3)
    assert a.rows(SHOWN) == [("a@x", "b@x"), ("b@x", "c@x"), ("c@x", "a@x"), ("self@x", "self@x")]
    assert sorted(r.reasons[0].split(":")[0] for r in outcome.rejected) == ["CHECK constraint failed", "boss", "boss"]


@pytest.mark.parametrize("batch", [5, 20_000])
def test_circles_over_files_stand_or_fall_together(
    machine: Make, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_rows", lambda _: batch)
    schema = NUMBERED.replace("mail TEXT", "mail TEXT CHECK(mail <> 'bad@x')")
    a, b = machine("a", schema), machine("b", schema)
    texts = [
        "mail,boss\na@x,b@x\nalone@x,\nd@x,bad@x\n" + "".join(f"{n}@x,{n + 1}@x\n" for n in range(0, 40, 2)),
        "mail,boss\nb@x,c@x\nbad@x,e@x\nnone@x,nobody@x\n" + "".join(f"{n}@x,{(n + 1) % 40}@x\n" for n in range(1, 40, 2)),
        "mail,boss\nc@x,a@x\ne@x,d@x\nf@x,d@x\n",
    ]
    files = [write(tmp_path / f"{n}.csv", text) for n, text in enumerate(texts)]
    rejects = tmp_path / "rejects.csv"
    outcome = take(a.store, *files, map=PEOPLE, rejects=str(rejects))
    assert counts(outcome) == (44, 0, 0, 0, 5)
    shown = {(f"{n}@x", f"{(n + 1) % 40}@x") for n in range(40)}
    assert {*a.rows(SHOWN)} == shown | {("a@x", "b@x"), ("b@x", "c@x"), ("c@x", "a@x"), ("alone@x", None)}
    told = {(r.file, r.line): r.reasons[0] for r in outcome.rejected}
    assert told.pop(("1.csv", 3)).startswith("CHECK constraint failed")
    assert told == {
        ("0.csv", 4): "boss: no record of people has the key 'bad@x'",
        ("1.csv", 4): "boss: no record of people has the key 'nobody@x'",
        ("2.csv", 3): "boss: no record of people has the key 'd@x'",
        ("2.csv", 4): "boss: no record of people has the key 'd@x'",
    }
    assert len(rejects.read_text(encoding="utf-8").splitlines()) == 6
    assert counts(take(a.store, *files, map=PEOPLE)) == (0, 0, 44, 0, 5)
    take(b.store, *reversed(files), map=PEOPLE)
    meet(a, b)
    check_equal([a, b])
    assert b.rows(SHOWN) == a.rows(SHOWN)


def test_files_of_a_circle_have_maps_and_formats_of_their_own(machine: Make, tmp_path: Path) -> None:
    a = machine("a", NUMBERED)
    firms = MAP[: MAP.index("[[collection]]")] + MAP[len(PEOPLE) :].replace('from = "firm"', 'from = "name"')
    people = write(tmp_path / "people.csv", "mail,boss,firm\na@x,,One\nb@x,a@x,Two\n")
    other = write(tmp_path / "firms.json", '[{"name": "One", "head": "a@x"}, {"name": "Two", "head": "b@x"}]')
    sources = [
        Source(str(file), mapfile.parse(text, "m", None), read, text)
        for file, text, read in ((people, PEOPLE, CSV), (other, firms, ReadOptions()))
    ]
    assert counts(run_import(a.store, sources, Options())) == (4, 0, 0, 0, 0)
    sql = "SELECT p.mail, f.title, h.mail FROM people AS p JOIN firms AS f ON f.nr = p.firm "
    sql += "JOIN people AS h ON h.nr = f.head"
    assert {*a.rows(sql)} == {("a@x", "One", "a@x"), ("b@x", "Two", "b@x")}


@given(st.lists(st.tuples(st.integers(0, 1), st.lists(st.integers(0, 14), max_size=3)), max_size=15), st.integers(1, 4))
def test_each_row_comes_once_and_after_those_that_it_needs(rows: list[tuple[int, list[int]]], size: int) -> None:
    waiting = Waiting()
    for number, (file, needs) in enumerate(rows):
        waiting.add(file, number, [("t", str(number))], [("T".lower(), str(need)) for need in needs])
    batches = list(waiting.batches(size))
    assert sorted(number for parts in batches for _, some in parts for number in some) == list(range(len(rows)))
    assert all(rows[number][0] == file for parts in batches for file, some in parts for number in some)
    at = {number: turn for turn, parts in enumerate(batches) for _, some in parts for number in some}
    reached: dict[int, set[int]] = {}
    for number in range(len(rows)):
        todo, seen = [number], set[int]()
        while todo:
            for need in rows[todo.pop()][1]:
                if need < len(rows) and need not in seen:
                    seen.add(need)
                    todo.append(need)
        reached[number] = seen
    for number, reach in reached.items():
        for need in reach:
            assert at[need] <= at[number]
            assert at[need] == at[number] or number not in reached[need]

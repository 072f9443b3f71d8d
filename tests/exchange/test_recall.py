"""What is recalled of a file changes nothing but the time that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replica.exchange.formats.delimited import DelimitedReader
from replica.exchange.importing import runs
from replica.exchange.importing.batches import Batching
from replica.exchange.importing.recall import Recall
from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.importing.undo import undo
from replica.exchange.maps import mapfile
from replica.exchange.rows import Batch
from tests.exchange.imports import CONTACTS, CSV, counts, cut, take, write
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]
DATES = """version = 1
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = "id"
name = "name"
born = {from = "born", type = "date"}
"""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the rows that are parsed."""
    numbers: list[int] = []
    batches = DelimitedReader.batches

    def counted(self: DelimitedReader, *size: int) -> Iterator[Batch]:
        for batch in batches(self, *size):
            numbers.extend(batch.numbers)
            yield batch

    monkeypatch.setattr(DelimitedReader, "batches", counted)
    return numbers


# --- 1: as it would end without ---------------------------------------------------------------------------------------


def test_a_file_that_is_here_already_is_not_read_again(machine: Make, tmp_path: Path, parsed: list[int]) -> None:
    a = machine("a")
    file = write(tmp_path / "1.csv", "id,name,born\n1,Ana,31/01/1980\n2,Bo,01/02/1981\n")
    first = take(a.store, file, map=DATES)
    assert parsed == [1, 2]
    root = a.store.root()
    again = take(a.store, file, map=DATES)
    assert counts(again) == (0, 0, 2, 0, 0)
    assert again.records == {"contacts": {"created": 0, "updated": 0, "unchanged": 2}}
    assert again.findings == first.findings != []
    assert (again.run, a.store.root(), parsed) == ("", root, [1, 2])
    assert take(a.store, file, map=DATES, dry_run=True).counts == again.counts
    assert parsed == [1, 2]
    assert a.store.verify() == []


def test_only_rows_whose_records_changed_are_taken(machine: Make, tmp_path: Path, taken: list[int]) -> None:
    a = machine("a")
    file = write(tmp_path / "1.csv", "id,name\n" + "".join(f"{i},n\n" for i in range(1, 41)))
    take(a.store, file)
    a.clock.ms += 1000
    a.sql("UPDATE contacts SET name = 'x' WHERE id IN ('5', '30')", "DELETE FROM contacts WHERE id = '9'")
    taken.clear()
    outcome = take(a.store, file)
    assert counts(outcome) == (0, 2, 38, 0, 0)
    assert (outcome.deleted, taken) == (1, [5, 9, 30])
    taken.clear()
    assert counts(take(a.store, file)) == (0, 0, 40, 0, 0)
    assert taken == [9]


def test_a_file_that_comes_a_second_time_is_known_the_third(machine: Make, tmp_path: Path, taken: list[int]) -> None:
    a, b = machine("a"), machine("b")
    file = write(tmp_path / "1.csv", CONTACTS)
    take(a.store, file)
    meet(a, b)
    for expected in ([1, 2, 3], [1, 2, 3], []):
        taken.clear()
        assert counts(take(b.store, file)) == (0, 0, 3, 0, 0)
        assert taken == expected


MESSY = """version = 1
source = "erp"
[[collection]]
name = "contacts"
key = ["nr"]
[collection.fields]
nr = {from = "id"}
name = {from = "name", max_length = 8}
mail = {from = "mail", case = "lower"}
age = {from = "age", type = "integer"}
parent = {from = "parent", refers = "contacts"}
"""
OWN = """CREATE TABLE contacts(nr TEXT PRIMARY KEY, name TEXT NOT NULL, mail TEXT UNIQUE, age INTEGER CHECK(age < 90),
parent TEXT);"""


def _messy(path: Path, seed: int) -> Path:
    random = Random(seed)
    lines = ["id,name,mail,age,parent,t"]
    for i in range(40):
        name = random.choice(["Ana", "陈思源", "José", "José", "", "far too long a name"])
        mail = random.choice([f"{i}@x", f"{i}@X", f"{i // 2}@x", ""])
        age = random.choice(["7", "007", "95", "", "30"])
        lines.append(f"{random.randrange(30)},{name},{mail},{age},{random.randrange(30)},2023-0{1 + i % 9}-01")
    lines.insert(9, "5,too,many,cells,here,by,far")
    return write(path, "\n".join(lines) + "\n")


def _step(a: Machine, step: str, file: Path, some: list[str], options: dict[str, Any]) -> Any:
    """Do something with a store. Returns all that it says."""
    a.clock.ms += 1000
    if step == "take":
        told = asdict(take(a.store, file, map=MESSY, **options))
        return told | {
            "seconds": 0,
            "run": "" if options.get("dry_run") else told["run"],
        }  # A dry run has its own clock.
    if step == "undo":
        left = [r for r in runs.runs(a.store) if r.state == runs.FINISHED]
        return asdict(undo(a.store, left[0].id)) if left else None
    if a.value("SELECT count(*) FROM sqlite_master WHERE name = 'contacts'"):
        marks = ", ".join(map(repr, some))
        if step == "edit":
            a.sql(f"UPDATE contacts SET name = 'edited' WHERE nr IN ({marks})")
        elif step == "delete":
            a.sql(f"DELETE FROM contacts WHERE nr = '{some[0]}'")
        else:
            number = a.value("SELECT count(*) FROM pragma_table_info('contacts')")
            a.sql(f"ALTER TABLE contacts ADD COLUMN c{number} TEXT")
    return None


@pytest.fixture
def recalled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows are recalled, each time."""
    numbers: list[int] = []
    tell = Batching._tell_known

    def counted(self: Batching, file: int, count: int) -> None:
        numbers.append(count)
        tell(self, file, count)

    monkeypatch.setattr(Batching, "_tell_known", counted)
    return numbers


@pytest.mark.parametrize("seed", range(24))
def test_whatever_changed_since_it_ends_as_it_would_without(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recalled: list[int], seed: int
) -> None:
    """The same imports, edits, deletes, undos and definitions in two stores, one of which recalls nothing."""
    monkeypatch.setattr("replica.exchange.importing.run._rows", lambda _: 7)
    monkeypatch.setattr("replica.exchange.importing.run._joined", cut)
    random, schema = Random(seed), OWN if seed % 3 == 0 else ""
    one, other = machine("one/a", schema), machine("other/a", schema)
    files = [_messy(tmp_path / f"{i}.csv", seed * 10 + i) for i in range(2)]
    clean = "".join(f"{i},n{i},{i + 50}@y,5,{(i + 1) % 30},2023-03-01\n" for i in range(30))
    files.append(write(tmp_path / "clean.csv", "id,name,mail,age,parent,t\n" + clean))
    steps = [random.choice(["take"] * 5 + ["edit", "delete", "undo", "column"]) for _ in range(14)]
    for number, step in enumerate([*steps, *["take"] * 3]):
        last = number >= len(steps)
        file, some = files[-1] if last else random.choice(files), [str(random.randrange(30)) for _ in range(3)]
        options: dict[str, Any] = {} if last else {
            "as_of": random.choice([None, None, "t"]),
            "on_deleted": random.choice(["keep", "keep", "resurrect", "new"]),
            "dry_run": random.random() < 0.1,
        }  # fmt: skip
        said = _step(one, step, file, some, options)
        told = len(recalled)
        with monkeypatch.context() as patch:
            patch.setattr(Recall, "part", lambda *_: None)
            patch.setattr(Recall, "hopeful", False)
            patch.setattr(Recall, "decided", lambda *_: None)
            assert _step(other, step, file, some, options) == said
        assert len(recalled) == told
        assert one.dump() == other.dump()
        assert one.store.root() == other.store.root()
    assert one.store.verify() == []
    assert sum(recalled) > 0


@pytest.mark.parametrize(
    ("words", "sql"),
    [
        ('refers = "firms", exists = true', "DELETE FROM firms"),
        ("unique = true", "INSERT INTO contacts(record_id, id, firm) VALUES ('x', '2', '1')"),
    ],
)
def test_a_row_that_depends_on_other_records_is_looked_at_again(
    machine: Make, tmp_path: Path, words: str, sql: str
) -> None:
    a = machine("a", "CREATE TABLE firms(nr INTEGER PRIMARY KEY); INSERT INTO firms VALUES (1);")
    text = DATES.replace('born = {from = "born", type = "date"}', f'firm = {{from = "firm", {words}}}')
    file = write(tmp_path / "1.csv", "id,name,firm\n1,Ana,1\n")
    for _ in range(3):
        outcome = take(a.store, file, map=text)
    assert counts(outcome) == (0, 0, 1, 0, 0)
    a.sql(sql)
    assert counts(take(a.store, file, map=text)) == (0, 0, 0, 0, 1)


def test_a_row_found_by_other_fields_than_the_key_is_looked_up_again(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE contacts(k TEXT PRIMARY KEY, id TEXT, name TEXT);")
    file = write(tmp_path / "1.csv", "id,name\n1,Ana\n")
    for _ in range(3):
        outcome = take(a.store, file)
    assert counts(outcome) == (0, 0, 1, 0, 0)
    a.sql("INSERT INTO contacts VALUES ('k', '1', 'Bo')")
    assert counts(take(a.store, file)) == (0, 0, 0, 0, 1)


def test_a_row_that_was_older_in_part_is_told_again(machine: Make, tmp_path: Path) -> None:
    a = machine("a")
    take(a.store, write(tmp_path / "1.csv", "id,name,mail,t\n1,Ana,a@x,2023-01-01\n"), as_of="t")
    take(a.store, write(tmp_path / "2.csv", "id,name,t\n1,Anna,2023-03-01\n"), as_of="t")
    file = write(tmp_path / "3.csv", "id,name,mail,t\n1,Old,b@x,2023-02-01\n")
    assert counts(take(a.store, file, as_of="t")) == (0, 1, 0, 0, 0)
    for _ in range(2):
        outcome = take(a.store, file, as_of="t")
        assert (counts(outcome), outcome.newer) == ((0, 0, 1, 0, 0), 1)
    assert a.rows("SELECT name, mail FROM contacts") == [("Anna", "b@x")]


def test_a_row_that_another_record_stood_against_is_taken_again(machine: Make, tmp_path: Path) -> None:
    a = machine(
        "a", "CREATE TABLE contacts(id TEXT PRIMARY KEY, mail TEXT UNIQUE); INSERT INTO contacts VALUES ('x', 'a');"
    )
    file = write(tmp_path / "1.csv", "id,mail\n1,a\n1,b\n")
    assert counts(take(a.store, file)) == (1, 0, 0, 0, 1)
    assert counts(take(a.store, file)) == (0, 0, 1, 0, 1)
    a.sql("DELETE FROM contacts WHERE id = 'x'")
    assert counts(take(a.store, file)) == (0, 1, 0, 1, 0)
    assert a.rows("SELECT * FROM contacts") == [("1", "a")]


def test_two_rows_of_one_record_are_taken_again(machine: Make, tmp_path: Path, recalled: list[int]) -> None:
    a = machine("a", "CREATE TABLE contacts(id INT PRIMARY KEY, name TEXT);")
    file = write(tmp_path / "1.csv", "id,name\n1,Ana\n1.0,Ana\n2,Bo\n")
    first = [counts(take(a.store, file)) for _ in range(4)]
    assert first[1:] == [(0, 0, 3, 0, 0)] * 3
    assert recalled == []


def test_a_relation_that_is_looked_up_is_looked_up_again(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE firms(nr TEXT PRIMARY KEY, name TEXT); INSERT INTO firms VALUES ('f1', 'Acme');")
    people = """version = 1
[[collection]]
name = "people"
key = "id"
[collection.fields]
id = "id"
firm = {from = "firm", refers = "firms"}
"""
    firms = """version = 1
[[collection]]
name = "firms"
key = "name"
[collection.fields]
name = "name"
"""
    pairs = [
        (write(tmp_path / "p.csv", "id,firm\n1,Acme\n"), people),
        (write(tmp_path / "f.csv", "name\nAcme\n"), firms),
    ]
    sources = [Source(str(f), mapfile.parse(m, "m", None), CSV, m) for f, m in pairs]
    for _ in range(3):
        outcome = run_import(a.store, sources, Options())
    assert counts(outcome) == (0, 0, 2, 0, 0)
    a.clock.ms += 1000
    a.sql("UPDATE firms SET nr = 'f2'")
    assert counts(run_import(a.store, sources, Options())) == (0, 1, 1, 0, 0)
    assert a.rows("SELECT firm FROM people") == [("f2",)]

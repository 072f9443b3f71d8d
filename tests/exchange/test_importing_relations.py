"""Rows of an import that depend on other rows: relations, shared records, several files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replica.exchange.importing import runs
from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.maps import mapfile
from tests.exchange.imports import CSV, counts, take, write
from tests.store.harness import Machine

Make = Callable[..., Machine]

MAP = """version = 1
source = "erp"
[[collection]]
name = "accounts"
key = ["nr"]
[collection.fields]
nr = {from = "account"}
title = {from = "account name"}
parent = {from = "parent", refers = "accounts"}
[[collection]]
name = "contacts"
key = ["id"]
[collection.fields]
id = {from = "id"}
name = {from = "name", required = true}
account = {from = "account", refers = "accounts"}
"""


def test_one_row_makes_records_of_two_collections_that_refer_to_each_other(machine: Make, tmp_path: Path) -> None:
    a = machine()
    text = "account,account name,parent,id,name\nA1,One,A2,c1,Ana\nA1,One,A2,c2,Bo\nA2,Two,A1,c3,Cy\n"
    outcome = take(a.store, write(tmp_path / "1.csv", text), map=MAP)
    assert outcome.read == 3
    assert outcome.records["contacts"]["created"] == 3
    assert outcome.records["accounts"]["created"] == 2
    sql = (
        "SELECT c.name, x.title, p.title FROM contacts c JOIN accounts x ON x.id = c.account "
        "JOIN accounts p ON p.id = x.parent ORDER BY c.name"
    )
    assert a.rows(sql.replace("x.id", "x.id")) == [("Ana", "One", "Two"), ("Bo", "One", "Two"), ("Cy", "Two", "One")]


def test_a_relation_by_another_key_waits_for_its_record(machine: Make, tmp_path: Path) -> None:
    schema = "CREATE TABLE accounts(nr INTEGER PRIMARY KEY, title TEXT, parent INTEGER);"
    a = machine(schema=schema)
    map = """version = 1
[[collection]]
name = "accounts"
key = ["title"]
[collection.fields]
title = {from = "title"}
parent = {from = "parent", refers = "accounts"}
"""
    file = write(tmp_path / "1.csv", "title,parent\nleaf,branch\nbranch,root\nroot,\nlost,nowhere\n")
    outcome = take(a.store, file, map=map)
    assert counts(outcome) == (3, 0, 0, 0, 1)
    assert "nowhere" in outcome.rejected[0].reasons[0]
    sql = "SELECT a.title, b.title FROM accounts a LEFT JOIN accounts b ON b.nr = a.parent ORDER BY a.title"
    assert a.rows(sql) == [("branch", "root"), ("leaf", "branch"), ("root", None)]


def test_an_account_of_a_row_that_is_rejected_comes_with_the_next_row_that_names_it(
    machine: Make, tmp_path: Path
) -> None:
    a = machine()
    map = MAP.replace('name = {from = "name", required = true}', 'name = {from = "name", unique = true}')
    take(a.store, write(tmp_path / "0.csv", "account,account name,parent,id,name\nA0,Zero,,c0,Ana\n"), map=map)
    text = "account,account name,parent,id,name\nA1,One,,c1,Ana\nA1,One,,c2,Bo\n"
    outcome = take(a.store, write(tmp_path / "1.csv", text), map=map)
    assert counts(outcome) == (1, 0, 0, 0, 1)
    sql = "SELECT c.name, x.title FROM contacts c JOIN accounts x ON x.id = c.account ORDER BY 1"
    assert a.rows(sql) == [("Ana", "Zero"), ("Bo", "One")]


def test_the_first_row_of_a_key_that_is_not_rejected_counts(machine: Make, tmp_path: Path) -> None:
    a = machine(schema="CREATE TABLE contacts(id TEXT PRIMARY KEY, age INTEGER);")
    outcome = take(a.store, write(tmp_path / "1.csv", "id,age\n1,abc\n1,5\n1,6\n"))
    assert counts(outcome) == (1, 0, 0, 1, 1)
    assert a.rows("SELECT * FROM contacts") == [("1", 5)]


def test_a_value_of_a_row_that_is_rejected_is_free(machine: Make, tmp_path: Path) -> None:
    a = machine(schema="CREATE TABLE contacts(id TEXT PRIMARY KEY, mail TEXT, age INTEGER);")
    map = """version = 1
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = "id"
mail = {from = "mail", unique = true}
age = "age"
"""
    outcome = take(a.store, write(tmp_path / "1.csv", "id,mail,age\n1,a@x,abc\n2,a@x,5\n3,a@x,6\n"), map=map)
    assert counts(outcome) == (1, 0, 0, 0, 2)
    assert a.rows("SELECT * FROM contacts") == [("2", "a@x", 5)]


PEOPLE = """version = 1
source = "erp"
[[collection]]
name = "people"
key = "id"
[collection.fields]
id = "id"
firm = {from = "firm", refers = "firms"}
boss = {from = "boss", refers = "people", exists = true}
"""

FIRMS = """version = 1
source = "erp"
[[collection]]
name = "firms"
key = "id"
[collection.fields]
id = "id"
head = {from = "head", refers = "people"}
"""


@pytest.mark.parametrize("order", [0, 1])
def test_files_whose_records_refer_to_each_other_come_in_any_order(machine: Make, tmp_path: Path, order: int) -> None:
    a = machine()
    people = write(tmp_path / "p.csv", "id,firm,boss\n1,f,2\n2,f,1\n3,f,3\n4,f,9\n")
    firms = write(tmp_path / "f.csv", "id,head\nf,3\n")
    pairs = [(people, PEOPLE), (firms, FIRMS)][:: -1 if order else 1]
    sources = [Source(str(f), mapfile.parse(m, "m", None), CSV, m) for f, m in pairs]
    outcome = run_import(a.store, sources, Options())
    assert counts(outcome) == (4, 0, 0, 0, 1)
    assert "no such record" in outcome.rejected[0].reasons[0]
    sql = "SELECT p.id, b.id, f.id, h.id FROM people p JOIN people b ON b.record_id = p.boss "
    sql += "JOIN firms f ON f.record_id = p.firm JOIN people h ON h.record_id = f.head ORDER BY 1"
    assert a.rows(sql) == [("1", "2", "f", "3"), ("2", "1", "f", "3"), ("3", "3", "f", "3")]


def test_a_relation_to_an_earlier_import_means_the_records_of_its_source(machine: Make, tmp_path: Path) -> None:
    a = machine()
    take(a.store, write(tmp_path / "f.csv", "id\nf\n"), into="firms")
    people = PEOPLE.replace('source = "erp"\n', "").replace(", exists = true", "")
    take(a.store, write(tmp_path / "p.csv", "id,firm,boss\n1,f,\n"), map=people)
    assert a.rows("SELECT p.id, f.id FROM people p JOIN firms f ON f.record_id = p.firm") == [("1", "f")]


def test_two_files_of_one_run_may_each_say_a_part(machine: Make, tmp_path: Path) -> None:
    a = machine()
    files = [write(tmp_path / "1.csv", "id,name\n1,Ana\n"), write(tmp_path / "2.csv", "id,phone\n1,555\n")]
    take(a.store, *files)
    assert a.rows("SELECT id, name, phone FROM contacts") == [("1", "Ana", "555")]


def test_several_files_are_one_run(machine: Make, tmp_path: Path) -> None:
    a = machine()
    files = [write(tmp_path / f"{i}.csv", f"id,name\n{i},n\n0,same\n") for i in (1, 2)]
    outcome = take(a.store, *files)
    assert counts(outcome) == (3, 0, 1, 0, 0)
    assert [run.files for run in runs.runs(a.store)] == [["1.csv", "2.csv"]]

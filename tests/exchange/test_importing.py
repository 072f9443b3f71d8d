"""An import: every row in one bucket, nothing written twice, killed anywhere and resumed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replica.errors import MapRefused, UsageError
from replica.exchange.importing import ledger, runs
from replica.exchange.importing import run as importing
from replica.exchange.importing.batches import Batching
from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.importing.undo import undo
from replica.exchange.maps import mapfile
from replica.exchange.rows import MISSING, Batch, ReadOptions
from tests.exchange.imports import CSV, counts, take, write
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]

CONTACTS = "id,name,mail\n1,Ana,a@x\n2,陈思源,\n3,José,j@x\n"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Make]:
    made: list[Machine] = []

    def make(name: str = "a", schema: str = "") -> Machine:
        path = tmp_path / f"{name}.db"
        path.parent.mkdir(exist_ok=True)
        made.append(Machine(path, schema=schema))
        return made[-1]

    yield make
    for one in made:
        one.close()


def shown(a: Machine, what: str = "id, name, mail") -> list[tuple[Any, ...]]:
    return a.rows(f"SELECT {what} FROM contacts ORDER BY id")


# --- buckets ----------------------------------------------------------------------------------------------------------


def test_every_row_ends_in_exactly_one_bucket(machine: Make, tmp_path: Path) -> None:
    a = machine()
    first = write(tmp_path / "1.csv", CONTACTS)
    assert counts(take(a.store, first)) == (3, 0, 0, 0, 0)
    second = write(
        tmp_path / "2.csv", "id,name,mail\n1,Ana,a@x\n2,陈思源,c@x\n4,Bo,\n4,Bo,\n4,Bob,\n,nobody,\n5,too,many,cells\n"
    )
    outcome = take(a.store, second)
    assert counts(outcome) == (1, 1, 1, 2, 2)
    assert outcome.read == 7
    reasons = {row.line: row.reasons for row in outcome.rejected}
    assert reasons.keys() == {6, 7, 8}
    assert "line 4" in reasons[6][0]
    assert "key" in reasons[7][0]
    assert "4" in reasons[8][0]


def test_an_import_of_what_is_here_already_writes_nothing(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", CONTACTS)
    take(a.store, file)
    root = a.store.root()
    again = take(a.store, file)
    assert counts(again) == (0, 0, 3, 0, 0)
    assert again.run == ""
    assert a.store.root() == root
    assert len(runs.runs(a.store)) == 1


def test_without_a_map_text_stays_the_text_that_it_was(machine: Make, tmp_path: Path) -> None:
    a = machine()
    take(a.store, write(tmp_path / "1.csv", 'id,zip,n,sum\n001,00123,12/03/2021,"1.234,56"\n'))
    assert a.rows("SELECT zip, n, sum, typeof(zip) FROM contacts") == [("00123", "12/03/2021", "1.234,56", "text")]


def test_a_column_that_the_file_calls_id_stays_its_own(machine: Make, tmp_path: Path) -> None:
    a = machine()
    take(a.store, write(tmp_path / "1.csv", "ID,name\n7,Ana\n"), key="ID")
    assert [c[1] for c in a.rows("PRAGMA table_info(contacts)")] == ["record_id", "ID", "name"]
    assert a.rows("SELECT ID, length(record_id) FROM contacts") == [("7", 36)]


# --- two nodes --------------------------------------------------------------------------------------------------------


def test_two_machines_that_import_one_file_offline_have_one_set_of_records(machine: Make, tmp_path: Path) -> None:
    a, b = machine("a"), machine("b")
    file = write(tmp_path / "1.csv", CONTACTS)
    for one in (a, b):
        assert counts(take(one.store, file)) == (3, 0, 0, 0, 0)
    meet(a, b)
    check_equal([a, b])
    assert len(shown(a, "*")) == 3
    assert a.held() == {}
    root = a.store.root()
    assert counts(take(b.store, file)) == (0, 0, 3, 0, 0)
    assert b.store.root() == root


def test_with_as_of_they_hold_the_same_registers_before_they_meet(machine: Make, tmp_path: Path) -> None:
    a, b = machine("a"), machine("b")
    file = write(tmp_path / "1.csv", "id,name,changed\n1,Ana,2023-01-05T10:00:00Z\n2,Bo,2023-02-05 11:00\n")
    for one in (a, b):
        assert counts(take(one.store, file, as_of="changed")) == (2, 0, 0, 0, 0)
    assert [r.encode() for r in a.records("contacts")] == [r.encode() for r in b.records("contacts")]


def test_an_old_export_never_overwrites_newer_edits(machine: Make, tmp_path: Path) -> None:
    a = machine()
    new = write(tmp_path / "new.csv", "id,name,mail,changed\n1,Ana,a@x,2023-05-01\n")
    old = write(tmp_path / "old.csv", "id,name,mail,changed\n1,Anna,z@x,2023-04-01\n")
    take(a.store, new, as_of="changed")
    outcome = take(a.store, old, as_of="changed")
    assert counts(outcome) == (0, 0, 1, 0, 0)
    assert outcome.newer == 1
    assert shown(a, "name, mail") == [("Ana", "a@x")]
    why = a.store.why("contacts", [a.value("SELECT record_id FROM contacts")])
    assert {f["by"] for f in why["fields"]} == {"source contacts"}


def test_a_row_without_a_time_is_rejected_if_the_time_counts(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", "id,changed\n1,2023-05-01\n2,soon\n3,\n")
    outcome = take(a.store, file, as_of="changed")
    assert counts(outcome) == (1, 0, 0, 0, 2)
    assert "'soon' is no time" in outcome.rejected[0].reasons[0]
    with pytest.raises(UsageError, match="no column 'when'"):
        take(a.store, file, as_of="when")


# --- what is here already ---------------------------------------------------------------------------------------------


def test_a_table_of_the_users_own_keeps_its_key(machine: Make, tmp_path: Path) -> None:
    a = machine(
        schema="CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT, mail TEXT);"
        "INSERT INTO contacts VALUES ('1', 'Old', 'o@x');"
    )
    assert counts(take(a.store, write(tmp_path / "1.csv", CONTACTS))) == (2, 1, 0, 0, 0)
    assert shown(a) == [("1", "Ana", "a@x"), ("2", "陈思源", ""), ("3", "José", "j@x")]


def test_a_table_with_another_key_is_matched_by_the_fields_named(machine: Make, tmp_path: Path) -> None:
    a = machine(
        schema="CREATE TABLE contacts(nr INTEGER PRIMARY KEY, mail TEXT, name TEXT);"
        "INSERT INTO contacts VALUES (7, 'a@x', 'Old'), (8, 'twice@x', 'A'), (9, 'twice@x', 'B');"
    )
    file = write(tmp_path / "1.csv", "mail,name\na@x,Ana\nnew@x,New\ntwice@x,C\n")
    outcome = take(a.store, file, key="mail")
    assert counts(outcome) == (1, 1, 0, 0, 1)
    assert "2 records" in outcome.rejected[0].reasons[0]
    assert a.rows("SELECT * FROM contacts WHERE nr NOT IN (8, 9)") == [(7, "a@x", "Ana"), (1519579944779499, "new@x", "New")]
    assert counts(take(a.store, file, key="mail")) == (0, 0, 2, 0, 1)


def test_a_row_that_a_constraint_refuses_stops_no_other(machine: Make, tmp_path: Path) -> None:
    a = machine(
        schema="CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT NOT NULL, mail TEXT UNIQUE, "
        "age INTEGER CHECK(age < 150));"
    )
    text = "id,name,mail,age\n" + "".join(f"{i},n{i},{i}@x,{i % 100}\n" for i in range(300))
    text += "x,dup,5@x,1\ny,old,y@x,200\nz,00,z@x,007\nw,w,w@x,7\n"
    outcome = take(a.store, write(tmp_path / "1.csv", text))
    assert counts(outcome) == (301, 0, 0, 0, 3)
    words = [row.reasons[0] for row in outcome.rejected]
    assert [w for w in ("UNIQUE", "CHECK", "'007'") if any(w in reason for reason in words)] == [
        "UNIQUE",
        "CHECK",
        "'007'",
    ]
    assert a.store.held() == []
    assert a.store.verify() == []


def test_fields_without_a_column_are_refused_in_tables_of_the_users_own(machine: Make, tmp_path: Path) -> None:
    a = machine(schema="CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT);")
    file = write(tmp_path / "1.csv", CONTACTS)
    with pytest.raises(UsageError, match="no column for mail"):
        take(a.store, file)
    assert counts(take(a.store, file, new_columns="ignore")) == (3, 0, 0, 0, 0)
    assert counts(take(a.store, file, new_columns="add")) == (0, 2, 1, 0, 0)
    assert shown(a)[0] == ("1", "Ana", "a@x")


def test_a_table_that_an_import_made_grows_with_its_files(machine: Make, tmp_path: Path) -> None:
    a, b = machine("a"), machine("b")
    take(a.store, write(tmp_path / "1.csv", CONTACTS))
    outcome = take(a.store, write(tmp_path / "2.csv", "id,phone\n1,555\n9,556\n"))
    assert counts(outcome) == (1, 1, 0, 0, 0)
    meet(a, b)
    check_equal([a, b])
    assert b.rows("SELECT id, name, phone FROM contacts WHERE id IN ('1', '9') ORDER BY id") == [
        ("1", "Ana", "555"),
        ("9", None, "556"),
    ]


def test_another_key_for_the_same_source_is_refused(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", CONTACTS)
    take(a.store, file)
    with pytest.raises(UsageError, match="by the key id before"):
        take(a.store, file, key="mail")
    assert counts(take(a.store, file, key="mail", source="hr")) == (2, 0, 0, 0, 1)
    with pytest.raises(MapRefused, match='did you mean "mail"'):
        take(a.store, file, key="mial", source="oa")


@pytest.mark.parametrize(
    ("policy", "expected"), [("keep", (0, 0, 3, 0, 0)), ("resurrect", (1, 0, 2, 0, 0)), ("new", (1, 0, 2, 0, 0))]
)
def test_deleted_records(machine: Make, tmp_path: Path, policy: str, expected: tuple[int, ...]) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", CONTACTS)
    take(a.store, file)
    gone = a.value("SELECT record_id FROM contacts WHERE id = '1'")
    a.sql("DELETE FROM contacts WHERE id = '1'")
    outcome = take(a.store, file, on_deleted=policy)
    assert counts(outcome) == expected
    assert outcome.deleted == (policy == "keep")
    back = a.rows("SELECT record_id FROM contacts WHERE id = '1'")
    assert back == [] if policy == "keep" else (back[0][0] == gone) == (policy == "resurrect")
    assert counts(take(a.store, file, on_deleted=policy)) == (0, 0, 3, 0, 0)


def test_blank_cells_leave_or_clear(machine: Make, tmp_path: Path) -> None:
    a = machine()
    take(a.store, write(tmp_path / "1.csv", CONTACTS))
    blank = write(tmp_path / "2.csv", "id,name,mail\n1,,\n")
    assert counts(take(a.store, blank)) == (0, 0, 1, 0, 0)
    assert counts(take(a.store, blank, blank="clear")) == (0, 1, 0, 0, 0)
    assert shown(a)[0] == ("1", "", "")


# --- relations --------------------------------------------------------------------------------------------------------

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


def test_a_collection_is_one_whatever_the_case_of_its_name(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", CONTACTS)
    take(a.store, file, source="crm")
    assert counts(take(a.store, file, into="Contacts")) == (0, 0, 3, 0, 0)


def test_keys_compare_trimmed_in_tables_of_the_users_own_too(machine: Make, tmp_path: Path) -> None:
    a = machine(
        schema="CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT); INSERT INTO contacts VALUES ('1', 'Ana');"
    )
    assert counts(take(a.store, write(tmp_path / "1.csv", "id,name\n1 ,Ana\n"))) == (0, 0, 1, 0, 0)
    b = machine("b", "CREATE TABLE contacts(k TEXT PRIMARY KEY, nr TEXT); INSERT INTO contacts VALUES ('x', 'A1');")
    assert counts(take(b.store, write(tmp_path / "2.csv", "nr\nA1 \n"), key="nr")) == (0, 1, 0, 0, 0)


def test_two_files_of_one_run_may_each_say_a_part(machine: Make, tmp_path: Path) -> None:
    a = machine()
    files = [write(tmp_path / "1.csv", "id,name\n1,Ana\n"), write(tmp_path / "2.csv", "id,phone\n1,555\n")]
    take(a.store, *files)
    assert a.rows("SELECT id, name, phone FROM contacts") == [("1", "Ana", "555")]


def test_a_run_remembers_its_collections_though_its_last_batch_is_all_rejected(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_rows", lambda _: 3)
    monkeypatch.setattr("replica.exchange.importing.run._joined", _cut)
    a = machine()
    take(a.store, write(tmp_path / "1.csv", CONTACTS + ",x,\n,y,\n,z,\n"))
    assert counts(take(a.store, write(tmp_path / "2.csv", "id,phone\n1,555\n"))) == (0, 1, 0, 0, 0)


def test_numbers_of_text_files_are_the_numbers_that_are_here(machine: Make, tmp_path: Path) -> None:
    a = machine()
    json = write(tmp_path / "1.json", '[{"id": 1, "n": 0.5}, {"id": 2, "n": -1}]')
    take(a.store, json, read=ReadOptions())
    root = a.store.root()
    assert counts(take(a.store, write(tmp_path / "1.csv", "id,n\n1,0.5\n2,-1\n"))) == (0, 0, 2, 0, 0)
    assert a.store.root() == root


def test_rows_that_differ_in_a_number_alone_differ(machine: Make, tmp_path: Path) -> None:
    a = machine()
    outcome = take(a.store, write(tmp_path / "1.json", '[{"id": 1, "n": -1}, {"id": 1, "n": -2}]'), read=ReadOptions())
    assert counts(outcome) == (1, 0, 0, 1, 0)
    assert "other values" in outcome.rejected[0].reasons[0]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE replica_imports SET counts = '[1]'",
        "UPDATE replica_imports SET files = '5'",
        "UPDATE replica_imports SET undone = 'zz'",
        "UPDATE replica_imports SET stamp = '00'",
        "UPDATE replica_imports SET position = 'x'",
        "UPDATE replica_imports SET state = NULL",
        "UPDATE replica_imports SET began = x'00'",
        "UPDATE replica_imports SET collections = printf('%.*c', 100000, '[')",
        'UPDATE replica_imports SET collections = replace(collections, \'"id": "record_id"\', \'"id": "nonsense"\')',
        "UPDATE replica_imports SET collections = replace(collections, '[\"id\"]', '[\"nose\"]')",
        "ALTER TABLE replica_imports DROP COLUMN map",
    ],
)
def test_a_run_of_somebody_that_makes_no_sense_is_not_believed(machine: Make, tmp_path: Path, sql: str) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", CONTACTS)
    take(a.store, file)
    a.sql(sql)
    runs.runs(a.store)
    known = runs.known(a.store, "contacts")
    assert known is None or known.id == "record_id"
    if "ALTER" not in sql:
        take(a.store, write(tmp_path / "2.csv", "id\n9\n"), into="others")
        assert len(runs.runs(a.store)) >= 1


def test_times_to_come_are_refused(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", "id,changed\n1,2999-01-01\n2,2023-01-01\n")
    outcome = take(a.store, file, as_of="changed")
    assert counts(outcome) == (1, 0, 0, 0, 1)
    assert "still to come" in outcome.rejected[0].reasons[0]


# --- dry run, rejects, undo -------------------------------------------------------------------------------------------


def test_a_dry_run_reports_what_the_real_run_does_and_writes_nothing(machine: Make, tmp_path: Path) -> None:
    a = machine()
    take(a.store, write(tmp_path / "1.csv", CONTACTS))
    before, text = a.store.root(), "id,name,mail\n1,Anna,a@x\n5,New,n@x\n,x,\n2,陈思源,\n"
    file = write(tmp_path / "2.csv", text)
    dry = take(a.store, file, dry_run=True)
    assert a.store.root() == before
    assert a.rows("SELECT count(*) FROM _replica_import_row") == [(0,)]
    assert [(d.before, d.after.get("name")) for d in dry.differences] == [({"name": "Ana"}, "Anna"), ({}, "New")]
    real = take(a.store, file)
    assert counts(dry) == counts(real)
    assert [r.reasons for r in dry.rejected] == [r.reasons for r in real.rejected]


def test_the_file_of_rejected_rows_is_mended_and_imported(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", 'id,name\n1,Ana\n,"Bo, the ""second"""\n3,x,y\n')
    rejects = tmp_path / "rejects.csv"
    assert counts(take(a.store, file, rejects=str(rejects))) == (1, 0, 0, 0, 2)
    with rejects.open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))
    assert [row["name"] for row in found] == ['Bo, the "second"', ""]
    assert "id" in found[0]["replica:reason"]
    assert found[1]["replica:raw"].startswith("3,x,y")
    with rejects.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, found[0].keys())
        writer.writeheader()
        writer.writerows([{**found[0], "id": "2"}, {**found[1], "id": "3", "name": "x"}])
    assert counts(take(a.store, rejects)) == (2, 0, 0, 0, 0)
    assert a.rows("SELECT id, name FROM contacts ORDER BY id") == [("1", "Ana"), ("2", 'Bo, the "second"'), ("3", "x")]
    assert counts(take(a.store, rejects)) == (0, 0, 2, 0, 0)


def test_undo_puts_back_what_nobody_touched_and_keeps_the_rest(machine: Make, tmp_path: Path) -> None:
    a, b = machine("a"), machine("b")
    take(a.store, write(tmp_path / "1.csv", CONTACTS))
    meet(a, b)
    file = write(tmp_path / "2.csv", "id,name,mail\n1,Anna,b@x\n2,Chen,c@x\n7,New,n@x\n8,Old,o@x\n")
    run = take(a.store, file).run
    meet(a, b)
    b.clock.ms += 1000
    b.sql("UPDATE contacts SET name = 'Edited' WHERE id IN ('1', '7')")
    meet(a, b)
    done = undo(a.store, run)
    assert (done.deleted, done.restored, done.kept) == (1, 2, 2)
    assert {(tuple(k.fields), tuple(k.by)) for k in done.listed} == {(("name",), ("b",))}
    assert shown(a) == [("1", "Edited", "a@x"), ("2", "陈思源", ""), ("3", "José", "j@x"), ("7", "Edited", "n@x")]
    meet(a, b)
    check_equal([a, b])
    with pytest.raises(UsageError, match="undone already"):
        undo(a.store, run)
    assert counts(take(b.store, file)) == (1, 3, 0, 0, 0)


def test_undo_lists_what_was_deleted_and_made_again_since(
    machine: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = machine("a"), machine("b")
    run = take(a.store, write(tmp_path / "1.csv", CONTACTS)).run
    meet(a, b)
    b.clock.ms += 1000
    id_ = b.value("SELECT record_id FROM contacts WHERE id = '2'")
    b.sql("DELETE FROM contacts WHERE id IN ('2', '3')")
    b.store.absorb()
    b.clock.ms += 1000
    b.sql(f"INSERT INTO contacts VALUES ('{id_}', '2', 'again', '')")
    meet(a, b)
    a.store.execute("UPDATE contacts SET name = 'Anna' WHERE id = '1'")
    done = undo(a.store, run)
    assert (done.deleted, done.restored, done.kept, done.remade) == (0, 0, 1, 1)
    assert [(k.fields, k.by, k.again) for k in done.listed] == [(["name"], ["a"], False), ([], ["b"], True)]
    assert (done.as_json()["made_again"], done.listed[1].key) == (1, [id_])
    assert [row[1] for row in shown(a)] == ["Anna", "again"]


def test_what_a_source_does_not_speak_of_shows_its_default_and_any_other_is_heard(
    machine: Make, tmp_path: Path
) -> None:
    schema = "CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT, phone TEXT DEFAULT 'none');"
    a, b = machine("a", schema), machine("b", schema)
    run = take(a.store, write(tmp_path / "1.csv", "id,name\n1,Ana\n2,Bo\n")).run
    take(b.store, write(tmp_path / "2.csv", "id,phone,t\n1,555,2020-01-01\n"), as_of="t", new_columns="ignore")
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT * FROM contacts ORDER BY id") == [("1", "Ana", "555"), ("2", "Bo", "none")]
    done = undo(a.store, run)
    assert (done.deleted, done.kept) == (1, 1)


@pytest.mark.parametrize("as_of", [None, "changed"])
def test_records_that_two_nodes_made_of_one_file_stay_until_both_runs_are_undone(
    machine: Make, tmp_path: Path, as_of: str | None
) -> None:
    a, b = machine("a"), machine("b")
    file = write(tmp_path / "1.csv", "id,name,mail,changed\n" + "".join(f"{i},n,m,2023-01-01\n" for i in range(3)))
    first = take(a.store, file, as_of=as_of).run
    b.clock.ms += 5
    second = take(b.store, file, as_of=as_of).run
    meet(a, b)
    done = undo(b.store, second)
    assert (done.deleted, done.also) == (0, [first])
    meet(a, b)
    assert len(shown(a)) == 3
    assert undo(a.store, first).deleted == 3
    meet(a, b)
    assert shown(b) == []


def test_lines_that_could_not_be_read_are_not_lost_by_a_second_round(machine: Make, tmp_path: Path) -> None:
    a = machine()
    one, two = tmp_path / "r1.csv", tmp_path / "r2.csv"
    take(a.store, write(tmp_path / "1.csv", "id,name\n1,Ana\n2,b,extra\n"), rejects=str(one))
    take(a.store, one, rejects=str(two))
    assert "2,b,extra" in two.read_text(encoding="utf-8")


def test_records_of_a_run_can_be_undone_on_any_node(machine: Make, tmp_path: Path) -> None:
    a, b = machine("a"), machine("b")
    run = take(a.store, write(tmp_path / "1.csv", CONTACTS)).run
    meet(a, b)
    assert undo(b.store, run).deleted == 3
    meet(a, b)
    assert shown(a) == []
    later = take(a.store, write(tmp_path / "1.csv", CONTACTS))
    assert counts(later) == (3, 0, 0, 0, 0)
    updated = take(a.store, write(tmp_path / "2.csv", "id,name\n1,Anna\n")).run
    meet(a, b)
    with pytest.raises(UsageError, match="known on a alone"):
        undo(b.store, updated)
    with pytest.raises(UsageError, match="no run"):
        undo(b.store, "zzz")


# --- interruptions ----------------------------------------------------------------------------------------------------


class _Killed(BaseException):
    pass


def _big(folder: Path) -> Path:
    random = Random(1)
    lines = ["id,name,mail,parent"]
    for i in range(60):
        name = random.choice(["Ana", "陈思源", "José"])
        lines.append(f"{i % 50},{name},{i % 45}@x,{random.choice(['', str(random.randrange(60))])}")
    lines.insert(20, "5,too,many,cells,here")
    return write(folder / "big.csv", "\n".join(lines) + "\n")


BIG = """version = 1
source = "erp"
[[collection]]
name = "contacts"
key = ["nr"]
[collection.fields]
nr = {from = "id"}
name = {from = "name"}
mail = {from = "mail", unique = true}
parent = {from = "parent", refers = "contacts", exists = true}
"""


@pytest.mark.parametrize("seed", range(50))
def test_killed_anywhere_and_resumed_it_ends_as_it_would_have(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(importing, "_rows", lambda _: 7)
    monkeypatch.setattr("replica.exchange.importing.run._joined", _cut)
    file, random = _big(tmp_path), Random(seed)
    whole, a = machine("whole/a"), machine("killed/a")  # The same chance and the same standing clock: the same node.
    expected = take(whole.store, file, map=BIG)
    assert expected.counts["rejected"] > 0
    left = random.randrange(1, 10)
    take_one = Batching._take

    def killed(self: Batching, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and random.random() < 0.5:
            raise _Killed
        take_one(self, *args, **kwargs)
        if left == 0:
            raise _Killed

    monkeypatch.setattr(Batching, "_take", killed)
    with pytest.raises(_Killed):
        take(a.store, file, map=BIG)
    monkeypatch.setattr(Batching, "_take", take_one)
    a.reopen()
    outcome = take(a.store, file, map=BIG, resume=True)
    assert (outcome.read, outcome.counts) == (expected.read, expected.counts)
    assert a.store.verify() == []
    assert a.dump("contacts") == whole.dump("contacts")
    if not outcome.notes:  # Else it was killed before its first batch, and this is another run.
        assert a.dump() == whole.dump()
        assert a.store.root() == whole.store.root()
    registers = [{n: stamp[:8] for n, (stamp, _) in r.registers.items()} for r in a.records("contacts")]
    assert len({stamp for some in registers for stamp in some.values()}) == 1


def _cut(batches: Any, size: int) -> Iterator[Any]:
    """Small batches, of a reader that gives large ones."""
    for batch in batches:
        at = sorted(
            [(n, i, None) for i, n in enumerate(batch.numbers)] + [(b.number, -1, b) for b in batch.broken],
            key=lambda x: x[0],
        )
        for start in range(0, len(at), size):
            part = at[start : start + size]
            own = [i for _, i, broken in part if broken is None]
            yield Batch(
                [batch.numbers[i] for i in own],
                [batch.lines[i] for i in own],
                [batch.rows[i] for i in own],
                [broken for _, _, broken in part if broken is not None],
            )


def test_a_run_that_was_interrupted_is_told(machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", CONTACTS)
    monkeypatch.setattr(importing._Import, "_end", lambda *_: (_ for _ in ()).throw(_Killed()))
    with pytest.raises(_Killed):
        take(a.store, file)
    monkeypatch.undo()
    outcome = take(a.store, file)
    assert counts(outcome) == (0, 0, 3, 0, 0)
    assert "--resume" in outcome.notes[0]
    assert counts(take(a.store, file, resume=True)) == (3, 0, 0, 0, 0)
    assert "nothing to resume" in take(a.store, file, resume=True).notes[0]


def test_too_many_rejected_rows_stop_the_run(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", "id,name\n1,Ana\n,x\n,y\n,z\n")
    outcome = take(a.store, file, max_errors=2)
    assert "--max-errors 2" in outcome.stopped
    assert take(a.store, file, max_errors=3).stopped == ""


def test_several_files_are_one_run(machine: Make, tmp_path: Path) -> None:
    a = machine()
    files = [write(tmp_path / f"{i}.csv", f"id,name\n{i},n\n0,same\n") for i in (1, 2)]
    outcome = take(a.store, *files)
    assert counts(outcome) == (3, 0, 1, 0, 0)
    assert [run.files for run in runs.runs(a.store)] == [["1.csv", "2.csv"]]


def test_a_header_alone_makes_nothing(machine: Make, tmp_path: Path) -> None:
    a = machine()
    root = a.store.root()
    assert counts(take(a.store, write(tmp_path / "1.csv", "id,name\n"))) == (0, 0, 0, 0, 0)
    assert a.store.root() == root


def test_the_cells_of_rows_that_are_kept_aside_come_back_as_they_were(machine: Make) -> None:
    a = machine()
    cells = ("x\udc80", None, 1, 2.5, b"\x00", True, MISSING)
    row = ledger.Aside(1, 5, 9, ledger.LATER, cells, ("why",), "", {"a": [b"x"]})
    with a.store.transaction() as core:
        ledger.keep(core, "r", [row])
        assert [*ledger.kept(core, "r", [ledger.LATER])] == [[row]]
        ledger.forget_rows(core, "r", 1, [5])
        assert ledger.waiting(core, "r") == 0

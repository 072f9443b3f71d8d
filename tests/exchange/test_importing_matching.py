"""How the rows of an import find what is here: keys, columns, deleted records, blank cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replica.errors import MapRefused, UsageError
from replica.exchange.rows import ReadOptions
from tests.exchange.imports import CONTACTS, counts, shown, take, write
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]


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


def test_a_long_key_that_comes_again_is_told_by_its_beginning(machine: Make, tmp_path: Path) -> None:
    key = "k" * 30_000
    outcome = take(machine().store, write(tmp_path / "1.csv", f"id,n\n{key},1\n{key},2\n"))
    assert counts(outcome) == (1, 0, 0, 1, 0)
    said = outcome.rejected[0].reasons[0]
    assert f"the key {'k' * 60!r}… (30,000 characters) was in line 2 already, with other values" in said
    assert len(said) < 200

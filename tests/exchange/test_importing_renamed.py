"""Imports into a table that was renamed in this file: the group calls it by its first name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replica.errors import UsageError
from replica.exchange.exporting.export import Asked, export
from replica.exchange.importing import runs
from replica.exchange.importing.undo import undo
from replica.exchange.rows import DELETED, Row
from tests.exchange.imports import CONTACTS, counts, take, write
from tests.exchange.lists import ListWriter
from tests.exchange.test_exporting import run
from tests.exchange.test_importing_relations import MAP
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]

SCHEMAS = {
    "own": ("CREATE TABLE Contacts(id INTEGER PRIMARY KEY, name TEXT, mail TEXT);", "id"),
    "looked up": ("CREATE TABLE Contacts(nr INTEGER PRIMARY KEY, id TEXT, name TEXT, mail TEXT);", "id"),
    "made": ("", "id"),
}
"""How rows find their records -> the tables, and the key."""


@pytest.mark.parametrize("name", ["people", "PEOPLE", "contacts"])
@pytest.mark.parametrize("how", SCHEMAS)
def test_it_is_known_by_both_names(machine: Make, tmp_path: Path, how: str, name: str) -> None:
    schema, key = SCHEMAS[how]
    a, b = machine("a", schema), machine("b", schema)
    file = write(tmp_path / "1.csv", CONTACTS)
    if not schema:
        take(a.store, write(tmp_path / "0.csv", "id,name,mail\n0,Zoe,z@x\n"), source="erp")
    assert meet(a, b)[0].in_sync
    a.db.execute("ALTER TABLE contacts RENAME TO people")
    assert counts(take(a.store, file, into=name, key=key, source="erp")) == (3, 0, 0, 0, 0)
    assert counts(take(a.store, file, into=name, key=key, source="erp")) == (0, 0, 3, 0, 0)
    more = write(tmp_path / "2.csv", CONTACTS.replace("a@x", "new@x"))
    assert counts(take(a.store, more, into=name, key=key, source="erp")) == (0, 1, 2, 0, 0)
    assert a.store.verify() == []
    assert meet(a, b)[0].in_sync
    assert a.rows("SELECT name, mail FROM people ORDER BY name") == b.rows("SELECT name, mail FROM contacts ORDER BY name")
    assert ("Ana", "new@x") in a.rows("SELECT name, mail FROM people")
    known = runs.known(b.store, "contacts")
    assert known is not None
    assert known == runs.known(a.store, name)
    assert counts(take(b.store, file, source="erp")) == (0, 1, 2, 0, 0)


def test_what_was_imported_into_it_can_be_undone_and_deleted(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT, mail TEXT);")
    a.db.execute("ALTER TABLE contacts RENAME TO people")
    done = take(a.store, write(tmp_path / "1.csv", CONTACTS), into="people")
    marked = write(tmp_path / "2.csv", f"id,name,mail,{DELETED}\n1,Ana,a@x,1\n")
    assert counts(take(a.store, marked, into="people", source="people")) == (0, 1, 0, 0, 0)
    assert a.rows("SELECT count(*) FROM people") == [(2,)]
    undo(a.store, done.run)
    assert a.rows("SELECT count(*) FROM people") == [(0,)]


@pytest.mark.parametrize("renamed", ["accounts", "contacts"])
def test_relations_find_it(machine: Make, tmp_path: Path, renamed: str) -> None:
    a = machine("a")
    first = "account,account name,parent,id,name\nA1,One,A2,c1,Ana\nA2,Two,A1,c3,Cy\n"
    take(a.store, write(tmp_path / "1.csv", first), map=MAP)
    a.db.execute(f"ALTER TABLE {renamed} RENAME TO other")
    accounts, contacts = ("other" if renamed == name else name for name in ("accounts", "contacts"))
    second = "account,account name,parent,id,name\nA2,Two,A1,c4,Di\nA3,Three,A2,c5,Ed\n"
    for number, map in enumerate((MAP, MAP.replace(f'"{renamed}"', '"other"'))):
        told = take(a.store, write(tmp_path / "2.csv", second), map=map).records[contacts]
        assert (told["created"], told["unchanged"]) == ((0, 2) if number else (2, 0))
    both = f"{contacts} c JOIN {accounts} x ON x.id = c.account JOIN {accounts} p ON p.id = x.parent"
    sql = f"SELECT c.name, x.title, p.title FROM {both}"
    assert sorted(a.rows(sql)) == [("Ana", "One", "Two"), ("Cy", "Two", "One"), ("Di", "Two", "One"), ("Ed", "Three", "Two")]
    assert a.store.verify() == []


def test_a_table_that_has_its_first_name_now_is_another(machine: Make, tmp_path: Path) -> None:
    a = machine("a", SCHEMAS["own"][0])
    a.db.execute("ALTER TABLE contacts RENAME TO people")
    a.store.absorb()
    a.db.execute("CREATE TABLE contacts(id INTEGER PRIMARY KEY, name TEXT, mail TEXT)")
    file = write(tmp_path / "1.csv", CONTACTS)
    assert counts(take(a.store, file, into="people")) == (3, 0, 0, 0, 0)
    assert a.rows("SELECT count(*) FROM people") == [(3,)]
    assert a.rows("SELECT count(*) FROM contacts") == [(0,)]


def test_where_another_table_has_its_first_name_only_that_one_is_meant(machine: Make, tmp_path: Path) -> None:
    a = machine("a", SCHEMAS["own"][0])
    a.db.execute("ALTER TABLE contacts RENAME TO people")
    a.store.absorb()
    a.db.execute("CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT, mail TEXT)")
    with pytest.raises(UsageError, match=r"'contacts' is here, but not replicated"):
        take(a.store, write(tmp_path / "1.csv", CONTACTS), into="contacts")
    with pytest.raises(UsageError, match=r"no table 'contacts' is replicated here; there are: people"):
        run(a, "contacts")
    assert a.rows("SELECT count(*) FROM people") == [(0,)]


def test_relations_come_out_alike_whatever_the_table_is_called(machine: Make, tmp_path: Path) -> None:
    a, b = machine("a"), machine("b")
    text = "account,account name,parent,id,name\nA1,One,,c1,Ana\nA2,Two,A1,c3,Cy\n"
    take(a.store, write(tmp_path / "1.csv", text), map=MAP)
    assert meet(a, b)[0].in_sync
    b.db.execute("ALTER TABLE accounts RENAME TO firms")

    def rows(m: Machine, name: str) -> list[Row]:
        out = ListWriter()
        export(m.store, Asked(name, format="csv"), runs.known_in, out.open)
        return out.rows

    assert rows(a, "contacts") == rows(b, "contacts")
    assert [row[-1] for row in rows(b, "contacts")] == ["A1", "A2"]
    assert rows(a, "accounts") == rows(b, "accounts") == rows(b, "firms")
    assert len(rows(a, "accounts")) == 2

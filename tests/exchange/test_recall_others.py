"""Runs in which other records have a say are taken row by row every time: marked rows, rows that wait, circles, numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replica.exchange.importing.recall import Recall
from replica.exchange.rows import DELETED
from tests.exchange.imports import counts, take, write
from tests.store.harness import Machine

Make = Callable[..., Machine]
NUMBERED = "CREATE TABLE people(nr INTEGER PRIMARY KEY, mail TEXT, boss INTEGER);"
WORDED = "CREATE TABLE people(nr TEXT PRIMARY KEY, mail TEXT, boss TEXT);"
PEOPLE = """version = 1
source = "crm"
[[collection]]
name = "people"
key = "mail"
[collection.fields]
mail = "mail"
boss = { from = "boss", refers = "people" }
"""
EXISTS = PEOPLE.replace('refers = "people"', 'refers = "people", exists = true')
CHAIN = "mail,boss\nc@x,b@x\nb@x,a@x\na@x,\nd@x,gone@x\n"
CIRCLE = "mail,boss\na@x,b@x\nb@x,c@x\nc@x,a@x\nself@x,self@x\n"
LEAVES = "DELETE FROM people WHERE mail = 'a@x'"
MOVES = "UPDATE people SET mail = 'new@x' WHERE mail = 'b@x'"
COMES = "INSERT INTO people VALUES ({0}, 'gone@x', NULL)"


@pytest.mark.parametrize("text", [CHAIN, CIRCLE])
@pytest.mark.parametrize(("schema", "map"), [(NUMBERED, PEOPLE), (WORDED, PEOPLE), ("", EXISTS)])
@pytest.mark.parametrize("policy", ["keep", "resurrect", "new"])
def test_rows_that_wait_circles_and_made_up_numbers_end_as_without(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, schema: str, map: str, policy: str
) -> None:
    one, other = machine("one/a", schema), machine("other/a", schema)
    file = write(tmp_path / "1.csv", text)
    rows, said = text.count("\n") - 1, []
    for sql in ("", "", LEAVES, MOVES, COMES.format("7" if schema is NUMBERED else "'7'"), ""):
        for a in (one, other):
            a.clock.ms += 1000
            if sql:
                a.sql(sql)
        for _ in range(2):
            found = take(one.store, file, map=map, on_deleted=policy)
            with monkeypatch.context() as patch:
                patch.setattr(Recall, "part", lambda *_: None)
                patch.setattr(Recall, "hopeful", False)
                assert take(other.store, file, map=map, on_deleted=policy) == found
            said.append(counts(found))
            assert found.read == rows
            assert one.dump() == other.dump()
    assert one.value("SELECT count(*) FROM _replica_import_known WHERE part >= 0") == 0
    assert len(set(said)) > 2
    assert one.store.verify() == []


def test_marked_rows_delete_what_came_back(machine: Make, tmp_path: Path, taken: list[int]) -> None:
    a = machine("a")
    take(a.store, write(tmp_path / "1.csv", "mail,name\na@x,Ana\nb@x,Bo\n"), key="mail")
    id_ = a.value("SELECT id FROM contacts WHERE mail = 'b@x'")
    kept = a.value("SELECT id FROM contacts WHERE mail = 'a@x'")
    file = write(tmp_path / "since.csv", f"id,mail,name,{DELETED}\n{id_},,,1\n{kept},a@x,Ana,0\n")
    for expected in ((0, 1, 1, 0, 0), (0, 0, 2, 0, 0), (0, 0, 2, 0, 0)):
        a.clock.ms += 1000
        taken.clear()
        assert counts(take(a.store, file, key="mail")) == expected
        assert taken == [1, 2]
    a.sql(f"INSERT INTO contacts(id, mail, name) VALUES ('{id_}', 'b@x', 'Bo')")
    a.clock.ms += 1000
    outcome = take(a.store, file, key="mail")
    assert (counts(outcome), outcome.removed) == ((0, 1, 1, 0, 0), 1)
    assert a.rows("SELECT mail FROM contacts") == [("a@x",)]


def test_ids_that_an_export_left_are_looked_at_again(machine: Make, tmp_path: Path) -> None:
    a = machine("a")
    both = """version = 1
source = "crm"
[[collection]]
name = "contacts"
key = "mail"
[collection.fields]
mail = "mail"
firm = { from = "firm", refers = "firms" }

[[collection]]
name = "firms"
key = "code"
[collection.fields]
code = "firm"
"""
    take(a.store, write(tmp_path / "1.csv", "mail,firm\na@x,acme\n"), map=both)
    firm = a.value("SELECT id FROM firms")
    file = write(tmp_path / "2.csv", f"mail,firm\na@x,{firm}\n")
    found: list[Any] = [counts(take(a.store, file, key="mail")) for _ in range(3)]
    assert found == [(0, 0, 1, 0, 0)] * 3
    a.clock.ms += 1000
    a.sql("DELETE FROM firms")
    assert counts(take(a.store, file, key="mail")) == (0, 1, 0, 0, 0)
    assert a.value("SELECT firm FROM contacts") != firm

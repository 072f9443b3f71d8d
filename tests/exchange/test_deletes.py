"""Since-exports that are imported: what was deleted there is deleted here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replica.errors import UsageError
from replica.exchange import commands_export
from replica.exchange.importing import runs
from replica.exchange.importing.batches import Batching
from replica.exchange.importing.undo import undo
from replica.exchange.rows import DELETED, ReadOptions
from tests.exchange.imports import counts, take, write
from tests.store.harness import NOW_MS, Machine, check_equal, meet

Make = Callable[..., Machine]
FIRST = "mail,name\na@x,Ana\nb@x,Bo\nc@x,陈\nd@x,Dan\n"
COMPANIES = """version = 1
source = "erp"
[[collection]]
name = "contacts"
key = "mail"
[collection.fields]
mail = "E-Mail"
name = "Name"
company = { from = "Company", refers = "companies" }

[[collection]]
name = "companies"
key = "code"
[collection.fields]
code = "Company"
"""
CONTACTS = COMPANIES[: COMPANIES.index("\n[[collection]]\nname = \"companies\"")]


def since(a: Machine, out: Path, *more: str) -> Path:
    """What changed in the contacts of a machine since its clock began."""
    a.store.absorb()  # Else the command would stamp it by the real clock.
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    commands_export.add_arguments(parser)
    options = parser.parse_args([str(a.path), "contacts", str(out), "--since", "2023-11-14T22:13:21Z", *more])
    options.json = False
    assert commands_export.run(options) == 0
    return out


def table(a: Machine) -> list[tuple[Any, ...]]:
    return a.rows("SELECT * FROM contacts ORDER BY id")


def edited(machine: Make, tmp_path: Path, text: str = FIRST, **options: Any) -> tuple[Machine, Machine]:
    """Two machines that imported one file; on the first, every kind of edit came after."""
    a, b = machine("a"), machine("b")
    file = write(tmp_path / "first.csv", text)
    for one in (a, b):
        take(one.store, file, key="mail", **options)
        one.clock.ms = NOW_MS + 5_000
    a.sql("UPDATE contacts SET name = 'Anna' WHERE mail = 'a@x'", "DELETE FROM contacts WHERE mail IN ('b@x', 'c@x')")
    take(a.store, write(tmp_path / "new.csv", "mail,name\nc@x,again\ne@x,Eve\n"), key="mail", on_deleted="new")
    a.sql("INSERT INTO contacts(id, mail, name) VALUES ('by hand', 'f@x', 'Fay')")
    return a, b


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "xlsx", "parquet", "xml"])
def test_a_store_that_takes_what_changed_has_the_same_rows(machine: Make, tmp_path: Path, suffix: str) -> None:
    a, b = edited(machine, tmp_path)
    file = since(a, tmp_path / f"since.{suffix}")
    outcome = take(b.store, file, key="mail", read=ReadOptions())
    assert (counts(outcome), outcome.removed, outcome.absent) == ((3, 3, 0, 0, 0), 2, 0)
    assert table(b) == table(a)
    again = take(b.store, file, key="mail", read=ReadOptions())
    assert (counts(again), again.run, again.removed) == ((0, 0, 6, 0, 0), "", 0)
    mine = take(a.store, file, key="mail", read=ReadOptions())
    assert counts(mine) == (0, 0, 6, 0, 0)
    meet(a, b)
    check_equal([a, b])
    assert len(table(b)) == 5


def test_with_a_map_and_relations_too(machine: Make, tmp_path: Path) -> None:
    a, b = machine("a"), machine("b")
    first = write(tmp_path / "1.csv", "E-Mail,Name,Company\na@x,Ana,acme\nb@x,Bo,acme\nc@x,Cy,zeta\n")
    for one in (a, b):
        take(one.store, first, map=COMPANIES)
        one.clock.ms = NOW_MS + 5_000
    a.sql("DELETE FROM contacts WHERE mail = 'b@x'")
    a.sql("UPDATE contacts SET company = (SELECT id FROM companies WHERE code = 'acme')")
    (tmp_path / "m.toml").write_text(CONTACTS, encoding="utf-8")
    file = since(a, tmp_path / "since.csv", "--map", str(tmp_path / "m.toml"))
    assert counts(take(b.store, file, map=CONTACTS)) == (0, 2, 0, 0, 0)
    assert table(b) == table(a)
    assert counts(take(b.store, since(a, tmp_path / "plain.csv"), key="mail")) == (0, 0, 2, 0, 0)
    with pytest.raises(UsageError, match="of one collection; the map names several: contacts, companies"):
        take(b.store, file, map=COMPANIES)


def test_tables_of_the_users_own(machine: Make, tmp_path: Path) -> None:
    schema = "CREATE TABLE contacts(k TEXT, id INTEGER, v TEXT, PRIMARY KEY(k, id))"
    a, b = machine("a", schema), machine("b", schema)
    rows = "INSERT INTO contacts VALUES ('x', 1, 'a'), ('x', 2, 'b'), ('y', 1, 'c')"
    for one in (a, b):
        one.sql(rows)
        one.store.root()
        one.clock.ms = NOW_MS + 5_000
    a.sql("DELETE FROM contacts WHERE id = 1", "UPDATE contacts SET v = 'new' WHERE id = 2")
    assert counts(take(b.store, since(a, tmp_path / "s.csv"), key="k,id")) == (0, 3, 0, 0, 0)
    assert table(b) == table(a) == [("x", 2, "new")]


def test_numbers_that_sqlite_made_up_name_no_record_of_another_node(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE contacts(id INTEGER PRIMARY KEY, mail TEXT)")
    a.sql("INSERT INTO contacts VALUES (1, 'a@x'), (2, 'b@x')")
    outcome = take(a.store, write(tmp_path / "s.csv", f"id,mail,{DELETED}\n1,,1\n2,b@x,0\n"), key="mail")
    assert counts(outcome) == (0, 0, 1, 0, 1)
    assert "one of another node may be another one here" in outcome.rejected[0].reasons[0]
    assert len(table(a)) == 2
    b = machine("b")
    b.sql("CREATE TABLE contacts(id INTEGER PRIMARY KEY, mail TEXT)", "INSERT INTO contacts VALUES (1, 'a@x')")
    b.store.adopt(natural=["contacts"])
    assert counts(take(b.store, write(tmp_path / "n.csv", f"id,mail,{DELETED}\n1,,1\nx,,1\n"), key="id")) == (0, 1, 0, 0, 1)
    assert table(b) == []


def test_a_table_of_keys_alone(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE link(mail TEXT PRIMARY KEY NOT NULL);")
    a.store.put_many("link", [("a@x",), ("b@x",)])
    file = write(tmp_path / "since.csv", "mail,replica:deleted\na@x,1\n")
    assert take(a.store, file, into="link", key="mail", read=ReadOptions()).counts["updated"] == 1
    assert a.rows("SELECT mail FROM link") == [("b@x",)]


def test_what_a_deleted_record_had_is_free_for_another(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE contacts(id TEXT PRIMARY KEY, mail TEXT UNIQUE)")
    a.sql("INSERT INTO contacts VALUES ('1', 'a@x')")
    assert counts(take(a.store, write(tmp_path / "s.csv", f"id,mail,{DELETED}\n2,a@x,0\n1,,1\n"))) == (1, 1, 0, 0, 0)
    assert table(a) == [("2", "a@x")]


def test_what_changed_in_a_table_that_is_not_here_is_refused(machine: Make, tmp_path: Path) -> None:
    a = machine("a")
    with pytest.raises(UsageError, match="contacts is not here: import a whole export first, then what changed since"):
        take(a.store, write(tmp_path / "s.csv", f"id,mail,{DELETED}\n1,,1\n"))
    assert a.rows("SELECT name FROM sqlite_master WHERE name = 'contacts'") == []


def test_rows_that_delete_nothing(machine: Make, tmp_path: Path) -> None:
    a = machine("a", "CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT)")
    a.sql("INSERT INTO contacts VALUES ('1', 'Ana'), ('2', 'Bo'), ('3', 'Cy')")
    a.store.absorb()
    a.sql("DELETE FROM contacts WHERE id = '2'")
    text = f"id,name,{DELETED}\n1,,true\n1,,true\n2,,1\n9,,1\n,,1\n3,Cy,perhaps\n3,Cyd,0\n"
    reject = tmp_path / "rejects.csv"
    outcome = take(a.store, write(tmp_path / "s.csv", text), rejects=str(reject))
    assert (counts(outcome), outcome.removed, outcome.absent) == ((0, 2, 2, 1, 2), 1, 1)
    assert [r.reasons for r in outcome.rejected] == [
        ("the record was deleted, but id, which tells it, is empty",), (f"{DELETED}: 'perhaps' is neither 1 nor 0",)
    ]  # fmt: skip
    assert table(a) == [("3", "Cyd")]
    assert outcome.as_json()["deleted"] == 1
    write(reject, reject.read_text(encoding="utf-8").replace("perhaps", "1"))
    assert counts(take(a.store, reject)) == (0, 1, 0, 0, 1)
    assert table(a) == []
    timed = take(a.store, write(tmp_path / "t.csv", f"id,t,{DELETED}\n1,,1\n"), as_of="t", new_columns="ignore")
    assert counts(timed) == (0, 0, 0, 0, 1)


def test_a_dry_run_says_what_would_be_deleted(machine: Make, tmp_path: Path) -> None:
    a, b = edited(machine, tmp_path)
    file = since(a, tmp_path / "since.csv")
    before = table(b)
    outcome = take(b.store, file, key="mail", dry_run=True)
    assert (counts(outcome), outcome.removed) == ((3, 3, 0, 0, 0), 2)
    assert sum(not d.after for d in outcome.differences) == 2
    assert table(b) == before


def test_undo_brings_deleted_records_back(machine: Make, tmp_path: Path) -> None:
    a, b = edited(machine, tmp_path)
    before = table(b)
    run = take(b.store, since(a, tmp_path / "since.csv"), key="mail").run
    b.clock.ms += 1_000
    done = undo(b.store, run)
    assert (done.deleted, done.restored, done.kept) == (3, 3, 0)
    assert table(b) == before
    meet(a, b)
    check_equal([a, b])


def test_a_relation_means_without_a_map_what_the_last_import_said(machine: Make, tmp_path: Path) -> None:
    a = machine("a")
    take(a.store, write(tmp_path / "1.csv", "E-Mail,Name,Company\na@x,Ana,acme\nb@x,Bo,zeta\n"), map=COMPANIES)
    zeta = a.value("SELECT id FROM companies WHERE code = 'zeta'")
    take(a.store, write(tmp_path / "2.csv", f"mail,company\na@x,zeta\nb@x,{zeta}\nc@x,acme\n"), key="mail")
    rows = a.rows("SELECT mail, code FROM contacts AS c JOIN companies AS o ON o.id = c.company ORDER BY mail")
    assert rows == [("a@x", "zeta"), ("b@x", "zeta"), ("c@x", "acme")]


class Killed(Exception):
    """The machine goes down here."""


def test_killed_after_the_deletes_and_resumed(machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = edited(machine, tmp_path)
    file = since(a, tmp_path / "since.csv")

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Batching, "take", killed)
        with pytest.raises(Killed):
            take(b.store, file, key="mail")
    assert len(table(b)) == 2
    b.sql("UPDATE contacts SET name = 'meanwhile' WHERE mail = 'd@x'")
    outcome = take(b.store, file, key="mail", resume=True)
    assert (counts(outcome), outcome.removed, outcome.notes) == ((3, 3, 0, 0, 0), 2, [])
    b.sql("UPDATE contacts SET name = 'Dan' WHERE mail = 'd@x'")
    assert table(b) == table(a)
    assert [run.state for run in runs.runs(b.store)] == [runs.FINISHED] * 2


def test_what_was_edited_after_the_run_began_is_kept(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = machine("a", "CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT)")
    a.sql("INSERT INTO contacts VALUES ('1', 'Ana'), ('2', 'Bo')")
    files = [write(tmp_path / f"{n}.csv", f"id,name,{DELETED}\n{n},,1\n") for n in (1, 2)]
    whole, calls = Batching.delete, list[Any]()

    def killed(self: Batching, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise Killed
        whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Batching, "delete", killed)
        with pytest.raises(Killed):
            take(a.store, *files)
    a.clock.ms += 1_000
    a.sql("UPDATE contacts SET name = 'edited' WHERE id = '2'")
    outcome = take(a.store, *files, resume=True)
    assert (counts(outcome), outcome.removed, outcome.newer) == ((0, 1, 1, 0, 0), 1, 1)
    assert table(a) == [("2", "edited")]

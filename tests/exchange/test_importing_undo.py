"""A dry run of an import, the file of its rejected rows, and its undo."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from replica.errors import UsageError
from replica.exchange.importing.undo import undo
from tests.exchange.imports import CONTACTS, counts, shown, take, write
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]


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

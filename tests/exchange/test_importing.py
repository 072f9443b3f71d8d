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
from replica.exchange.importing.undo import undo
from replica.exchange.rows import MISSING, Batch
from tests.exchange.imports import counts, take, write
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
    assert a.rows("SELECT * FROM contacts WHERE nr NOT IN (8, 9)") == [(7, "a@x", "Ana"), (10, "new@x", "New")]
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

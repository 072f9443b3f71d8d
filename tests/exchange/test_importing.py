"""An import: every row in one bucket, nothing written twice, the same on two machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replica.errors import UsageError
from replica.exchange.formats.footer import FOOTER
from replica.exchange.importing import ledger, runs
from replica.exchange.importing import run as importing
from replica.exchange.rows import MISSING, ReadOptions
from tests.exchange.imports import CONTACTS, counts, cut, shown, take, write
from tests.exchange.test_sheet import excel
from tests.store.harness import Machine, check_equal, meet

Make = Callable[..., Machine]


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


def test_a_last_row_of_a_sheet_that_looks_like_a_total_is_told(machine: Make, tmp_path: Path) -> None:
    path = tmp_path / "firms.xlsx"
    path.write_bytes(excel(lambda _, page: page.add_table("A1:C3", {
        "columns": [{"header": name} for name in ("id", "name", "mail")],
        "data": [["A", "Ana", "a@x"], ["Total", "", ""]],
    })))  # fmt: skip
    a = machine("a")
    outcome = take(a.store, path, read=ReadOptions(header=1))
    assert counts(outcome) == (1, 0, 0, 0, 1)
    assert [(row.line, row.reasons) for row in outcome.rejected] == [(3, (FOOTER,))]
    assert outcome.as_json()["rejected"] == 1


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


def test_a_run_remembers_its_collections_though_its_last_batch_is_all_rejected(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_rows", lambda _: 3)
    monkeypatch.setattr("replica.exchange.importing.run._joined", cut)
    a = machine()
    take(a.store, write(tmp_path / "1.csv", CONTACTS + ",x,\n,y,\n,z,\n"))
    assert counts(take(a.store, write(tmp_path / "2.csv", "id,phone\n1,555\n"))) == (0, 1, 0, 0, 0)


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

"""The ready maps take what the systems write: for each a small file as that system exports it.

Headers are those of EspoCRM's export by field name, of Odoo's import-compatible export, of Salesforce's Data Loader (which
writes some headers in capitals) and reports, and of HubSpot's export with associations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.maps import mapping
from replica.exchange.maps.mapfile import ready
from tests.exchange.imports import counts
from tests.store.harness import Machine

Make = Callable[..., Machine]
FILES = {path.stem: path for path in Path(__file__).with_name("ready").iterdir()}
FOUND: dict[str, list[dict[str, Any]]] = json.loads(FILES["expected"].read_text(encoding="utf-8"))

UNREAD = {
    name: [f"columns that nothing reads: {columns}"]
    for name, columns in (
        ("hubspot-contacts", "Last Activity Date, Marketing contact status, Associated Company IDs"),
        ("hubspot-companies", "Last Activity Date, Associated Contact IDs"),
        ("espocrm-contacts", "deleted, name, createdById, createdByName, emailAddressData, teamsIds"),
    )
}


def bring(machine: Machine, *names: str) -> tuple[tuple[int, ...], list[str]]:
    """Import the files of these maps in one run; counts and notes."""
    sources = [Source(str(FILES[name]), made := mapping.load(name), made.read, name) for name in names]
    outcome = run_import(machine.store, sources, Options())
    return counts(outcome), outcome.notes


def shown(machine: Machine, table: str, *fields: str) -> list[dict[str, Any]]:
    """These fields of its rows, by their key."""
    rows = machine.rows(f"SELECT {', '.join(fields)} FROM {table} ORDER BY id")
    return [dict(zip(fields, row, strict=True)) for row in rows]


def test_each_has_a_file() -> None:
    assert {*FILES} - {"expected"} == {*ready()} == {*FOUND}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_file_of_each_comes_in_whole(name: str, machine: Make) -> None:
    a = machine("a")
    expected = FOUND[name]
    assert bring(a, name)[0] == (len(expected), 0, 0, 0, 0)
    assert bring(a, name)[0] == (0, 0, len(expected), 0, 0)
    assert shown(a, name.partition("-")[2], *expected[0]) == expected


@pytest.mark.parametrize(
    ("system", "people", "firms", "field"),
    [("salesforce", "contacts", "accounts", "account"), ("hubspot", "contacts", "companies", "company"),
     ("espocrm", "contacts", "accounts", "account")],
)  # fmt: skip
def test_people_may_come_before_their_firms(system: str, people: str, firms: str, field: str, machine: Make) -> None:
    a, b = machine("a"), machine("b")
    first, notes = bring(a, f"{system}-{people}")
    assert first[0] > 0
    told = f"{people}: {field} refers to {firms}, which is not here yet; an import of it from '{system}' brings "
    assert notes == [*UNREAD.get(f"{system}-{people}", []), f"{told}what it means"]
    assert bring(a, f"{system}-{firms}")[1] == UNREAD.get(f"{system}-{firms}", [])
    bring(b, f"{system}-{firms}", f"{system}-{people}")
    sql = f"SELECT p.id, f.name FROM {people} AS p JOIN {firms} AS f ON f.record_id = p.{field}"
    assert len(a.rows(sql)) == 1
    assert a.rows(sql) == b.rows(sql)


def test_a_contact_of_salesforce_reports_to_another(machine: Make) -> None:
    a = machine("a")
    bring(a, "salesforce-accounts", "salesforce-contacts")
    sql = "SELECT p.first_name, c.first_name FROM contacts AS p JOIN contacts AS c ON c.record_id = p.reports_to"
    assert a.rows(sql) == [("Rose", "Sean")]

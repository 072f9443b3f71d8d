"""People at work."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from replica.errors import UsageError
from sim.scenario import Event
from sim.workload import CRM, People, opening
from tests.store.world import SCHEMA

NORTHWIND = Path(__file__).parents[3] / "shared/data/northwind.db"


def fresh(schema: str) -> tuple[str, People]:
    full = schema + "".join(f"{sql};\n" for sql in opening(schema, Random(1)))
    return full, People.of(full, Random(2))


def run(db: sqlite3.Connection, events: list[Event]) -> tuple[int, int]:
    """How many writes were refused, and how many changed nothing."""
    refused = idle = 0
    db.isolation_level = None
    for event in events:
        if event.kind == "put":
            assert all(isinstance(row, dict) for row in json.loads(event.with_["json"]))
            continue
        before = db.total_changes
        db.execute("BEGIN")
        try:
            for sql in event.with_["sql"]:
                db.execute(sql)
        except sqlite3.IntegrityError:
            refused += 1
            db.execute("ROLLBACK")
            continue
        db.execute("COMMIT")
        idle += db.total_changes == before
    return refused, idle


@pytest.mark.parametrize("schema", [CRM, SCHEMA], ids=["crm", "odd"])
def test_few_writes_are_refused(schema: str) -> None:
    full, people = fresh(schema)
    events = [people.event(float(n), f"n{n % 5}") for n in range(600)]
    with closing(people), closing(sqlite3.connect(":memory:")) as db:
        db.executescript(full)
        refused, idle = run(db, events)
    assert refused < 60
    assert idle < 200
    assert not people.skipped


@pytest.mark.skipif(not NORTHWIND.exists(), reason="the sample database is not here")
def test_few_writes_are_refused_by_a_real_database() -> None:
    with closing(People.for_db(NORTHWIND, Random(3))) as people, closing(sqlite3.connect(":memory:")) as db:
        with closing(sqlite3.connect(f"{NORTHWIND.as_uri()}?mode=ro", uri=True)) as source:
            source.backup(db)
        refused, idle = run(db, [people.event(float(n), f"n{n % 5}") for n in range(600)])
    assert refused < 60
    assert idle < 200


def test_the_same_chance_draws_the_same_work() -> None:
    (_, one), (_, other) = fresh(SCHEMA), fresh(SCHEMA)
    with closing(one), closing(other):
        assert [one.event(float(n), "a") for n in range(200)] == [other.event(float(n), "a") for n in range(200)]


def test_every_kind_of_write_occurs() -> None:
    _, people = fresh(CRM)
    with closing(people):
        events = [people.event(float(n), f"n{n % 5}") for n in range(1_500)]
    sql = [s for e in events if e.kind == "write" for s in e.with_["sql"]]
    for part in (
        "INSERT INTO",
        "INSERT OR REPLACE",
        "DO UPDATE",
        "DELETE",
        ' OR ("',
        "SELECT max",
        'SET "id"',
        'SET "email"',
        "UPDATE OR REPLACE",
    ):
        assert any(part in s for s in sql), part
    puts = [len(json.loads(e.with_["json"])) for e in events if e.kind == "put"]
    assert min(puts) == 1
    assert max(puts) >= 20
    assert sum(len(e.with_["rows"]) <= 6 for e in events) > 1_400
    hot = Counter(json.dumps(row) for e in events for row in e.with_["rows"])
    assert hot.most_common(1)[0][1] > 20


def test_values_say_who_wrote_them() -> None:
    _, people = fresh(CRM)
    with closing(people):
        events = [people.write(float(n), "a") for n in range(300)]
    phones = [s.split("'")[1] for e in events for s in e.with_["sql"] if s.startswith('UPDATE "contact" SET "phone"')]
    assert len(phones) == len(set(phones)) > 5
    assert all(phone.startswith("p") for phone in phones)


def test_two_may_follow_each_other() -> None:
    _, people = fresh(CRM)
    with closing(people):
        found = [people.events(float(n), "a", ["b", "c"]) for n in range(600)]
    pairs = [pair for pair in found if len(pair) > 1]
    assert all(0.1 <= two.at - one.at <= 1.5 and one.with_["rows"] == two.with_["rows"] for one, two in pairs)
    renumbered = [pair for pair in pairs if pair[0].with_["sql"][0].startswith("DELETE")]
    assert renumbered
    assert all(one.node == two.node == "a" and two.with_["sql"][0].startswith("INSERT") for one, two in renumbered)
    both = [pair for pair in pairs if pair not in renumbered]
    assert both
    assert all(one.node == "a" and two.node in {"b", "c"} for one, two in both)
    assert all("OR REPLACE" in two.with_["sql"][0] for _, two in both)


def test_an_opening_is_for_an_empty_schema() -> None:
    full, people = fresh(CRM)
    people.close()
    assert 20 <= len(opening(CRM, Random(9))) <= 60
    assert opening(full, Random(9)) == []


def test_nobody_can_work_without_a_table(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"no database" * 100)
    for path in (tmp_path / "no.db", tmp_path / "missing.db"):
        with pytest.raises(UsageError):
            People.for_db(path, Random(1))
    with pytest.raises(UsageError, match="no primary key"):
        People.of("CREATE TABLE t(a)", Random(1))

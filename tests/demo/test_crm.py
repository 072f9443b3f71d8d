"""The promises of replica/demo/crm.py, in order."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sqlite3

from replica.demo import crm


def _digest(seed: int, contacts: int) -> str:
    return hashlib.sha256(repr(list(crm.generate(seed, contacts))).encode()).hexdigest()


def test_1_same_seed_same_bytes() -> None:
    assert _digest(7, 200) == _digest(7, 200) == "021be6dfce2d3198c30a9061e5c94715bbd70f87d5358cc71cc8c099620a7f0c"
    assert _digest(7, 200) != _digest(8, 200)


def test_2_rows_satisfy_the_schema_in_the_order_of_the_batches() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        counts = crm.load(connection, 3, 500)
        assert counts == {"accounts": 100, "contacts": 500, "deals": 150, "activities": 400}
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(DISTINCT id) FROM contacts").fetchone() == (500,)


def test_3_contacts_scale_the_rest() -> None:
    sizes: dict[str, int] = {}
    for table, _, rows in crm.generate(1):
        sizes[table] = sizes.get(table, 0) + len(rows)
    assert sizes == {"accounts": 2_000, "contacts": 10_000, "deals": 3_000, "activities": 8_000}
    assert [table for table, _, _ in crm.generate(1, 1)] == ["accounts", "contacts"]


def test_4_no_global_chance_and_nothing_newer_than_the_epoch() -> None:
    state = random.getstate()
    newest = max(str(row[-1]) for table, _, rows in crm.generate(5, 300) if table == "contacts" for row in rows)
    assert newest <= crm.EPOCH.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert random.getstate() == state

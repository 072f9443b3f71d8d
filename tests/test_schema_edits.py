"""A write beside a change of definition, by another program, is a local edit like any other: nothing reverts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from replica import Node
from tests.nodes import make_pair, program, rows_of, serving

EDIT = "UPDATE contacts SET name = 'edited' WHERE id = 'c000001'"
ADD = "ALTER TABLE contacts ADD COLUMN score INTEGER DEFAULT 3"
REBUILD = [
    "CREATE TABLE fresh(id TEXT PRIMARY KEY, name TEXT, phone TEXT, notes TEXT, score INTEGER DEFAULT 3)",
    "INSERT INTO fresh(id, name, phone, notes) SELECT id, name, phone, notes FROM contacts",
    "DROP TABLE contacts",
    "ALTER TABLE fresh RENAME TO contacts",
]
CHANGES = {
    "added before": [ADD, EDIT],
    "added after": [EDIT, ADD],
    "dropped before": ["ALTER TABLE contacts DROP COLUMN notes", EDIT],
    "dropped after": [EDIT, "ALTER TABLE contacts DROP COLUMN notes"],
    "renamed before": ["ALTER TABLE contacts RENAME COLUMN notes TO remarks", EDIT],
    "indexed after": [EDIT, "CREATE UNIQUE INDEX one_phone ON contacts(phone)"],
    "rebuilt before": [*REBUILD, EDIT],
    "rebuilt after": [EDIT, *REBUILD],
}


@pytest.mark.parametrize("name", CHANGES)
async def test_an_edit_beside_a_schema_change_is_kept(tmp_path: Path, name: str) -> None:
    hq, laptop = make_pair(tmp_path, rows=30)
    async with serving(hq) as (server, url), Node(laptop) as node:
        await node.sync(url)
        await node.execute("UPDATE contacts SET name = 'earlier' WHERE id = 'c000001'")
        await node.sync(url)
        with program(hq) as db:
            for statement in CHANGES[name]:
                db.execute(statement)
        assert (await node.sync(url)).in_sync
        assert await server.verify() == await node.verify() == []
        why = await server.call(server.store.why, "contacts", ["c000001"], "name")
    sql = "SELECT id, name, phone FROM contacts ORDER BY id"
    assert rows_of(hq, sql) == rows_of(laptop, sql)
    assert rows_of(laptop, sql)[1] == ("c000001", "edited", "+43 1")
    assert (why["fields"][0]["value"], why["fields"][0]["by"]) == ("edited", "hq")

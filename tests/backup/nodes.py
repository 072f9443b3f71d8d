"""A store with every kind of table, and what tests of backups do with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import replica
from replica.node import Node
from replica.store.store import Store
from tests.nodes import program, serving

SCHEMA = """
CREATE TABLE contact(id TEXT PRIMARY KEY, name TEXT, phone TEXT);
CREATE TABLE ticket(id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, contact TEXT REFERENCES contact(id));
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE note(a, b);
"""


def make(path: Path, rows: int = 100, name: str = "hq") -> Path:
    """A store of a new group with these tables."""
    with program(path) as db:
        db.executescript(SCHEMA)
        db.executemany("INSERT INTO contact VALUES (?, ?, ?)", ((f"c{n}", f"Name {n}", f"+43 {n}") for n in range(rows)))
        db.execute("INSERT INTO ticket(title, contact) SELECT 'call ' || name, id FROM contact")
        db.execute("INSERT INTO person(name) SELECT name FROM contact")
        db.execute("INSERT INTO note VALUES (1, x'00ff')")
    replica.initialize(path, name)
    with Store(path) as store:
        store.adopt()
    return path


def join(path: Path, of: Path, name: str) -> Path:
    """Another node of that store's group, empty."""
    with Store(of) as store:
        secrets = store.secrets()
    replica.initialize(path, name, secrets)
    return path


def write(path: Path, *statements: str) -> None:
    """Another program writes."""
    with program(path) as db:
        for statement in statements:
            db.execute(statement)


def sync(one: Path, two: Path) -> None:
    """Both meet until they are equal."""

    async def meet() -> None:
        async with serving(two) as (_, url), Node(one) as node:
            for _ in range(5):
                if (await node.sync(url)).in_sync:
                    return
        raise AssertionError("they did not become equal")

    asyncio.run(meet())


def seen(path: Path) -> dict[str, Any]:
    """Root, id, notices, and what verify finds."""
    with Store(path) as store:
        root, count = store.root()
        return {
            "root": root, "count": count, "node": store.node_id, "name": store.name, "notices": store.notices(),
            "wrong": store.verify(), "status": store.status(),
        }  # fmt: skip


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What any program sees."""
    with program(path) as db:
        return db.execute(sql).fetchall()

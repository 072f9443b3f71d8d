"""Nodes on files, for tests: a group of two, a table of contacts, another program that writes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import replica
from replica import Node
from replica.store.store import Store

CONTACTS = "CREATE TABLE contacts(id TEXT PRIMARY KEY, name TEXT, phone TEXT, notes TEXT)"


@contextmanager
def program(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program on the same file: plain SQL, committed at the end."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        yield connection


def make_pair(folder: Path, rows: int = 0) -> tuple[Path, Path]:
    """Files of two nodes in one group: HQ with a table of contacts, a laptop with nothing yet."""
    hq, laptop = folder / "hq.db", folder / "laptop.db"
    with program(hq) as db:
        db.execute(CONTACTS)
        db.executemany(
            "INSERT INTO contacts VALUES (?, ?, ?, ?)",
            ((f"c{n:06}", f"Name {n}", f"+43 {n}", "called, sent an offer, waits") for n in range(rows)),
        )
    replica.initialize(hq, "hq")
    with Store(hq) as store:
        store.adopt()
        secrets = store.secrets()
    replica.initialize(laptop, "laptop", secrets)
    return hq, laptop


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[Node, str]]:
    """A node that serves on loopback, and its address."""
    async with Node(path) as node:
        listener = await node.serve("127.0.0.1", 0)
        yield node, listener.url


def rows_of(path: Path, sql: str = "SELECT * FROM contacts ORDER BY id") -> list[tuple[object, ...]]:
    """What the file shows to any program."""
    with program(path) as db:
        return db.execute(sql).fetchall()

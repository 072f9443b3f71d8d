"""What a write costs beside the same write into a bare SQLite file, on the same disk, one after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

from replica.store.connection import BULK_KB
from replica.store.store import Store, initialize
from tests.bench.contacts import CREATE, FIELDS, INSERT, Contact, contacts, edits
from tests.bench.figure import Figure, median, tell

RUNS = 5
BLOCKS, BLOCK = 9, 100
"""Lone updates are timed in blocks, with and without triggers in turn, so that a slow minute hits both."""


def new_store(path: Path) -> Store:
    """A store with an empty, adopted contacts table."""
    initialize(path, path.stem)
    store = Store(path)
    store.execute(CREATE)
    store.adopt()
    return store


def plain(path: Path) -> sqlite3.Connection:
    """What a program has that knows nothing of us: WAL and FULL, and SQLite's own defaults."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    return db


def _bare(path: Path) -> sqlite3.Connection:
    db = plain(path)
    db.execute(CREATE)
    return db


def load(db: sqlite3.Connection, rows: list[Contact]) -> float:
    """Insert the rows in one transaction; returns the seconds."""
    began = perf_counter()
    db.execute("BEGIN IMMEDIATE")
    db.executemany(INSERT, rows)
    db.execute("COMMIT")
    return perf_counter() - began


def _load_with_clocks(db: sqlite3.Connection, rows: list[Contact]) -> float:
    """`load`, and beside each row the least that knows who wrote which field when: a row for each field, of the number of
    its row, of its field, of a time and of a node. That is the floor of engines which merge field by field."""
    columns = "pk INTEGER, field INTEGER, at INTEGER, node INTEGER, PRIMARY KEY(pk, field)"
    db.execute(f"CREATE TABLE clock({columns}) WITHOUT ROWID")
    fields, at = range(len(FIELDS)), 1_700_000_000_000 << 16
    clocks = [(pk, field, at + pk) for pk in range(1, len(rows) + 1) for field in fields]
    began = perf_counter()
    db.execute("BEGIN IMMEDIATE")
    db.executemany(INSERT, rows)
    db.executemany("INSERT INTO clock VALUES (?, ?, ?, 1)", clocks)
    db.execute("COMMIT")
    return perf_counter() - began


def bulk(folder: Path, count: int) -> Iterator[Figure]:
    """Contacts in one transaction, each way in turn, medians of several runs. Bare: sqlite3's executemany into the same
    table without triggers, WAL and FULL, otherwise SQLite's defaults; the other program, and rows with clocks, have the
    same."""
    rows = list(contacts(count))
    times: dict[str, list[float]] = {name: [] for name in ("bare", "cached", "clocks", "put", "foreign", "absorbed")}
    for run in range(RUNS):
        with closing(_bare(folder / f"bare{run}.db")) as db:
            times["bare"].append(load(db, rows))
        with closing(_bare(folder / f"cached{run}.db")) as db:
            db.execute(f"PRAGMA cache_size = -{BULK_KB}")
            times["cached"].append(load(db, rows))
        with closing(_bare(folder / f"clocks{run}.db")) as db:
            times["clocks"].append(_load_with_clocks(db, rows))
        with new_store(folder / f"put{run}.db") as store:
            began = perf_counter()
            store.put_many("contacts", rows)
            times["put"].append(perf_counter() - began)
        path = folder / f"foreign{run}.db"
        with new_store(path) as store:
            with closing(plain(path)) as db:
                times["foreign"].append(load(db, rows))
            began = perf_counter()
            store.absorb()
            times["absorbed"].append(perf_counter() - began + times["foreign"][-1])
            assert store.root()[1] >= count
        for file in folder.iterdir():
            file.unlink()
        tell(", ".join(f"{name} {seconds[-1]:.2f} s" for name, seconds in times.items()))

    def share(what: str, of: str = "bare") -> float:
        return median([bare / own for bare, own in zip(times[of], times[what], strict=True)])

    yield Figure("bulk.bare", count / median(times["bare"]), "rows/s", "bare sqlite3")
    yield Figure("bulk.put_many_rate", count / median(times["put"]), "rows/s", "put_many")
    put = share("put")
    yield Figure("bulk.put_many", put, "x bare", "put_many: stamped, digested, in the trie", 0.45, 0.5, more=True)
    floor = share("put", "clocks")
    how = "put_many beside bare rows and one clock row per field"
    yield Figure("bulk.put_many_clocks", floor, "x as fast", how, 1, more=True)
    same = share("put", "cached")
    yield Figure("bulk.put_many_same_cache", same, "x bare", "the same, if bare had the engine's cache of 64 MB")
    own = share("foreign")
    yield Figure("bulk.plain_sql", own, "x bare", "another program's executemany, captured", 0.4, 0.7, more=True)
    whole = share("absorbed")
    yield Figure("bulk.plain_sql_absorbed", whole, "x bare", "that and its absorption", 0.15, 0.25, more=True)


def lone(folder: Path, count: int) -> Iterator[Figure]:
    """One-field updates by another program, each its own transaction, in blocks: with our triggers, and without, in turn.
    Medians."""
    rows = list(contacts(count))
    path = folder / "adopted.db"
    with new_store(path) as store, closing(_bare(folder / "bare.db")) as bare, closing(plain(path)) as db:
        store.put_many("contacts", rows)
        load(bare, rows)
        changes = edits([row[0] for row in rows], BLOCK, 4 * BLOCKS, 1)
        for mode, floor in (("FULL", 1.5), ("OFF", 4.0)):
            captured, without = [], []
            for connection in (bare, db):
                connection.execute(f"PRAGMA synchronous = {mode}")
            for _ in range(BLOCKS):
                without.append(_updates(bare, changes.pop()))
                captured.append(_updates(db, changes.pop()))
                store.absorb()
            share = median([c / w for c, w in zip(captured, without, strict=True)])
            us = 1e6 / BLOCK
            how = f"synchronous={mode}: {us * median(captured):.0f} us each, bare {us * median(without):.0f}"
            yield Figure(f"lone.update_{mode.lower()}", share, "x bare", how, floor)


def _updates(db: sqlite3.Connection, changes: list[tuple[str, str, str]]) -> float:
    began = perf_counter()
    for field, value, id_ in changes:
        db.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, id_))
    return perf_counter() - began

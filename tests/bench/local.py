"""What a write costs beside the same write into a bare SQLite file, on the same disk, one after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

from replica.store.store import Store, initialize
from tests.bench.contacts import CREATE, INSERT, Contact, contacts, edits
from tests.bench.figure import Figure, median, tell

RUNS = 3
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


def bulk(folder: Path, count: int) -> Iterator[Figure]:
    """Many rows at once: bare, by `put_many`, and by another program."""
    rows = list(contacts(count))
    bare, put, foreign, absorbed = [], [], [], []
    for run in range(RUNS):
        with closing(_bare(folder / f"bare{run}.db")) as db:
            bare.append(load(db, rows))
        with new_store(folder / f"put{run}.db") as store:
            began = perf_counter()
            store.put_many("contacts", rows)
            put.append(perf_counter() - began)
            ready, _ = store.root()
        path = folder / f"plain{run}.db"
        with new_store(path) as store:
            with closing(plain(path)) as db:
                foreign.append(load(db, rows))
            began = perf_counter()
            store.absorb()
            absorbed.append(perf_counter() - began + foreign[-1])
            assert store.root()[1] >= count
        assert ready
        tell(f"bulk: bare {bare[-1]:.2f} s, put_many {put[-1]:.2f}, plain SQL {foreign[-1]:.2f}, with absorption "
             f"{absorbed[-1]:.2f}")  # fmt: skip
    how = f"{count:,} contacts in one transaction, median of {RUNS}, as a share of bare executemany in the same run"

    def figure(name: str, times: list[float], floor: float, aim: float, what: str) -> Figure:
        shares = [b / t for b, t in zip(bare, times, strict=True)]
        return Figure(name, median(shares), "x bare", f"{what}: {how}", floor, aim, more=True)

    yield Figure("bulk.bare_rate", count / median(bare), "rows/s", f"bare sqlite3: {how}")
    yield Figure("bulk.put_many_rate", count / median(put), "rows/s", "put_many")
    yield figure("bulk.put_many", put, 0.3, 0.5, "put_many, stamped and in the trie")
    yield figure("bulk.plain_sql", foreign, 0.4, 0.7, "another program's executemany, triggers included")
    yield figure("bulk.plain_sql_absorbed", absorbed, 0.15, 0.25, "the same and its absorption by the engine")


def lone(folder: Path, count: int) -> Iterator[Figure]:
    """One-row updates, each its own transaction, with and without our triggers."""
    rows = list(contacts(count))
    path = folder / "adopted.db"
    with new_store(path) as store, closing(_bare(folder / "bare.db")) as bare, closing(plain(path)) as db:
        store.put_many("contacts", rows)
        load(bare, rows)
        changes = edits([row[0] for row in rows], BLOCK, 4 * BLOCKS, 1)
        for mode, floor in (("FULL", 1.5), ("OFF", 4.0)):
            with_, without = [], []
            for connection in (bare, db):
                connection.execute(f"PRAGMA synchronous = {mode}")
            for _ in range(BLOCKS):
                without.append(_updates(bare, changes.pop()))
                with_.append(_updates(db, changes.pop()))
                store.absorb()
            share = median([w / o for w, o in zip(with_, without, strict=True)])
            tell(f"lone updates, {mode}: {1e6 * median(without) / BLOCK:.0f} us bare, "
                 f"{1e6 * median(with_) / BLOCK:.0f} us with triggers")  # fmt: skip
            how = f"{BLOCKS} x {BLOCK} one-field updates, synchronous={mode}, median over the same without triggers"
            yield Figure(f"lone.update_{mode.lower()}", share, "x bare", how, floor)


def _updates(db: sqlite3.Connection, changes: list[tuple[str, str, str]]) -> float:
    began = perf_counter()
    for field, value, id_ in changes:
        db.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, id_))
    return perf_counter() - began

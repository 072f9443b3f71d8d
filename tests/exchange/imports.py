"""Imports in tests: a store, a file of text, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replica.exchange.importing.outcome import Outcome
from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.maps import mapfile, mapping
from replica.exchange.maps.mapping import Mapping
from replica.exchange.rows import Batch, ReadOptions
from replica.store.store import Store
from tests.store.harness import Machine

CONTACTS = "id,name,mail\n1,Ana,a@x\n2,陈思源,\n3,José,j@x\n"
CSV = ReadOptions(format="csv", encoding="utf-8", delimiter=",", quote='"', header=1)
"""Nothing is left to be found out: these tests are about what comes after."""


def write(path: Path, text: str) -> Path:
    """A file of this text."""
    path.write_text(text, encoding="utf-8", newline="")
    return path


def take(
    store: Store,
    *files: Path,
    into: str = "contacts",
    key: str = "id",
    map: str = "",
    read: ReadOptions = CSV,
    blank: str = "leave",
    **options: Any,
) -> Outcome:
    """Import files, with a map of this text or without one."""
    made: Mapping = mapfile.parse(map, "test.toml", None) if map else mapping.plain(into, key.split(","), blank)
    sources = [Source(str(file), made, read, map) for file in files]
    return run_import(store, sources, Options(**options))


def counts(outcome: Outcome) -> tuple[int, ...]:
    """(created, updated, unchanged, duplicate, rejected); they must add up to what was read."""
    found = tuple(outcome.counts.values())
    assert sum(found) == outcome.read
    return found


def cut(batches: Any, size: int) -> Iterator[Any]:
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


def shown(a: Machine, what: str = "id, name, mail") -> list[tuple[Any, ...]]:
    """What stands in the contacts."""
    return a.rows(f"SELECT {what} FROM contacts ORDER BY id")

"""Imports in tests: a store, a file of text, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from replica.exchange.importing.outcome import Outcome
from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.maps import mapfile, mapping
from replica.exchange.maps.mapping import Mapping
from replica.exchange.rows import Batch, ReadOptions
from replica.store.store import Store

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



def cut(batches: Iterable[Batch], size: int = 7) -> Iterator[Batch]:
    """Small batches, of a reader that gives large ones."""
    for b in batches:
        for at in range(0, max(1, len(b.rows)), 7):
            part = slice(at, at + 7)
            yield Batch(b.numbers[part], b.lines[part], b.rows[part], [] if at else b.broken)

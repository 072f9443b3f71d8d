"""What earlier imports say about a collection: how its records got their ids, and what its columns mean outside.

Runs are ordinary records of a replicated table, so every node knows what any node imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replica.store.store import Store


@dataclass(frozen=True, slots=True)
class Known:
    """What the last import into a collection said. `key`: its fields that hold the external key; `id`: the column with the
    record id that the import made up (UUIDv5 of source and external key), None if the table has a key of its own;
    `fields`: the imported ones, in the order of the file; `refers`: field -> collection whose record id stands in it."""

    collection: str
    source: str
    key: tuple[str, ...]
    id: str | None
    fields: tuple[str, ...]
    refers: dict[str, str] = field(default_factory=dict)


def known(store: Store, collection: str) -> Known | None:
    """What the last import into this collection said, of any node; None if nobody imported into it."""
    raise NotImplementedError

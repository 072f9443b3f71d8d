"""A map backwards in an export: rows of a table become rows of the file that the map reads.

One test each:

1. What a map imported, exported by the same map, is the file again; what does not come through is told, with why.
2. Columns that the map does not know are left out and told; deletes keep their mark and their key.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.record import fold
from replica.errors import MapRefused
from replica.exchange.exporting.export import Reverse
from replica.exchange.maps.inverse import Inverse, inverse
from replica.exchange.maps.mapping import load
from replica.exchange.rows import DELETED, MISSING, Row


def reverse(path: str, collection: str | None) -> Reverse:
    """The map for a collection, or its only one. Raises MapRefused."""
    mapping = load(path)
    names = [spec.name for spec in mapping.collections]
    if collection is None and len(names) != 1:
        raise MapRefused(f"{path} is of several collections ({', '.join(names)}): a SELECT needs a map of one")
    wanted = names[0] if collection is None else next((n for n in names if fold(n) == fold(collection)), collection)
    back = inverse(mapping, wanted)
    return lambda fields: MappedBack(back, fields)


class MappedBack:
    """Rows of a table with these fields, as rows of the map's file."""

    def __init__(self, back: Inverse, fields: Sequence[str]) -> None:
        places = {fold(name): at for at, name in enumerate(fields)}
        self._back = back
        self._places = [places.get(fold(name)) for name in back.reads]
        self._kept = [at for at, name in enumerate(fields) if name == DELETED]
        if self._kept:  # A delete says nothing but its key.
            mapped = set(self._places)
            self._kept = [at for at in range(len(fields)) if at not in mapped]
        self.fields = [*back.fields, *(fields[at] for at in self._kept)]
        self.notes = [f"{lost.field} is not in the file: {lost.why}" for lost in back.lost]
        known = {fold(name) for name in (*back.reads, *(lost.field for lost in back.lost))}
        for at, name in enumerate(fields):
            if fold(name) not in known and at not in self._kept:
                self.notes.append(f"{name} is not in the file: the map does not know it")
        for name, place in zip(back.reads, self._places, strict=True):
            if place is None:
                self.notes.append(f"{name} is in the map, but not in the table: its column is empty")

    def __call__(self, rows: list[Row]) -> list[Row]:
        """The rows of the file."""
        if not rows:
            return []
        columns = list(zip(*rows, strict=True))
        nothing = (MISSING,) * len(rows)
        made = self._back.columns([columns[at] if at is not None else nothing for at in self._places])
        return list(zip(*made, *(columns[at] for at in self._kept), strict=True))

"""A map backwards in an export: rows of a table become rows of the file that the map reads.

One test each:

1. What a map imported, exported by the same map, is the file again; what does not come through is told, with why.
2. Columns that the map does not know are left out and told; deletes keep their mark and their key.
3. Where the format nests, so do columns that are paths ("address.city"), and arrays that the map makes records of.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from protocol.record import fold
from replica.errors import MapRefused, UsageError
from replica.exchange.exporting.arrays import Array
from replica.exchange.exporting.export import Reverse
from replica.exchange.exporting.plan import KnownIn
from replica.exchange.formats.paths import split, unflatten
from replica.exchange.importing import runs
from replica.exchange.maps.inverse import Inverse, inverse
from replica.exchange.maps.mapping import load
from replica.exchange.maps.nesting import Nested, nested
from replica.exchange.rows import DELETED, MISSING, Row
from replica.store.core import Core

NEST: Final = frozenset({"json", "jsonl", "xml"})
"""Formats whose records nest, as they are written."""


def reverse(
    path: str, collection: str | None, format_: str = "csv", known_in: KnownIn = runs.known_in
) -> Reverse:
    """The map for a collection, or its only one, in a file of this format. Raises MapRefused."""
    mapping = load(path)
    names = [spec.name for spec in mapping.collections]
    if collection is None and len(names) != 1:
        raise MapRefused(f"{path} is of several collections ({', '.join(names)}): a SELECT needs a map of one")
    wanted = names[0] if collection is None else next((n for n in names if fold(n) == fold(collection)), collection)
    back = inverse(mapping, wanted)
    plans, lost = nested(mapping, wanted, flat=format_ not in NEST) if collection is not None else ([], [])

    def made(core: Core, fields: Sequence[str]) -> MappedBack:
        arrays, notes = [], [f"{one.field} is not in the file: {one.why}" for one in lost]
        if DELETED in fields:
            notes += [f"{plan.collection} is not in the file: what changed since is of one collection" for plan in plans]
        else:
            for at, plan in enumerate(plans):
                try:
                    arrays.append((plan, Array(core, plan, at, partial(known_in, core), format_)))
                except UsageError as error:
                    notes.append(f"{plan.collection} is not in the file: {error}")
        return MappedBack(back, fields, arrays, notes, trees=format_ in NEST)

    return made


class MappedBack:
    """Rows of a table with these fields, as rows of the map's file. `trees`: columns that are paths nest."""

    def __init__(
        self, back: Inverse, fields: Sequence[str], arrays: Sequence[tuple[Nested, Array]] = (), notes: Sequence[str] = (),
        *, trees: bool = False,
    ) -> None:  # fmt: skip
        places = {fold(name): at for at, name in enumerate(fields)}
        self._back, self._arrays = back, arrays
        self._places = [places.get(fold(name)) for name in back.reads]
        self._keys = [places[fold(plan.key)] for plan, _ in arrays]
        self._kept = [at for at, name in enumerate(fields) if name == DELETED]
        if self._kept:  # A delete says nothing but its key.
            mapped = set(self._places)
            self._kept = [at for at in range(len(fields)) if at not in mapped]
        self._flat = [*back.fields, *(plan.path for plan, _ in arrays), *(fields[at] for at in self._kept)]
        self.fields, self._nests = self._flat, False
        self.notes = [f"{lost.field} is not in the file: {lost.why}" for lost in back.lost]
        self.notes += [*notes, *(note for _, array in arrays for note in array.notes)]
        if trees and any(split(name) != (name,) for name in self._flat):
            try:
                self.fields, self._nests = list(unflatten(dict.fromkeys(self._flat))), True
            except ValueError as error:
                self.notes.append(f"columns stay flat, under their paths: {error}")
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
        arrays = [array.cells(columns[key]) for key, (_, array) in zip(self._keys, self._arrays, strict=True)]
        flat: list[Row] = list(zip(*made, *arrays, *(columns[at] for at in self._kept), strict=True))
        if not self._nests:
            return flat
        trees = (unflatten(dict(zip(self._flat, row, strict=True))) for row in flat)
        return [tuple([tree.get(name, MISSING) for name in self.fields]) for tree in trees]

    def end(self) -> list[str]:
        """What has to be told of the arrays."""
        return [note for _, array in self._arrays for note in array.end()]

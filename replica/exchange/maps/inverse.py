"""A map backwards: rows of a collection -> columns of the file that the map reads, where that can be done.

The idea: what is written must read back, by the same map, as what it was. What cannot is left out and said, with why.

1. Whatever the map makes of a row, written by its inverse and read again, is the same record; but for fields in `lost`.
2. Renames, lookups, dates, numbers, yes and no, references and texts that were split go back; what was joined does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from replica.errors import MapRefused
from replica.exchange.maps.dates import SERIALS, pieces
from replica.exchange.maps.mapmodel import CollectionSpec, FieldSpec, WholeFile, as_text, folded, near
from replica.exchange.maps.mapping import Mapping
from replica.exchange.maps.steps import Column
from replica.exchange.maps.types import FALSE, TRUE, converter
from replica.exchange.rows import MISSING, Cell

Back = Callable[[Any], Cell]
_ORDERS = {"DMY": "dd/MM/yyyy", "MDY": "MM/dd/yyyy", "YMD": "yyyy-MM-dd"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_LONG = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class Lost(NamedTuple):
    """A field that the file cannot have, and why."""

    field: str
    why: str


@dataclass(frozen=True)
class Inverse:
    """How to write a collection as a map reads it. `reads`: its fields, in the order that `columns` takes; `fields`: the
    columns of the file, in the order that it gives; `lost`: what does not come through."""

    collection: str
    reads: tuple[str, ...]
    fields: tuple[str, ...]
    lost: tuple[Lost, ...]
    makers: tuple[Callable[[Sequence[Column]], Column], ...]

    def columns(self, columns: Sequence[Column]) -> list[Column]:
        """Columns of the file from columns of the collection. A reference stands as the external key that it means, a
        tuple if that key has several fields."""
        return [make(columns) for make in self.makers]


def inverse(mapping: Mapping, collection: str, fields: Sequence[str] = ()) -> Inverse:
    """The map backwards for one of its collections. `fields`: all that the collection has; with `rest = "keep"` those that
    the map does not name go under their own names. Raises MapRefused if it does not have the collection."""
    for spec in mapping.collections:
        if spec.name == collection:
            named = {folded(f.name) for f in spec.fields}
            rest = [FieldSpec(name, (name,)) for name in fields if folded(name) not in named and spec.rest == "keep"]
            return inverse_of(replace(spec, fields=(*spec.fields, *rest)), mapping.read.decimal)
    names = [spec.name for spec in mapping.collections]
    close = near(collection, names) or names
    raise MapRefused(f'the map has no collection "{collection}": did you mean {" or ".join(close)}?')


def inverse_of(spec: CollectionSpec, decimal: str | None) -> Inverse:
    """The same of one collection alone; `decimal`: mark of numbers that do not say theirs."""
    lost: list[Lost] = []
    reads: list[str] = []
    made: dict[str, Callable[[Sequence[Column]], Column]] = {}
    taken: dict[str, str] = {}
    parts = _whole_splits(spec)
    for field in spec.fields:
        why = _why_lost(spec, field, parts)
        if why is not None:
            lost.append(Lost(field.name, why))
            continue
        source = field.sources[0]
        if field.split is not None:
            reads.append(field.name)
            if source not in made:
                taken[source] = field.name
                made[source] = _Joined([len(reads) - 1], field.split.separator)
                continue
            joined = made[source]
            assert isinstance(joined, _Joined)
            joined.places.append(len(reads) - 1)
            continue
        busy = [name for name in field.sources if name in taken]
        if busy:
            lost.append(Lost(field.name, f'the column "{busy[0]}" is written from the field "{taken[busy[0]]}"'))
            continue
        reads.append(field.name)
        if field.refers is not None and len(field.sources) > 1:
            for number, name in enumerate(field.sources):
                taken[name] = field.name
                made[name] = _Part(len(reads) - 1, number)
        else:
            taken[source] = field.name
            made[source] = _Each(len(reads) - 1, backwards(field, decimal))
    return Inverse(spec.name, tuple(reads), tuple(made), tuple(lost), tuple(made.values()))


def _whole_splits(spec: CollectionSpec) -> set[str]:
    """Columns all of whose parts, from the first to the last that is asked for, stand in fields of their own."""
    found: dict[str, list[FieldSpec]] = {}
    for field in spec.fields:
        if field.split is not None and len(field.sources) == 1:
            found.setdefault(field.sources[0], []).append(field)
    return {
        source
        for source, fields in found.items()
        if [f.split.index for f in fields if f.split] == list(range(1, len(fields) + 1))
        and len({f.split.separator for f in fields if f.split}) == 1
        and not any(f.lookup or f.type not in ("", "text", "email", "phone") for f in fields)
    }


def _why_lost(spec: CollectionSpec, field: FieldSpec, parts: set[str]) -> str | None:
    if spec.rows is not None:
        return f'it is part of the array "{spec.rows}" of another record: export that, or this one without the map'
    if field.constant is not MISSING:
        return "it is a constant of the map: no column of the file has it"
    if field.concat is not None:
        return "it was joined from several columns, which cannot be told apart again"
    if any(re.search(r"\[[0-9]+\](?:\.|$)", source) for source in field.sources):
        return "it comes from inside an array"
    if field.split is not None and field.sources[0] not in parts:
        return f'it is one part of "{field.sources[0]}", and not all parts are fields in their order'
    form = field.format
    if field.type in ("date", "datetime") and form is not None and form not in (*_ORDERS, *SERIALS):
        tokens = pieces(form)
        if "yy" in tokens:
            return f'"{form}" has two digits of the year only'
        if field.type == "datetime" and not {"mm", "ss"} <= set(tokens):
            return f'"{form}" does not have all of the time'
    return None


@dataclass(frozen=True)
class _Each:
    """A column made of one field."""

    place: int
    back: Back | None

    def __call__(self, columns: Sequence[Column]) -> Column:
        column = columns[self.place]
        if self.back is None:
            return column
        back = self.back
        return [cell if cell is None or cell is MISSING or cell == "" else back(cell) for cell in column]


@dataclass(frozen=True)
class _Part:
    """A column made of one cell of a tuple."""

    place: int
    number: int

    def __call__(self, columns: Sequence[Column]) -> Column:
        return [cell[self.number] if isinstance(cell, tuple) else None for cell in columns[self.place]]


@dataclass(frozen=True)
class _Joined:
    """A column whose parts are fields."""

    places: list[int]
    separator: str

    def __call__(self, columns: Sequence[Column]) -> Column:
        out: list[Cell] = []
        for cells in zip(*(columns[place] for place in self.places), strict=True):
            texts = [as_text(cell) for cell in cells]
            while texts and not texts[-1]:
                texts.pop()
            out.append(self.separator.join(texts))
        return out


def backwards(spec: FieldSpec, decimal: str | None = None) -> Back | None:
    """What a value of the field looks like in the file; None: as it is."""
    typed: Back | None = None
    if spec.type == "boolean":
        words = ((spec.false or FALSE)[0], (spec.true or TRUE)[0])
        typed = lambda value: words[value] if value in (0, 1) else value  # noqa: E731
    elif spec.type in ("number", "integer") and (spec.decimal or decimal) == ",":
        typed = lambda value: repr(value).replace(".", ",") if isinstance(value, float) else value  # noqa: E731
    elif spec.type in ("date", "datetime") and spec.format:
        typed = _dated(spec, spec.format)
    if spec.lookup is None:
        return typed
    table, first = _backwards(spec), typed or (lambda value: value)
    return lambda value: table[value] if value in table else first(value)


def _backwards(spec: FieldSpec) -> dict[Any, str]:
    """Value of the collection -> the first text of the lookup table that means it."""
    assert spec.lookup is not None
    values, refused = converter(spec, WholeFile())([value for _, value in spec.lookup.table])
    table: dict[Any, str] = {}
    for number, (text, _) in enumerate(spec.lookup.table):
        if number not in refused:
            table.setdefault(values[number], text)
    return table


def _dated(spec: FieldSpec, form: str) -> Back:
    place = ZoneInfo(spec.zone) if spec.zone else None
    pattern = _ORDERS.get(form, form)
    if form in _ORDERS and spec.type == "datetime":
        pattern = "yyyy-MM-dd"  # It reads back in every order, and so do its time and zone.

    def back(value: Any) -> Cell:
        if not isinstance(value, str) or (form in _ORDERS and spec.type == "datetime"):
            return value  # type: ignore[no-any-return]
        text, _, fraction = value.removesuffix("Z").partition(".")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:  # Kept as it was by on_error.
            return value
        if value.endswith("Z"):
            moment = moment.replace(tzinfo=UTC)
        if form in SERIALS:
            return _serial(moment, form, fraction, place)
        if moment.tzinfo is not None and place is not None and "XXX" not in pattern:
            moment = moment.astimezone(place)
        elif moment.tzinfo is not None and "XXX" not in pattern:
            return value  # The pattern has no place for the zone: ISO 8601 has.
        return _patterned(moment, pattern, fraction)

    return back


def _patterned(moment: datetime, pattern: str, fraction: str) -> str:
    made = {
        "yyyy": f"{moment.year:04d}",
        "MM": f"{moment.month:02d}",
        "M": str(moment.month),
        "MMM": _MONTHS[moment.month - 1],
        "MMMM": _LONG[moment.month - 1],
        "dd": f"{moment.day:02d}",
        "d": str(moment.day),
        "HH": f"{moment.hour:02d}",
        "H": str(moment.hour),
        "hh": f"{(moment.hour - 1) % 12 + 1:02d}",
        "h": str((moment.hour - 1) % 12 + 1),
        "mm": f"{moment.minute:02d}",
        "ss": f"{moment.second:02d}",
        "SSS": fraction.ljust(3, "0"),
        "a": "PM" if moment.hour >= 12 else "AM",
        "XXX": "Z",
    }
    return "".join(made.get(piece, piece.strip("'")) for piece in pieces(pattern))


def _serial(moment: datetime, form: str, fraction: str, place: ZoneInfo | None) -> Cell:
    if form.startswith("unix"):
        seconds = int(moment.replace(tzinfo=moment.tzinfo or place or UTC).timestamp())
        if form == "unix":
            return f"{seconds}.{fraction}" if fraction else seconds
        return seconds * 1000 + int(fraction[:3].ljust(3, "0"))
    if moment.tzinfo is not None and place is not None:
        moment = moment.astimezone(place)
    first = date(1904, 1, 1) if form == "excel-1904" else date(1899, 12, 30)
    days = moment.date().toordinal() - first.toordinal()
    if form == "excel" and days <= 60:
        days -= 1
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    return days if not seconds else round(days + seconds / 86_400, 8)

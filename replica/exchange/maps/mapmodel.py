"""What a map says, as values: what a field is made of, what a collection takes, and what comes out of a row.

Nothing here reads a file or does any work: `mapfile` makes these from TOML, `fieldplan` and `mapping` carry them out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from replica.exchange.rows import MISSING, Cell

DECLARED = {
    "": "",
    "text": "TEXT",
    "integer": "INTEGER",
    "number": "REAL",
    "boolean": "INTEGER",
    "date": "TEXT",
    "datetime": "TEXT",
    "phone": "TEXT",
    "email": "TEXT",
    "json": "TEXT",
}
"""Types of the map -> SQL type of a column that is made for it. The empty one converts nothing."""


class Bad(ValueError):
    """A value that its type or its rule refuses; the text says why, and ends with what to do."""


class Problem(NamedTuple):
    """Why a row is rejected: the field of the collection, the value as the file has it, the rule that refuses it, and a
    sentence that ends with a suggestion."""

    field: str
    value: str
    rule: str
    message: str


class Mapped(NamedTuple):
    """Records of one target that a batch makes. `sources`: index in the batch of the source row of each record; `columns`:
    one list for each of the target's fields, all as long as `sources`; MISSING: leave as it is. `defaulted`: index of a
    field -> indexes of the records whose value is the map's default because the file says nothing: a record that exists
    keeps its own where `blank` is "leave"."""

    target: int
    sources: list[int]
    columns: list[list[Cell]]
    defaulted: dict[int, list[int]] = {}  # noqa: RUF012 - never written to


@dataclass(frozen=True)
class Field:
    """A field of a collection. `declared`: SQL type of a column to be made. `refers`: collection whose external key stands
    here in the file; the cell is a tuple if that key has several fields. `unique`, `exists`: rules that need the store."""

    name: str
    declared: str = ""
    refers: str | None = None
    unique: bool = False
    exists: bool = False


@dataclass(frozen=True)
class Target:
    """A collection that records go to. `blank`: what an empty cell means for a record that exists, "leave" or "clear"."""

    collection: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    blank: str = "leave"


@dataclass(frozen=True)
class Split:
    """The part number `index` of a text, from 1; from the end if negative."""

    separator: str
    index: int


@dataclass(frozen=True)
class Lookup:
    """A table of replacements; `absent`: what happens to a text that it lacks, "reject", "null" or "keep"."""

    table: tuple[tuple[str, Any], ...]
    absent: str = "reject"


@dataclass(frozen=True)
class Condition:
    """A column of the file whose text must be one of `values`, none of `none_of`, match `pattern`, or be filled or not."""

    column: str
    values: tuple[str, ...] | None = None
    none_of: tuple[str, ...] | None = None
    pattern: str | None = None
    filled: bool | None = None


@dataclass(frozen=True)
class FieldSpec:
    """A field as the map has it; the words are those of MAP.md. `sources` is `from`."""

    name: str
    sources: tuple[str, ...] = ()
    constant: Cell = MISSING
    default: Cell = MISSING
    optional: bool = False
    concat: str | None = None
    split: Split | None = None
    lookup: Lookup | None = None
    empty: tuple[str, ...] = ()
    trim: bool = False
    normalise: tuple[str, ...] = ()
    case: str | None = None
    type: str = ""
    format: str | None = None
    decimal: str | None = None
    country: str | None = None
    zone: str | None = None
    pivot: int = 69
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    on_error: str = "reject"
    required: bool = False
    pattern: str | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None
    min_length: int | None = None
    max_length: int | None = None
    allowed: tuple[Any, ...] | None = None
    unique: bool = False
    exists: bool = False
    refers: str | None = None

    def field(self) -> Field:
        """What the import run needs to know of it."""
        declared = DECLARED[self.type]
        if self.on_error == "keep" and declared != "TEXT":
            declared = ""  # What is kept is text: a column of numbers would refuse it.
        return Field(self.name, declared, self.refers, self.unique, self.exists)


class WholeFile(NamedTuple):
    """What holds for fields that say nothing themselves: decimal mark, order of dates, country of phones."""

    decimal: str | None = None
    order: str | None = None
    country: str | None = None


@dataclass(frozen=True)
class CollectionSpec:
    """A collection as the map has it. `rows`: path to an array whose elements become the records; `separator`: the cell of
    that name is text to be split instead; `rest`: "keep" takes every column that no field names, as it is; `schema`: text
    of a JSON Schema."""

    name: str
    key: tuple[str, ...]
    fields: tuple[FieldSpec, ...] = ()
    blank: str = "leave"
    rows: str | None = None
    separator: str | None = None
    when: tuple[Condition, ...] = ()
    rest: str = "drop"
    schema: str | None = None


def is_blank(cell: object) -> bool:
    """Whether the cell says nothing: MISSING, None, or text of nothing but white space."""
    return cell is None or cell is MISSING or (cell.__class__ is str and not cell.strip())


def as_text(cell: object) -> str:
    """A cell as a user would write it; floats that are whole without the point. Nothing is empty text."""
    if cell.__class__ is str:
        return cell
    if cell is None or cell is MISSING:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, bytes):
        return cell.hex()
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, separators=(",", ":"), default=str)
    return str(cell)


_SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def folded(name: str) -> str:
    """The name of a column as SQLite compares it: without the case of ASCII letters, and of no others."""
    return name.translate(_SMALL)


def near(name: str, names: Sequence[str]) -> list[str]:
    """Up to three of these names that look like this one, the nearest first; case and spaces do not count."""
    import difflib

    plain = {n.casefold().replace(" ", "").replace("_", ""): n for n in reversed(names)}
    found = difflib.get_close_matches(name.casefold().replace(" ", "").replace("_", ""), plain, 3, 0.6)
    return [plain[f] for f in found]

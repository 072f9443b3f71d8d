"""What all formats have in common: a file is fields and batches of rows, whatever it is made of.

A reader yields rows as tuples in the order of its `fields`. A cell is None (the file says: nothing), a bool, an int, a
float, text, bytes, or MISSING (the file does not speak of this field in this row, as a JSON object without the name
does). An empty cell of a format that cannot say nothing (CSV, a sheet) is empty text. Dates of formats that have them come
as ISO 8601 text, decimals as text, so that nothing is lost on the way. What nests (JSON, XML, vCard) comes flat, under
dotted paths ("address.city"), and as `trees` for maps that walk it.

A row that cannot be read never stops the others: it comes as `Broken`, with its raw text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

BATCH_ROWS = 4_096
"""Rows of a batch: enough to work in sets, few enough to stay small."""

BATCH_CHARS = 2 << 20
"""Characters of the rows of a batch, about: rows may be long."""

SURE = 0.7
"""A finding below this confidence is not acted upon: the user is asked."""


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""The file does not speak of this field in this row."""

DELETED: Final = "replica:deleted"
"""The column of a since-export that says 1 for a deleted record, else 0."""

Cell: TypeAlias = "bool | int | float | str | bytes | _Missing | None"
Row: TypeAlias = tuple[Any, ...]
"""Cells in the order of the reader's `fields`."""
Tree: TypeAlias = dict[str, Any]
"""A record that nests: dicts, lists and cells."""


class Broken(NamedTuple):
    """A row that could not be read: its number among the records (from 1), the line where it begins, its raw text (cut to a
    sane length), and why, with what to do."""

    number: int
    line: int
    raw: str
    reason: str


@dataclass(slots=True)
class Batch:
    """Some rows. `numbers`: of each row among the file's records, from 1, broken ones counted, the header not; `lines`:
    where each begins (line of a text, row of a sheet, else the number)."""

    numbers: Sequence[int]
    lines: Sequence[int]
    rows: list[Row]
    broken: list[Broken] = field(default_factory=list)
    trees: list[Tree] | None = None
    """The same rows as trees, of formats that nest; None of flat ones."""


def chars(rows: Sequence[Row]) -> int:
    """Characters (of text) and bytes in the cells of these rows; what else a cell is counts nothing."""
    try:
        return sum(map(len, chain.from_iterable(rows)))
    except TypeError:  # Not all cells are text.
        return sum(len(cell) for row in rows for cell in row if isinstance(cell, str | bytes))


class Finding(NamedTuple):
    """Something found out about a file: what ("encoding", "delimiter", "header", "date of birthday"), the value as a user
    would write it, how sure (0 to 1), and what else it could be. `option` is how to say it oneself ("--encoding")."""

    what: str
    value: str
    confidence: float
    others: tuple[str, ...] = ()
    option: str = ""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user says about a file; None: find out. `header`: number of the header's line from 1, 0: there is none.
    `records`: path of the records in JSON or XML ("data.items", "Orders/Order"). `sheet`: name or number from 1."""

    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    header: int | None = None
    decimal: str | None = None
    records: str | None = None
    sheet: str | None = None
    schema: str | None = None
    """Path of an XSD that the file must obey (XML)."""
    guarded: bool | None = None
    """Whether an apostrophe in front of a formula was put there for a spreadsheet, and is to be taken off (CSV)."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to write a file. `for_excel`: for a person who opens it in Excel: byte order mark, and formulas disarmed by a
    marker that our own import takes off again."""

    encoding: str = "utf-8"
    delimiter: str = ","
    for_excel: bool = False
    name: str = "records"
    """Of the sheet, or of the root element."""
    nested: bool = False
    """Lists and objects are elements in XML; else their JSON text."""


class Reader(Protocol):
    """An open file. Closing it twice is fine."""

    format: str
    fields: list[str]
    """Names of the columns, unique, in the file's order; of formats that nest, the paths found in the whole file."""
    findings: list[Finding]

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning, in batches of at most `size`, fewer where they are long; may be called again. Flat
        memory. Raises FileRefused for what makes the rest of the file unreadable."""

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all) of the file as it lies on the disk."""

    def close(self) -> None:
        """Let go of the file."""


class Writer(Protocol):
    """A file that is being written; bytes are the same for the same rows."""

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows, in the order of the fields it was opened with. MISSING and None: nothing. Raises RowRefused for a row
        that has not one cell for each field, or a cell that the format cannot hold."""

    def close(self) -> None:
        """Finish the file."""

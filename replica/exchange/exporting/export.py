"""Rows out: from one moment of a store to a file, in parts, so that memory does not grow with either.

The same content gives the same bytes on every node (see `plan`). What a file cannot say as the table does is told, never
passed over: text that is not UTF-8 comes out with U+FFFD in place of its odd bytes, and in a format that has only text, a
blob is x'…' and NULL looks like empty text. One test each:

1. Two stores that hold the same content by different histories give the same bytes.
2. Rows of one export are of one moment, while other programs write.
3. What cannot come out as it is, is counted by field and told; nothing is ever a traceback.
4. If it fails or is interrupted, the writer is not closed and the output is whatever it was before.
5. Memory is flat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Protocol

from protocol.values import IllFormedText
from replica.exchange.exporting.plan import KnownIn, Plan, Query, is_select, of_collection, of_select
from replica.exchange.exporting.snapshot import guarded, snapshot, stream
from replica.exchange.rows import MISSING, Row, Writer
from replica.store.core import Core
from replica.store.store import Store

SAY_NOTHING = frozenset({"json", "jsonl", "xml", "parquet"})
"""Formats that tell NULL from empty text, and bytes from text."""

Open = Callable[[Sequence[str]], Writer]
"""Field names -> the writer of the file."""
Progress = Callable[[str, int, int], None]
_PLAIN = frozenset({str, int, float, type(None), type(MISSING)})


class Backwards(Protocol):
    """A map, read backwards: rows of a table become rows of a file with other fields."""

    fields: list[str]
    notes: list[str]

    def __call__(self, rows: list[Row]) -> list[Row]:
        """The rows of the file."""

    def end(self) -> list[str]:
        """What has to be told when all rows were made."""


Reverse = Callable[[Core, Sequence[str]], Backwards]
"""The moment that is read, and the fields of the table -> the map backwards."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to export: a collection or a SELECT; `since_ms` and `with_ids` are of collections."""

    what: str
    with_ids: bool = False
    since_ms: int | None = None
    format: str = ""
    """Where the rows go, for what has to be told."""


@dataclass(slots=True)
class Summary:
    """What was written. `moment_ms`: the newest stamp in it: `--since` this moment is what changed after it."""

    rows: int = 0
    deletes: int = 0
    fields: list[str] = field(default_factory=list)
    moment_ms: int = 0
    notes: list[str] = field(default_factory=list)


def export(
    store: Store,
    asked: Asked,
    known_in: KnownIn,
    open_writer: Open,
    *,
    reverse: Reverse | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write the rows. The writer is closed if and only if all of them were written. Raises UsageError, StoreError, and what
    the writer raises."""
    with snapshot(store, quiet=asked.since_ms is not None) as core:
        if is_select(asked.what):
            plan = of_select(core, asked.what)
        else:
            plan = of_collection(core, asked.what, partial(known_in, core), with_ids=asked.with_ids, since_ms=asked.since_ms)
        backwards = reverse(core, plan.fields) if reverse is not None else None
        summary = Summary(deletes=plan.deletes, fields=backwards.fields if backwards else plan.fields)
        summary.moment_ms = core.clock.last_ms
        summary.notes += plan.notes + (backwards.notes if backwards else [])
        teller = Teller(plan.fields, asked.format)
        writer = open_writer(summary.fields)
        try:
            for part in _parts(core, plan):
                fit = teller.fit(part)
                writer.write(backwards(fit) if backwards else fit)
                summary.rows += len(part)
                if progress is not None:
                    progress("exporting", summary.rows, max(plan.total or 0, summary.rows))
            writer.close()
            summary.notes += backwards.end() if backwards else []
        except BaseException:
            if (discard := getattr(writer, "discard", None)) is not None:  # Of formats that have a place of their own.
                discard()
            raise
    summary.notes += teller.notes()
    return summary


def _parts(core: Core, plan: Plan) -> Iterator[list[Row]]:
    for query in plan.queries:
        if plan.guard:
            with guarded(core):
                yield from stream(core.db, query.sql)
        else:
            for part in stream(core.db, query.sql):
                yield part if query.places is None else _placed(part, query, len(plan.fields))


def _placed(part: Sequence[Row], query: Query, width: int) -> list[Row]:
    assert query.places is not None
    rows = []
    for row in part:
        cells: list[Any] = [MISSING] * width
        for place, value in zip(query.places, row, strict=True):
            cells[place] = value
        rows.append(tuple(cells))
    return rows


class Teller:
    """Looks at whole parts by type, and at cells only where a part has an odd one."""

    def __init__(self, fields: Sequence[str], format_: str) -> None:
        self._fields, self._says_nothing = fields, format_ in SAY_NOTHING
        self._ill: Counter[int] = Counter()
        self._blobs: Counter[int] = Counter()
        self._nulls = 0

    def fit(self, part: list[Row]) -> list[Row]:
        """The rows, fit for any writer."""
        types = set(map(type, chain.from_iterable(part)))
        if type(None) in types:
            self._nulls += sum(row.count(None) for row in part)
        if bytes in types or IllFormedText in types:
            return [row if _PLAIN.issuperset(map(type, row)) else self._told(row) for row in part]
        return part

    def _told(self, row: Row) -> Row:
        return tuple(self._whole(at, value) for at, value in enumerate(row))

    def _whole(self, at: int, value: object) -> object:
        if type(value) is IllFormedText:
            self._ill[at] += 1
            return bytes(value).decode("utf-8", "replace")
        self._blobs[at] += type(value) is bytes
        return value

    def notes(self) -> list[str]:
        """What had to be told, by field."""
        said = []
        for at, name in enumerate(self._fields):
            if self._ill[at]:
                said.append(f"{name}: {self._ill[at]} texts are not UTF-8; their odd bytes came out as U+FFFD")
            if self._blobs[at] and not self._says_nothing:
                said.append(f"{name}: {self._blobs[at]} values are bytes: they came out as text, x'…'")
        if self._nulls and not self._says_nothing:
            said.append(f"{self._nulls} values are NULL: they came out empty, as empty text does in this format")
        return said

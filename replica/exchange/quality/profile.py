"""What a collection or a file is like, field by field: how full, how different, of which kinds, and what looks wrong.

    completeness = filled / records         filled: not NULL, not empty, not blank
    validity     = valid by rule / filled   None where no rule speaks of the field
    uniqueness   = distinct / filled        distinct: different values

A measure of nothing is None. Everything is counted over all values, none is guessed from a sample. One test each:

1. Counts are those of a plain model, whatever the rows.
2. Values that a person reads as one, and rows that repeat a key or nearly a key, are shown.
3. Memory is flat: the values lie and are sorted in a database on the disk.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from protocol.record import fold
from replica.errors import UsageError
from replica.exchange.quality.compare import Check, is_filled, ratio
from replica.exchange.quality.measures import folded, kind, marks
from replica.exchange.quality.side import Scratch, Side

TOP = 10
"""Most frequent values, of each field."""
EXAMPLES = 5
"""Of each mark, of case variants, of repeated keys."""
NEARLY = 0.9
"""A field whose values are so often different is meant to be a key: what repeats in it is shown."""
SHOWN_CHARS = 200

Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Suspicion:
    """Values with one mark: how many rows have them, and a few of them."""

    mark: str
    rows: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FieldProfile:
    """One field. Lengths are of text, in characters. `variants`: groups of values that a person reads as one, as
    (value, rows) each; `repeats`: rows beyond the first of each value, for a field that is nearly a key, else None."""

    name: str
    records: int = 0
    filled: int = 0
    nulls: int = 0
    distinct: int = 0
    completeness: float | None = None
    uniqueness: float | None = None
    validity: float | None = None
    kinds: dict[str, int] = field(default_factory=dict)
    least: Any = None
    most: Any = None
    length_least: int | None = None
    length_most: int | None = None
    length_mean: float | None = None
    top: list[tuple[Any, int]] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    variant_groups: int = 0
    variants: list[list[tuple[Any, int]]] = field(default_factory=list)
    repeats: int | None = None
    repeated: list[tuple[Any, int]] = field(default_factory=list)
    invalid: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Profile:
    """All of it. `key`: what should tell the records apart; `key_repeats`: rows that repeat one, `keyless`: rows without."""

    name: str
    records: int = 0
    completeness: float | None = None
    key: list[str] = field(default_factory=list)
    key_repeats: int = 0
    keyless: int = 0
    key_examples: list[tuple[list[Any], int]] = field(default_factory=list)
    fields: list[FieldProfile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def profile(
    side: Side,
    key: Sequence[str] = (),
    rules: Mapping[str, Check] | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Look at every value of a side. `key`: its fields if not those it names itself. Raises UsageError, and what reading
    raises."""
    done = Profile(side.name)
    with Scratch() as scratch:
        scratch.table("t", [f"c{i}" for i in range(len(side.fields))] or ["none"], len(side.fields))
        for part in side.parts():
            scratch.fill("t", part)
            done.records += len(part)
            if progress is not None:
                progress(f"reading {side.name}", done.records, max(side.total or 0, done.records))
        scratch.db.create_function("replica_folded", 1, folded, deterministic=True)
        for at, name in enumerate(side.fields):
            if progress is not None:
                progress(f"looking at {name}", at, len(side.fields))
            check = next((c for f, c in (rules or {}).items() if fold(f) == fold(name)), None)
            done.fields.append(_Look(name, done.records, check).over(_values(scratch, at)))
        _keys(scratch, side, list(key or side.key), done)
    filled = sum(f.filled for f in done.fields)
    done.completeness = ratio(filled, done.records * len(done.fields))
    done.notes = list(side.notes)
    return done


def _values(scratch: Scratch, at: int) -> Iterator[tuple[Any, int, Any]]:
    """(value, rows, as a person reads it) of each different value; those that read alike follow each other. 1 and 1.0 are
    one value to SQLite."""
    distinct = f"SELECT c{at} AS v, count(*) AS rows FROM t GROUP BY c{at}"
    cursor = scratch.db.execute(f"SELECT v, rows, replica_folded(v) AS f FROM ({distinct}) ORDER BY f, v")
    while part := cursor.fetchmany(4096):
        yield from part


class _Look:
    """At the different values of one field, once."""

    def __init__(self, name: str, records: int, check: Check | None) -> None:
        self._p = FieldProfile(name, records)
        self._check = check
        self._kinds: Counter[str] = Counter()
        self._suspicions: dict[str, Suspicion] = {}
        self._top: list[tuple[int, int, Any]] = []
        self._repeats: list[tuple[int, int, Any]] = []
        self._numbers: list[tuple[float, Any]] = []
        self._texts: list[str] = []
        self._lengths = self._rows_of_text = self._valid = self._doubled = 0

    def over(self, values: Iterator[tuple[Any, int, Any]]) -> FieldProfile:
        """The field's profile."""
        p, group, read = self._p, list[tuple[Any, int]](), None
        for value, rows, as_read in values:
            if value is None:
                p.nulls += rows
            if not is_filled(value):
                continue
            self._one(value, rows)
            if group and as_read == read and type(as_read) is type(read):
                group.append((_short(value), rows))
                continue
            self._variants(group)
            group, read = [(_short(value), rows)], as_read
        self._variants(group)
        return self._finish()

    def _one(self, value: Any, rows: int) -> None:
        p = self._p
        p.filled += rows
        p.distinct += 1
        what = kind(value)
        self._kinds[what] += rows
        for mark in marks(value):
            found = self._suspicions.setdefault(mark, Suspicion(mark))
            found.rows += rows
            if len(found.examples) < EXAMPLES:
                found.examples.append(_short(value))
        if len(self._top) < TOP or rows > self._top[0][0]:
            _keep(self._top, (rows, -p.distinct, value), TOP)
        if rows > 1:
            self._doubled += rows - 1
            _keep(self._repeats, (rows, -p.distinct, value), EXAMPLES)
        if isinstance(value, str):
            self._text(value, rows)
        if what in {"integer", "real"}:
            number = (float(value), value)
            low, high = self._numbers or [number] * 2
            self._numbers = [min(low, number, key=itemgetter(0)), max(high, number, key=itemgetter(0))]
        if self._check is not None:
            if self._check(value):
                self._valid += rows
            elif len(p.invalid) < EXAMPLES:
                p.invalid.append(_short(value))

    def _text(self, value: str, rows: int) -> None:
        p, length = self._p, len(value)
        p.length_least = length if p.length_least is None else min(p.length_least, length)
        p.length_most = length if p.length_most is None else max(p.length_most, length)
        self._lengths += length * rows
        self._rows_of_text += rows
        self._texts = [min(self._texts[0], value), max(self._texts[1], value)] if self._texts else [value] * 2

    def _variants(self, group: list[tuple[Any, int]]) -> None:
        if len(group) > 1:
            self._p.variant_groups += 1
            if len(self._p.variants) < EXAMPLES:
                self._p.variants.append(group[:EXAMPLES])

    def _finish(self) -> FieldProfile:
        p = self._p
        if len(self._kinds) > 1 and "boolean" in self._kinds:  # NO among countries is Norway.
            self._kinds["text"] += self._kinds.pop("boolean")
        p.kinds = dict(self._kinds.most_common())
        numeric = set(p.kinds) <= {"integer", "real"}
        if self._numbers and numeric:
            p.least, p.most = self._numbers[0][1], self._numbers[1][1]
        elif self._texts:
            p.least, p.most = _short(self._texts[0]), _short(self._texts[1])
        p.length_mean = self._lengths / self._rows_of_text if self._rows_of_text else None
        p.top = [(_short(value), rows) for rows, _, value in sorted(self._top, key=lambda e: e[:2], reverse=True)]
        p.suspicions = sorted(self._suspicions.values(), key=lambda s: (-s.rows, s.mark))
        p.completeness, p.uniqueness = ratio(p.filled, p.records), ratio(p.distinct, p.filled)
        p.validity = ratio(self._valid, p.filled) if self._check is not None else None
        if p.uniqueness is not None and p.filled > 1 and p.uniqueness >= NEARLY:
            p.repeats = self._doubled
            listed = sorted(self._repeats, key=lambda e: e[:2], reverse=True)
            p.repeated = [(_short(value), rows) for rows, _, value in listed]
        return p


def _keep(heap: list[tuple[int, int, Any]], entry: tuple[int, int, Any], most: int) -> None:
    """The greatest few: the second part is of one entry only, so values are never compared."""
    if len(heap) < most:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _short(value: Any) -> Any:
    if isinstance(value, bytes):
        value = f"x'{value[:SHOWN_CHARS].hex()}'"
    return value if not isinstance(value, str) or len(value) <= SHOWN_CHARS else value[: SHOWN_CHARS - 1] + "…"


def _keys(scratch: Scratch, side: Side, key: list[str], done: Profile) -> None:
    """Rows that repeat a key, or have none."""
    places = []
    for name in key:
        at = next((i for i, f in enumerate(side.fields) if fold(f) == fold(name)), None)
        if at is None:
            raise UsageError(f"{side.name} has no field {name!r}; it has {', '.join(side.fields)}")
        places.append(at)
    if not places:
        return
    done.key = [side.fields[at] for at in places]
    columns = ", ".join(f"c{at}" for at in places)
    whole = " AND ".join(f"trim(coalesce(c{at}, '')) <> ''" for at in places)
    done.keyless = scratch.db.execute(f"SELECT count(*) FROM t WHERE NOT ({whole})").fetchone()[0]
    groups = f"SELECT {columns}, count(*) AS rows FROM t WHERE {whole} GROUP BY {columns} HAVING count(*) > 1"
    done.key_repeats = scratch.db.execute(f"SELECT coalesce(sum(rows - 1), 0) FROM ({groups})").fetchone()[0]
    examples = scratch.db.execute(f"{groups} ORDER BY rows DESC, {columns} LIMIT {EXAMPLES}").fetchall()
    done.key_examples = [([_short(v) for v in row[:-1]], row[-1]) for row in examples]

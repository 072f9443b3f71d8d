"""Two sides, record by record: what is missing, what is extra, what differs, and how good A is measured by B.

Records are matched by key. Let K(A), K(B) be the keys of each side, C = K(A) & K(B); of a field f and a record k of C let
a(k), b(k) be its values. A value is filled unless it is NULL, empty or blank.

    consistency of records   |C| / |K(A) | K(B)|                    Jaccard index of the two sets of keys
    consistency of f         |P & Q| / |P | Q|                      the same of the (k, filled value of f) pairs over C
    completeness of records  |C| / |K(B)|                           of what should be there, how much is
    completeness of f        filled values of f / records           of each side by itself
    accuracy of f            filled, valid by rule and equal to b(k) / filled; over C

A measure of nothing is None, not 1. Against a file, which cannot say more, NULL and empty text are the same, and numbers and
bytes equal their text; two stores are compared value by value. Nothing is normalised unless asked for. A record without a
whole key cannot be matched; of records with one key the first is compared, the others are told: both make the sides
unequal. One test each:

1. Counts and measures are those of a plain model, whatever the rows.
2. Totals are exact, lists are bounded; both values of a difference are shown as they are.
3. Equal means: same keys, each once, same fields, same values.
4. Memory is flat: both sides lie in a database on the disk.
5. 00123 is not 123, and 1.50 of a file is 1.5 of a store.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol.record import fold
from replica.errors import UsageError
from replica.exchange.quality.side import Scratch, Side
from replica.exchange.rows import Row

Check = Callable[[Any], bool]
"""Whether a value is valid by the rules of its field."""
Progress = Callable[[str, int, int], None]

LIST_MAX = 20
"""Entries of each list, unless told otherwise."""
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """How to compare. `fields`: these only; empty: all that both sides have."""

    key: tuple[str, ...]
    fields: tuple[str, ...] = ()
    ignore_case: bool = False
    trim: bool = False
    limit: int = LIST_MAX
    rules: Mapping[str, Check] = field(default_factory=dict)


@dataclass(slots=True)
class FieldResult:
    """One field over the common records, but for completeness, which is over each side's own."""

    name: str
    equal: int
    differing: int
    consistency: float | None
    completeness_a: float | None
    completeness_b: float | None
    accuracy: float | None


@dataclass(slots=True)
class SideResult:
    """One side: its rows, the different keys among them, rows that repeat a key, rows without a whole key."""

    name: str
    rows: int = 0
    records: int = 0
    repeated: int = 0
    keyless: int = 0
    duplicates: list[list[Any]] = field(default_factory=list)
    """Keys that stand more than once."""
    only_fields: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What came of a comparison. `missing`: in B alone; `extra`: in A alone; `differences`: key, field, value in A, in B."""

    a: SideResult
    b: SideResult
    key: list[str]
    common: int = 0
    missing: int = 0
    extra: int = 0
    differing: int = 0
    consistency: float | None = None
    completeness: float | None = None
    fields: list[FieldResult] = field(default_factory=list)
    missing_keys: list[list[Any]] = field(default_factory=list)
    extra_keys: list[list[Any]] = field(default_factory=list)
    differences: list[tuple[list[Any], str, Any, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Same keys, each once, same fields, same values."""
        sides = (self.a, self.b)
        odd = any(s.repeated or s.keyless or s.only_fields for s in sides)
        return not (self.missing or self.extra or self.differing or odd)


def ratio(part: int, whole: int) -> float | None:
    """A share, or None of nothing."""
    return part / whole if whole else None


def is_filled(value: object) -> bool:
    """Whether a value says anything: NULL, empty and blank text do not."""
    return value is not None and not (isinstance(value, str) and not value.strip()) and value != b""


def same_loosely(a: Any, b: Any) -> bool:
    """Whether two values are the same to a file: empty is nothing, a number equals its text (5 and "5", 1.5 and "1.50", but
    not 123 and "00123"), and bytes equal their text x'…'."""
    if a == b:
        return True
    if a is None or b is None:
        return a in {None, ""} and b in {None, ""}
    if isinstance(a, str):
        a, b = b, a
    if not isinstance(b, str):
        return False
    if isinstance(a, bytes):
        return b == f"x'{a.hex()}'"
    if isinstance(a, int | float) and _NUMBER.fullmatch(b):
        return bool(a == (int(b) if re.fullmatch(r"[+-]?\d{1,19}", b) else float(b)))
    return isinstance(a, float) and math.isinf(a) and b.lower() == str(a)


def compare(a: Side, b: Side, asked: Asked, progress: Progress | None = None) -> Result:
    """Compare A with B, the reference. Raises UsageError for a key or field that a side has not, and what reading raises."""
    key_a, key_b = (_places(side, asked.key, "key") for side in (a, b))
    result = Result(SideResult(a.name), SideResult(b.name), [a.fields[at] for at in key_a])
    pairs = _pairs(a, b, asked, result)
    loose = not (a.is_store and b.is_store)
    with Scratch() as scratch:
        work = _Work(scratch, asked, [name for name, _, _ in pairs], loose)
        work.load("a", a, result.a, key_a, [at for _, at, _ in pairs], progress)
        work.load("b", b, result.b, key_b, [at for _, _, at in pairs], progress)
        work.keys(result)
        work.values(result, progress)
    result.notes += a.notes + b.notes
    return result


def _places(side: Side, names: Sequence[str], what: str) -> list[int]:
    """Where these fields stand: by name as it is, else without case. Raises UsageError."""
    folded = [fold(name) for name in side.fields]
    found = []
    for name in names:
        if name in side.fields:
            found.append(side.fields.index(name))
        elif folded.count(fold(name)) == 1:
            found.append(folded.index(fold(name)))
        else:
            raise UsageError(f"{side.name} has no {what} {name!r}; it has {', '.join(side.fields)}")
    return found


def _pairs(a: Side, b: Side, asked: Asked, result: Result) -> list[tuple[str, int, int]]:
    """(name, place in A, place in B) of the fields to compare."""
    if asked.fields:
        at_a, at_b = _places(a, asked.fields, "field"), _places(b, asked.fields, "field")
        return list(zip(asked.fields, at_a, at_b, strict=True))
    pairs = []
    used = set()
    folded = {fold(name): at for at, name in reversed(list(enumerate(b.fields)))}
    for at, name in enumerate(a.fields):
        other = b.fields.index(name) if name in b.fields else folded.get(fold(name))
        if other is None or other in used:
            result.a.only_fields.append(name)
        else:
            used.add(other)
            pairs.append((name, at, other))
    result.b.only_fields += [name for at, name in enumerate(b.fields) if at not in used]
    return pairs


class _Work:
    """Both sides in a scratch database: table a and b, each n, k0…, c0…."""

    def __init__(self, scratch: Scratch, asked: Asked, names: list[str], loose: bool) -> None:
        self._scratch, self._asked, self._names, self._loose = scratch, asked, names, loose
        self._db = scratch.db
        width = len(asked.key)
        self._k = [f"k{i}" for i in range(width)]
        self._keys = {side: ", ".join(f"{side}.{k}" for k in self._k) for side in "ab"}
        self._on = " AND ".join(f"a.{k} = b.{k}" for k in self._k)

    def load(
        self, name: str, side: Side, result: SideResult, key: list[int], places: list[int], progress: Progress | None
    ) -> None:
        """Read a side, and set rows without a key and rows that repeat one apart."""
        columns = ["n INTEGER PRIMARY KEY", *self._k, *(f"c{i}" for i in range(len(places)))]
        self._scratch.table(name, columns, len(places))
        for part in side.parts():
            rows: list[Row] = []
            for row in part:
                result.rows += 1
                parts = [self._key(row[at]) for at in key]
                if None in parts:
                    result.keyless += 1
                else:
                    rows.append((result.rows, *parts, *[row[at] for at in places]))
            self._scratch.fill(name, rows)
            if progress is not None:
                progress(f"reading {side.name}", result.rows, max(side.total or 0, result.rows))
        keys = ", ".join(self._k)
        self._db.execute(f"CREATE INDEX {name}_key ON {name}({keys})")
        twice = f"SELECT {keys}, count(*) AS rows FROM {name} GROUP BY {keys} HAVING count(*) > 1"
        result.repeated = self._db.execute(f"SELECT coalesce(sum(rows - 1), 0) FROM ({twice})").fetchone()[0]
        if result.repeated:
            listed = self._db.execute(f"{twice} ORDER BY {keys} LIMIT ?", (self._asked.limit,))
            result.duplicates = [list(row[:-1]) for row in listed]
            same = " AND ".join(f"o.{k} = {name}.{k}" for k in self._k)
            self._db.execute(
                f"DELETE FROM {name} WHERE EXISTS (SELECT 1 FROM {name} AS o WHERE {same} AND o.n < {name}.n)"
            )
        result.records = result.rows - result.keyless - result.repeated

    def _key(self, value: Any) -> Any:
        """A part of a key as it is matched, or None for nothing."""
        if isinstance(value, str):
            value = self._normal(value)
            return value if value.strip() else None
        if value is None or not self._loose:
            return value
        if isinstance(value, bytes):
            return f"x'{value.hex()}'"
        return str(int(value)) if value == value // 1 and abs(value) < 1 << 63 else repr(value)

    def _normal(self, text: str) -> str:
        text = text.strip() if self._asked.trim else text
        return text.casefold() if self._asked.ignore_case else text

    def keys(self, result: Result) -> None:
        """What stands on one side alone."""
        result.common = self._db.execute(f"SELECT count(*) FROM a JOIN b ON {self._on}").fetchone()[0]
        for one, other in ("ab", "ba"):
            alone = f"FROM {one} WHERE NOT EXISTS (SELECT 1 FROM {other} WHERE {self._on})"
            limit = (self._asked.limit,)
            found = self._db.execute(f"SELECT {self._keys[one]} {alone} ORDER BY {self._keys[one]} LIMIT ?", limit)
            listed = [list(row) for row in found]
            if one == "a":
                result.extra, result.extra_keys = result.a.records - result.common, listed
            else:
                result.missing, result.missing_keys = result.b.records - result.common, listed
        result.consistency = ratio(result.common, result.common + result.missing + result.extra)
        result.completeness = ratio(result.common, result.b.records)

    def _same(self, a: Any, b: Any) -> bool:
        if isinstance(a, str) and isinstance(b, str):
            return self._normal(a) == self._normal(b)
        if self._loose:
            a = self._normal(a) if isinstance(a, str) else a
            b = self._normal(b) if isinstance(b, str) else b
            return same_loosely(a, b)
        return bool(type(a) is type(b) and a == b) or (
            isinstance(a, int | float) and isinstance(b, int | float) and a == b
        )

    def values(self, result: Result, progress: Progress | None) -> None:
        """Every field of every common record; only rows that are not the same already are looked at one by one."""
        count, width = len(self._names), len(self._k)
        differing, lost_a, lost_b = [0] * count, [0] * count, [0] * count
        self._db.execute("CREATE TABLE odd(i, n, PRIMARY KEY(i, n)) WITHOUT ROWID")
        cells = ", ".join(f"{side}.c{i}" for side in "ab" for i in range(count))
        alike = _all_of([f"a.c{i} IS b.c{i}" for i in range(count)])
        cursor = self._db.execute(
            f"SELECT {self._keys['a']}, a.n{', ' if cells else ''}{cells} FROM a JOIN b ON {self._on} "
            f"WHERE NOT ({alike}) ORDER BY {self._keys['a']}"
        )
        done = 0
        while part := cursor.fetchmany(1024):
            odd: list[Row] = []
            for row in part:
                before = len(odd)
                mine, theirs = row[width + 1 : width + 1 + count], row[width + 1 + count :]
                for i, (x, y) in enumerate(zip(mine, theirs, strict=True)):
                    if x == y and type(x) is type(y):
                        continue
                    if self._same(x, y):
                        continue
                    odd.append((i, row[width]))
                    differing[i] += 1
                    lost_a[i] += is_filled(x)
                    lost_b[i] += is_filled(y)
                    if len(result.differences) < self._asked.limit:
                        result.differences.append((list(row[:width]), self._names[i], x, y))
                result.differing += len(odd) > before
            self._scratch.fill("odd", odd)
            done += len(part)
            if progress is not None:
                progress("comparing", done, max(result.common, done))
        common_a = self._filled("a", f"FROM a JOIN b ON {self._on}")
        own_a, own_b = (self._filled(side, f"FROM {side}") for side in "ab")
        for i, name in enumerate(self._names):
            check = next((c for f, c in self._asked.rules.items() if fold(f) == fold(name)), None)
            wrong = self._invalid(i, check) if check is not None else 0
            agreed = common_a[i] - lost_a[i]  # Pairs that both sides have.
            result.fields.append(
                FieldResult(
                    name,
                    result.common - differing[i],
                    differing[i],
                    ratio(agreed, agreed + lost_a[i] + lost_b[i]),
                    ratio(own_a[i], result.a.records),
                    ratio(own_b[i], result.b.records),
                    ratio(agreed - wrong, common_a[i]),
                )
            )

    def _filled(self, side: str, where: str) -> list[int]:
        """Filled values of each field."""
        counts: list[int] = []
        for start in range(0, len(self._names), 100):
            some = range(start, min(start + 100, len(self._names)))
            sums = ", ".join(f"total({filled_sql(f'{side}.c{i}')})" for i in some)
            counts += map(int, self._db.execute(f"SELECT {sums} {where}").fetchone())
        return counts

    def _invalid(self, i: int, check: Check) -> int:
        """Filled values of A that equal B's and break a rule."""
        self._db.create_function("replica_valid", 1, lambda value: int(check(value)), deterministic=True)
        return int(
            self._db.execute(
                f"SELECT count(*) FROM a JOIN b ON {self._on} WHERE {filled_sql(f'a.c{i}')} AND NOT replica_valid(a.c{i}) "
                f"AND NOT EXISTS (SELECT 1 FROM odd WHERE odd.i = {i} AND odd.n = a.n)"
            ).fetchone()[0]
        )


_BLANK = ", ".join(str(code) for code in range(1 << 16) if chr(code).isspace())
"""What Python's strip takes away."""


def filled_sql(column: str) -> str:
    """`is_filled` in SQL: 1 or 0."""
    said = f"(typeof({column}) <> 'text' OR trim({column}, char({_BLANK})) <> '')"
    return f"({column} IS NOT NULL AND {column} <> x'' AND {said})"


def _all_of(terms: list[str]) -> str:
    """A conjunction that does not nest deeply."""
    groups = [terms[i : i + 50] for i in range(0, len(terms), 50)]
    return " AND ".join("(" + " AND ".join(group) + ")" for group in groups) or "1"

"""Rows of a file -> rows of collections: what a map means, carried out a batch at a time and a column at a time.

`load` reads a map file, `plain` is what happens without one. `Mapping.settle` decides over the whole file what single
values leave open (12/03/2021, 1,234); `Mapping.mapper` is the machine for a file with these columns.

1. A source row is mapped whole or rejected whole, with all problems of all its fields at once; every row is in a Mapped or
   has problems.
2. Without a map nothing is converted: "00123" stays that text.
3. An external key must be filled, and one that a spreadsheet has spoilt (8.6138E+12) is refused.
4. One row makes records of several collections; one whose columns all say nothing makes none of that collection.
5. The elements of an array become records of their own, which see the fields of their row as "^name".
6. What a file lacks is named at once, with the columns that look like it; the case of a header's letters does not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from replica.errors import MapRefused
from replica.exchange.maps.children import Children, flat_children, only_above, path_known, tree_children
from replica.exchange.maps.fieldplan import FieldPlan
from replica.exchange.maps.mapmodel import (
    CollectionSpec,
    Field,
    FieldSpec,
    Mapped,
    Problem,
    Target,
    WholeFile,
    as_text,
    folded,
    is_blank,
    near,
)
from replica.exchange.maps.numbers import lost_digits
from replica.exchange.maps.steps import Column
from replica.exchange.maps.when import chooser
from replica.exchange.rows import MISSING, Batch, Cell, Finding, Reader, ReadOptions

if TYPE_CHECKING:
    from replica.exchange.maps.columns import Decision

__all__ = ["Field", "Mapped", "Mapper", "Mapping", "Problem", "Target", "load", "plain"]


@dataclass(frozen=True)
class Mapping:
    """A map, checked. `source`: name of the system that the file is from; `read`: how to read the file; `date`: order of
    its dates where the values leave it open; `country`: of phone numbers that do not say theirs."""

    source: str | None
    read: ReadOptions
    collections: tuple[CollectionSpec, ...] = field(default=())
    date: str | None = None
    country: str | None = None

    def mapper(self, fields: Sequence[str]) -> Mapper:
        """The machine for a file with these columns. Raises MapRefused that names all that the file lacks."""
        lacking: list[str] = []
        made = [_fitted(_spelled(spec, fields), fields, lacking) for spec in self.collections]
        if lacking:
            raise MapRefused("; ".join(dict.fromkeys(lacking)))
        return Mapper(made, list(fields), WholeFile(self.read.decimal, self.date, self.country))

    def settle(self, reader: Reader, date: str | None = None) -> tuple[Mapping, list[Finding]]:
        """This map with the order of dates and the decimal mark of every column that leaves them open decided over the
        whole file, and what was found. Reads the file once more, only if some are open. `date`: the order on a tie.
        Raises Unsure when all values of a column are ambiguous, or contradict each other."""
        decisions, findings = self.decide(reader, date)
        return self.decided(decisions), findings

    def decide(self, reader: Reader, date: str | None = None) -> tuple[list[Decision], list[Finding]]:
        """What `settle` decides, and what was found. Raises Unsure."""
        from replica.exchange.maps.columns import decide

        return decide(self, reader, date or self.date)

    def decided(self, decisions: Sequence[Decision]) -> Mapping:
        """This map with what was decided over the whole file."""
        from replica.exchange.maps.columns import decided

        return decided(self, decisions) if decisions else self


class Mapper:
    """Maps batches of one file. `targets`: the collections, with the fields that this file has; `unused`: columns of the
    file that nothing reads."""

    def __init__(self, specs: Sequence[CollectionSpec], fields: list[str], whole: WholeFile) -> None:
        self.targets = tuple(
            Target(spec.name, spec.key, tuple(f.field() for f in spec.fields), spec.blank) for spec in specs
        )
        self._plans = [_CollectionPlan(spec, fields, whole, len(specs) > 1) for spec in specs]
        self._fields = fields
        self.unused = _unused(specs, fields)

    def said(self, target: int, names: Collection[str], batch: Batch) -> list[tuple[str, Column]]:
        """What the file says for these fields of a target, as text steps leave it, before types: for detectors."""
        columns: list[Column] = list(zip(*batch.rows, strict=True)) if batch.rows else [() for _ in self._fields]
        return self._plans[target].said(names, columns, batch)

    def map(self, batch: Batch) -> tuple[list[Mapped], dict[int, list[Problem]]]:
        """Records of the batch, and problems by the index of the row in the batch. A row with a problem makes no record."""
        problems: dict[int, list[Problem]] = {}
        columns: list[Column] = list(zip(*batch.rows, strict=True)) if batch.rows else [() for _ in self._fields]
        made = [plan.make(index, columns, batch, problems) for index, plan in enumerate(self._plans)]
        if len(made) > 1 or self._plans[0].selective:
            taken = set(problems).union(*(m.sources for m in made))
            why = "makes no record of any collection: it is empty, or no `when` takes it; leave it out or widen the map"
            for row in set(range(len(batch.rows))) - taken:
                problems[row] = [Problem("", "", "when", why)]
        if not problems:
            return made, problems
        return [_without(m, problems) for m in made], dict(sorted(problems.items()))


class _CollectionPlan:
    """How the records of one collection are made of a batch."""

    def __init__(self, spec: CollectionSpec, fields: list[str], whole: WholeFile, several: bool) -> None:
        self.spec = spec
        self.plans: list[FieldPlan] = [FieldPlan(f, whole) for f in spec.fields]
        self.selective = bool(spec.when) or spec.rows is not None
        self._several = several
        self._place = {name: index for index, name in enumerate(fields)}
        names = [f.name for f in spec.fields]
        self._key = [names.index(name) for name in spec.key]
        self._choose = chooser(spec.when)
        self._check = _schema_check(spec) if spec.schema else None

    def _rows(self, columns: list[Column], batch: Batch) -> tuple[Sequence[int] | range, Callable[[str], Column]]:
        """Index of the row of each record, and how to get a column of the records."""
        count = len(batch.rows)
        if self.spec.rows is not None:
            found: Children
            if self.spec.separator is not None:
                found = flat_children(self.spec, columns[self._place[self.spec.rows]], self._place, columns)
            elif batch.trees is not None:
                found = tree_children(self.spec.rows, batch.trees, self._place, columns)
            else:
                raise MapRefused(
                    f'collection "{self.spec.name}": rows needs a file that nests (JSON, XML, vCard), or a separator '
                    f"for the cells of a flat one"
                )
            return found.sources, found.take
        place = self._place
        from_trees = batch.trees

        def take(name: str) -> Column:
            if name in place:
                return columns[place[name]]
            return tree_children(None, from_trees or [], place, columns).take(name) if from_trees else [MISSING] * count

        return range(count), take

    def _records(self, columns: list[Column], batch: Batch) -> tuple[Sequence[int], Callable[[str], Column]]:
        sources, take = self._rows(columns, batch)
        if self._choose is not None:
            sources, take = _chosen(sources, take, self._choose(take, len(sources)))
        return sources, take

    def said(self, names: Collection[str], columns: list[Column], batch: Batch) -> list[tuple[str, Column]]:
        """What the file says for these fields."""
        sources, take = self._records(columns, batch)
        return [(p.spec.name, p.said(take, len(sources))) for p in self.plans if p.spec.name in names]

    def make(self, index: int, columns: list[Column], batch: Batch, problems: dict[int, list[Problem]]) -> Mapped:
        """The records of this collection. Adds problems by the index of the row in the batch."""
        sources, take = self._records(columns, batch)
        count = len(sources)
        own: dict[int, list[Problem]] = {}
        values: list[list[Cell]] = []
        defaulted: dict[int, list[int]] = {}
        for number, plan in enumerate(self.plans):
            column, filled = plan.make(take, count, own)
            values.append(column)
            if filled:
                defaulted[number] = filled
        silent = self._check_key(values, defaulted, own)
        if self._check is not None:
            self._check(values, own, silent)
        for record in silent:
            own.pop(record, None)
        for record, found in own.items():
            problems.setdefault(sources[record], []).extend(found)
        made = Mapped(index, list(sources), values, defaulted)
        return _keep(made, [r for r in range(count) if r not in silent]) if silent else made

    def _check_key(
        self, values: list[list[Cell]], defaulted: dict[int, list[int]], own: dict[int, list[Problem]]
    ) -> set[int]:
        """Adds problems of the keys; gives the records that say nothing at all, where rows make several collections."""
        silent: set[int] = set()
        for number in self._key:
            name, column = self.spec.fields[number].name, values[number]
            if not all(column) or set(map(type, column)) != {str} or any(map(str.isspace, column)):  # type: ignore[arg-type]
                for record in [i for i, cell in enumerate(column) if is_blank(cell)]:
                    if self._several and self._silent(values, defaulted, record):
                        silent.add(record)
                    elif not any(p.field == name for p in own.get(record, ())):
                        why = "is empty, but it identifies the record: fill it in, or choose another key"
                        own.setdefault(record, []).append(Problem(name, "", "key", why))
            for record in [i for i, cell in enumerate(column) if cell.__class__ is str and lost_digits(cell)]:
                why = "has lost digits in a spreadsheet: export the column as text again"
                own.setdefault(record, []).append(Problem(name, as_text(column[record]), "digits", why))
        return silent

    def _silent(self, values: list[list[Cell]], defaulted: dict[int, list[int]], record: int) -> bool:
        return all(
            is_blank(values[number][record]) or record in defaulted.get(number, ())
            for number, plan in enumerate(self.plans)
            if plan.spec.constant is MISSING and not all(s.startswith("^") or s == "#" for s in plan.spec.sources)
        )


def _chosen(
    sources: Sequence[int], take: Callable[[str], Column], chosen: list[int]
) -> tuple[Sequence[int], Callable[[str], Column]]:
    if len(chosen) == len(sources):
        return sources, take
    memo: dict[str, Column] = {}

    def some(name: str) -> Column:
        if name not in memo:
            column = take(name)
            memo[name] = [column[i] for i in chosen]
        return memo[name]

    return [sources[i] for i in chosen], some


def _without(made: Mapped, problems: dict[int, list[Problem]]) -> Mapped:
    keep = [record for record, row in enumerate(made.sources) if row not in problems]
    return made if len(keep) == len(made.sources) else _keep(made, keep)


def _keep(made: Mapped, keep: list[int]) -> Mapped:
    """Some of the records, in the same order."""
    at = {record: index for index, record in enumerate(keep)} if made.defaulted else {}
    return Mapped(
        made.target,
        [made.sources[i] for i in keep],
        [[column[i] for i in keep] for column in made.columns],
        {name: [at[i] for i in filled if i in at] for name, filled in made.defaulted.items()},
    )


def _schema_check(spec: CollectionSpec) -> Callable[[list[list[Cell]], dict[int, list[Problem]], Iterable[int]], None]:
    from replica.exchange.maps.schemas import checker

    return checker(spec)


def _spelled(spec: CollectionSpec, fields: Sequence[str]) -> CollectionSpec:
    """The collection with its columns spelled as this file does: systems write one header as ID, Id or id, by version. Only
    where one column can be meant."""
    times = Counter(map(folded, fields))
    theirs = {folded(name): name for name in fields if times[folded(name)] == 1}

    def spelled(source: str) -> str:
        return source if source in fields else theirs.get(folded(source), source)

    made = [replace(f, sources=tuple(dict.fromkeys(map(spelled, f.sources)))) for f in spec.fields]
    when = tuple(replace(condition, column=spelled(condition.column)) for condition in spec.when)
    return replace(spec, fields=tuple(made), when=when)


def _fitted(spec: CollectionSpec, fields: Sequence[str], lacking: list[str]) -> CollectionSpec:
    """The collection as this file fills it: optional columns that it lacks are left out, the rest of the columns added.
    Adds to `lacking` what is missing."""
    known = set(fields)
    child = spec.rows is not None
    if child and spec.rows is not None and not path_known(spec.rows, fields, spec.separator is not None):
        lacking.append(_lacks(f'rows of "{spec.name}"', spec.rows, fields))
    lacking += [
        _lacks(f'when of "{spec.name}"', condition.column, fields)
        for condition in spec.when
        if not child and not path_known(condition.column, fields, False)
    ]
    made: list[FieldSpec] = []
    for f in spec.fields:
        if f.constant is not MISSING or (child and not any(s.startswith("^") for s in f.sources)):
            made.append(f)
            continue
        there = tuple(
            s for s in f.sources if s in known or (child and s[:1] != "^") or path_known(s.lstrip("^"), fields, False)
        )
        whole = f.concat is not None or f.refers is not None
        if f.optional and len(f.sources) > 1 and not child and f.type != "json":
            there = tuple(s for s in there if not only_above(s, fields))  # "tel" is no value where tel.work is.
        if len(there) == len(f.sources) or (there and not whole) or (there and f.optional):
            if len(there) < len(f.sources) and f.refers is not None and f.concat is None:
                there = there[:1]  # A key of several fields lacks none of them, so these are names of one.
            made.append(replace(f, sources=there))
        elif f.optional and f.name not in spec.key:
            if f.default is not MISSING:
                made.append(replace(f, sources=()))
            elif f.required:
                lacking.append(_lacks(f'field "{f.name}" of "{spec.name}"', f.sources[0], fields))
        else:
            absent = [s for s in f.sources if s not in there]
            lacking.append(_lacks(f'field "{f.name}" of "{spec.name}"', absent[0], fields))
    if spec.rest == "keep":
        named = {s for f in spec.fields for s in f.sources}
        made += [FieldSpec(name, (name,)) for name in fields if name not in named]
    _check_names(spec, [f.name for f in made], fields, lacking)
    return replace(spec, fields=tuple(made))


def _unused(specs: Sequence[CollectionSpec], fields: Sequence[str]) -> tuple[str, ...]:
    read = {source.removeprefix("^") for spec in specs for f in spec.fields for source in f.sources}
    read |= {c.column for spec in specs for c in spec.when} | {spec.rows for spec in specs if spec.rows}
    inside = {name[: found.start()] for name in read for found in re.finditer(r"[.\[]", name)}
    return tuple(
        name
        for name in fields
        if name not in read and name not in inside and not any(name.startswith((f"{r}.", f"{r}[")) for r in read)
    )


def _check_names(spec: CollectionSpec, names: list[str], fields: Sequence[str], lacking: list[str]) -> None:
    mapped = {f.name for f in spec.fields} | set(names)
    lacking += [_lacks(f'key of "{spec.name}"', name, fields) for name in spec.key if name not in mapped]
    seen: dict[str, str] = {}
    for name in names:
        if folded(name) not in seen:
            seen[folded(name)] = name
            continue
        both = f'"{seen[folded(name)]}" and "{name}"'
        lacking.append(f'"{spec.name}" would have the columns {both}, which are one to SQLite: map one of them')


def _lacks(what: str, name: str, fields: Sequence[str]) -> str:
    close = near(name.lstrip("^"), fields)
    hint = "did you mean " + " or ".join(f'"{c}"' for c in close) + "?" if close else "it has " + ", ".join(fields[:12])
    return f'{what}: the file has no column "{name}"; {hint}'


def plain(collection: str, key: Sequence[str], blank: str = "leave") -> Mapping:
    """What happens without a map: the headers are the fields, and nothing is converted."""
    return Mapping(None, ReadOptions(), (CollectionSpec(collection, tuple(key), blank=blank, rest="keep"),))


def load(path: str | Path) -> Mapping:
    """The map of this file, or the ready one of this name. Raises MapRefused with all that is wrong with it at once."""
    from replica.exchange.maps.mapfile import read

    return read(path)

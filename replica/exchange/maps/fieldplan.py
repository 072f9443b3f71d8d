"""How one field is made of the columns of a batch: its parts in the order that MAP.md gives, compiled once for a file.

1. Every refusal of a field is collected, none hides another, and each carries the value as the file has it.
2. A default stands in only where the file says nothing, and is told apart from what the file says.
"""

from __future__ import annotations

from collections.abc import Callable

from replica.exchange.maps import steps
from replica.exchange.maps.mapmodel import FieldSpec, Lookup, Problem, WholeFile, as_text, is_blank, near
from replica.exchange.maps.rules import rules
from replica.exchange.maps.steps import Column
from replica.exchange.maps.types import converter
from replica.exchange.rows import MISSING, Cell

Take = Callable[[str], Column]
"""Name of a column of the file -> its cells, one a record."""
VALUE_SHOWN = 200
"""Characters of a value in a problem."""


class FieldPlan:
    """One field of a collection, ready to be made."""

    def __init__(self, spec: FieldSpec, whole: WholeFile) -> None:
        self.spec = spec
        self._steps = steps.steps(spec)
        self._convert = converter(spec, whole)
        self._rules = rules(spec)
        self._lookup = _lookup(spec.lookup) if spec.lookup else None

    def said(self, take: Take, count: int) -> Column:
        """What the file says for this field, before its lookup and its type."""
        spec = self.spec
        if spec.constant is not MISSING:
            return [spec.constant] * count
        columns = [take(name) for name in spec.sources]
        if not columns:  # Optional, and the file lacks it.
            return [MISSING] * count
        if len(columns) == 1:
            column = columns[0]
        elif spec.concat is not None:
            column = steps.concat(columns, spec.concat)
        elif spec.refers is not None:
            return steps.together([self._stepped(c) for c in columns])
        else:
            column = steps.alternatives(columns)
        return self._stepped(column)

    def _stepped(self, column: Column) -> Column:
        for step in self._steps:
            column = step(column)
        return column

    def make(self, take: Take, count: int, problems: dict[int, list[Problem]]) -> tuple[list[Cell], list[int]]:
        """The values of the field, and the indexes of those that are its default. Adds problems by index of the record."""
        spec = self.spec
        column = self.said(take, count)
        if spec.constant is not MISSING or (spec.refers is not None and len(spec.sources) > 1 and spec.concat is None):
            values: list[Cell] = list(column)
        else:
            errors: dict[int, str] = {}
            if self._lookup is not None:
                column, errors = self._lookup(column)
            values, refused = self._convert(column)
            if refused or errors:
                for index, why in errors.items():
                    problems.setdefault(index, []).append(self._problem(take, index, "lookup", why))
                self._refuse(refused, values, column, take, problems)
        filled: list[int] = []
        if spec.default is not MISSING:
            known = {index for index, found in problems.items() if any(p.field == spec.name for p in found)}
            for index, cell in enumerate(values):
                if is_blank(cell) and index not in known:
                    values[index] = spec.default
                    filled.append(index)
        for rule in self._rules:
            for index, name, why in rule(values):
                if name == "required" and index in problems and any(p.field == spec.name for p in problems[index]):
                    continue
                problems.setdefault(index, []).append(self._problem(take, index, name, why))
        return values, filled

    def _refuse(
        self,
        errors: dict[int, str],
        values: list[Cell],
        column: Column,
        take: Take,
        problems: dict[int, list[Problem]],
    ) -> None:
        what, rule = self.spec.on_error, self.spec.type or "type"
        for index, why in errors.items():
            if what == "keep":
                cell = column[index]
                values[index] = cell if isinstance(cell, str | bytes | float) else as_text(cell)
            elif what == "null":
                values[index] = None
            else:
                problems.setdefault(index, []).append(self._problem(take, index, rule, why))

    def _problem(self, take: Take, index: int, rule: str, why: str) -> Problem:
        shown = " | ".join(as_text(take(name)[index]) for name in self.spec.sources)
        return Problem(self.spec.name, shown[:VALUE_SHOWN], rule, why)


def _lookup(lookup: Lookup) -> Callable[[Column], tuple[Column, dict[int, str]]]:
    """Replaces texts by a table, whatever their case and the white space around them; an exact entry goes first."""
    exact = dict(lookup.table)
    loose = {as_text(name).strip().casefold(): value for name, value in reversed(lookup.table)}
    names = [name for name, _ in lookup.table]

    def run(column: Column) -> tuple[Column, dict[int, str]]:
        out: list[Cell] = []
        errors: dict[int, str] = {}
        for index, cell in enumerate(column):
            text = as_text(cell)
            if text in exact:
                out.append(exact[text])
            elif is_blank(cell):
                out.append(cell)
            elif (plain := text.strip().casefold()) in loose:
                out.append(loose[plain])
            elif lookup.absent == "keep":
                out.append(cell)
            elif lookup.absent == "null":
                out.append(None)
            else:
                close = near(text, names)
                hint = f'did you mean "{close[0]}"?' if close else "add it to the table, or say what if absent"
                errors[index] = f"is not in the lookup table: {hint}"
                out.append(None)
        return out, errors

    return run

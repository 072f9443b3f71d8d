"""The rules of a field, checked a column at a time: required, allowed, pattern, range and length.

Patterns run in an engine of linear time (Rust's regex, by jsonschema-rs): none can hang the import, and those it cannot run
(look-around, back-references) are refused when the map is read. One test each:

1. Every rule refuses what it must, and names itself and the way out.
2. A pattern with nested quantifiers takes linear time; one that cannot be run is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from replica.exchange.maps.mapmodel import FieldSpec, as_text, is_blank, near
from replica.exchange.rows import Cell
from replica.libraries import library

Refused: TypeAlias = "list[tuple[int, str, str]]"
"""Index in the column, the rule, why."""
Rule: TypeAlias = Callable[[Sequence[Cell]], Refused]

PATTERN_MAX = 1_000
"""Characters of a pattern."""


def matcher(pattern: str) -> tuple[Callable[[str], bool], Callable[[list[str]], bool]]:
    """Whether one text, and whether all of some texts, match the whole pattern. Raises ValueError that says what is wrong
    with the pattern."""
    with library("jsonschema-rs"):
        import jsonschema_rs

    if len(pattern) > PATTERN_MAX:
        raise ValueError(f"a pattern has at most {PATTERN_MAX} characters")
    options = jsonschema_rs.RegexOptions(size_limit=1_000_000)
    try:
        jsonschema_rs.validator_for(
            {"pattern": pattern}, pattern_options=options
        )  # "a)(b" is none, though ^(?:a)(b)$ is.
        whole = {"pattern": rf"^(?:{pattern})$"}
        one = jsonschema_rs.validator_for(whole, pattern_options=options)
        every = jsonschema_rs.validator_for({"items": whole}, pattern_options=options)
    except ValueError:
        raise ValueError(
            f'"{pattern}" is no pattern that can be run: check its brackets; look-around and back-references are not known'
        ) from None
    return _guarded(one.is_valid), _guarded(every.is_valid)


def _guarded(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        try:
            return valid(value)
        except UnicodeEncodeError:  # Half a character (a lone surrogate) matches nothing.
            return False

    return check


def rules(spec: FieldSpec) -> list[Rule]:
    """The rules of a field that need no store; each looks at values that are there, but `required`."""
    made: list[Rule] = []
    if spec.required:
        made.append(_required)
    if spec.allowed is not None:
        made.append(_allowed(spec.allowed))
    if spec.pattern is not None:
        made.append(_pattern(spec.pattern))
    if spec.min is not None or spec.max is not None:
        made.append(_range(spec.min, spec.max))
    if spec.min_length is not None or spec.max_length is not None:
        made.append(_length(spec.min_length, spec.max_length))
    return made


def _required(column: Sequence[Cell]) -> Refused:
    if all(column) and set(map(type, column)) == {str} and not any(map(str.isspace, column)):  # type: ignore[arg-type]
        return []
    return [
        (index, "required", "must not be empty: fill it in, or give the field a default")
        for index, cell in enumerate(column)
        if is_blank(cell)
    ]


def _allowed(allowed: Sequence[Any]) -> Rule:
    known = frozenset(allowed)
    words = [as_text(value) for value in allowed]

    def check(column: Sequence[Cell]) -> Refused:
        try:
            if known.issuperset(column):
                return []
        except TypeError:
            return [(i, "allowed", "is none of the allowed values: correct it") for i in range(len(column))]
        out = []
        for index, cell in enumerate(column):
            if cell not in known and not is_blank(cell):
                close = near(as_text(cell), words)
                hint = f'did you mean "{close[0]}"?' if close else "use one of " + ", ".join(words[:8])
                out.append((index, "allowed", f"is none of the allowed values: {hint}"))
        return out

    return check


def _pattern(pattern: str) -> Rule:
    one, every = matcher(pattern)

    def check(column: Sequence[Cell]) -> Refused:
        if set(map(type, column)) == {str} and every(column if isinstance(column, list) else list(column)):  # type: ignore[arg-type]
            return []
        return [
            (index, "pattern", f'does not match "{pattern}": correct it')
            for index, cell in enumerate(column)
            if not is_blank(cell) and not one(as_text(cell))
        ]

    return check


def _range(low: Any, high: Any) -> Rule:
    of_text = isinstance(low if low is not None else high, str)
    wanted = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"

    def check(column: Sequence[Cell]) -> Refused:
        out = []
        for index, cell in enumerate(column):
            if is_blank(cell):
                continue
            fits = cell.__class__ is str if of_text else cell.__class__ in (int, float)
            if not fits or (low is not None and cell < low) or (high is not None and cell > high):
                out.append(
                    (
                        index,
                        "min" if fits and low is not None and cell < low else "max",
                        f"must be {wanted}: correct it",
                    )
                )
        return out

    return check


def _length(low: int | None, high: int | None) -> Rule:
    def check(column: Sequence[Cell]) -> Refused:
        out = []
        for index, cell in enumerate(column):
            if is_blank(cell):
                continue
            size = len(cell if isinstance(cell, str | bytes) else as_text(cell))
            if low is not None and size < low:
                out.append((index, "min_length", f"has {size} characters, fewer than {low}: complete it"))
            if high is not None and size > high:
                out.append((index, "max_length", f"has {size} characters, more than {high}: shorten it"))
        return out

    return check

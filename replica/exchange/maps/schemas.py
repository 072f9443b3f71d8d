"""JSON Schema over mapped records: every error of every record, with its path; nothing is fetched from anywhere.

A record is what its fields hold: one that says nothing is absent, a yes or no is a boolean, JSON is what it says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from replica.exchange.maps.mapmodel import CollectionSpec, Problem, as_text
from replica.exchange.rows import MISSING, Cell
from replica.libraries import library

Check = Callable[[list[list[Cell]], dict[int, list[Problem]], Iterable[int]], None]


def _nowhere(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}, but nothing is fetched: put the definition into the schema")


def validator(text: str) -> Any:
    """A validator of this schema. Raises ValueError or ReferencingError if it is none, or refers to another document."""
    with library("jsonschema-rs"):
        import jsonschema_rs

    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - the caller reports it as one
    return jsonschema_rs.validator_for(
        document,
        retriever=_nowhere,
        validate_formats=True,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=1_000_000),
    )


def checker(spec: CollectionSpec) -> Check:
    """Checks all records of a batch that have no problem yet in a field; adds problems by index of the record."""
    known = validator(spec.schema or "{}")
    names = [f.name for f in spec.fields]
    as_is = [_reading(f.type) for f in spec.fields]

    def check(columns: list[list[Cell]], problems: dict[int, list[Problem]], silent: Iterable[int]) -> None:
        skip = set(silent)
        readings = list(zip(names, as_is, strict=True))
        records = [
            {
                name: value if read is None else read(value)
                for (name, read), value in zip(readings, cells, strict=True)
                if value is not None and value is not MISSING
            }
            for cells in zip(*columns, strict=True)
        ]
        for index, record in enumerate(records):
            if index in skip:
                continue
            errors = _errors(known, record)
            if not errors:
                continue
            wrong = {p.field for p in problems.get(index, ())}
            for error in errors:
                path = [str(step) for step in error.instance_path]
                name = path[0] if path else ""
                if name in wrong or (not path and any(f'"{field}" is a required' in error.message for field in wrong)):
                    continue  # What is wrong with the cell has been said already.
                rule = next((str(s) for s in reversed(list(error.schema_path)) if isinstance(s, str)), "schema")
                shown = as_text(record.get(name))[:200]
                why = f"{error.message}: correct it as the schema says"
                problems.setdefault(index, []).append(Problem(name, shown, f"schema {rule}", why))

    return check


def _errors(known: Any, record: dict[str, Any]) -> list[Any]:
    """All errors of a record. Half a character (a lone surrogate) counts as one that is not known, bytes as their hex: JSON
    has neither."""
    try:
        return [] if known.is_valid(record) else list(known.iter_errors(record))
    except ValueError:
        fit = {name: _fit(value) for name, value in record.items()}
        return list(known.iter_errors(fit))


def _fit(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_fit(inner) for inner in value]
    return {_fit(name): _fit(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _reading(kind: str) -> Callable[[Any], Any] | None:
    if kind == "boolean":
        return lambda value: bool(value) if value in (0, 1) else value
    if kind == "json":
        return _loaded
    return None


def _loaded(value: Any) -> Any:
    try:
        return json.loads(value)
    except (ValueError, TypeError):  # Kept as it was by on_error: the schema sees the text.
        return value

"""JSON Schema over mapped records: every error of every record, with its path; nothing is fetched from anywhere.

A record is what its fields hold: one that says nothing is absent, a yes or no is a boolean, JSON is what it says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from replica.exchange.mapmodel import CollectionSpec, Problem, as_text
from replica.exchange.rows import MISSING, Cell

Check = Callable[[list[list[Cell]], dict[int, list[Problem]], Iterable[int]], None]


def _nowhere(uri: str) -> Any:
    raise ValueError(f"it refers to {uri}, but nothing is fetched: put the definition into the schema")


def validator(text: str) -> Any:
    """A validator of this schema. Raises ValueError or ReferencingError if it is none, or refers to another document."""
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
            try:
                if known.is_valid(record):
                    continue
            except UnicodeEncodeError as error:  # Half a character (a lone surrogate): no JSON can hold it.
                name = next((n for n, v in record.items() if v.__class__ is str and error.object in v), "")
                why = "holds half a character, which no schema can check: correct it"
                problems.setdefault(index, []).append(Problem(name, as_text(record.get(name))[:200], "schema", why))
                continue
            wrong = {p.field for p in problems.get(index, ())}
            for found in known.iter_errors(record):
                path = [str(step) for step in found.instance_path]
                name = path[0] if path else ""
                if name in wrong or (not path and any(f'"{field}" is a required' in found.message for field in wrong)):
                    continue  # What is wrong with the cell has been said already.
                rule = next((str(s) for s in reversed(list(found.schema_path)) if isinstance(s, str)), "schema")
                shown = as_text(record.get(name))[:200]
                why = f"{found.message}: correct it as the schema says"
                problems.setdefault(index, []).append(Problem(name, shown, f"schema {rule}", why))

    return check


def _reading(kind: str) -> Callable[[Any], Any] | None:
    if kind == "boolean":
        return lambda value: bool(value) if value in (0, 1) else value
    if kind == "json":
        return _loaded
    return _bytes_as_text if kind == "" else None


def _bytes_as_text(value: Any) -> Any:
    return value.hex() if value.__class__ is bytes else value


def _loaded(value: Any) -> Any:
    try:
        return json.loads(value)
    except (ValueError, TypeError):  # Kept as it was by on_error: the schema sees the text.
        return value

"""What a map of the right shape may still have wrong: it is all found before the first row is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replica.exchange.maps import contact_types, dates
from replica.exchange.maps.children import steps_of
from replica.exchange.maps.mapmodel import CollectionSpec, FieldSpec, WholeFile, folded, near
from replica.exchange.maps.rules import matcher
from replica.exchange.maps.types import converter
from replica.exchange.rows import MISSING
from replica.libraries import library

if TYPE_CHECKING:
    from replica.exchange.maps.mapping import Mapping

TABLE_MAX = 100_000
"""Lines of a lookup table."""
_NEEDS = {
    "format": ("date", "datetime"), "zone": ("datetime",), "pivot": ("date", "datetime"), "decimal": ("number", "integer"),
    "true": ("boolean",), "false": ("boolean",), "country": ("phone",),
}  # fmt: skip
_UNUSED = FieldSpec("")


def wanted(kind: dict[str, Any]) -> str:
    """What a word takes, in words; empty if the error of the schema says it better."""
    if "enum" in kind:
        return "must be one of " + ", ".join(f'"{v}"' for v in kind["enum"])
    if "const" in kind:
        return f"must be {kind['const']}"
    names = {"string": "text between quotes", "boolean": "true or false", "object": "a table", "array": "a list"}
    if isinstance(kind.get("type"), str) and set(kind) == {"type"}:
        return f"must be {names.get(kind['type'], kind['type'])}"
    if "anyOf" in kind and all("type" in k or "enum" in k for k in kind["anyOf"]):
        return "must be " + " or ".join(names.get(str(k.get("type")), "a value") for k in kind["anyOf"])
    if kind.get("pattern") == "^[A-Z]{2}$":
        return 'must be the two capital letters of a country, such as "DE"'
    return ""


def beside(folder: Path | None, name: str, place: str, wrong: list[str]) -> Path | None:
    """The file of this name in the map's folder, or below it."""
    if folder is None:
        wrong.append(f"{place}: a ready map names no files")
        return None
    path = folder / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        wrong.append(f'{place}: "{name}" is not in the map\'s folder: put it there, and write its name only')
        return None
    if not path.is_file():
        wrong.append(f'{place}: there is no file "{name}" beside the map')
        return None
    return path


def text_beside(folder: Path | None, name: str, place: str, size: int, wrong: list[str]) -> str | None:
    """The text of a JSON Schema beside the map, checked to be one."""
    with library("jsonschema-rs"):
        import jsonschema_rs

    path = beside(folder, name, place, wrong)
    if path is None:
        return None
    try:
        if path.stat().st_size > size:
            raise ValueError(f"larger than {size} bytes")
        text = path.read_text(encoding="utf-8-sig")
        from replica.exchange.maps.schemas import validator

        validator(text)
    except (ValueError, OSError, RecursionError, jsonschema_rs.ReferencingError) as error:
        wrong.append(f'{place}: "{name}" is no JSON Schema that can be used: {str(error).splitlines()[0]}')
        return None
    return json.dumps(json.loads(text))


def table_beside(
    folder: Path | None, name: str, key: str | None, value: str | None, place: str, wrong: list[str]
) -> tuple[tuple[str, Any], ...]:
    """The two columns of a CSV file (UTF-8) beside the map."""
    path = beside(folder, name, place, wrong)
    if path is None:
        return ()
    table: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            if len(header) < 2:
                raise ValueError("it needs a header and two columns")
            for column in (key, value):
                if column is not None and column not in header:
                    close = near(column, header)
                    raise ValueError(
                        f'no column "{column}"; '
                        + (f'did you mean "{close[0]}"?' if close else f"it has {', '.join(header)}")
                    )
            at, to = header.index(key) if key else 0, header.index(value) if value else 1
            for line in lines:
                if not any(line):
                    continue
                if len(line) <= max(at, to):
                    raise ValueError(f"line {lines.line_num} has {len(line)} cells")
                if table.setdefault(line[at], line[to]) != line[to]:
                    raise ValueError(f'line {lines.line_num}: "{line[at]}" a second time, with another value')
                if len(table) > TABLE_MAX:
                    raise ValueError(f"more than {TABLE_MAX} lines")
    except (ValueError, OSError, csv.Error) as error:
        wrong.append(f'{place}: "{name}": {error}')
        return ()
    return tuple(table.items())


def check(mapping: Mapping) -> list[str]:
    """All that is wrong with a map whose words are known and of the right shape."""
    keys: dict[str, set[tuple[str, ...]]] = {}
    for spec in mapping.collections:
        keys.setdefault(spec.name, set()).add(spec.key)
    wrong = [
        f'collection "{name}" is there several times, with different keys: give it one key'
        for name, found in keys.items()
        if len(found) > 1
    ]
    if mapping.country is not None and mapping.country not in contact_types.countries():
        wrong.append(f'read: country "{mapping.country}" is not known: use the two letters of ISO 3166, such as "DE"')
    for spec in mapping.collections:
        _collection(spec, wrong)
    return wrong


def _collection(spec: CollectionSpec, wrong: list[str]) -> None:
    place = f'collection "{spec.name}"'
    names = [f.name for f in spec.fields]
    for key in spec.key:
        if key not in names and spec.rest == "drop":
            close = near(key, names)
            wrong.append(
                f'{place}: key "{key}" is none of its fields' + (f'; did you mean "{close[0]}"?' if close else "")
            )
        elif any(f.name == key and f.constant is not MISSING for f in spec.fields) and len(spec.key) == 1:
            wrong.append(f'{place}: key "{key}" is a constant: all records would be one')
    if len(set(spec.key)) < len(spec.key):
        wrong.append(f"{place}: key names a field twice")
    for number, name in enumerate(names):
        others = [other for other in names[:number] if folded(other) == folded(name)]
        wrong += [f'{place}: fields "{other}" and "{name}" are one to SQLite: rename one' for other in others]
    if not spec.fields and spec.rest == "drop":
        wrong.append(f'{place}: it has no fields: name some, or say rest = "keep"')
    if spec.separator is not None and spec.rows is None:
        wrong.append(f"{place}: separator needs rows, which names the column")
    if spec.rows is not None and spec.separator is None:
        _try(lambda: steps_of(spec.rows or ""), f"{place}: rows", wrong)
    if spec.rows is not None and spec.rest == "keep":
        wrong.append(f'{place}: rest = "keep" goes with whole rows only, not with rows')
    for condition in spec.when:
        if condition.pattern is not None:
            _try(partial(matcher, condition.pattern), f'{place}, when "{condition.column}"', wrong)
    for field in spec.fields:
        _field(field, f'{place}, field "{field.name}"', wrong)
        for source in field.sources if spec.rows is not None and spec.separator is None else ():
            if source not in (".", "#") and not source.startswith("^"):
                _try(partial(steps_of, source), f'{place}, field "{field.name}": from', wrong)


def _field(spec: FieldSpec, place: str, wrong: list[str]) -> None:
    if not spec.name.strip() or "\0" in spec.name or len(spec.name) > 128:
        wrong.append(f"{place}: a field needs a name of 1 to 128 characters")
    if spec.constant is not MISSING and spec.sources:
        wrong.append(f"{place}: say either from or constant")
    if spec.concat is not None and len(spec.sources) < 2:
        wrong.append(f'{place}: concat needs several columns: from = ["...", "..."]')
    for word, types in _NEEDS.items():
        if getattr(spec, word) != getattr(_UNUSED, word) and spec.type not in types:
            wrong.append(f"{place}: {word} goes with type = " + " or ".join(f'"{t}"' for t in types))
    before = len(wrong)
    if spec.country is not None and spec.country not in contact_types.countries():
        wrong.append(f'{place}: country "{spec.country}" is not known: use the two letters of ISO 3166, such as "DE"')
    if spec.zone is not None:
        _try(lambda: dates.reader("datetime", None, spec.zone), f"{place}: zone", wrong)
    if spec.format is not None and spec.format not in (*dates.ORDERS, *dates.SERIALS):
        _try(lambda: dates.compile_pattern(spec.format or ""), f"{place}: format", wrong)
    if spec.pattern is not None:
        _try(lambda: matcher(spec.pattern or ""), f"{place}: pattern", wrong)
    if spec.min is not None and spec.max is not None:
        if isinstance(spec.min, str) != isinstance(spec.max, str):
            wrong.append(f"{place}: min and max must both be numbers, or both be texts")
        elif spec.min > spec.max:  # type: ignore[operator]
            wrong.append(f"{place}: min is above max: no value would fit")
    limit = spec.min if spec.min is not None else spec.max
    if limit is not None and isinstance(limit, str) == (spec.type in ("number", "integer", "boolean")):
        wrong.append(f'{place}: min and max are numbers for type = "number" or "integer", else texts between quotes')
    if spec.min_length is not None and spec.max_length is not None and spec.min_length > spec.max_length:
        wrong.append(f"{place}: min_length is above max_length: no value would fit")
    if {w.casefold() for w in spec.true} & {w.casefold() for w in spec.false}:
        wrong.append(f"{place}: true and false have a word in common")
    if spec.exists and spec.refers is None:
        wrong.append(f"{place}: exists goes with refers")
    if len(wrong) == before and spec.default is not MISSING and spec.type:
        _values(spec, "default", (spec.default,), place, wrong)
    if len(wrong) == before and spec.allowed is not None and spec.type:
        _values(spec, "allowed", spec.allowed, place, wrong)


def _values(spec: FieldSpec, word: str, values: tuple[Any, ...], place: str, wrong: list[str]) -> None:
    """A value of the map must be what its type would make of it: what stands in the collection, not in the file."""
    made, refused = converter(spec, WholeFile(".", "YMD"))(values)
    for index, value in enumerate(values):
        if index in refused:
            wrong.append(f"{place}: {word} {value!r} {refused[index]}")
        elif made[index] != value or isinstance(made[index], str) != isinstance(value, str):
            wrong.append(f"{place}: {word} {value!r} must be written as it is stored: {made[index]!r}")


def _try(what: Callable[[], object], place: str, wrong: list[str]) -> None:
    try:
        what()
    except (ValueError, KeyError, OSError) as error:
        text = error.args[0] if error.args else error
        wrong.append(f"{place}: {text}")

"""A map file (TOML) -> a Mapping. Checked whole before anything is read; nothing in it is ever run.

1. All that is wrong is said at once, each with its place; an unknown word with the known one that is nearest.
2. What could not work is refused here, not on the first row: patterns, formats of dates, zones, countries, lookup tables.
3. A map reads no file but lookup tables and schemas beside it, by relative paths that stay in its folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import fields as fields_of
from importlib import resources
from pathlib import Path
from typing import Any

from replica.errors import MapRefused
from replica.exchange.maps import mapchecks, mapwords
from replica.exchange.maps.mapmodel import CollectionSpec, Condition, FieldSpec, Lookup, Split, near
from replica.exchange.maps.mapping import Mapping
from replica.exchange.maps.steps import NORMAL
from replica.exchange.rows import MISSING, ReadOptions
from replica.libraries import library

SIZE_MAX = 1_000_000
"""Bytes of a map file, of a schema, or of a lookup table a tenth of this many lines."""


def ready() -> list[str]:
    """Names of the maps that come with the program."""
    folder = resources.files("replica.exchange.maps") / "ready"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def read(path: str | Path) -> Mapping:
    """The map of this file, or the ready one of this name if there is no such file. Raises MapRefused."""
    place = Path(path)
    if not place.exists() and str(path) in ready():
        text = (resources.files("replica.exchange.maps") / "ready" / f"{path}.toml").read_text(encoding="utf-8")
        return parse(text, str(path), None)
    try:
        if place.stat().st_size > SIZE_MAX:
            raise MapRefused(f"{path} is larger than {SIZE_MAX} bytes: is it a map?")
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MapRefused(f"{path} is not UTF-8: save it as UTF-8 ({error.reason})") from None
    except OSError as error:
        close = near(str(path), ready())
        hint = f"; did you mean the ready map {close[0]}?" if close else "; `replica map list` shows the ready maps"
        raise MapRefused(f"{path}: {error.strerror or error}{hint}") from None
    return parse(text, str(path), place.parent)


def parse(text: str, name: str, folder: Path | None) -> Mapping:
    """The map of this text. `name`: for messages; `folder`: of the files that it names. Raises MapRefused."""
    try:
        document = _plain(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise MapRefused(f"{name}: this is no TOML: {error}") from None
    except RecursionError:
        raise MapRefused(f"{name}: it nests too deeply") from None
    wrong = [*_unknown(document), *_shapes(document)]
    if not wrong:
        made, wrong = _mapping(document, folder)
        if not wrong:
            return made
    raise MapRefused(f"{name}: " + ("\n  " if len(wrong) > 1 else "") + "\n  ".join(wrong))


def _plain(node: Any) -> Any:
    """Dates and times of TOML as ISO 8601 text."""
    if isinstance(node, dict):
        return {name: _plain(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node.isoformat() if hasattr(node, "isoformat") else node


def _tables(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every table of the map: its place, itself, the words that it may have."""
    yield "", document, mapwords.TOP
    if isinstance(document.get("read"), dict):
        yield "read", document["read"], mapwords.READ
    found = document.get("collection")
    for number, collection in enumerate(found if isinstance(found, list) else [], 1):
        if not isinstance(collection, dict):
            continue
        place = f'collection "{collection.get("name", number)}"'
        yield place, collection, mapwords.COLLECTION
        for column, condition in _table(collection.get("when")).items():
            if isinstance(condition, dict):
                yield f'{place}, when "{column}"', condition, mapwords.WHEN
        for field, spec in _table(collection.get("fields")).items():
            if isinstance(spec, dict):
                yield f'{place}, field "{field}"', spec, mapwords.FIELD
                for word, words in (("split", mapwords.SPLIT), ("lookup", mapwords.LOOKUP)):
                    if isinstance(spec.get(word), dict):
                        yield f'{place}, field "{field}", {word}', spec[word], words


def _table(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


_OTHER_NAMES = {
    "field": "fields", "column": "from", "source": "from", "collections": "collection", "table": "collection",
    "normalize": "normalise", "delimiter": "separator", "join": "concat", "regex": "pattern", "value": "constant",
    "values": "allowed", "enum": "allowed", "null": "empty", "timezone": "zone", "tz": "zone", "keys": "key",
    "filter": "when", "where": "when", "mandatory": "required", "references": "refers", "strip": "trim", "region": "country",
}  # fmt: skip
"""What others call it."""


def _unknown(document: dict[str, Any]) -> list[str]:
    out = []
    for place, table, words in _tables(document):
        for word in table:
            if word not in words:
                other = _OTHER_NAMES.get(word.casefold(), "")
                close = [other] if other in words else near(word, list(words))
                hint = f'did you mean "{close[0]}"?' if close else "known are " + ", ".join(words)
                out.append(_at(place, f'unknown word "{word}": {hint}'))
    return out


def _at(place: str, text: str) -> str:
    return f"{place}: {text}" if place else text


def _shapes(document: dict[str, Any]) -> list[str]:
    """What is not of the shape that the schema of map files says, but for unknown words."""
    with library("jsonschema-rs"):
        import jsonschema_rs

    needed = {"version": "version: write version = 1", "collection": "collection: a map needs a [[collection]]"}
    out = [why for word, why in needed.items() if word not in document]
    for place, table, words in _tables(document):
        for word, value in table.items():
            if word not in words:
                continue
            kind = words[word][0]
            if word in ("read", "when", "fields") and not isinstance(value, dict):
                out.append(_at(place, f"{word} must be a table"))
            elif word == "collection" and (
                not isinstance(value, list) or not all(isinstance(c, dict) for c in value) or not value
            ):
                out.append(_at(place, "collection must be one or more tables, written [[collection]]"))
            elif not jsonschema_rs.is_valid(kind, value):
                error = next(iter(jsonschema_rs.iter_errors(kind, value)))
                out.append(_at(place, f"{word}: {mapchecks.wanted(kind) or error.message}"))
        if words is mapwords.COLLECTION:
            out += [
                _at(f'{place}, when "{column}"', "must be text, a number, true or false, a list of them, or a table")
                for column, said in _table(table.get("when")).items()
                if not isinstance(said, dict) and not jsonschema_rs.is_valid(mapwords.WHEN["is"][0], said)
            ]
            out += [_at(place, f"{word} is missing") for word in ("name", "key") if word not in table]
            for name, spec in _table(table.get("fields")).items():
                if not isinstance(spec, dict | str):
                    out.append(_at(f'{place}, field "{name}"', "must be a table, or the name of a column"))
    return out


def _mapping(document: dict[str, Any], folder: Path | None) -> tuple[Mapping, list[str]]:
    wrong: list[str] = []
    read = dict(document.get("read", {}))
    date, country = read.pop("date", None), read.pop("country", None)
    if isinstance(read.get("sheet"), int):
        read["sheet"] = str(read["sheet"])
    if "schema" in read:
        found = mapchecks.beside(folder, read["schema"], "read: schema", wrong)
        read["schema"] = str(found) if found else None
    collections = [_collection(spec, folder, wrong) for spec in document["collection"]]
    made = Mapping(document.get("source"), ReadOptions(**read), tuple(collections), date, country)
    return made, wrong + mapchecks.check(made)


def _collection(spec: dict[str, Any], folder: Path | None, wrong: list[str]) -> CollectionSpec:
    place = f'collection "{spec["name"]}"'
    key = spec["key"]
    schema = None
    if "schema" in spec:
        schema = mapchecks.text_beside(folder, spec["schema"], f"{place}: schema", SIZE_MAX, wrong)
    return CollectionSpec(
        spec["name"],
        (key,) if isinstance(key, str) else tuple(key),
        tuple(
            _field(name, found, folder, f'{place}, field "{name}"', wrong)
            for name, found in spec.get("fields", {}).items()
        ),
        spec.get("blank", "leave"),
        spec.get("rows"),
        spec.get("separator"),
        tuple(_condition(column, said) for column, said in spec.get("when", {}).items()),
        spec.get("rest", "drop"),
        schema,
    )


def _condition(column: str, said: Any) -> Condition:
    if not isinstance(said, dict):
        return Condition(column, values=_texts(said))
    none_of = said.get("not")
    return Condition(
        column,
        _texts(said["is"]) if "is" in said else None,
        None if none_of is None else _texts(none_of),
        said.get("pattern"),
        said.get("filled"),
    )


def _texts(said: Any) -> tuple[str, ...]:
    every = said if isinstance(said, list) else [said]
    return tuple(("true" if v else "false") if isinstance(v, bool) else str(v) for v in every)


_NAMES = {f.name for f in fields_of(FieldSpec)}


def _field(name: str, said: Any, folder: Path | None, place: str, wrong: list[str]) -> FieldSpec:
    if isinstance(said, str):
        return FieldSpec(name, (said,))
    made: dict[str, Any] = {}
    for word, value in said.items():
        if word == "from":
            made["sources"] = (value,) if isinstance(value, str) else tuple(value)
        elif word == "normalise":
            made[word] = NORMAL if value is True else () if value is False else tuple(value)
        elif word == "split":
            made[word] = Split(value["separator"], value["index"])
        elif word == "lookup":
            made[word] = _lookup(value, folder, f"{place}, lookup", wrong)
        elif isinstance(value, list):
            made[word] = tuple(_stored(v) for v in value)
        else:
            made[word] = _stored(value) if word in ("constant", "default", "min", "max") else value
    if not {"sources", "constant"} & set(made):
        made["sources"] = (name,)
    assert set(made) <= _NAMES
    made.setdefault("constant", MISSING)
    return FieldSpec(name, **made)


def _stored(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _lookup(said: dict[str, Any], folder: Path | None, place: str, wrong: list[str]) -> Lookup:
    if ("table" in said) == ("file" in said):
        wrong.append(f"{place}: say either table or file")
        return Lookup(())
    if "table" in said:
        table = tuple((name, _stored(value)) for name, value in said["table"].items())
    else:
        table = mapchecks.table_beside(folder, said["file"], said.get("from"), said.get("to"), place, wrong)
    return Lookup(table, said.get("absent", "reject"))

"""The words of a map file: what each takes and means. Everything that must know them has them from here.

`schema` is the JSON Schema of map files, for editors; the same one checks a map when it is read. MAP.md is the reference;
a test holds it to these words, and the packed schema file to `schema`.
"""

from __future__ import annotations

import json
from typing import Any

from replica.exchange.maps.mapmodel import DECLARED
from replica.exchange.maps.steps import CASES, NORMAL

VERSION = 1

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_VALUE = {"type": ["string", "number", "boolean"]}
_MARK = {"enum": [".", ","]}
_ORDER = {"enum": ["DMY", "MDY", "YMD"]}
_COUNT = {"type": "integer", "minimum": 0}
_NAME = {"type": "string", "minLength": 1, "maxLength": 128}

TOP: dict[str, tuple[Any, str]] = {
    "version": ({"const": VERSION}, "Of the map's language: 1."),
    "about": (_TEXT, "For people: what the map is for."),
    "source": (_NAME, "Name of the system that the file comes from; part of every record's identity."),
    "read": ({}, "How to read the file, where it should not be found out."),
    "collection": ({}, "What becomes of each row: one table for each collection."),
}
READ: dict[str, tuple[Any, str]] = {
    "format": (_TEXT, "csv, tsv, json, jsonl, xml, xlsx, xls, ods, parquet or vcard."),
    "encoding": (_TEXT, "As Python names it: utf-8, gb18030, cp1252."),
    "delimiter": ({"type": "string", "minLength": 1, "maxLength": 1}, "Between the cells of a CSV file."),
    "quote": ({"type": "string", "maxLength": 1}, "Around the cells of a CSV file."),
    "header": (_COUNT, "Line of the header, from 1; 0: there is none."),
    "decimal": (_MARK, "Decimal mark of all numbers that do not say their own."),
    "date": (_ORDER, "Order of the dates of a column that is ambiguous in every row."),
    "country": (
        {"type": "string", "pattern": "^[A-Z]{2}$"},
        "Of all phone numbers whose field does not say it (ISO 3166).",
    ),
    "records": (_TEXT, "Path of the records in JSON or XML."),
    "sheet": ({"type": ["string", "integer"]}, "Name of a sheet, or its number from 1."),
    "schema": (_TEXT, "XSD that an XML file must obey; a path from the map's folder."),
    "guarded": ({"type": "boolean"}, "Whether an apostrophe before = + - @ in a CSV file is no part of the cell."),
}
COLLECTION: dict[str, tuple[Any, str]] = {
    "name": (_NAME, "The collection, which is the table."),
    "key": (
        {"anyOf": [_NAME, _TEXTS]},
        "The field, or the fields, of the collection that identify a record in the source.",
    ),
    "blank": ({"enum": ["leave", "clear"]}, "What an empty cell does to a record that exists."),
    "rows": (_NAME, "Path of an array: each of its elements becomes a record."),
    "separator": (
        {"type": "string", "minLength": 1},
        "The column that `rows` names is text, with this between its elements.",
    ),
    "when": (
        {"type": "object"},
        "Conditions on columns of the file; a row that does not meet them makes no record here.",
    ),
    "rest": ({"enum": ["keep", "drop"]}, "What becomes of the columns that no field names."),
    "schema": (_TEXT, "JSON Schema that every record must obey; a path from the map's folder."),
    "fields": ({"type": "object"}, "The fields; the name of each is that of a column of the table."),
}
WHEN: dict[str, tuple[Any, str]] = {
    "is": ({"anyOf": [_VALUE, {"type": "array", "items": _VALUE}]}, "The text, or one of the texts, that it must be."),
    "not": ({"anyOf": [_VALUE, {"type": "array", "items": _VALUE}]}, "The text, or the texts, that it must not be."),
    "pattern": (_TEXT, "The pattern that it must match."),
    "filled": (_FLAG, "Whether it must say something, or must not."),
}
SPLIT: dict[str, tuple[Any, str]] = {
    "separator": ({"type": "string", "minLength": 1}, "What stands between the parts."),
    "index": ({"type": "integer", "not": {"const": 0}}, "Which part: 1 is the first, -1 the last."),
}
LOOKUP: dict[str, tuple[Any, str]] = {
    "table": ({"type": "object", "additionalProperties": _VALUE}, "Text of the file = value."),
    "file": (_TEXT, "A CSV file (UTF-8) instead of a table; a path from the map's folder."),
    "from": (_TEXT, "Its column with the texts; the first if not said."),
    "to": (_TEXT, "Its column with the values; the second if not said."),
    "absent": ({"enum": ["reject", "null", "keep"]}, "What becomes of a text that the table lacks."),
}
FIELD: dict[str, tuple[Any, str]] = {
    "from": ({"anyOf": [_NAME, _TEXTS]}, "The column; of several, the first that says something."),
    "constant": (_VALUE, "The same value for every record."),
    "optional": (_FLAG, "The file may lack the column."),
    "concat": (_TEXT, "Join the columns of `from` with this between them."),
    "normalise": (
        {"anyOf": [_FLAG, {"type": "array", "items": {"enum": list(NORMAL)}}]},
        "Unicode NFC, full-width to half-width, white space, invisible characters; all, or those listed.",
    ),
    "trim": (_FLAG, "Take white space off both ends."),
    "empty": ({"type": "array", "items": _TEXT}, "Words that mean nothing here, such as N/A."),
    "split": ({"type": "object", "required": ["separator", "index"]}, "Take one part of the text."),
    "case": ({"enum": list(CASES)}, "Letters."),
    "lookup": ({"type": "object"}, "Replace the text by what a table says."),
    "type": ({"enum": [name for name in DECLARED if name]}, "What it becomes; without it, the cell stays what it is."),
    "format": (_TEXT, "Of a date: DMY, MDY, YMD, a pattern, excel, excel-1904, unix or unix-ms."),
    "zone": (_TEXT, "Time zone of times that do not say theirs; UTC is stored."),
    "pivot": ({"type": "integer", "minimum": 0, "maximum": 100}, "Years of two digits below it are 20xx."),
    "decimal": (_MARK, "Decimal mark of a number."),
    "true": ({"type": "array", "items": _TEXT, "minItems": 1}, "Words for yes, instead of the known ones."),
    "false": ({"type": "array", "items": _TEXT, "minItems": 1}, "Words for no, instead of the known ones."),
    "country": ({"type": "string", "pattern": "^[A-Z]{2}$"}, "Of phone numbers that do not say theirs (ISO 3166)."),
    "on_error": ({"enum": ["reject", "null", "keep"]}, "What becomes of a cell that is not of its type."),
    "default": (_VALUE, "The value where the file says nothing."),
    "required": (_FLAG, "It must say something."),
    "allowed": ({"type": "array", "items": _VALUE, "minItems": 1}, "The only values that may be."),
    "pattern": (_TEXT, "A regular expression that the whole value must match."),
    "min": ({"type": ["number", "string"]}, "The least value; of a date, its text."),
    "max": ({"type": ["number", "string"]}, "The greatest value."),
    "min_length": (_COUNT, "The least number of characters."),
    "max_length": (_COUNT, "The greatest number of characters."),
    "unique": (_FLAG, "No two records may have the same."),
    "exists": (_FLAG, "The record that it refers to must exist after the import."),
    "refers": (_NAME, "The collection whose external key stands here."),
}


def schema() -> dict[str, Any]:
    """The JSON Schema of map files (draft 2020-12)."""
    field = _object(FIELD)
    field["properties"] |= {"split": {**_object(SPLIT), "required": ["separator", "index"]}, "lookup": _object(LOOKUP)}
    condition = {"anyOf": [_VALUE, {"type": "array", "items": _VALUE}, _object(WHEN)]}
    collection = _object(COLLECTION) | {"required": ["name", "key"]}
    collection["properties"] |= {
        "when": {"type": "object", "additionalProperties": condition, "description": COLLECTION["when"][1]},
        "fields": {
            "type": "object",
            "additionalProperties": {"anyOf": [_TEXT, field]},
            "description": COLLECTION["fields"][1],
        },
    }
    top = _object(TOP) | {"required": ["version", "collection"]}
    top["properties"] |= {
        "read": _object(READ),
        "collection": {"type": "array", "items": collection, "minItems": 1, "description": TOP["collection"][1]},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Map file of replica", **top}


def schema_text() -> str:
    """The packed file `map.schema.json`."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _object(words: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    properties = {name: {**kind, "description": text} for name, (kind, text) in words.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}

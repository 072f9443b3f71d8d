"""Which record a row is about: the same file, imported anywhere, is about the same records.

1. A table that an import made: the id is UUIDv5 (RFC 9562, 5.5) of the external key, in a namespace that is UUIDv5 of the
   source's name in NAMESPACE. Two laptops that import the same file offline have the same records.
2. A table whose own primary key is the external key: that.
3. A table of somebody else's with another key: the row that has these values; if none has, a new one, whose primary key
   source and external key make, the same on every node: a UUIDv5, or where SQLite would make up a number, one of 51 bits.

The external key compares trimmed and in NFC, whatever stands in the cell; a key of several fields is the JSON list of its
parts. One test each.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from hashlib import sha1
from typing import Any
from uuid import UUID, uuid5

from protocol.record import fold
from replica.exchange.rows import MISSING
from replica.store.catalog import Table, quote
from replica.store.core import Core

NAMESPACE = UUID("6d1b0b1e-5c0a-5c3b-9d6e-2f2c7c1f8a40")
"""Of all sources."""


def external(cells: Sequence[Any]) -> str:
    """The external key as text; empty if a part of it is missing."""
    if len(cells) == 1:
        return _part(cells[0])
    parts = [_part(cell) for cell in cells]
    return json.dumps(parts, ensure_ascii=False) if all(parts) else ""


def externals(columns: Sequence[Sequence[Any]]) -> list[str]:
    """`external` of many rows, given column by column."""
    if len(columns) == 1:
        return [_part(cell) for cell in columns[0]]
    return [external(cells) for cells in zip(*columns, strict=True)]


def _part(cell: Any) -> str:
    kind = type(cell)
    if kind is str:
        text: str = cell.strip()
        return text if text.isascii() else unicodedata.normalize("NFC", text)
    if cell is None or cell is MISSING:
        return ""
    if kind is float and cell.is_integer() and abs(cell) < 2**63:
        return str(int(cell))
    if kind is bytes:
        return str(cell.hex())
    return str(cell).lower() if kind is bool else repr(cell)


class Namespace:
    """Record ids of one source."""

    def __init__(self, source: str) -> None:
        self._head = sha1(uuid5(NAMESPACE, source).bytes, usedforsecurity=False)

    def ids(self, keys: Sequence[str]) -> list[str | None]:
        """The id of each external key, None where there is none."""
        head = self._head
        out: list[str | None] = []
        for key in keys:
            if not key:
                out.append(None)
                continue
            digest = head.copy()
            digest.update(key.encode("utf-8", "surrogatepass"))
            text = digest.hexdigest()
            variant = "89ab"[int(text[16], 16) & 3]
            out.append(f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}")
        return out


    def numbers(self, keys: Sequence[str]) -> list[int | None]:
        """A number of each external key, from 1 to 2**51: bits of its id. JavaScript has it exactly, and there is room above
        for numbers that SQLite counts on from it. Of a million keys, two meet by chance once in four thousand files."""
        return [None if id_ is None else 1 + (int(id_[:8] + id_[9:13] + id_[15:18], 16) >> 9) for id_ in self.ids(keys)]


def look_up(core: Core, table: Table, key: Sequence[str], keys: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """External key -> primary keys of the rows that have it, of those of `keys` that are there."""
    assert table.shape is not None
    names = {c.folded: quote(c.name) for c in (*table.shape.key, *table.shape.columns)}
    columns = [names[fold(n)] for n in key]
    pk = [quote(c.name) for c in table.shape.key]
    wanted = [k for k in keys if all(v is not None and v is not MISSING and v != "" for v in k)]
    found: dict[str, list[Any]] = {}
    head = f"SELECT {', '.join([*pk, *columns])} FROM {table.sql} WHERE "
    if len(columns) == 1:
        rows = list(core.select_in(f"{head}{columns[0]} IN (", [k[0] for k in wanted]))
    else:
        step = 500 // len(columns)
        one = "(" + ", ".join("?" * len(columns)) + ")"
        rows = []
        for start in range(0, len(wanted), step):
            part = wanted[start : start + step]
            sql = f"{head}({', '.join(columns)}) IN (VALUES {', '.join([one] * len(part))})"
            rows += core.rows(sql, [value for k in part for value in k])
    for row in rows:
        found.setdefault(external(row[len(pk) :]), []).append(row[: len(pk)])
    return found


def made_id(taken: Sequence[str]) -> str:
    """Name of the column for the record ids of a table that an import makes: one that the file does not use."""
    names = {fold(n) for n in taken}
    number = 1
    for name in ("id", "record_id"):
        if name not in names:
            return name
    while f"record_id_{number}" in names:
        number += 1
    return f"record_id_{number}"

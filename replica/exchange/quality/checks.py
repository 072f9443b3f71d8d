"""The rules of a map, for values that are there already: which of them would an import refuse?

One test each:

1. A value is valid if its type takes it and none of its rules names it.
2. Of a table, the names are those of the map's fields, and dates and numbers are as the table holds them; of a file, they
   are those of its columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from protocol.record import fold
from replica.exchange.quality.compare import Check
from replica.exchange.quality.side import Side


def checks(path: str, side: Side) -> Mapping[str, Check]:
    """Field of the side -> its rules. Raises MapRefused."""
    from replica.exchange.maps.mapping import load

    there = {fold(name) for name in side.fields}
    made: dict[str, Check] = {}
    for collection in load(path).collections:
        for spec in collection.fields:
            name = spec.name if side.is_store or len(spec.sources) != 1 else spec.sources[0]
            if fold(name) in there and name not in made:
                made[name] = _check(replace(spec, format=None, decimal=None) if side.is_store else spec)
    return made


def _check(spec: Any) -> Check:
    from replica.exchange.maps.mapmodel import WholeFile
    from replica.exchange.maps.rules import rules
    from replica.exchange.maps.types import converter

    convert, all_rules = converter(spec, WholeFile()), rules(spec)

    def check(value: Any) -> bool:
        values, refused = convert([value])
        return not refused and not any(rule(values) for rule in all_rules)

    return check

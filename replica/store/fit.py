"""What another system says, as a column holds it: nothing is changed on the way but its form, and what a column would
change is refused.

SQLite turns "00123" into 123 in an INTEGER column without a word. One test each:

1. A number that a column takes as it is keeps its value: "12" is 12 in a column of numbers, 12 is "12" in one of text.
2. Text that a column of numbers would change (leading zeros, a phone number), or that is none, is refused in words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from protocol.errors import ValueRefused
from protocol.values import INT_MAX, INT_MIN, check
from replica.store.catalog import Column
from replica.store.show import SAFE

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,400})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_NUMERIC = frozenset({"INTEGER", "REAL", "NUMERIC"})


def fit(column: Column, values: Sequence[Any], keep: object) -> tuple[Sequence[Any], dict[int, str]]:
    """The values of a column as it stores them, `keep` left as it is, and why not, by index."""
    every = set(map(type, values))
    kinds = every - {type(keep)}
    if kinds <= SAFE[column.affinity] and not kinds & {int, float} and (str not in kinds or _encodes(values, every)):
        return values, {}
    refused: dict[int, str] = {}
    out = list(values)
    for i, value in enumerate(values):
        if value is keep:
            continue
        try:
            out[i] = _one(column, check(value))
        except ValueRefused as error:
            refused[i] = f"{column.name}: {error}"
    return out, refused


def _encodes(values: Sequence[Any], kinds: set[type]) -> bool:
    """Whether no text among the values has half of a surrogate pair."""
    try:
        "".join(values if kinds == {str} else [v for v in values if type(v) is str]).encode()
    except UnicodeEncodeError:
        return False
    return True


def _one(column: Column, value: Any) -> Any:
    affinity = column.affinity
    if affinity == "TEXT" and type(value) in {int, float}:
        return repr(value)
    if affinity == "REAL" and type(value) is int:
        if int(float(value)) != value:
            raise ValueRefused(f"{value} is no number that a column of type REAL can hold exactly")
        return float(value)
    if affinity in {"INTEGER", "NUMERIC"} and type(value) is float and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if affinity not in _NUMERIC or type(value) is not str:
        return value
    return _number(column, value)


def _number(column: Column, text: str) -> Any:
    """What a column of numbers makes of text."""
    plain = text.strip()
    if _INTEGER.fullmatch(plain):
        if column.affinity == "REAL" and int(float(plain)) == int(plain):
            return float(plain)
        if column.affinity != "REAL" and INT_MIN <= int(plain) <= INT_MAX:
            return int(plain)
        raise ValueRefused(f"{plain} is more than a column of type {column.affinity} can hold exactly")
    if _DECIMAL.fullmatch(plain):
        number = float(plain)
        if abs(number) < float("inf"):
            whole = column.affinity != "REAL" and number.is_integer() and abs(number) < 2**53
            return int(number) if whole else number
    if not plain:
        return None if column.affinity in {"INTEGER", "REAL"} else text
    if _looks_like_number(plain):
        raise ValueRefused(
            f"{text[:40]!r} would lose its form in a column of type {column.affinity}: keep it in a column of text"
        )
    if column.affinity == "NUMERIC":
        return text  # Dates, mostly: the column stores them as they are.
    raise ValueRefused(f"{text[:40]!r} is no number, as the column's type {column.affinity} wants")


def _looks_like_number(text: str) -> bool:
    """Whether SQLite's affinity would take it for one: it reads leading zeros, a plus sign, a bare point."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text and not text.strip("+-").lower().startswith(("inf", "nan"))

"""A draft of a map, made from the headers and all values of a file, for a person to correct.

1. The draft is a valid map of the file that it was made from: it loads, and maps it.
2. Headers are known in Chinese and English; a type is given only where the values are of it, and 00123 stays text.
3. What is unsure is a comment beside the field: an order of dates that every value leaves open, a number that a spreadsheet
   has spoilt, words that may mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from replica.errors import Unsure
from replica.exchange.maps.columns import Profile, profile
from replica.exchange.maps.keys import Key, keys, names_id
from replica.exchange.maps.mapmodel import FieldSpec, WholeFile
from replica.exchange.maps.numbers import lost_digits
from replica.exchange.maps.synonyms import Meaning, field_name, meaning
from replica.exchange.maps.types import converter
from replica.exchange.rows import SURE, Reader, ReadOptions

NOTHING = ("n/a", "na", "#n/a", "null", "none", "nil", "-", "--", "?", "无", "暂无", "未知", "unknown")
_ENDINGS = re.compile(r"(?:\.(?:gz|zst|zip|csv|tsv|txt|json|jsonl|ndjson|xml|xlsx|xls|ods|parquet|vcf))+$")
_READ = ("format", "encoding", "delimiter", "quote", "header", "records", "sheet")
TRIED = 2_000
"""Distinct values that a type is tried on."""
CLEAN = 0.95
"""Share of the values that must be of a type before the draft says so."""


@dataclass(frozen=True)
class Suggestion:
    """One column of the file: what the draft makes of it. `notes`: what a person should look at."""

    column: str
    field: str
    type: str
    confidence: float
    fill: float
    distinct: int
    more: bool
    samples: tuple[str, ...]
    words: tuple[tuple[str, Any], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """A draft of a map. `key`: fields that could identify a record, the best first; `toml`: the map itself."""

    collection: str
    key: tuple[str, ...]
    columns: tuple[Suggestion, ...]
    toml: str


def suggest(
    reader: Reader, name: str = "records", country: str | None = None, told: ReadOptions | None = None
) -> Draft:
    """Draft a map for this file. Reads it once. `name`: of the file, for the collection; `country`: of its phones; `told`:
    what the user said about it, which the draft says too."""
    taken: set[str] = set()
    columns = []
    profiles = profile(reader)
    for found in profiles:
        made = _column(found, taken, country)
        taken.add(made.field.casefold())
        columns.append(made)
    nothing = ["empty" in dict(column.words) for column in columns]
    found_keys = keys(profiles, [(column.field, column.type) for column in columns], nothing)
    for key in found_keys[:1]:
        columns[key.column] = _as_key(columns[key.column], key)
    stem = _ENDINGS.sub("", PurePath(name).name.lower())
    collection = field_name(stem, set())
    names = [key.field for key in found_keys]
    return Draft(collection, tuple(names), tuple(columns), _toml(collection, names, columns, _read(reader, told)))


def _as_key(column: Suggestion, key: Key) -> Suggestion:
    """The column as the key of its collection: people write an address in small letters and in large."""
    case = (("case", "lower"),) if column.type == "email" else ()
    return replace(column, words=(*case, *column.words), notes=(*key.notes, *column.notes))


def _column(found: Profile, taken: set[str], country: str | None) -> Suggestion:
    known = meaning(found.name)
    notes: list[str] = []
    kind, share = _type(found, known, notes)
    words: list[tuple[str, Any]] = [("type", kind)] if kind else []
    if kind == "phone" and country is not None:
        words.append(("country", country))
    if kind in ("date", "datetime", "number"):
        words += _decided(found, kind, notes)
    if found.counts["lost"]:
        notes.append("a spreadsheet has spoilt numbers (8.6E+12): export the column as text")
    empty = list(dict.fromkeys(s.strip() for s in found.distinct_texts() if s.strip().casefold() in NOTHING))[:8]
    if empty and kind not in ("", "boolean"):
        words.append(("empty", empty))
    elif empty:
        notes.append(f"{', '.join(empty[:4])} may mean nothing: list it in empty")
    if kind:
        promised = known is not None and known.type == kind
        words = _tried(found, kind, words, country, notes, most=0.5 if promised else 1 - CLEAN)
    elif any(s != s.strip() for s in found.samples):
        words.append(("trim", True))
    if not found.filled:
        notes.append("says nothing in any row")
    base = known.field if known and known.field not in taken and known.confidence >= 0.9 else found.name
    return Suggestion(
        found.name, field_name(base, taken), dict(words).get("type", ""), round(share, 3), round(found.fill, 4),
        found.distinct, found.more, tuple(found.samples), tuple(words), tuple(notes),
    )  # fmt: skip


def _type(found: Profile, known: Meaning | None, notes: list[str]) -> tuple[str, float]:
    """The type of a column: what its header promises, if its values keep it, else what they look like."""
    kind, share = found.type()
    of_text = known is not None and known.type == "" and known.confidence >= 0.9
    if kind == "boolean" and (of_text or (found.distinct < 2 and not (known and known.type))):
        kind, share = "", 1.0
    if known and known.type and found.filled:
        fits = found.share(known.type)
        if known.type == "datetime":
            fits += found.share("date")
        elif known.type == "phone":
            fits = max(fits, found.share("digits") + found.share("integer")) + found.share("lost")
        if fits >= CLEAN or (kind in ("", "phone") and fits > 0.5):
            return known.type, min(fits, 1.0)
        if fits < 0.5 and known.confidence >= 0.9:
            notes.append(f"its name promises {known.type}, its values do not")
    code = names_id(found.name) is not None or (known and known.field in ("postcode", "tax_id", "qq"))
    if code and kind in ("integer", "number", "phone", "date"):
        return "", 1.0
    return kind, share


def _tried(
    found: Profile, kind: str, words: list[tuple[str, Any]], country: str | None, notes: list[str], most: float
) -> list[tuple[str, Any]]:
    """The words with what the type's own reader says of the values: without the type if it refuses more than `most` of
    them."""
    told = dict(words)
    order = told.get("format") or ("DMY" if kind in ("date", "datetime") else None)
    spec = FieldSpec("x", type=kind, country=told.get("country"), format=order, decimal=told.get("decimal") or ".")
    nothing = {word.casefold() for word in told.get("empty", ())}
    texts = [s for s in found.distinct_texts() if s.strip().casefold() not in nothing and not lost_digits(s)][:TRIED]
    _, refused = converter(spec, WholeFile())(texts)
    if refused and kind == "phone" and country is None:
        notes.append('add country = "CN" (or another) for numbers without a +')
        return [*words, ("on_error", "keep")] if len(refused) > len(texts) / 2 else words
    if len(refused) > len(texts) * most:
        notes.append(f"looks like {kind}, but {texts[next(iter(refused))][:40]} {refused[next(iter(refused))]}")
        return []
    if refused:
        are = "is" if len(refused) == 1 else "are"
        notes.append(
            f"{len(refused)} of {len(texts)} different values {are} no {kind}, such as {texts[next(iter(refused))][:40]}:"
            ' rejected, unless on_error = "keep"'
        )
    return words


def _decided(found: Profile, kind: str, notes: list[str]) -> list[tuple[str, Any]]:
    word, votes = ("decimal", found.votes["decimal"]) if kind == "number" else ("format", found.votes["order"])
    try:
        decision = votes.decide(f'"{found.name}"', None, word)
    except Unsure as unsure:
        notes.append(f"say {word}: {' or '.join(unsure.choices)}")
        return []
    return [(word, decision.value)] if decision else []


def _read(reader: Reader, told: ReadOptions | None) -> list[str]:
    """How to read the file, only where it must be said: what the user had to say, and what is not sure."""
    lines = {}
    for finding in reader.findings:
        name = finding.option.removeprefix("--")
        if finding.confidence < SURE and name in _READ:
            others = f", or {' or '.join(map(_value, finding.others))}" if finding.others else ""
            value = int(finding.value) if name == "header" else finding.value
            lines[name] = f"{name} = {_value(value)}  # {_comment(f'{finding.confidence:.0%} sure{others}')}"
    for name in _READ:
        if (said := getattr(told, name, None)) is not None:
            lines[name] = f"{name} = {_value(said)}"
    return ["", "[read]", *lines.values()] if lines else []


def _toml(collection: str, keys: Sequence[str], columns: Sequence[Suggestion], read: Sequence[str]) -> str:
    lines = ["# A draft: correct it, then `replica map check` it. MAP.md says what the words mean.", "version = 1"]
    lines += [
        'source = "file"  # name the system that the file comes from',
        *read,
        "",
        "[[collection]]",
        f"name = {quoted(collection)}",
    ]
    if keys:
        others = f"  # or {', '.join(keys[1:])}" if keys[1:] else ""
        lines.append(f"key = {quoted(keys[0])}{others}")
    else:
        first = columns[0].field if columns else "id"
        lines.append(
            f"key = {quoted(first)}  # no column is filled and different in every row: choose the key, or several fields"
        )
    lines += ["", "[collection.fields]"]
    for column in columns:
        words = [f"from = {quoted(column.column)}", *(f"{word} = {_value(value)}" for word, value in column.words)]
        said = quoted(column.column) if len(words) == 1 else "{ " + ", ".join(words) + " }"
        lines.append(
            f"{_key(column.field)} = {said}" + (f"  # {_comment('; '.join(column.notes))}" if column.notes else "")
        )
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """Text as a basic string of TOML."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif ord(char) < 32 or ord(char) == 127:
            out.append(f"\\u{ord(char):04x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'

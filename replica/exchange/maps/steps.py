"""Steps that make text of text, a column at a time: trim, normalise, case, split, concat, nothing-words.

Cells that are not text pass untouched, and so does what says nothing. One test each:

1. `normalise` leaves a text alone that is normal already, and is idempotent.
2. Nothing becomes nothing only where the map lists it.
3. Alternatives give the first column that says something; concat leaves out what says nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeAlias

from replica.exchange.maps.mapmodel import FieldSpec, Split, as_text, is_blank
from replica.exchange.rows import MISSING, Cell

Column: TypeAlias = "Sequence[Cell]"
Step: TypeAlias = Callable[[Column], Column]

NORMAL = ("nfc", "width", "whitespace", "invisible")
"""What `normalise = true` does, in this order of description; a list chooses some."""

_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, 0xFEFF, 0x2060, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
"""Soft hyphen, zero-width space, marks of direction, byte order mark. Joiners stay: scripts and emoji mean something by
them."""


def on_text(one: Callable[[str], Cell]) -> Step:
    """A step that does this to every cell that is text."""

    def run(column: Column) -> Column:
        try:
            return list(map(one, column))  # type: ignore[arg-type]
        except (TypeError, AttributeError):  # A cell that is not text is among them.
            return [one(cell) if cell.__class__ is str else cell for cell in column]

    return run


def normaliser(what: Sequence[str]) -> Callable[[str], str]:
    """Normal form of a text, of those of NORMAL that are asked for."""
    nfc, width, space, invisible = (name in what for name in NORMAL)
    table = (_WIDTH if width else {}) | (_INVISIBLE if invisible else {})

    def one(text: str) -> str:
        if not text.isascii():
            if table:
                text = text.translate(table)
            if nfc:
                text = unicodedata.normalize("NFC", text)
        if space:
            return " ".join(text.split())
        return text

    return one


def nothings(words: Sequence[str]) -> Step:
    """What the map lists as saying nothing becomes None, whatever its case and the white space around it."""
    known = {word.strip().casefold() for word in words}

    def run(column: Column) -> Column:
        return [None if c.__class__ is str and c.strip().casefold() in known else c for c in column]

    return run


def part_of(split: Split) -> Callable[[str], Cell]:
    """A part of a text, trimmed; None where there are not so many."""
    separator, index = split.separator, split.index - 1 if split.index > 0 else split.index

    def one(text: str) -> Cell:
        parts = text.split(separator)
        try:
            return parts[index].strip()
        except IndexError:
            return None

    return one


def title(text: str) -> str:
    """Every word with a capital: words begin after white space, a hyphen, or the first letter
    and an apostrophe (O'Neil, but It's)."""
    out = []
    begins = True
    for char in text.lower():
        out.append(char.upper() if begins else char)
        begins = char.isspace() or char == "-" or (char in "'’" and len(out) > 1 and out[-2].isupper())
    return "".join(out)


CASES: dict[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower, "title": title}


def steps(spec: FieldSpec) -> list[Step]:
    """The steps that a field asks for, in the order of MAP.md."""
    made: list[Step] = []
    if spec.normalise:
        made.append(on_text(normaliser(spec.normalise)))
    if spec.trim:
        made.append(on_text(str.strip))
    if spec.empty:
        made.append(nothings(spec.empty))
    if spec.split is not None:
        made.append(on_text(part_of(spec.split)))
    if spec.case is not None:
        made.append(on_text(CASES[spec.case]))
    return made


def concat(columns: Sequence[Column], separator: str) -> Column:
    """The cells of each row as one text; what says nothing is left out with its separator. MISSING if all are."""
    if len(columns) == 1:
        return columns[0]
    out: list[Cell] = []
    for cells in zip(*columns, strict=True):
        said = [as_text(cell) for cell in cells if not is_blank(cell)]
        out.append(separator.join(said) if said else MISSING if all(c is MISSING for c in cells) else "")
    return out


def alternatives(columns: Sequence[Column]) -> Column:
    """The first cell of each row that says something; if none does, the first that the file speaks of."""
    if len(columns) == 1:
        return columns[0]
    out: list[Cell] = []
    for cells in zip(*columns, strict=True):
        for cell in cells:
            if not is_blank(cell):
                out.append(cell)
                break
        else:
            out.append(next((cell for cell in cells if cell is not MISSING), MISSING))
    return out


def together(columns: Sequence[Column]) -> Column:
    """The cells of each row as a tuple: a key of several fields. None if one of them says nothing."""
    return [None if any(map(is_blank, cells)) else cells for cells in zip(*columns, strict=True)]  # type: ignore[misc]

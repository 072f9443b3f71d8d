"""Formulas disarmed for a person who opens a file in Excel, and armed again when it comes back.

A cell that a spreadsheet would run gets an apostrophe in front, and so does every cell that would look like a marked one;
the way back takes one off exactly those. One test each:

1. Whatever the text, `bare(guarded(text)) == text`.
2. What begins with = + - @, TAB or CR, also wide or after spaces, is guarded; plain numbers and phones are not.
"""

from __future__ import annotations

import re
from typing import Any, Final

MARKER = "'"

_HEADS: Final = frozenset("=+-@＝＋－＠")
_SPACES: Final = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
FIRST: Final = _HEADS | frozenset(MARKER + _SPACES)
"""Every character that a guarded or marked cell can begin with: others need no second look."""

_PLAIN: Final = re.compile(r"[+-]\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?%?|\+\d[\d ()]*\d")
"""A number, or a phone number that a spreadsheet does not compute: "+1-555" it would."""


def _runs(text: str) -> bool:
    core = text.lstrip()
    before = text[: len(text) - len(core)]
    if "\t" in before or "\r" in before:
        return True
    return core[:1] in _HEADS and bool(core) and not _PLAIN.fullmatch(text)


def guarded(text: str) -> str:
    """The text as it goes into a file for Excel."""
    return MARKER + text if text and text[0] in FIRST and _runs(text.lstrip(MARKER)) else text


def bare(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text.startswith(MARKER) and _runs(text.lstrip(MARKER)) else text


def guard_row(row: Any) -> list[Any]:
    """A row with its texts guarded; other cells are no formulas."""
    return [MARKER + c if type(c) is str and c and c[0] in FIRST and _runs(c.lstrip(MARKER)) else c for c in row]

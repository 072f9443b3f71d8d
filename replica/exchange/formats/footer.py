"""The last lines of a table may be totals, or say who made the file: they are no rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

FOOTER: Final = "a footer: it is no row of the table"
LINES_MAX: Final = 5
"""Lines of a footer."""
WORDS: Final = re.compile(
    r"(?i)\W*(?:(?:grand |sub)?totals?|sum|summe|gesamt(?:summe)?|итого|всего|total général|somme|suma"
    r"|end of (?:file|report)|eof"
    r"|合计|总计|小计|共计|合計|總計|小計|総計)\W*(?:\d.*)?"
)


def raw_of(row: Sequence[object]) -> str:
    """A row as a line of CSV, cut to a sane length."""
    texts = map(str, row)
    return ",".join(f'"{c.replace(chr(34), chr(34) * 2)}"' if re.search('[,"\r\n]', c) else c for c in texts)[:2000]


def totals(row: Sequence[object]) -> bool:
    """Whether a row says little but that it sums up, or ends the file."""
    filled = [text for cell in row if (text := str(cell).strip())]
    return (
        len(row) > 1
        and bool(filled)
        and bool(WORDS.fullmatch(filled[0]))
        and len(filled) <= (len(row) + 1) // 2
    )

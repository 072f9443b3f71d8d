"""vCard 3.0 out: a record is a card.

1. CR LF, folded at 75 octets between characters, escaped: no text can make a line of its own (a CR becomes a line break of
   the text).
2. Fields are named as `vcard` reads them. One that vCard does not know is X-REPLICA;FIELD="its name", and comes back.
3. What is nothing or empty is left out: vCard cannot say it. A card without a name gets an empty FN, which is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from replica.errors import RowRefused
from replica.exchange.formats.paths import nests, text_of
from replica.exchange.formats.source import Sink, wrong_width
from replica.exchange.formats.vcard import KINDS, MANY, OURS, PARTS, PLAIN
from replica.exchange.rows import MISSING, Row


def _escape(text: str) -> str:
    text = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return text.replace("\r\n", "\\n").replace("\r", "\\n").replace("\n", "\\n")


def _folded(line: str) -> bytes:
    """A line in pieces of at most 75 octets, none of which cuts a character."""
    data = line.encode()
    if len(data) <= 75:
        return data + b"\r\n"
    pieces, start, room = [], 0, 75
    while start < len(data):
        end = min(start + room, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[start:end])
        start, room = end, 74
    return b"\r\n ".join(pieces) + b"\r\n"


def _place(field: str) -> tuple[str, str] | None:
    """(line up to the value, part of it) of a field in a card; None if vCard does not know it."""
    names = field.split(".")
    name, rest = names[0], names[1:]
    part = ""
    if name in PARTS and (name != "org" or rest):
        if not rest or rest[-1] not in PARTS[name]:
            return None
        part = rest.pop()
    if name in MANY:
        number = rest.pop() if rest and re.fullmatch(r"[2-9]|[1-9]\d+", rest[-1]) else ""
        if [kind for kind in KINDS if kind in rest] != rest:
            return None
        kinds = f";TYPE={','.join(rest).upper()}" if rest else ""
        return f"{name.upper()}{kinds}\0{number}", part
    if rest or (name not in PLAIN and name not in PARTS):
        return None
    return name.upper(), part


class VcardWriter:
    """Cards, version 3.0. Raises RowRefused for half characters."""

    def __init__(self, out: Sink, fields: Sequence[str]) -> None:
        self._out = out
        self._count = len(fields)
        self._whole: dict[str, dict[str, int]] = {}
        for i, field in enumerate(fields):
            place = _place(field)
            if place is None:
                shown = re.sub(r'["^\r\n]', lambda f: {'"': "^'", "^": "^^"}.get(f[0], "^n"), field)
                place = f'{OURS};FIELD="{shown}"', ""
            self._whole.setdefault(place[0], {})[place[1]] = i

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows, in the order of the fields."""
        try:
            self._out.write(b"".join(self._card([_shown(value) for value in row]) for row in rows))
        except UnicodeEncodeError:
            raise RowRefused("half a character (a lone surrogate) has no place in a vCard") from None

    def _card(self, cells: list[str]) -> bytes:
        if len(cells) != self._count:
            raise wrong_width(cells, self._count)
        lines = ["BEGIN:VCARD", "VERSION:3.0"]
        named = False
        for key, parts in self._whole.items():
            head = key.split("\0")[0] if not key.startswith(OURS) else key
            order = PARTS.get(re.split(r"[;\0]", key)[0].lower())
            if order is None:
                value = cells[parts[""]]
                # Commas between categories are what the field is made of.
                text = value.replace("\r", "\n").replace("\n", "\\n") if key == "CATEGORIES" else _escape(value)
            else:
                texts = [_escape(cells[parts[part]]) if part in parts else "" for part in order]
                value = "".join(texts)
                while key == "ORG" and len(texts) > 1 and not texts[-1]:
                    texts.pop()
                text = ";".join(texts)
            if value:
                lines.append(f"{head}:{text}")
                named = named or key == "FN"
        if not named:
            lines.insert(2, "FN;X-MADE=1:")
        return b"".join(map(_folded, [*lines, "END:VCARD"]))

    def close(self) -> None:
        """Nothing is left to write."""


def _shown(value: object) -> str:
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return text_of(value) if nests(value) else str(value)

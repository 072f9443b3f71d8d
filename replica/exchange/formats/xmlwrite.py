"""Writing XML that anybody reads, and that `xmlfile` reads back as it was (the form is its promise 5).

1. Names that XML can have are elements, others stand in <field name="…">.
2. Text is what it was: CR, spaces at the ends, characters that XML forbids, a text that looks like our own escape.
3. For the same rows the same bytes.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Sequence

from replica.errors import RowRefused
from replica.exchange.formats.paths import nests, text_of
from replica.exchange.formats.source import Sink, wrong_width
from replica.exchange.formats.xmlfile import XSI
from replica.exchange.formats.xmlfind import NAMESPACE
from replica.exchange.rows import MISSING, Row
from replica.libraries import library

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-F]{4}_)")
_ODD = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]|_x[0-9A-F]{4}_")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;", '"': "&quot;", "\n": "&#10;", "\t": "&#9;"}


def escape(text: str) -> str:
    """_xHHHH_ for characters that XML forbids, and for a "_" that would look like that."""
    return _FORBIDDEN.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def _markup(text: str, what: str = "[&<>\r]") -> str:
    return re.sub(what, lambda found: _ENTITIES[found[0]], text)


def legal(name: str) -> bool:
    """Whether XML can have an element of this name without further ado."""
    with library("lxml"):
        from lxml import etree

    if ":" in name or name.lower().startswith("xml"):
        return False
    try:
        etree.Element(name)
    except ValueError:
        return False
    return "{" not in name


class XmlWriter:
    """An element a record. Raises RowRefused for a value that it cannot write."""

    def __init__(self, out: Sink, fields: Sequence[str], name: str = "records") -> None:
        self._out = out
        root = name if legal(name) else "records"
        self._end = f"</{root}>\n"
        tags = []
        for field in fields:
            if legal(field):
                tags.append((field, field))
            else:
                said = _markup(escape(field), '[&<>\r"\n\t]')
                tags.append((f'field name="{said}"', "field"))
        self._tags = tags
        head = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns:xsi="{XSI}" xmlns:r="{NAMESPACE}">\n'
        self._out.write(head.encode())

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows, in the order of the fields."""
        made: list[str] = []
        for row in rows:
            if len(row) != len(self._tags):
                raise wrong_width(row, len(self._tags))
            made.append("<record>")
            for (begin, end), value in zip(self._tags, row, strict=True):
                if type(value) is str:
                    if _ODD.search(value):
                        made.append(_odd(begin, end, value))
                    else:
                        made.append(f"<{begin}>{value}</{end}>")
                elif value is None:
                    made.append(f'<{begin} xsi:nil="true"/>')
                elif value is not MISSING:
                    made.append(_other(begin, end, value))
            made.append("</record>\n")
        self._out.write("".join(made).encode())

    def close(self) -> None:
        """Write the end."""
        self._out.write(self._end.encode())


def _odd(begin: str, end: str, text: str) -> str:
    escaped = escape(text)
    mark = ' r:as="escaped"' if escaped != text else ""
    return f"<{begin}{mark}>{_markup(escaped)}</{end}>"


def _other(begin: str, end: str, value: object) -> str:
    if isinstance(value, bool):
        return f"<{begin}>{'true' if value else 'false'}</{end}>"
    if isinstance(value, int):
        return f"<{begin}>{value}</{end}>"
    if isinstance(value, float):
        shown = repr(value) if math.isfinite(value) else {"inf": "INF", "-inf": "-INF"}.get(repr(value), "NaN")
        return f"<{begin}>{shown}</{end}>"
    if isinstance(value, bytes):
        return f'<{begin} r:as="base64">{base64.b64encode(value).decode()}</{end}>'
    if nests(value):
        return _odd(begin, end, text_of(value))
    raise RowRefused(f"{type(value).__name__} has no place in XML")

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
from functools import lru_cache
from typing import Any

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

    def __init__(self, out: Sink, fields: Sequence[str], name: str = "records", *, nested: bool = False) -> None:
        """`nested`: lists and objects are elements, else their JSON text."""
        self._out, self._nested = out, nested
        root = name if legal(name) else "records"
        self._end = f"</{root}>\n"
        self._tags = list(map(_tag, fields))
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
                elif self._nested and nests(value):
                    made.append(_elements(begin, end, value))
                elif value is not MISSING:
                    made.append(_other(begin, end, value))
            made.append("</record>\n")
        self._out.write("".join(made).encode())

    def close(self) -> None:
        """Write the end."""
        self._out.write(self._end.encode())


@lru_cache(maxsize=1_000)
def _tag(name: str) -> tuple[str, str]:
    """What stands in the begin and in the end of an element."""
    if legal(name):
        return name, name
    said = _markup(escape(name), '[&<>\r"\n\t]')
    return f'field name="{said}"', "field"


def _elements(begin: str, end: str, value: Any) -> str:
    """A value that may nest: each of a list is an element of its own."""
    if isinstance(value, list):
        if any(isinstance(one, list) for one in value):
            raise RowRefused("XML has no arrays of arrays")
        return "".join(_elements(begin, end, one) for one in value)
    if isinstance(value, dict):
        return f"<{begin}>{''.join(_elements(*_tag(n), v) for n, v in value.items() if v is not MISSING)}</{end}>"
    if value is None:
        return f'<{begin} xsi:nil="true"/>'
    return _odd(begin, end, value) if isinstance(value, str) else _other(begin, end, value)


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

"""Rows as JSON Lines, exactly: one array a line, in the order of the columns.

    null, a number without and with "." or "e", a string   NULL, INTEGER, REAL, TEXT
    {"bytes": base64}                                       BLOB
    {"text": base64}                                        TEXT whose bytes are not UTF-8
    {"real": "inf"} or "-inf"                               what JSON has no number for

One test each:

1. Whatever SQLite holds comes back as it was: type, sign of zero, every bit of a double, 64-bit integers.
2. A line that says anything else is refused.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from protocol.values import INT_MAX, INT_MIN, IllFormedText
from replica.errors import FileRefused
from replica.libraries import library

with library("msgspec"):
    import msgspec

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Any])
_PLAIN = frozenset({int, str, float, type(None)})
_REALS = {"inf": math.inf, "-inf": -math.inf}


def encode(rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Lines of rows as SQLite gives them, ill-formed text as IllFormedText."""
    kinds = set(map(type, chain.from_iterable(rows)))
    if not kinds <= _PLAIN or (float in kinds and any(math.inf in row or -math.inf in row for row in rows)):
        rows = [tuple(v if type(v) in (str, int) else _said(v) for v in row) for row in rows]
    return _encoder.encode_lines(rows)


def _said(value: Any) -> Any:
    match value:
        case IllFormedText():
            return {"text": base64.b64encode(bytes(value)).decode()}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case float() if math.isinf(value):
            return {"real": "inf" if value > 0 else "-inf"}
    return value


def decode(lines: bytes, width: int, where: str) -> list[list[Any]]:
    """Rows of whole lines, `width` cells each. Raises FileRefused; `where` is for its message."""
    try:
        rows = _decoder.decode_lines(lines)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise FileRefused(f"{where}: a line is no row in JSON ({error})") from None
    if not set(map(len, rows)) <= {width}:
        raise FileRefused(f"{where}: a row has not {width} cells")
    kinds = set(map(type, chain.from_iterable(rows)))
    if not kinds <= _PLAIN:
        rows = [[v if type(v) in _PLAIN else _meant(v, where) for v in row] for row in rows]
    if int in kinds and any(type(v) is int and not INT_MIN <= v <= INT_MAX for v in chain.from_iterable(rows)):
        raise FileRefused(f"{where}: an integer does not fit into 64 bits")
    return rows


def _meant(value: Any, where: str) -> Any:
    try:
        match value:
            case {"bytes": str(text)} if len(value) == 1:
                return base64.b64decode(text, validate=True)
            case {"text": str(text)} if len(value) == 1:
                return IllFormedText(base64.b64decode(text, validate=True))
            case {"real": str(text)} if len(value) == 1 and text in _REALS:
                return _REALS[text]
    except (binascii.Error, ValueError) as error:
        raise FileRefused(f"{where}: a cell is not in base64 ({error})") from None
    raise FileRefused(f"{where}: a cell holds what SQLite cannot hold: {str(value)[:60]!r}")


def whole_lines(parts: Iterable[bytes], most: int, where: str) -> Iterator[bytes]:
    """The same bytes, cut at ends of lines. Raises FileRefused for a line of more than `most` bytes, and if the last one
    has no end."""
    rest: list[bytes] = []
    held = 0
    for part in parts:
        cut = part.rfind(b"\n") + 1
        if cut:
            yield b"".join([*rest, part[:cut]])
            rest, held = [], 0
        rest.append(part[cut:])
        held += len(part) - cut
        if held > most:
            raise FileRefused(f"{where}: a line has more than {most} bytes")
    if held:
        raise FileRefused(f"{where}: its last line has no end, so it was cut short")

"""JSON values out of text, strictly: nothing is changed on the way, and a file of any size goes through a small window.

1. A whole number over 64 bits, and a number that a float would not print back (0.10, 1e400), stay the text they are; where
   only the spelling of the exponent differs (1E5), it is a float.
2. A name twice in one object, NaN and Infinity, lone surrogates, bytes that are no UTF-8 and control characters in text are
   errors of that value.
3. Depth and size of one value are capped, before anything recurses.
4. The window (`Scroll`) holds one value at a time, never the file.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import IO, Any

from replica.errors import FileRefused
from replica.exchange.formats.paths import DEPTH_MAX

BLOCK = 1 << 18
"""Bytes read at a time."""

RECORD_MAX = 16 << 20
"""Characters of one record."""

AHEAD_MAX = 1 << 16
"""Characters behind the beginning of a damaged record in which the next one is looked for."""

SEARCHED_MAX = 500 * AHEAD_MAX
"""Characters looked through for that in one file: some seconds."""

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\r\n\x1e]*")


class Damaged(Exception):
    """This value is no JSON. `at`: where in the window it begins."""

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at


class TooBig(Exception):
    """The value does not end within the window that was allowed."""


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the name "{twice}" stands twice in one object: remove or rename one of them')
    if len(made) == 1:
        name, value = pairs[0]
        if name == "$bytes" and type(value) is str:
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("$bytes is no base64") from None
        if name == "$float" and value in {"inf", "-inf"}:
            return float(value)
    return made


def _integer(text: str) -> int | str:
    if len(text) < 19:
        return int(text)
    if len(text) > 20:
        return text
    number = int(text)
    return number if _INT_MIN <= number <= _INT_MAX else text


def _float(text: str) -> float | str:
    number = float(text)
    short = repr(number)
    if short == text:
        return number
    if ("e" in text or "E" in text or "e" in short) and math.isfinite(number):
        try:
            if Decimal(text) == Decimal(short):
                return number
        except InvalidOperation:
            return text
    return text


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON: use null, or text")


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]


def scan(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. Raises Damaged."""
    try:
        return _scan(text, at)
    except StopIteration as stop:
        raise Damaged("a value is missing", stop.value) from None
    except json.JSONDecodeError as error:
        raise Damaged(error.msg, error.pos) from None
    except ValueError as error:
        raise Damaged(str(error), -1) from None
    except RecursionError:
        raise Damaged(f"deeper than {DEPTH_MAX} levels", -1) from None


def depth(text: str) -> int:
    """How deep the brackets of a text go."""
    now = deepest = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            now += 1
            deepest = max(deepest, now)
        elif token[0] in "]}":
            now -= 1
    return deepest


def check(text: str, value: object, suspect: bool) -> None:
    """What the parser does not look at: depth, and in a `suspect` block characters that are none. Raises Damaged."""
    if text.count("[") + text.count("{") > DEPTH_MAX and depth(text) > DEPTH_MAX:
        raise Damaged(f"deeper than {DEPTH_MAX} levels")
    if suspect:
        if found := _SURROGATE.search(text):
            code = ord(found[0])
            what = f"the byte 0x{code - 0xDC00:02X} is no UTF-8" if 0xDC80 <= code <= 0xDCFF else "half a character"
            raise Damaged(f"{what}: say what the file is with --encoding")
        if _SURROGATE.search(json.dumps(value, ensure_ascii=False, default=str)):
            raise Damaged(r"half a character (a lone \ud800 to \udfff) is no text")


def suspicious(block: str) -> bool:
    r"""Whether a block may hold half characters, raw or written \udXXX."""
    return "\\ud" in block or "\\uD" in block or (not block.isascii() and bool(_SURROGATE.search(block)))


def encoding_of(head: bytes) -> str:
    """The encoding of JSON by its first bytes: a byte order mark, the zeros of UTF-16 and UTF-32, else UTF-8."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name
    if len(head) >= 4:
        zeros = "".join("0" if byte == 0 else "x" for byte in head[:4])
        by_zeros = {"x0x0": "utf-16-le", "0x0x": "utf-16-be", "x000": "utf-32-le", "000x": "utf-32-be"}
        return by_zeros.get(zeros, "utf-8")
    return "utf-8"


def blocks(stream: IO[bytes], encoding: str) -> Iterator[str]:
    """The text of a stream in blocks. Bytes that are no UTF-8 come as lone surrogates, for `check` to find; in other
    encodings they are refused. Raises FileRefused."""
    utf8 = encoding.lower().replace("_", "-") in {"utf-8", "utf8", "utf-8-sig"}
    try:
        decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if utf8 else "strict")
    except LookupError:
        raise FileRefused(f'"{encoding}" is no encoding that is known here') from None
    while data := stream.read(BLOCK):
        try:
            yield decoder.decode(data)
        except UnicodeDecodeError as error:
            raise FileRefused(f"the file is no {encoding}: {error.reason}; say what it is with --encoding") from None
    try:
        yield decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        raise FileRefused(f"the file is no {encoding}: {error.reason}; say what it is with --encoding") from None


class Scroll:
    """A window that moves over the text of a file. `line` is that of the last value."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self.text, self.at, self.ended = "", 0, False
        self.suspect = False
        self._counted, self._lines = 0, 1
        self._searched = 0

    def line(self, at: int | None = None) -> int:
        """The line of a place in the window (default: where we are), from 1; places only go forward."""
        at = self.at if at is None else at
        self._lines += self.text.count("\n", self._counted, at)
        self._counted = at
        return self._lines

    def more(self) -> bool:
        """Read on, at least as much again as there is; False at the end."""
        if self.ended:
            return False
        self.line()
        parts, have = [self.text[self.at :]], len(self.text) - self.at
        size = 0
        while size <= have:
            block = next(self._source, None)
            if block is None:
                self.ended = True
                break
            size += len(block)
            parts.append(block)
        self.text, self.at, self._counted = "".join(parts), 0, 0
        self.suspect = suspicious(self.text)
        return size > 0

    def peek(self) -> str:
        """The next character that is no space, and we stand before it; "" at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, wanted: str) -> None:
        """Step over one character. Raises Damaged if it is another."""
        got = self.peek()
        if got != wanted:
            raise Damaged(f'"{wanted}" is missing' + ("" if got else ": the file ends here"), self.at)
        self.at += 1

    def value(self, most: int = RECORD_MAX) -> tuple[Any, str]:
        """The next value and its text. Raises Damaged (we stay before it), TooBig over `most` characters."""
        self.peek()
        while True:
            try:
                value, end = _scan(self.text, self.at)
                if end < len(self.text) or self.ended:
                    break
                self.more()  # a number may go on
            except StopIteration as stop:
                self._incomplete("a value is missing", stop.value, most)
            except json.JSONDecodeError as error:
                self._incomplete(error.msg, error.pos, most)
            except ValueError as error:
                raise Damaged(str(error), self.at) from None
            except RecursionError:
                raise Damaged(f"deeper than {DEPTH_MAX} levels", self.at) from None
        text = self.text[self.at : end]
        if len(text) > most:
            raise TooBig
        check(text, value, self.suspect)
        self.at = end
        return value, text

    def _incomplete(self, reason: str, where: int, most: int) -> None:
        """The parser stopped: at the end of the window (then there is more now), or at a mistake (then Damaged)."""
        if where < len(self.text) - 12 and not reason.startswith("Unterminated string"):
            raise Damaged(reason, self.at)
        if len(self.text) - self.at > most:
            raise TooBig
        if not self.more():
            raise Damaged(f"{reason}: the file ends within this record", self.at)

    def searched(self, until: int) -> None:
        """Say how far was looked for the next record behind a damaged one. Raises FileRefused when that was too much: a file
        that is damaged throughout would cost the square of its size."""
        self._searched += until - self.at
        if self._searched > SEARCHED_MAX:
            raise FileRefused(f"the file is damaged in too many places (the last in line {self.line()}): get it again")

    def balanced(self, until: int) -> int | None:
        """Where the value that begins here ends by its brackets alone; None if they do not match before `until`."""
        now = 0
        for token in _TOKEN.finditer(self.text, self.at, until):
            if token[0] in "[{":
                now += 1
            elif token[0] in "]}":
                now -= 1
                if now <= 0:
                    return token.end()
        return None

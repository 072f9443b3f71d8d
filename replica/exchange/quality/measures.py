"""What a value looks like, and what looks wrong with it: the words in which a profile speaks of values.

Each value has one kind. A mark is a reason to look: none of them proves an error. One test each:

1. A value has one kind; digits that begin with zero are a code, not a number.
2. Each mark is set on what it names and not on ordinary names of any script.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

MARKS = {
    "mojibake": "text that was read in the wrong encoding once",
    "control": "control characters",
    "invisible": "invisible characters (zero width, direction marks, byte order marks)",
    "space": "blanks at the begin or end, or several in a row",
    "placeholder": "says nothing, in words (N/A, -, null, 无)",
    "spreadsheet": "a number that a spreadsheet cut (8.6138E+12), or one of its errors (#REF!)",
    "formula": "begins as a formula does in a spreadsheet",
}
"""Mark -> what it means."""

_KINDS = (
    ("integer", re.compile(r"[+-]?(?:0|[1-9]\d{0,18})", re.ASCII)),
    ("code", re.compile(r"0\d+", re.ASCII)),
    ("decimal", re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)\.\d+(?:[eE][+-]?\d+)?", re.ASCII)),
    ("decimal comma", re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+", re.ASCII)),
    ("date", re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)),
    ("time", re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)),
    ("other date", re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}年\d{1,2}月\d{1,2}日", re.ASCII)),
    ("e-mail", re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;.]+")),
    ("phone", re.compile(r"\+?(?=(?:\D*\d){7,15}\D*\Z)[\d(][\d ()./-]{6,}", re.ASCII)),
    ("web", re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)),
)
_BOOLEANS = frozenset({"true", "false", "yes", "no", "y", "n", "是", "否"})
_NOTHINGS = frozenset(
    {"n/a", "n.a.", "#n/a", "null", "none", "nil", "nan", "-", "--", "---", "?", "??", "???", ".", "..", "...", "unknown",
     "undefined", "tbd", "tba", "(none)", "(null)", "(empty)", "(blank)", "not_available", "not available", "no data",
     "keine angabe", "无", "無", "未知", "暂无", "空", "不详", "待定"}
)  # fmt: skip
_MOJIBAKE = re.compile(
    "\ufffd|锟斤拷|锘|烫烫烫|屯屯屯|\\?{4,}|[ÃÂ][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013-\u203a\u20ac\u2122]|â€|ï»¿|‚[ÄÅÇ]|√[^\x00-\x7f]|[\u0080-\u0084\u0086-\u009f]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_SPACE = re.compile(r"^\s|\s$|[ \u00a0\u3000]{2}")
_SHEET = re.compile(r"[+-]?\d\.\d+E\+\d{2,}|#(?:REF|VALUE|NAME\?|DIV/0|NUM|NULL)!?|#{5,}")
_PLAIN = re.compile(r"[A-Za-z0-9]+(?:[ .@_-][A-Za-z0-9]+)*\Z", re.ASCII)


def kind(value: Any) -> str:
    """What a value looks like. Numbers of a table are integer or real, as SQLite says."""
    if isinstance(value, str):
        text = value.strip()
        if text.isalpha():
            return "boolean" if text.casefold() in _BOOLEANS else "text"
        return next((name for name, pattern in _KINDS if pattern.fullmatch(text)), "text")
    return {int: "integer", float: "real", bytes: "bytes"}.get(type(value), "nothing")


def marks(value: Any) -> list[str]:
    """What looks wrong with a value."""
    if not isinstance(value, str):
        return []
    found = []
    text = value.strip()
    if text.casefold() in _NOTHINGS:
        found.append("placeholder")
    if _PLAIN.match(value):
        return [*found, "spreadsheet"] if _SHEET.fullmatch(value) else found
    if _MOJIBAKE.search(value):
        found.append("mojibake")
    if _CONTROL.search(value):
        found.append("control")
    if _INVISIBLE.search(value):
        found.append("invisible")
    if _SPACE.search(value):
        found.append("space")
    if _SHEET.fullmatch(text):
        found.append("spreadsheet")
    if text[:1] in {"=", "@", "＝", "＠"} or (text[:1] in {"+", "-"} and text[1:2].isalpha()):
        found.append("formula")
    return found


def folded(value: Any) -> Any:
    """A text as a person reads it: without case, width, accents' spelling, and spare blanks."""
    if not isinstance(value, str):
        return value
    text = value if value.isascii() else unicodedata.normalize("NFKC", _INVISIBLE.sub("", value))
    return " ".join(text.split()).casefold()

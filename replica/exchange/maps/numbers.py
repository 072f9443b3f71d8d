"""Numbers as people write them: 1.234,56 and 1,234.56, currencies, percent, accountants' minus.

One test each:

1. With the decimal mark told, grouping marks count only where they group: 1,2,3 is no number.
2. Without it, a value that both readings fit (1,234) is refused, and one that only one reading fits is read.
3. What a float or 64 bits cannot hold exactly is refused, never rounded in silence; so are nan, inf and 1_000.
4. A column is decided over all its values: marks that speak for one reading decide, those that contradict are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from replica.exchange.maps.mapmodel import Bad
from replica.exchange.rows import Cell

_PLAIN = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]+)?\Z")
_CURRENCY = (
    r"[$€£¥₩₹₽₺₫₴₪฿₱元円圓￥＄￡]|\b(?:USD|EUR|GBP|CNY|RMB|JPY|CHF|HKD|TWD|AUD|CAD|SGD|INR|KRW|BRL|PLN|SEK|NOK|DKK|CZK"
    r"|US\$|HK\$|NT\$|R\$)(?![A-Za-z])|\bkr\b|zł"
)
_STRIP = re.compile(_CURRENCY)
_SPACES = re.compile(r"[\s\u00a0\u202f\u2009'’_]")
_DIGITS = r"[0-9]"
_GROUPED = {
    mark: re.compile(rf"{_DIGITS}{{1,3}}(?:{re.escape(mark)}{_DIGITS}{{2,3}})*{re.escape(mark)}{_DIGITS}{{3}}\Z")
    for mark in ",."
}
"""Groups of three; of two before the last, as in India: 12,34,567."""
_GAPS = re.compile(r"[0-9]{1,3}(?:[\s\u00a0\u202f\u2009'’][0-9]{3})+(?![0-9])")
_LOST = re.compile(r"\s*[+-]?[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}\s*\Z")


class Marks(NamedTuple):
    """How many values of a column speak for the point as the decimal mark, for the comma, and for neither (1,234)."""

    point: int
    comma: int
    either: int


def lost_digits(text: str) -> bool:
    """Whether this looks like a long number that a spreadsheet has written as 8.61380E+12: digits are gone."""
    return ("E" in text or "e" in text) and _LOST.match(text) is not None


def reading(text: str) -> str:
    """Which decimal mark this number must have: "." or ","; "?" if both readings fit; "" if it has no marks, or is none."""
    text = _core(text)[0]
    points, commas = text.count("."), text.count(",")
    if not points and not commas:
        return ""
    if points and commas:
        mark = "." if text.rindex(".") > text.rindex(",") else ","
        return mark if text.count(mark) == 1 else ""
    mark, other, count = (".", ",", points) if points else (",", ".", commas)
    if count > 1:
        return other if _GROUPED[mark].match(text) else ""
    if not re.match(r"[0-9]*[.,][0-9]*\Z", text):
        return ""
    return "?" if _GROUPED[mark].match(text) and not text.startswith("0") else mark


def marks(values: Iterable[str]) -> Marks:
    """What the values of a column say about its decimal mark."""
    seen = [reading(value) for value in values]
    return Marks(seen.count("."), seen.count(","), seen.count("?"))


def number(decimal: str | None, whole: bool = False) -> Callable[[object], Cell]:
    """A reader of numbers with this decimal mark ("." or ","; None: it must be plain from each value). Gives a float, or
    an int of 64 bits if `whole`. The reader raises Bad."""

    def one(cell: object) -> Cell:
        if cell.__class__ is str:
            text: str = cell
            if decimal == "." and _PLAIN.match(text):
                if not whole and len(text) < 15:
                    return float(text)
                return int(text) if whole and "." not in text else _fit(Decimal(text), text, whole)
            return _fit(_decimal(text, decimal), text, whole)
        if isinstance(cell, bool):
            return int(cell) if whole else float(cell)
        if isinstance(cell, int | float):
            return _fit(Decimal(str(cell)), str(cell), whole)
        raise Bad("is no number: give one, or map this field as text")

    return one


def quick(decimal: str | None) -> Callable[[str], float]:
    """The fast half of `number` for floats: reads what is plain, raises ValueError for all the rest."""
    plain = _PLAIN.match

    def one(text: str) -> float:
        if len(text) < 15 and plain(text):
            return float(text)
        raise ValueError

    def comma(text: str) -> float:
        if "." in text:
            raise ValueError
        return one(text.replace(",", "."))

    def bare(text: str) -> float:
        if "." in text:
            raise ValueError
        return one(text)

    return comma if decimal == "," else bare if decimal is None else one


def _fit(value: Decimal, text: str, whole: bool) -> Cell:
    if not value.is_finite():
        raise Bad("is no number: give one, or list it in `empty`")
    if whole:
        if value.adjusted() > 19 or value != value.to_integral_value():
            raise Bad('is no whole number: give one, or say type = "number"')
        if not -(2**63) <= int(value) < 2**63:
            raise Bad("does not fit in 64 bits: map this field as text")
        return int(value)
    made = float(value)
    if made in (float("inf"), float("-inf")) or (
        len(value.normalize().as_tuple().digits) > 15 and Decimal(repr(made)) != value
    ):
        raise Bad(
            f"has more digits than a number can hold ({text.strip()} would become {made!r}): map this field as text"
        )
    return made


def _core(text: str) -> tuple[str, bool, bool]:
    """The digits and marks of a number, whether it is below nothing, and whether it is percent."""
    text = text.strip()
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKC", text).replace("−", "-").replace("–", "-")
    percent = "%" in text
    if percent:
        text = text.replace("%", "", 1).strip()
    if not text[:1].isdigit() or not text[-1:].isdigit():
        text = _STRIP.sub("", text).strip()
    minus = False
    if text.startswith("(") and text.endswith(")"):
        minus, text = True, text[1:-1].strip()
    elif text[:1] in "+-" or text[-1:] == "-":
        minus = "-" in (text[:1], text[-1:])
        text = text[1:] if text[:1] in "+-" else text[:-1]
    text = _STRIP.sub("", text).strip() if not text[:1].isdigit() else text
    gaps = _GAPS.match(text)
    if gaps:
        text = _SPACES.sub("", gaps.group()) + text[gaps.end() :]
    return text, minus, percent


def _decimal(text: str, decimal: str | None) -> Decimal:
    core, minus, percent = _core(text)
    mark = decimal
    if mark is None:
        mark = reading(core) or "."
        if mark == "?":
            raise Bad('can be read in two ways: say decimal = "." or decimal = "," for this field')
    group = "," if mark == "." else "."
    whole, _, fraction = core.partition(mark)
    if group in whole and _GROUPED[group].match(whole):
        whole = whole.replace(group, "")
    number = f"{whole}.{fraction}" if fraction else whole
    match = re.match(r"[0-9]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\Z", number)
    if not match or not re.search(r"[0-9]", number) or len(number) > 400:
        if reading(core) == ("," if mark == "." else "."):
            raise Bad(f'has another decimal mark than "{mark}": correct it, or say which with decimal')
        raise Bad("is no number: correct it, or list it in `empty` if it means nothing")
    value = Decimal(number)
    return (-value if minus else value) / (100 if percent else 1)

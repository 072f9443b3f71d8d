"""Dates and times as people write them -> ISO 8601 text. An order (DMY, MDY, YMD) or a pattern says how to read them.

One test each:

1. A date that has one reading only needs no order; 12/03/2021 without one is refused, and never guessed.
2. A column is decided over all its values: those with one reading only decide; those that contradict are counted.
3. 24:00 is the next day's midnight; an offset or Z makes UTC of it, and so does `zone` for a time without one.
4. Excel's serials count from 1900 (with its 29 February 1900) or from 1904; Unix seconds and milliseconds are told apart.
5. What the calendar lacks is refused; two digits of a year below `pivot` are 20xx, the others 19xx.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from replica.exchange.maps.mapmodel import Bad, as_text
from replica.exchange.rows import Cell

ORDERS = ("DMY", "MDY", "YMD")
SERIALS = ("excel", "excel-1904", "unix", "unix-ms")
"""Numbers that stand for dates, of formats that cannot do better."""
CACHE = 65_536
TOKENS = ["yyyy", "yy", "MMMM", "MMM", "MM", "M", "dd", "d", "HH", "H", "hh", "h", "mm", "ss", "SSS", "a", "XXX"]
"""What a pattern is made of; anything else in it stands for itself."""

_MONTHS = {
    name: number
    for names in (
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "january february march april may june july august september october november december",
        "januar februar märz april mai juni juli august september oktober november dezember",
        "jän feb mär apr mai juni juli aug sept okt nov dez",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "ene febr mrz abr mag giu lug ago set ott nov dic",
    )
    for number, name in enumerate(names.split(), 1)
}
_CLOCK = re.compile(
    r"(?:[T\s,]\s*|(?<=日)\s*)(?P<H>[0-9]{1,2})(?:[:.时時](?P<m>[0-9]{2})分?(?:[:.](?P<s>[0-9]{2})秒?(?:[.,](?P<f>[0-9]{1,9}))?)?)?"
    r"\s*(?P<a>[aApP]\.?[mM]\.?)?\s*(?P<z>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}|[+-][0-9]{2})?\Z"
)
_NUMBERS = re.compile(r"([0-9]{1,4})([-/.\s年])\s?([0-9]{1,2})([-/.\s月])\s?([0-9]{1,4})日?\Z")
_COMPACT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})\Z")
_WEEKDAY = r"(?:[^\W\d_]{2,10}\.?,\s*)?"
_COMPACT_TIME = re.compile(
    r"((?:19|20)[0-9]{6})T?([0-9]{2})([0-9]{2})([0-9]{2})?((?:[.,][0-9]{1,9})?(?:Z|[+-][0-9:]{2,5})?)\Z"
)
_DAY_FIRST = re.compile(
    _WEEKDAY + r"([0-9]{1,2})(?:st|nd|rd|th|\.)?(?:\s+de)?[\s-]*([^\W\d_]{3,10})\.?(?:\s+de)?[\s,-]*([0-9]{2,4})\Z"
)
_MONTH_FIRST = re.compile(_WEEKDAY + r"([^\W\d_]{3,10})\.?\s*([0-9]{1,2})(?:st|nd|rd|th)?,?\s+([0-9]{4})\Z")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_ISO_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?\Z", re.ASCII)
_ISO_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z", re.ASCII)


class Orders(NamedTuple):
    """How many values of a column can be dates in each order only, in several orders, and in none."""

    dmy: int
    mdy: int
    ymd: int
    either: int
    none: int


def _split(text: str) -> tuple[str, str]:
    """The date and the time of a text; the time may be empty."""
    if found := _COMPACT_TIME.match(text):
        return found[1], f"T{found[2]}:{found[3]}:{found[4] or '00'}{found[5]}"
    at = max(text.find("T", 6), text.find(":"))
    if at < 0 and text[-1:] not in "mM时時分秒":
        return text, ""
    found = re.search(r"(?:[T\s,]|(?<=日))\s*[0-9]{1,2}(?:[:.时時]|\s*[aApP]\.?[mM])", text)
    return (text[: found.start()].rstrip(" ,"), text[found.start() :]) if found else (text, "")


def readings(text: str, pivot: int = 69) -> dict[str, date]:
    """Every order in which the date of this text is a day of the calendar. A date that says its order by itself (year of
    four digits first, the month in words) has the order "". Empty if it is no date."""
    day = _split(text.strip())[0]
    if found := _COMPACT.match(day):
        return _days(("", *found.groups()), pivot)
    if found := _DAY_FIRST.match(day):
        month = _MONTHS.get(found[2].casefold())
        return _days(("", found[3], str(month), found[1]), pivot) if month else {}
    if found := _MONTH_FIRST.match(day):
        month = _MONTHS.get(found[1].casefold())
        return _days(("", found[3], str(month), found[2]), pivot) if month else {}
    found = _NUMBERS.match(day)
    if not found:
        return {}
    a, mark, b, mark_2, c = found.groups()
    if mark_2 not in (mark, "月"):
        return {}
    if len(a) == 4:
        return _days(("", a, b, c), pivot) if len(c) <= 2 else {}
    if len(a) == 3 or len(c) == 3 or (len(c) == 1 and len(a) == 1):
        return {}
    out = {}
    for order, parts in (("DMY", (c, b, a)), ("MDY", (c, a, b)), ("YMD", (a, b, c))):
        if (order == "YMD" and (len(c) == 4 or len(a) != 2)) or (order != "YMD" and len(c) < 2):
            continue
        out.update(_days((order, *parts), pivot))
    return out


def _days(parts: tuple[str, ...], pivot: int) -> dict[str, date]:
    order, year, month, day = parts
    try:
        return {order: date(_year(year, pivot), int(month), int(day))}
    except ValueError:
        return {}


def _year(text: str, pivot: int) -> int:
    return int(text) + (0 if len(text) > 2 else 2000 if int(text) < pivot else 1900)


def orders(values: Iterable[str]) -> Orders:
    """What the values of a column say about the order of their dates."""
    only = dict.fromkeys(ORDERS, 0)
    either = none = 0
    for value in values:
        found = readings(value)
        if not found:
            none += 1
        elif len(set(found.values())) > 1:
            either += 1
        elif len(found) == 1 and (order := next(iter(found))):
            only[order] += 1
    return Orders(only["DMY"], only["MDY"], only["YMD"], either, none)


def reader(kind: str, form: str | None, zone: str | None = None, pivot: int = 69) -> Callable[[object], Cell]:
    """A reader of cells as `kind`, "date" (2021-03-12) or "datetime" (2021-03-12T10:20:30, with Z if the zone is known).
    `form`: one of ORDERS, one of SERIALS, a pattern, or None. It raises Bad."""
    place = ZoneInfo(zone) if zone else None
    read: Callable[[str], tuple[datetime, str]]
    if form in SERIALS:
        read = _serial(form)
    elif form is None or form in ORDERS:
        read = _ordered(form, pivot)
    else:
        read = _patterned(form, pivot)
    memo: dict[str, str] = {}

    def one(cell: object) -> Cell:
        text = as_text(cell)
        got = memo.get(text)
        if got is None:
            if kind == "date" and _ISO.match(text) and form not in SERIALS:
                try:
                    got = date.fromisoformat(text).isoformat()
                except ValueError:
                    raise Bad("is no day of the calendar: correct it") from None
            else:
                got = _shown(kind, *read(text.strip()), place)
            if len(memo) >= CACHE:
                memo.clear()
            if len(text) <= 100:
                memo[text] = got
        return got

    return one


def quick(kind: str, form: str | None, zone: str | None) -> Callable[[str], str] | None:
    """The fast half of `reader`: takes what is ISO 8601 already and stays as it is, raises ValueError for all the rest."""
    if form is not None and form not in ORDERS:
        return None
    if kind == "date":

        def day(text: str) -> str:
            if _ISO.match(text):
                date.fromisoformat(text)
                return text
            raise ValueError

        return day
    plain = (_ISO_TIME if zone is None else _ISO_UTC).match

    def moment(text: str) -> str:
        if plain(text):
            datetime.fromisoformat(text)
            return text
        raise ValueError

    return moment


def _shown(kind: str, moment: datetime, fraction: str, place: ZoneInfo | None) -> str:
    """ISO 8601 of a moment; `fraction`: digits of the second's parts, kept as they are."""
    if kind == "date":
        if moment.hour or moment.minute or moment.second or fraction.strip("0"):
            raise Bad('has a time, which a date would lose: say type = "datetime"')
        return moment.date().isoformat()
    if moment.tzinfo is None and place is not None:
        moment = moment.replace(tzinfo=place)
    ends = ""
    if moment.tzinfo is not None:
        try:
            moment, ends = moment.astimezone(UTC).replace(tzinfo=None), "Z"
        except OverflowError:
            raise Bad("is outside the calendar: correct it") from None
    digits = fraction.rstrip("0")
    return moment.isoformat(timespec="seconds") + (f".{digits}" if digits else "") + ends


def _ordered(order: str | None, pivot: int) -> Callable[[str], tuple[datetime, str]]:
    def read(text: str) -> tuple[datetime, str]:
        found = readings(text, pivot)
        if not found:
            raise Bad(_why_not(text))
        days = set(found.values())
        day = found.get("") or (found.get(order) if order else next(iter(days)) if len(days) == 1 else None)
        if day is None and order:
            raise Bad(f"is no date as {order} has it: correct it, or say format for this field")
        if day is None:
            both = " or ".join(sorted(d.isoformat() for d in days))
            raise Bad(f'can be {both}: say format = "DMY" or format = "MDY" for this field')
        return _clock(day, _split(text)[1])

    return read


def _why_not(text: str) -> str:
    if re.match(r"[0-9]{5}(?:\.[0-9]+)?\Z", text):
        return 'is no date, but may be a day number of Excel: say format = "excel" (or "excel-1904")'
    if re.match(r"1[0-9]{9}(?:[0-9]{3})?\Z", text):
        return 'is no date, but may be a Unix time: say format = "unix" (or "unix-ms")'
    if _NUMBERS.match(_split(text)[0]) or _COMPACT.match(text):
        return "is no day of the calendar: correct it"
    return "is no date: correct it, say format for this field, or list it in `empty` if it means nothing"


def _clock(day: date, text: str) -> tuple[datetime, str]:
    moment = datetime(day.year, day.month, day.day)
    if not text:
        return moment, ""
    found = _CLOCK.match(text)
    if not found or not (found["m"] or found["a"] or text.rstrip()[-1] in "时時"):
        raise Bad("has a time that cannot be read: write it as 18:30:00")
    hour, minute, second = (int(found[name] or 0) for name in ("H", "m", "s"))
    if found["a"]:
        hour = _half_day(hour, found["a"])
    return _at(moment, hour, minute, second, found["z"] or ""), found["f"] or ""


def _half_day(hour: int, mark: str) -> int:
    if not 1 <= hour <= 12:
        raise Bad("has an hour that no clock of twelve hours has: correct it")
    return hour % 12 + (12 if mark[0] in "pP" else 0)


def _at(moment: datetime, hour: int, minute: int, second: int, offset: str) -> datetime:
    if hour == 24 and not minute and not second:
        try:
            moment, hour = moment + timedelta(days=1), 0
        except OverflowError:
            raise Bad("is outside the calendar: correct it") from None
    if hour > 23 or minute > 59 or second > 59:
        raise Bad("has a time that no clock shows: correct it")
    moment = moment.replace(hour=hour, minute=minute, second=second)
    if not offset:
        return moment
    if offset in ("Z", "UTC", "GMT"):
        return moment.replace(tzinfo=UTC)
    hours, minutes = int(offset[1:3]), int(offset[-2:]) if len(offset) > 3 else 0
    if hours > 15 or minutes > 59:
        raise Bad("has an offset that no zone has: correct it")
    east = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
    try:
        return (moment - east).replace(tzinfo=UTC)
    except OverflowError:
        raise Bad("is outside the calendar: correct it") from None


def _serial(kind: str) -> Callable[[str], tuple[datetime, str]]:
    def read(text: str) -> tuple[datetime, str]:
        if not re.match(r"-?[0-9]{1,14}(?:\.[0-9]{1,12})?\Z", text):
            raise Bad(f"is no number that {kind} means a day by: correct it, or say another format")
        number = float(text)
        if not kind.startswith("unix") and (number < 0 or (int(number) == 60 and kind == "excel")):
            raise Bad("is a day that no calendar has: correct it")
        try:
            if kind.startswith("unix"):
                return datetime.fromtimestamp(number / (1000 if kind == "unix-ms" else 1), UTC).replace(
                    microsecond=0
                ), _rest(text, kind)
            first = datetime(1904, 1, 1) if kind == "excel-1904" else datetime(1899, 12, 30 if number > 60 else 31)
            moment = first + timedelta(days=int(number), seconds=round(number % 1 * 86_400))
        except (OverflowError, ValueError, OSError):
            raise Bad("is outside the calendar: correct it") from None
        return moment, ""

    return read


def _rest(text: str, kind: str) -> str:
    """Digits of the second's parts of a Unix time."""
    if kind == "unix":
        return text.partition(".")[2]
    return text.partition(".")[0][-3:].rjust(3, "0") if not text.startswith("-") else ""


def _patterned(pattern: str, pivot: int) -> Callable[[str], tuple[datetime, str]]:
    compiled = compile_pattern(pattern)

    def read(text: str) -> tuple[datetime, str]:
        found = compiled.match(text)
        if not found:
            raise Bad(f'does not look like "{pattern}": correct it, or say another format')
        part = found.groupdict()
        month = part.get("M") or str(
            _MONTHS.get((part.get("N") or "").casefold().rstrip("."), 1 if "N" not in part else 0)
        )
        try:
            moment = datetime(_year(part["y"], pivot), int(month), int(part.get("d") or 1))
        except ValueError:
            raise Bad("is no day of the calendar: correct it") from None
        hour = int(part.get("H") or 0)
        if part.get("a"):
            hour = _half_day(hour, part["a"])
        moment = _at(moment, hour, int(part.get("m") or 0), int(part.get("s") or 0), part.get("z") or "")
        return moment, part.get("f") or ""

    return read


_REGEX = {
    "yyyy": "(?P<y>[0-9]{4})", "yy": "(?P<y>[0-9]{2})",
    "MMMM": r"(?P<N>[^\W\d_]{3,10}\.?)", "MMM": r"(?P<N>[^\W\d_]{3,10}\.?)",
    "MM": "(?P<M>[0-9]{2})", "M": "(?P<M>[0-9]{1,2})", "dd": "(?P<d>[0-9]{2})", "d": "(?P<d>[0-9]{1,2})",
    "HH": "(?P<H>[0-9]{2})", "H": "(?P<H>[0-9]{1,2})", "hh": "(?P<H>[0-9]{2})", "h": "(?P<H>[0-9]{1,2})",
    "mm": "(?P<m>[0-9]{2})", "ss": "(?P<s>[0-9]{2})", "SSS": "(?P<f>[0-9]{1,9})", "a": r"(?P<a>[aApP]\.?[mM]\.?)",
    "XXX": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
}  # fmt: skip


def pieces(pattern: str) -> list[str]:
    """The tokens and the other text of a pattern, in order; what stands between '...' is other text."""
    return [
        p for p in re.split(r"('[^']*'|yyyy|yy|MMMM|MMM|MM|M|dd|d|HH|H|hh|h|mm|ss|SSS|XXX|a(?![a-z]))", pattern) if p
    ]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regex of a pattern of TOKENS. Raises ValueError that says what is wrong with it."""
    out, seen = [], set()
    for piece in pieces(pattern):
        if piece in _REGEX:
            name = _REGEX[piece][4]
            if name in seen:
                raise ValueError(f'"{pattern}" has {piece} twice over')
            seen.add(name)
            out.append(_REGEX[piece])
        else:
            literal = piece.strip("'")
            if piece[0] != "'" and (bad := re.search(r"[A-Za-z]+", literal)) and bad.group() != "T":
                raise ValueError(
                    f'"{bad.group()}" of "{pattern}" is no part of a date: use {" ".join(TOKENS)}, or put it between \'\''
                )
            out.append(re.escape(literal))
    if "m" in seen and "M" not in seen and "N" not in seen:
        raise ValueError(f'"{pattern}" has minutes (mm) but no month: months are MM')
    if not {"y", "d"} <= seen or not seen & {"M", "N"}:
        raise ValueError(f'"{pattern}" lacks a year (yyyy), a month (MM) or a day (dd)')
    return re.compile("".join(out) + r"\Z", re.IGNORECASE)

"""Where the records of a JSON file are, and how to walk them without holding the file.

1. An array of objects is its records; so is a row of values one after the other (what jq writes).
2. In an object the largest array of objects, at whatever depth, is; or the path that the user says ("data.items").
3. An object whose values are objects with names in common is records keyed by their names: the name becomes "@key".
4. Any other object is one record.
5. A damaged record in an array is one Broken; the walk goes on behind it, where the brackets say or where the next record
   like the ones before begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from replica.exchange.formats.jsontext import AHEAD_MAX, Damaged, Scroll, TooBig, scan
from replica.exchange.formats.paths import DEPTH_MAX
from replica.exchange.formats.source import RAW_MAX

KEY = "@key"
"""The field of the name under which a keyed record stands."""

SMALL = 1 << 20
"""A value of so many characters is looked at as a whole; what is larger is walked."""

_NEXT = re.compile(r"[}\]]\s*,\s*(?=\{)|\n\s*(?=\{)")
_META = frozenset(
    re.findall(
        r"\w+",
        "total totalsize total_count totalcount count size page pages per_page pagesize limit offset next previous prev "
        "has_more hasmore done success ok status code message error errors version date generated exported timestamp "
        "query type kind url links self meta metadata nextrecordsurl cursor more encoding",
    )
)
"""Names that stand beside records, not in them."""


class Place(NamedTuple):
    """Where records are: the names that lead there, whether they are an "array", "keyed", "sequence" or "one"."""

    path: tuple[str, ...]
    kind: str
    size: int


class Item(NamedTuple):
    """A record, or why it is none."""

    value: Any
    line: int
    text: str
    reason: str = ""


def elements(scroll: Scroll) -> Iterator[Item]:
    """The elements of the array that begins here. Raises Damaged when it cannot go on."""
    scroll.take("[")
    like: set[str] = set()
    while (got := scroll.peek()) != "]":
        line = scroll.line()
        if not got:
            yield Item(None, line, "", "the file ends before its array does: it was cut off here")
            return
        if got == ",":
            # A comma too many loses nothing.
            scroll.at += 1
            continue
        try:
            value, text = scroll.value()
        except (Damaged, TooBig) as error:
            reason = error.reason if isinstance(error, Damaged) else "longer than a record may be"
            start = scroll.at
            raw = scroll.text[start : start + RAW_MAX]
            if not (_resync(scroll, like) if isinstance(error, Damaged) else _leap(scroll)):
                yield Item(None, line, raw, f"{reason}; nothing after it can be read")
                scroll.at = len(scroll.text)
                while scroll.more():
                    scroll.at = len(scroll.text)
                return
            yield Item(None, line, raw if isinstance(error, TooBig) else raw[: scroll.at - start], reason)
        else:
            if isinstance(value, dict):
                like = like or set(value)
            yield Item(value, line, text)
        if scroll.peek() == ",":
            scroll.at += 1
        elif scroll.peek() not in {"]", "", "{"}:
            if not _resync(scroll, like):
                yield Item(None, scroll.line(), scroll.text[scroll.at : scroll.at + 200], 'a "," is missing')
                return
            yield Item(None, scroll.line(), "", 'a "," is missing, and what followed was no record')
            if scroll.peek() == ",":
                scroll.at += 1
    scroll.at += 1


def _resync(scroll: Scroll, like: set[str]) -> bool:
    """Step behind a damaged value; False if there is nothing that looks like the next record. Raises FileRefused."""
    # The whole window only where nothing is near: to look far for every damaged record would take the square of the file.
    for until in (min(len(scroll.text), scroll.at + AHEAD_MAX), len(scroll.text)):
        start, end = scroll.at, scroll.balanced(until)
        scroll.searched(until if end is None else end)
        rest = scroll.text[end : end + 4096].lstrip() if end is not None else "?"
        if end is not None and rest[:1] == "," and rest[1:].lstrip()[:1] == "{":
            scroll.at = end
            return True
        for found in _NEXT.finditer(scroll.text, start + 1, until):
            try:
                value, _ = scan(scroll.text, found.end())
            except Damaged:
                continue
            if isinstance(value, dict) and (not like or 2 * len(like & set(value)) >= len(like)):
                scroll.at = found.end()
                return True
        # Brackets that match only at the very end may be those of a record whose quotes do not.
        if end is not None and rest[:1] in {"]", "", ","}:
            scroll.at = end
            return True
    return False


def _leap(scroll: Scroll) -> bool:
    """Step behind a value that is too big to be looked at, to what looks like the next record."""
    scroll.at += 1
    while True:
        for found in _NEXT.finditer(scroll.text, scroll.at):
            try:
                value, _ = scan(scroll.text, found.end())
            except Damaged:
                continue
            if isinstance(value, dict):
                scroll.at = found.end()
                return True
        # What looks like a beginning may lie across the end of the window.
        scroll.at = max(scroll.at, len(scroll.text) - 4_096)
        if not scroll.more():
            return False


def members(scroll: Scroll) -> Iterator[str]:
    """The names of the object that begins here; who asks for the next one stands behind the value. Raises Damaged."""
    scroll.take("{")
    while scroll.peek() != "}":
        name, _ = scroll.value(SMALL)
        if not isinstance(name, str):
            raise Damaged("a name is missing", scroll.at)
        scroll.take(":")
        scroll.peek()
        yield name
        if scroll.peek() != "}":
            scroll.take(",")
    scroll.at += 1


def skip(scroll: Scroll, depth: int = 0) -> None:
    """Step over the value that begins here, whatever its size. Raises Damaged."""
    try:
        scroll.value(SMALL)
    except TooBig:
        if depth > DEPTH_MAX:
            raise Damaged(f"deeper than {DEPTH_MAX} levels", scroll.at) from None
        if scroll.peek() == "[":
            for _ in elements(scroll):
                pass
        elif scroll.peek() == "{":
            for _ in members(scroll):
                skip(scroll, depth + 1)
        else:
            raise Damaged("a text that is longer than a record may be", scroll.at) from None


def _alike(value: dict[str, Any]) -> bool:
    """Whether an object looks like records under their keys."""
    if len(value) < 2 or not all(isinstance(v, dict) and v for v in value.values()):
        return False
    first = list(value.values())[:100]
    return bool(set(first[0]).intersection(*first[1:]))


def _inspect(value: Any, path: tuple[str, ...], found: list[Place]) -> None:
    if isinstance(value, list):
        if value and sum(isinstance(v, dict) for v in value) * 2 > len(value):
            found.append(Place(path, "array", len(value)))
    elif isinstance(value, dict) and len(path) < 8:
        if _alike(value):
            found.append(Place(path, "keyed", len(value)))
            return
        for name, below in value.items():
            _inspect(below, (*path, name), found)


def _search(scroll: Scroll, path: tuple[str, ...], found: list[Place], names: list[tuple[str, bool]]) -> None:
    """Look at the object that begins here, member by member; `names` gets those of the first level and if they nest."""
    objects = total = 0
    common: set[str] | None = None
    for name in members(scroll):
        total += 1
        here = (*path, name)
        nested = scroll.peek() in {"[", "{"}
        if not path:
            names.append((name, nested))
        try:
            value, _ = scroll.value(SMALL)
        except TooBig:
            if scroll.peek() == "[":
                count = sum(isinstance(item.value, dict) for item in elements(scroll))
                if count:
                    found.append(Place(here, "array", count))
            elif scroll.peek() == "{" and len(here) < 8:
                _search(scroll, here, found, names)
            else:
                skip(scroll)
        else:
            if isinstance(value, dict) and value:
                objects += 1
                common = set(value) if common is None else common & set(value)
            if len(found) < 1_000:
                _inspect(value, here, found)
    if total > 1 and objects == total and common:
        found.append(Place(path, "keyed", total))


def find(scroll: Scroll) -> tuple[list[Place], float]:
    """Where the records could be, the likeliest first, and how sure that is. Raises Damaged."""
    first = scroll.peek()
    if first == "[":
        return [Place((), "array", 0)], 1.0
    found: list[Place] = []
    names: list[tuple[str, bool]] = []
    try:
        _search(scroll, (), found, names)
        if scroll.peek() == "{":
            return [Place((), "sequence", 0)], 1.0
    except Damaged:
        if not found:
            raise
    if not found:
        return [Place((), "one", 1)], 1.0
    keyed = [p for p in found if p.kind == "keyed" and not p.path]
    found.sort(key=lambda p: (-p.size, len(p.path)))
    if keyed:
        found = keyed + [p for p in found if p is not keyed[0]]
        return found, 0.9 if keyed[0].size > 2 else 0.6
    own = [name for name, nested in names if not nested and name.lower().lstrip("@$_") not in _META]
    sure = 0.75 if own and found[0].size < 10 else 0.95
    if len(own) > 2 and found[0].size < 10:
        sure = 0.6
    if len(found) > 1 and found[1].size * 2 > found[0].size:
        sure = 0.6
    return [*found, *([Place((), "one", 1)] if own else [])], sure


def records(scroll: Scroll, place: Place) -> Iterator[Item]:
    """The records at a place. Raises Damaged when it cannot be reached, or not be walked to its end."""
    if place.kind == "sequence":
        while scroll.peek():
            line = scroll.line()
            value, text = scroll.value()
            yield Item(value, line, text)
        return
    if place.path:
        for name in members(scroll):
            if name == place.path[0]:
                yield from records(scroll, Place(place.path[1:], place.kind, 0))
                return
            skip(scroll)
        raise Damaged(f'there is no "{place.path[0]}" here', scroll.at)
    if scroll.peek() == "[":
        yield from elements(scroll)
    elif place.kind == "keyed":
        for name in members(scroll):
            line = scroll.line()
            value, text = scroll.value()
            yield Item({KEY: name, **value} if isinstance(value, dict) else value, line, text)
    else:
        line = scroll.line()
        value, text = scroll.value()
        yield Item(value, line, text)

"""What the values of a column say, over the whole file: order of dates, decimal mark, type, fill rate, samples.

One test each:

1. The order of dates and the decimal mark are decided for each column over all its values; on a tie the user's word counts;
   without it nothing is guessed: Unsure.
2. A column that contradicts itself too often is Unsure; a rare contradiction becomes a problem of its row.
3. Memory does not grow with the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from replica.errors import Unsure
from replica.exchange.maps import dates, numbers
from replica.exchange.maps.mapmodel import FieldSpec, as_text, is_blank
from replica.exchange.maps.steps import Column
from replica.exchange.maps.types import FALSE, TRUE
from replica.exchange.rows import MISSING, SURE, Finding, Reader

if TYPE_CHECKING:
    from replica.exchange.maps.mapping import Mapping

DISTINCT_MAX = 20_000
"""Distinct values of a column that are told apart; beyond, it is said that there are more."""
SAMPLES = 4

_PLAIN_VOTE: dict[str, Callable[[str], object]] = {
    "decimal": re.compile(r"-?[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,})\Z").match,
    "order": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?)?\Z").match,
}
"""Texts of which one look tells the vote: the point is the decimal mark; no order is open."""

_NAMES = {"DMY": "day first", "MDY": "month first", "YMD": "year first", ".": "a point", ",": "a comma"}


class _Votes:
    """What the texts of one column say about one question."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.votes: Counter[str] = Counter()
        self.either: str | None = None
        self.ways: Counter[frozenset[str]] = Counter()
        """Readings of the values that have several."""

    def add(self, column: Iterable[object]) -> None:
        """Count the texts of a batch."""
        plain = _PLAIN_VOTE[self.kind]
        texts = [c for c in column if c.__class__ is str and c]
        rest = [t for t in texts if plain(t) is None]
        if self.kind == "decimal" and len(rest) < len(texts):
            self.votes["."] += len(texts) - len(rest)
        for text, count in Counter(rest).items():
            text = str(text)
            if self.kind == "decimal":
                vote = numbers.reading(text)
            else:
                found = dates.readings(text)
                days = set(found.values())
                vote = "?" if len(days) > 1 else next(iter(found)) if len(found) == 1 else ""
            if vote == "?":
                self.either = self.either or text
                self.ways[frozenset((".", ",") if self.kind == "decimal" else found)] += count
            if vote:
                self.votes[vote] += count

    def decide(self, place: str, told: str | None, option: str) -> Finding | None:
        """The decision; None if nothing is open. Raises Unsure."""
        said = Counter({name: count for name, count in self.votes.items() if name != "?"})
        what = f"{'decimal mark' if self.kind == 'decimal' else 'order of dates'} of {place}"
        if not said:
            if self.either is None:
                return None
            if told is not None:
                return Finding(what, told, 1.0, (), option)
            possible = frozenset.intersection(*self.ways)
            if len(possible) == 1:  # Each value has several readings, but all have only this one in common.
                return Finding(what, next(iter(possible)), 0.9, (), option)
            choices = tuple(sorted(possible or dates.ORDERS, reverse=self.kind == "decimal"))
            ways = " or ".join(_NAMES[c] for c in choices)
            raise Unsure(
                f"{what}: every value can be read in two ways ({self.either}): {ways}? say it with {option}",
                what, choices, option,
            )  # fmt: skip
        (best, count), *others = said.most_common()
        against = sum(n for _, n in others) + sum(n for ways, n in self.ways.items() if best not in ways)
        confidence = count / (count + against) * (1 - 0.25 / count)
        if confidence < SURE:
            if told is not None:
                return Finding(what, told, 1.0, tuple(said), option)
            ways = ", ".join(f"{n} values want {_NAMES[name]}" for name, n in said.most_common())
            raise Unsure(
                f"{what}: its values contradict each other ({ways}); say it with {option}", what, tuple(said), option
            )
        return Finding(what, best, round(confidence, 3), tuple(name for name, _ in others), option)


def _question(spec: FieldSpec, decimal: str | None) -> str | None:
    if spec.constant is not MISSING:
        return None
    if spec.type in ("date", "datetime") and spec.format is None:
        return "order"
    return "decimal" if spec.type in ("number", "integer") and spec.decimal is None and decimal is None else None


class Decision(NamedTuple):
    """What was decided about a field: number of its collection, its name, the question ("order" or "decimal"), the answer;
    None: no value leaves it open."""

    collection: int
    field: str
    question: str
    answer: str | None


def decide(mapping: Mapping, reader: Reader, date: str | None) -> tuple[list[Decision], list[Finding]]:
    """See Mapping.decide."""
    mapper = mapping.mapper(reader.fields)
    open_ = {
        (number, spec.name): _Votes(question)
        for number, collection in enumerate(mapping.collections)
        for spec in collection.fields
        if (question := _question(spec, mapping.read.decimal)) is not None
    }
    if not open_:
        return [], []
    wanted: dict[int, set[str]] = {}
    for number, name in open_:
        wanted.setdefault(number, set()).add(name)
    for batch in reader.batches():
        for number, names in wanted.items():
            for name, column in mapper.said(number, names, batch):
                open_[number, name].add(column)
    findings: list[Finding] = []
    decisions = []
    for (number, name), votes in open_.items():
        option = f'decimal of field "{name}" in the map, or --decimal'
        if votes.kind == "order":
            option = f'format of field "{name}" in the map, or --date'
        found = votes.decide(f'"{name}"', date if votes.kind == "order" else None, option)
        if found is not None:
            findings.append(found)
        decisions.append(Decision(number, name, votes.kind, found.value if found is not None else None))
    return decisions, findings


def decided(mapping: Mapping, decisions: Iterable[Decision]) -> Mapping:
    """See Mapping.decided."""
    collections = list(mapping.collections)
    for number, name, question, answer in decisions:
        collection = collections[number]
        fields = tuple(_settled(f, question, answer) if f.name == name else f for f in collection.fields)
        collections[number] = replace(collection, fields=fields)
    return replace(mapping, collections=tuple(collections))


def _settled(spec: FieldSpec, question: str, value: str | None) -> FieldSpec:
    return replace(spec, format=value) if question == "order" else replace(spec, decimal=value or ".")


_EMAIL = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+\.[^@\s<>,;.]{2,}\Z")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
PHONE_DIGITS = 18
"""Of a phone number with its country (15, by E.164), and a prefix or an extension."""
_PHONE = re.compile(r"(?:\+|00|\()?[0-9(][0-9 ()./\u00a0-]{5,22}[0-9](?:\s*(?:x|ext\.?|#)\s*[0-9]{1,6})?\Z")
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[^\W\d_]{4}")
_BOOLEAN = {word.casefold() for word in TRUE + FALSE}


def kinds(text: str) -> set[str]:
    """The types that this text may be of, cheaply; "digits" are those with a leading zero, or too many for a number."""
    text = text.strip()
    yes_no = {"boolean"} if text.casefold() in _BOOLEAN else set[str]()
    if _DIGIT.search(text) is None or len(text) > 60:
        return {"email"} if _EMAIL.match(text) else yes_no
    if "@" in text:
        return {"email"} if _EMAIL.match(text) else set()
    if numbers.lost_digits(text):
        return {"lost"}
    found = yes_no
    if _INTEGER.match(text):
        found |= {"integer", "number"}
    elif text.isdigit():
        found |= {"digits"}
    if _PHONE.match(text) and sum(map(str.isdigit, text)) <= PHONE_DIGITS:
        found |= {"phone"}
    if days := dates.readings(text):
        if "" not in days or not text.isdigit() or 1900 <= days[""].year <= 2100:
            found |= {"datetime" if ":" in text else "date"}
    elif "integer" in found:
        return found
    elif "digits" not in found and text[0] != "+" and not _WORD.search(text):
        try:
            numbers.number("," if numbers.reading(text) == "," else ".")(text)
        except ValueError:  # It is none.
            return found
        found |= {"number"}
    return found


@dataclass
class Profile:
    """A column over the whole file. `types`: share of the filled cells that may be of a type; `distinct`: number of
    distinct texts, `more` if there are more than could be told apart; `again`: cells that say what one before them said, as
    far as could be told, such as `repeated`."""

    name: str
    rows: int = 0
    filled: int = 0
    distinct: int = 0
    more: bool = False
    again: int = 0
    repeated: str = ""
    longest: int = 0
    samples: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    votes: dict[str, _Votes] = field(default_factory=lambda: {"order": _Votes("order"), "decimal": _Votes("decimal")})
    _seen: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, column: Column) -> None:
        """Take the cells of a batch into account."""
        self.rows += len(column)
        texts = [as_text(cell) for cell in column if not is_blank(cell)]
        self.filled += len(texts)
        batch = Counter(texts)
        for text, count in batch.items():
            known = self._seen.get(text)
            if count > 1 or known is not None:
                self.again += count - (known is None)
                self.repeated = self.repeated or text
            if known is None:
                self.longest = max(self.longest, len(text))
                known = tuple(kinds(text))
                if len(self._seen) < DISTINCT_MAX:
                    self._seen[text] = known
                    self.distinct += 1
                else:
                    self.more = True
                if len(self.samples) < SAMPLES and text[:80] not in self.samples:
                    self.samples.append(text[:80])
            for kind in known:
                self.counts[kind] += count
        if self.counts["date"] or self.counts["datetime"]:
            self.votes["order"].add(texts)
        if self.counts["number"]:
            self.votes["decimal"].add(texts)

    def distinct_texts(self) -> list[str]:
        """The distinct texts that were told apart, in the order of the file."""
        return list(self._seen)

    @property
    def repeats(self) -> bool:
        """Whether a value came twice."""
        return self.again > 0

    @property
    def fill(self) -> float:
        """Share of the rows that say something."""
        return self.filled / self.rows if self.rows else 0.0

    def share(self, kind: str) -> float:
        """Share of the filled cells that may be of this type."""
        return self.counts[kind] / self.filled if self.filled else 0.0

    def type(self) -> tuple[str, float]:
        """The type that nearly all values are of, and how sure; "" for text."""
        if not self.filled:
            return "", 0.0
        words = {text.casefold().strip() for text in self._seen}
        one_each = len(words & set(TRUE)) <= 1 and len(words & set(FALSE)) <= 1  # "x" and "y" are names, not yes and yes.
        few = self.distinct <= 3 and not self.more and one_each
        order = ["email", "date", "datetime", *(["boolean"] if few else []), "integer", "number"]
        for kind in order:
            share = self.share(kind) + (self.share("date") if kind == "datetime" else 0)
            if kind in ("integer", "number") and self.counts["digits"]:
                continue  # 00123 is a name, not a number.
            if share >= (1.0 if kind == "boolean" else 0.95):
                return kind, share
        if self.share("phone") >= 0.9 and self.share("date") > 0.5:
            return "date", self.share("date")  # 31/02/2000 has the look of a phone number, and is a slip in a date.
        if self.share("phone") >= 0.9 and self.counts["digits"] + self.counts["integer"] < self.filled:
            return "phone", self.share("phone")
        return "", 1.0


def profile(reader: Reader, names: Sequence[str] | None = None) -> list[Profile]:
    """The profile of every column of a file (or of those named), over all its rows. Reads it once, in flat memory."""
    wanted = [(i, Profile(name)) for i, name in enumerate(reader.fields) if names is None or name in names]
    for batch in reader.batches():
        if batch.rows:
            columns = list(zip(*batch.rows, strict=True))
            for index, found in wanted:
                found.add(columns[index])
    return [found for _, found in wanted]

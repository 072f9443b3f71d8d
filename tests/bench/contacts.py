"""The contacts that everything here is measured with: a uuid and ten text fields, 227 bytes each, the same everywhere."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator

Contact = tuple[str, ...]

SEED = 20260101
NOTE_CHARS = 80

_WORDS = """
first: Ada Bela Chen Dana Emil Fatou Goran Hana Ivan Jana Kofi Lena Milo Nora Omar Petra Quim Rosa Sven Tara
last: Abbott Becker Costa Dubois Eriksen Fischer Garcia Horvat Ivanov Jensen Kowalski Larsen Moreau Novak Okafor Petrov
 Rossi Silva Tanaka Weber
city: Zagreb Berlin Lisbon Nantes Oslo Munich Sevilla Split Sofia Aarhus Gdansk Malmo Lyon Brno Lagos Varna Torino Porto
 Osaka Wien
country: HR DE PT FR NO ES BG DK PL SE CZ NG IT JP AT
firm: Acme Borealis Cobalt Delta Ember Fjord Granite Helix Indigo Juniper
form: Ltd GmbH SA Inc AS BV
status: lead active churned prospect paused
word: called asked about pricing renewal contract meeting follow up next week sent offer waiting for reply budget
 approved demo trial support ticket open closed prefers email phone after noon
"""
_ONE_OF = {
    kind: words.split() for kind, _, words in (line.partition(": ") for line in _WORDS.replace("\n ", " ").split("\n"))
}
_ONE_OF["title"] = [
    "Sales Manager", "Account Executive", "CTO", "Buyer", "Head of Operations", "Engineer", "Office Manager",
]  # fmt: skip


def _one(rnd: random.Random, kind: str) -> str:
    return rnd.choice(_ONE_OF[kind])


def _note(rnd: random.Random) -> str:
    text = ""
    while len(text) < NOTE_CHARS - 2:
        text += _one(rnd, "word") + " "
    return text[:NOTE_CHARS].strip()


def _email(rnd: random.Random) -> str:
    first, last = _one(rnd, "first"), _one(rnd, "last")
    return f"{first.lower()}.{last.lower()}{rnd.randrange(1000)}@example.com"


def _moment(rnd: random.Random) -> str:
    day = f"2026-{rnd.randrange(1, 13):02}-{rnd.randrange(1, 29):02}"
    return f"{day}T{rnd.randrange(24):02}:{rnd.randrange(60):02}:{rnd.randrange(60):02}Z"


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "name": lambda rnd: f"{_one(rnd, 'first')} {_one(rnd, 'last')}",
    "email": _email,
    "phone": lambda rnd: f"+{rnd.randrange(10, 99)} {rnd.randrange(100, 999)} {rnd.randrange(100_000, 999_999)}",
    "company": lambda rnd: f"{_one(rnd, 'firm')} {_one(rnd, 'firm')} {_one(rnd, 'form')}",
    "title": lambda rnd: _one(rnd, "title"),
    "city": lambda rnd: _one(rnd, "city"),
    "country": lambda rnd: _one(rnd, "country"),
    "status": lambda rnd: _one(rnd, "status"),
    "notes": _note,
    "updated": _moment,
}

FIELDS = tuple(_MAKERS)
CREATE = f"CREATE TABLE contacts(id TEXT PRIMARY KEY, {', '.join(f'{name} TEXT' for name in FIELDS)})"
INSERT = f"INSERT INTO contacts VALUES ({', '.join('?' * (1 + len(FIELDS)))})"


def contacts(count: int) -> Iterator[Contact]:
    """The first so many contacts, as rows of the table."""
    rnd = random.Random(SEED)
    makers = tuple(_MAKERS.values())
    for _ in range(count):
        id_ = uuid.UUID(int=rnd.getrandbits(128), version=4)
        yield (str(id_), *[make(rnd) for make in makers])


def edits(ids: list[str], each: int, sets: int, seed: int) -> list[list[tuple[str, str, str]]]:
    """So many lists of one-field changes (field, value, id), no record in two of them."""
    rnd = random.Random(seed)
    chosen = rnd.sample(ids, each * sets)
    fields = FIELDS[:-1]

    def edit(id_: str) -> tuple[str, str, str]:
        field = rnd.choice(fields)
        return field, _MAKERS[field](rnd) + " x", id_

    return [[edit(id_) for id_ in chosen[i * each : (i + 1) * each]] for i in range(sets)]

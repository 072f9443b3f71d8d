"""Which column of a file tells its records apart, as a draft of a map says it.

1. A column whose name means an id (id, code, number, Nr, 编号 …) comes first if nearly every row fills it with a value of
   its own: a key may repeat in a messy file, and the draft says where. An e-mail comes next, then phones, then anything that
   is filled and different in every row.
2. The number of a phone, a fax or a postcode is no id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from replica.exchange.maps.columns import Profile
from replica.exchange.maps.synonyms import meaning, plain

_ID = re.compile(
    r"(?:\b(?:id|uid|uuid|guid|no|nr|num|number|code|key|ref)|nr|nummer|编号|编码|代码|号码?|編號|代碼|號|番号)$"
)
_NO_ID = frozenset({"postcode", "country", "currency", "state", "city", "tax_id", "qq", "wechat", "address", "street"})
_ORDER = {"email": 2, "mobile": 3, "phone": 4}
_OTHERS, _LAST = 5, 10
SPARE = 0.1
"""Share of the rows that may say nothing, or repeat what another row says, in a column that is nearly a key."""


class Key(NamedTuple):
    """A field that could be the key: its name, the number of its column, and what a person should know of it."""

    field: str
    column: int
    notes: tuple[str, ...]


def names_id(header: str) -> int | None:
    """Whether a header means an id: 0 if it is known to, 1 if it ends like one, None if it does not."""
    known = meaning(header)
    if known is not None:
        return None if known.field != "id" else 0 if known.confidence >= 0.9 else 1
    name = plain(header)
    found = _ID.search(name)
    if found is None:
        return None
    of = meaning(name[: found.start()])
    return None if name == "rufnummer" or (of and (of.type or of.field in _NO_ID)) else 1


def keys(profiles: Sequence[Profile], fields: Sequence[tuple[str, str]], nothing: Sequence[bool]) -> list[Key]:
    """The fields that could identify a record, the best first. `fields`: (name, type) of each column; `nothing`: whether
    some of its values are words for nothing."""
    found = []
    for number, (seen, (field, kind)) in enumerate(zip(profiles, fields, strict=True)):
        if not seen.filled or seen.counts["lost"] or nothing[number]:
            continue
        id_, known = names_id(seen.name), meaning(seen.name)
        group = 0 if id_ is not None else _ORDER.get(known.field, _OTHERS) if known else _OTHERS
        unique = seen.filled == seen.rows and not seen.repeats
        if not unique and not (group in (0, _ORDER["email"]) and _nearly(seen)):
            continue
        if kind in ("number", "date", "datetime", "boolean") or (group == _OTHERS and seen.rows < 20):
            group += _LAST  # Few rows differ in everything.
        found.append((group, not unique, id_ or 0, number, Key(field, number, tuple(_notes(seen, kind)))))
    found.sort(key=lambda f: f[:4])
    return [key for group, *_, key in found if group < _LAST or group == found[0][0]][:5]


def _nearly(seen: Profile) -> bool:
    spare = seen.rows - seen.filled + seen.again
    return spare <= max(2, SPARE * seen.rows) and (seen.more or seen.distinct * 2 > seen.rows)


def _notes(seen: Profile, kind: str) -> list[str]:
    again, example = seen.again, seen.repeated
    if kind == "email":
        lowered: set[str] = set()
        for text in seen.distinct_texts():
            low = text.strip().lower()
            if low in lowered:
                again, example = again + 1, example or text
            lowered.add(low)
    notes = []
    if again:
        rows = "1 row repeats" if again == 1 else f"{again} rows repeat"
        notes.append(f"{rows} a key ({example[:40]}): the first row of each key counts")
    if empty := seen.rows - seen.filled:
        notes.append(f"{'1 row has' if empty == 1 else f'{empty} rows have'} no key, to be rejected")
    return notes

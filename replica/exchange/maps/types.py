"""The types of a map: each makes of a column of cells a column of values that SQLite holds, and says which cells it refuses.

What says nothing becomes None (text stays ""); MISSING stays MISSING. Numbers, dates, phones and e-mails have rooms of
their own. One test each:

1. 是, Y, ja, true, 1 and their opposites are 1 and 0; any other word is refused with the words that are known.
2. Without a type, cells stay as they are, a bool is 1 or 0, and an int that SQLite cannot hold is refused.
3. An array of one value is that value; of several, or an object, it is refused where one value is wanted.
4. `on_error` decides what a refused cell becomes: its row is rejected, it is nothing, or it is kept as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from replica.exchange.maps import contact_types, dates, numbers
from replica.exchange.maps.mapmodel import Bad, FieldSpec, WholeFile, as_text
from replica.exchange.rows import MISSING, Cell

Converted: TypeAlias = "tuple[list[Cell], dict[int, str]]"
"""Values, and index -> why the cell is refused."""
Convert: TypeAlias = Callable[[Sequence[Cell]], Converted]

_YES = "true yes y t 1 on ja j oui sí si sim da tak ano kyllä evet x wahr vrai verdadero ✓ ✔ 是 对 對 真 有 启用 はい 예 да"
_NO = (
    "false no n f 0 off nein non não nao nee nie ne ei hayır falsch faux falso ✗ ✘ 否 不 不是 错 錯 假 无 無 停用 いいえ "
    "아니요 нет"
)
_NESTED = frozenset({list, dict})
TRUE, FALSE = tuple(_YES.split()), tuple(_NO.split())


def converter(spec: FieldSpec, whole: WholeFile) -> Convert:
    """The converter of a field's type. `whole`: what holds where the field says nothing itself."""
    kind = spec.type
    if kind == "":
        return _as_it_is
    if kind == "text":
        return _each(as_text, blank=False, fast=_only_text, nested=True)
    if kind in ("integer", "number"):
        mark = spec.decimal or whole.decimal
        fast = numbers.quick(mark) if kind == "number" else None
        return _each(numbers.number(mark, kind == "integer"), fast=fast)
    if kind in ("date", "datetime"):
        form = spec.format or whole.order
        return _each(dates.reader(kind, form, spec.zone, spec.pivot), fast=dates.quick(kind, form, spec.zone))
    if kind == "phone":
        return _each(contact_types.phone(spec.country or whole.country))
    if kind == "email":
        return _each(contact_types.email())
    if kind == "boolean":
        return _each(boolean(spec.true, spec.false))
    return _each(_json, nested=True)


def _each(
    one: Callable[[Any], Cell], *, blank: bool = True, fast: Callable[[Any], Cell] | None = None, nested: bool = False
) -> Convert:
    """A converter of columns from one of cells, which raises Bad, also for what says nothing. `blank`: empty text is
    nothing. `fast` does a whole column at once, and raises ValueError where `one` must look at every cell. `nested`: arrays
    and objects are values too."""
    quick, several = fast or one, frozenset[type]() if nested else _NESTED

    def run(column: Sequence[Cell]) -> Converted:
        flat = several.isdisjoint(map(type, column))
        column = column if flat else list(map(_single, column))
        try:
            if flat:
                return list(map(quick, column)), {}
        except (ValueError, TypeError):  # Bad is one: some cell says nothing, or is refused.
            pass
        out: list[Cell] = []
        errors: dict[int, str] = {}
        for index, cell in enumerate(column):
            if cell is None or cell is MISSING:
                out.append(cell)
            elif blank and cell.__class__ is str and not cell.strip():
                out.append(None)
            else:
                try:
                    if cell.__class__ in several:
                        raise Bad("is several values or an object: name one by its path, such as phones[0].number")
                    out.append(one(cell))
                except Bad as bad:
                    errors[index] = str(bad)
                    out.append(None)
        return out, errors

    return run


def _single(cell: Any) -> Any:
    """The one value in an array of one."""
    return cell[0] if cell.__class__ is list and len(cell) == 1 and cell[0].__class__ not in _NESTED else cell


def _only_text(cell: object) -> Cell:
    if cell.__class__ is str:
        return cell
    raise ValueError


_STORED = {str, bytes, type(None), float, type(MISSING)}


def _as_it_is(column: Sequence[Any]) -> Converted:
    if set(map(type, column)) <= _STORED:
        return list(column), {}
    out: list[Cell] = []
    errors: dict[int, str] = {}
    for index, cell in enumerate(column):
        if isinstance(cell, list | dict):
            out.append(_json(cell))
        elif isinstance(cell, bool):
            out.append(int(cell))
        elif isinstance(cell, int) and not -(2**63) <= cell < 2**63:
            errors[index] = 'does not fit in 64 bits: say type = "text" for this field'
            out.append(None)
        else:
            out.append(cell)
    return out, errors


def boolean(true: Sequence[str] = (), false: Sequence[str] = ()) -> Callable[[object], Cell]:
    """A reader of yes and no, in the map's own words if it has some, else in those of TRUE and FALSE."""
    yes, no = true or TRUE, false or FALSE
    known = {word.casefold(): 0 for word in no} | {word.casefold(): 1 for word in yes}

    def one(cell: object) -> Cell:
        found = known.get(as_text(cell).strip().casefold())
        if found is None:
            some, none = ", ".join(yes[:3]), ", ".join(no[:3])
            raise Bad(f"is neither yes ({some}, ...) nor no ({none}, ...): correct it, or list it in `true` or `false`")
        return found

    return one


def _json(cell: object) -> Cell:
    """Text of JSON, as it was; a tree becomes text."""
    if cell.__class__ is str:
        try:
            json.loads(cell, parse_constant=_refuse)
        except RecursionError:
            raise Bad("is JSON that nests too deeply: flatten it") from None
        except ValueError as error:
            raise Bad(f"is no JSON ({error}): correct it, or map it as text") from None
        return cell.strip()
    if isinstance(cell, bytes) or cell is None or cell is MISSING:
        raise Bad("is no JSON: correct it, or map it as text")
    return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")

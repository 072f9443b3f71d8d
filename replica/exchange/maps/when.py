"""Which rows a collection takes: conditions on columns of the file, all of which must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replica.exchange.maps.mapmodel import Condition, as_text, is_blank
from replica.exchange.maps.rules import matcher
from replica.exchange.maps.steps import Column
from replica.exchange.rows import Cell


def chooser(conditions: Sequence[Condition]) -> Callable[[Callable[[str], Column], int], list[int]] | None:
    """Gives the indexes of the records that all conditions hold for; None if there are none. Texts are compared without
    case and the white space around them."""
    if not conditions:
        return None
    tests = [(c.column, _test(c)) for c in conditions]

    def choose(take: Callable[[str], Column], count: int) -> list[int]:
        chosen = list(range(count))
        for name, test in tests:
            column = take(name)
            chosen = [i for i in chosen if test(column[i])]
        return chosen

    return choose


def _plain(text: str) -> str:
    return text.strip().casefold()


def _test(condition: Condition) -> Callable[[Cell], bool]:
    some = None if condition.values is None else {_plain(v) for v in condition.values}
    none_of = {_plain(v) for v in condition.none_of or ()}
    match = matcher(condition.pattern)[0] if condition.pattern is not None else None
    filled = condition.filled

    def test(cell: Cell) -> bool:
        text = as_text(cell)
        return (
            (some is None or _plain(text) in some)
            and _plain(text) not in none_of
            and (match is None or match(text))
            and (filled is None or filled != is_blank(cell))
        )

    return test

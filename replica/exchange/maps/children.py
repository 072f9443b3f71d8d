"""Arrays become records of their own: the elements of a path in a tree, or the parts of a flat cell.

Names of an element's columns are paths in it ("address.city", "phones[1].number"); "." is the element itself, "#" its
number in the row from 1, and "^name" a field of the row that it is in.

1. A path goes through dicts by name and through lists by every element, or by one: "[1]" is the first; a "." or "[" of a
   name has a backslash before it. One that is no list counts as a list of one (XML has no other).
2. What a path does not find is MISSING; a dict or a list that it ends at is itself, for the type json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from replica.exchange.maps.mapmodel import CollectionSpec, as_text, is_blank
from replica.exchange.maps.steps import Column
from replica.exchange.rows import MISSING, Cell, Tree

_STEP = re.compile(r"((?:\\[.\[\\]|[^.\[\\]|\\)+)|\[([0-9]{1,9})\]")
_ESCAPED = re.compile(r"\\([.\[\\])")
DEPTH_MAX = 100


class Children(NamedTuple):
    """Records made of arrays: the index of the row of each, and how to get one of their columns."""

    sources: list[int]
    take: Callable[[str], Column]


def steps_of(path: str) -> list[str | int]:
    """The steps of a path: names, and numbers of elements from 1. Raises ValueError if it is none."""
    out: list[str | int] = []
    at = 0
    while at < len(path):
        if path[at] == "." and out:
            at += 1
        found = _STEP.match(path, at)
        if not found:
            raise ValueError(f'"{path}" is no path: write names between dots, and numbers from 1 in [ ]')
        out.append(_ESCAPED.sub(r"\1", found[1]) if found[1] is not None else int(found[2]))
        at = found.end()
    if not out or len(out) > DEPTH_MAX:
        raise ValueError(f'"{path}" is no path: it has no steps, or too many')
    return out


def path_known(path: str, fields: Collection[str], flat: bool) -> bool:
    """Whether a file with these columns may have this path: a column, or (unless `flat`) the beginning of some, or one
    that goes on inside a column that is a list."""
    if path in fields:
        return True
    if flat:
        return False
    try:
        steps_of(path)
    except ValueError:  # A name that only a column could have.
        return False
    inside = [path[: found.start()] for found in re.finditer(r"(?<!\\)[.\[]", path)]
    above = [*inside, path] if not inside or "[" not in path else [inside[0]]
    return any(name in fields for name in inside) or any(
        name.startswith((f"{way}.", f"{way}[")) for name in fields for way in above[-1:]
    )


def only_above(path: str, fields: Collection[str]) -> bool:
    """Whether nothing stands at this path itself: it is but the beginning of other columns."""
    inside = [path[: found.start()] for found in re.finditer(r"(?<!\\)[.\[]", path)]
    return path not in fields and not any(name in fields for name in inside)


def elements(tree: Any, path: Sequence[str | int]) -> list[Any]:
    """All that this path reaches, going through every element of a list; a list at its end gives its elements."""
    found = [tree]
    for step in path:
        reached: list[Any] = []
        for node in found:
            if isinstance(step, int):
                every = node if isinstance(node, list) else [node]
                reached += every[step - 1 : step] if step else []
                continue
            reached += [
                n[step] for n in (node if isinstance(node, list) else [node]) if isinstance(n, dict) and step in n
            ]
        found = reached
    return [e for node in found for e in (node if isinstance(node, list) else [node]) if e is not None]


def value_at(tree: Any, path: Sequence[str | int]) -> Any:
    """What stands at this path; a list of one is that one. MISSING if nothing does."""
    node = tree
    for step in path:
        if isinstance(step, int):
            every = node if isinstance(node, list) else [node]
            if not 1 <= step <= len(every):
                return MISSING
            node = every[step - 1]
            continue
        if isinstance(node, list) and len(node) == 1:
            node = node[0]
        if not isinstance(node, dict) or step not in node:
            return MISSING
        node = node[step]
    return node


def _row_take(
    sources: list[int], place: dict[str, int], columns: list[Column], trees: Sequence[Tree]
) -> Callable[[str], Column]:
    def take(name: str) -> Column:
        if name in place:
            column = columns[place[name]]
            return [column[i] for i in sources]
        path = steps_of(name)
        return [value_at(trees[i], path) if trees else MISSING for i in sources]

    return take


def tree_children(rows: str | None, trees: Sequence[Tree], place: dict[str, int], columns: list[Column]) -> Children:
    """The elements of the array at this path of each tree; without a path, the trees themselves."""
    sources: list[int] = []
    found: list[Any] = []
    numbers: list[Cell] = []
    path = steps_of(rows) if rows is not None else []
    for index, tree in enumerate(trees):
        inside = elements(tree, path) if path else [tree]
        found += inside
        sources += [index] * len(inside)
        numbers += range(1, len(inside) + 1)
    of_row = _row_take(sources, place, columns, trees)

    def take(name: str) -> Column:
        if name == "#":
            return numbers
        if name == ".":
            return found
        if name.startswith("^"):
            return of_row(name[1:])
        steps = steps_of(name)
        return [value_at(element, steps) for element in found]

    return Children(sources, take)


def flat_children(spec: CollectionSpec, column: Column, place: dict[str, int], columns: list[Column]) -> Children:
    """The parts of a cell of each row, between separators; what says nothing is none."""
    sources: list[int] = []
    parts: list[Cell] = []
    numbers: list[Cell] = []
    for index, cell in enumerate(column):
        inside = [part for part in (p.strip() for p in as_text(cell).split(spec.separator)) if not is_blank(part)]
        parts += inside
        sources += [index] * len(inside)
        numbers += range(1, len(inside) + 1)
    of_row = _row_take(sources, place, columns, ())

    def take(name: str) -> Column:
        return numbers if name == "#" else parts if name == "." else of_row(name.removeprefix("^"))

    return Children(sources, take)

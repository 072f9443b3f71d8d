r"""Trees as flat rows: a value that nests is named by the dotted path that leads to it, and comes back from it.

The idea: a path is the names joined by "."; a "." or "[" or "\" that is part of a name gets a "\" before it.

1. `split(join(names)) == names`, and `unflatten(flatten(tree)) == tree` for every tree whose lists are text already.
2. Lists, and objects with nothing in them, are JSON text in the flat view: always the same bytes, nothing beyond ASCII
   escaped. In trees they stay what they are.
3. Flat names stay themselves: a CSV header "a.b" goes into JSON as the name "a.b" and comes back as the field "a.b". Only
   in a file that also has a path "a.b" is the name spelled "a\.b" (`Names`).
4. A tree deeper than DEPTH_MAX is refused, not recursed into.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from replica.errors import FileRefused
from replica.exchange.rows import MISSING, Row, Tree

DEPTH_MAX = 64
"""Levels of a tree; what people and machines write for each other has a dozen."""

_SPECIAL = re.compile(r"[.\[\\]")
_PIECE = re.compile(r"\\[.\[\\]|\.|[^.\\]+|\\")


def escape(name: str) -> str:
    """One name as a path of one: "." and "[" and the backslash get a backslash before them."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], name)


def join(names: Sequence[str]) -> str:
    """The path of these names."""
    return ".".join(map(escape, names))


def split(path: str) -> tuple[str, ...]:
    """The names of a path. Every text is a path: a backslash before any other letter is a backslash."""
    names = [""]
    for piece in _PIECE.findall(path):
        if piece == ".":
            names.append("")
        else:
            names[-1] += piece[1:] if len(piece) > 1 and piece[0] == "\\" else piece
    return tuple(names)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)


def text_of(value: object) -> str:
    """JSON text of a list or an object; bytes in it as {"$bytes": base64}. Raises FileRefused if it is too deep."""
    try:
        return _ENCODER.encode(value)
    except RecursionError:
        raise FileRefused(f"a value nests deeper than {DEPTH_MAX} levels") from None


def _walk(tree: Mapping[str, Any], before: str, depth: int, flat: dict[str, Any]) -> None:
    if depth > DEPTH_MAX:
        raise FileRefused(f"a record nests deeper than {DEPTH_MAX} levels")
    for name, value in tree.items():
        kind = type(value)
        if kind is dict and value:
            _walk(value, f"{before}{escape(name)}.", depth + 1, flat)
        else:
            flat[before + escape(name)] = text_of(value) if kind is dict or kind is list else value


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> cell, in the order of the tree. Raises FileRefused if it is too deep."""
    flat: dict[str, Any] = {}
    _walk(tree, "", 1, flat)
    return flat


def unflatten(flat: Mapping[str, Any]) -> Tree:
    """The tree of these paths; MISSING cells are left out. Raises ValueError for a path that leads through a cell."""
    tree: Tree = {}
    for path, value in flat.items():
        if value is MISSING:
            continue
        *above, last = split(path)
        node = tree
        for name in above:
            node = node.setdefault(name, {})
            if type(node) is not dict:
                raise ValueError(f'"{path}" leads through "{name}", which is a value of its own')
        if type(node.get(last)) is dict:
            raise ValueError(f'"{path}" is a value, and has values below it')
        node[last] = value
    return tree


def nests(value: object) -> bool:
    """Whether a value is no cell."""
    return type(value) is dict or type(value) is list


class Names:
    """The fields of a file of trees, found by looking at all of them, and then its rows.

    What is over `most` names is not looked at, so that a file of nothing but names takes no memory; `done` refuses it.
    Names of the top level that are cells stay as they are written, unless a path of the same file is spelled so.
    """

    __slots__ = ("_most", "_plain", "_seen", "_shapes", "escaped", "fields")

    def __init__(self, most: int) -> None:
        self._most = most
        self._plain: dict[str, None] = {}
        self._seen: dict[str, bool] = {}
        self._shapes: set[tuple[str, ...]] = set()
        self.fields: list[str] = []
        self.escaped = False

    def flat(self, names: Iterable[str]) -> None:
        """Take note of a record that does not nest, by its names."""
        shape = tuple(names)
        if shape not in self._shapes and len(self._seen) <= self._most:
            if len(self._shapes) < 1_000:
                self._shapes.add(shape)
            for name in shape:
                self._plain[name] = None
                self._seen.setdefault(name, True)

    def tree(self, tree: Tree) -> None:
        """Take note of a record that may nest. Raises FileRefused if it is too deep."""
        if len(self._seen) > self._most:
            return
        for name, value in tree.items():
            if type(value) is dict and value:
                below: dict[str, Any] = {}
                _walk(value, f"{escape(name)}.", 2, below)
                for path in below:
                    self._seen[path] = False
            else:
                self._plain[name] = None
                self._seen.setdefault(name, True)

    def done(self) -> None:
        """All records were seen. Raises FileRefused if there are more than `most` fields."""
        if len(self._seen) > self._most:
            raise FileRefused(f"more than {self._most:,} different names: these are no records of one kind")
        self.escaped = any(not self._seen[name] for name in self._plain)
        if self.escaped:
            names = {escape(n): None for n in self._plain}
            self.fields = [*names, *(path for path, plain in self._seen.items() if not plain and path not in names)]
        else:
            self.fields = list(self._seen)

    def row(self, tree: Tree) -> Row:
        """The cells of a tree in the order of the fields."""
        flat: dict[str, Any] = {}
        for name, value in tree.items():
            kind = type(value)
            if kind is dict and value:
                _walk(value, f"{escape(name)}.", 2, flat)
            else:
                key = escape(name) if self.escaped else name
                flat[key] = text_of(value) if kind is dict or kind is list else value
        return tuple([flat.get(field, MISSING) for field in self.fields])

"""The records that changed in a transaction and that the trie does not know of yet.

Each savepoint has a layer of its own: if it is taken back, so is what it noted; else its layer joins the one below. What the
trie was told meanwhile it forgets with the savepoint, and then all layers below are there again. One test each:

1. After any nest of savepoints, kept or taken back, the trie is right, whenever it was brought up to date.
2. What is known of every record is forgotten when one changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

Layers = tuple[dict[bytes, int], ...]


class Dirty:
    """Record keys whose digest changed, and by how much the number of records did so (-1, 0, +1)."""

    def __init__(self) -> None:
        self._layers: Layers = ({},)
        self._born: list[Sequence[bytes]] = []
        """New records that belong into the top layer. If `every` is known, nobody asks for them one by one."""
        self.every = b""
        """Key and digest of every record there is, joined, in order of the keys, where that is known: then nobody has to
        read them again. Whoever sets it does so after it noted the records."""

    def __len__(self) -> int:
        """At least so many records as differ."""
        return sum(map(len, chain(self._layers, self._born)))

    def born(self, keys: Sequence[bytes]) -> None:
        """Records that were not there. The caller does not change the keys afterwards."""
        self.every = b""
        if keys:
            self._born.append(keys)

    def touch(self, key: bytes, more: int = 0) -> None:
        """A record that changed, came (1) or went (-1)."""
        self.every = b""
        self._settle()
        top = self._layers[-1]
        top[key] = top.get(key, 0) + more

    def whole(self) -> dict[bytes, int]:
        """All of them. Not to be changed."""
        self._settle()
        first, *others = self._layers
        if not others:
            return first
        found = dict(first)
        for layer in others:
            _join(found, layer)
        return found

    def clear(self) -> None:
        """The trie knows of all of them."""
        self.every = b""
        self._layers, self._born = ({},), []

    def _settle(self) -> None:
        """Put what is new into the top layer."""
        if self._born:
            self._layers[-1].update(dict.fromkeys(chain.from_iterable(self._born), 1))
            self._born = []

    # --- savepoints -------------------------------------------------------------------------------------------------

    def mark(self) -> Layers:
        """A savepoint begins. Returns what `back` and `keep` want."""
        self._settle()
        mark = self._layers
        self._layers = (*mark, {})
        return mark

    def back(self, mark: Layers) -> None:
        """It is taken back."""
        self.every = b""
        self._layers, self._born = mark, []

    def keep(self, mark: Layers) -> None:
        """It is kept. If the trie caught up within it, nothing below is dirty any more."""
        self._settle()
        if len(self._layers) > len(mark):
            _join(mark[-1], self._layers[-1])
            self._layers = mark


def _join(into: dict[bytes, int], layer: dict[bytes, int]) -> None:
    if not into:
        into.update(layer)
        return
    for key, more in layer.items():
        into[key] = into.get(key, 0) + more

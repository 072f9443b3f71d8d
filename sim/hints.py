"""What a node believes of its hints: its memory and its sketches. A world has them on, off, or wrong on some nodes.

The engine trusts no hint: the roots decide, and the trie finds what the hints missed. So a world without hints, or with
false ones, must keep every promise. Only what a session asks of the store is other than it was; the file is as ever. One
test each:

1. Without hints a node names no root, and says no sketch and no list.
2. False hints have the form of true ones, and some of them are true.
3. Nodes whose hints are false become equal all the same, and so do those without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from protocol import limits, messages
from protocol.reading import Items
from protocol.session import Session
from replica.host import Host
from replica.node import Node
from replica.store.store import Store
from replica.store_thread import StoreThread
from sim.minors import Later
from sim.scenario import HINTS

ON, OFF, WRONG = HINTS


class Without(Store):
    """A store without memory and sketch."""

    def agreed(self, url: str) -> bytes:  # noqa: ARG002
        """It was never equal with anybody."""
        return b""

    def broken_off(self, url: str) -> bool:  # noqa: ARG002
        """It knows of no line that was cut."""
        return False

    def came_since(self, root: bytes) -> int | None:  # noqa: ARG002
        """It remembers no root."""
        return None

    def counters(self, since: bytes = b"") -> bytes:  # noqa: ARG002
        """No estimator: then no sketch is asked for, and no list is said."""
        return b""

    def cells(self, width: int, since: bytes = b"") -> bytes:  # noqa: ARG002
        """No sketch."""
        return b""


class Mistaken(Store):
    """A store whose hints are false at random."""

    random: Random
    _share: float
    """How often."""
    _old: dict[int, bytes]
    """Cells that were said before, of a set that may be no more."""

    def mistake(self, random: Random) -> Mistaken:
        """Take chance from here."""
        self.random, self._share, self._old = random, random.choice((0.2, 0.5, 1.0)), {}
        return self

    def _errs(self) -> bool:
        return self.random.random() < self._share

    def agreed(self, url: str) -> bytes:
        """A root that nobody had, or the one of now."""
        return self.random.choice((self.random.randbytes(16), self.root()[0])) if self._errs() else super().agreed(url)

    def broken_off(self, url: str) -> bool:
        """It takes a line for cut that was not, or the reverse."""
        return super().broken_off(url) != self._errs()

    def came_since(self, root: bytes) -> int | None:
        """It forgets a root, remembers one that never was, or miscounts."""
        return self.random.choice((None, 0, 1, 70, 1 << 40)) if self._errs() else super().came_since(root)

    def news(self, root: bytes) -> Items:
        """It leaves some out."""
        true = super().news(root)
        return {key: true[key] for key in sorted(true) if self.random.random() < 0.5} if self._errs() else true

    def counters(self, since: bytes = b"") -> bytes:
        """Of nothing, or of anything."""
        size = limits.SKETCH_COUNTERS
        false = self.random.choice((bytes(size), self.random.randbytes(size))) if self._errs() else b""
        return false or super().counters(since)

    def cells(self, width: int, since: bytes = b"") -> bytes:
        """Of nothing, of no set, or of another time."""
        true = super().cells(width, since)
        old = self._old.setdefault(width, true)
        return self.random.choice((bytes(len(true)), self.random.randbytes(len(true)), old)) if self._errs() else true

    def extension(self, width: int, since: bytes = b"") -> bytes:
        """Of another sketch than the one that was said."""
        true = super().extension(width, since)
        return self.random.randbytes(len(true)) if self._errs() else true

    def heads(self, limit: int) -> list[bytes]:
        """It lists some, and others that are not there."""
        true = super().heads(limit)
        if not self._errs():
            return true
        false = [self.random.randbytes(messages.LISTED) for _ in range(self.random.randrange(9))]
        return sorted([head for head in true if self.random.random() < 0.7] + false)

    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """It does not find all."""
        true = super().locate(heads)
        return {head: true[head] for head in sorted(true) if self.random.random() < 0.7} if self._errs() else true


class Hinted(Node):
    """A node with hints of this kind, and of this minor version. `ended` hears of each session that came to its end."""

    def __init__(
        self,
        path: Path,
        host: Host,
        poll_seconds: float,
        hints: str,
        random: Random,
        ended: Callable[[Session], None],
        minor: int = limits.MINOR,
    ) -> None:
        super().__init__(path, host=host, poll_seconds=poll_seconds, minor=minor)
        if minor > limits.MINOR:
            self._speaks = Later
        self._hints, self._random, self._tell = hints, random, ended

    def _open(self, thread: StoreThread) -> Store:
        if self._hints == ON:
            return super()._open(thread)
        kind = Without if self._hints == OFF else Mistaken
        store = kind(self.path, now_ms=self.host.now_ms, random=self.host.random_bytes, db=thread._conn)
        return store.mistake(self._random) if isinstance(store, Mistaken) else store

    def _ended(self, session: Session) -> None:
        if session in self.sessions:
            self._tell(session)
        super()._ended(session)

"""How a session went: what both sides know of it when it is over, and what the caller keeps and shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.reconcile import Way

IN_SYNC = "in sync"
REFUSED = "differ"
UNEXPLAINED = "differ, unexplained"
CHANGING = "caught up, still changing"
ENDINGS = frozenset({IN_SYNC, REFUSED, UNEXPLAINED, CHANGING})
"""The ways in which a session can end without an error."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. `instance`: random, of its process. `count`: of its records, as it said. `minor`: the
    newest minor version of the protocol that it speaks."""

    node: bytes
    instance: bytes
    name: str
    count: int
    minor: int


@dataclass(slots=True)
class Outcome:
    """How a session went. `code` is one of the words above, or of an error; counts are records."""

    code: str = "cut"
    text: str = "the connection ended before the session did"
    peer: Peer | None = None
    offset_ms: int = 0
    sent: int = 0
    received: int = 0
    changed: int = 0
    held: int = 0
    refused: int = 0
    reasons: list[str] = field(default_factory=list)
    round_trips: int = 0
    rounds: int = 0
    """Descents of the trie."""
    way: Way = Way.NONE
    """How this side knew what to send before that."""
    root: bytes = b""
    count: int = 0

    @property
    def in_sync(self) -> bool:
        """Both roots were equal at the end."""
        return self.code == IN_SYNC

    @property
    def broken_off(self) -> bool:
        """It ended early, while one side was sending the other all that it has."""
        return self.way is Way.STREAM and self.code not in ENDINGS

    @property
    def misled(self) -> bool:
        """A sketch told what differs, and it was not all, so that the trie was asked; nothing was refused, which would
        explain it. Not so a list, or a sketch that told nothing: neither says that a sketch is false."""
        return self.way is Way.SKETCH and self.rounds > 0 and not self.refused

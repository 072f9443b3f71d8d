"""The sessions of a node that are under way: how many may be, and which of two with one peer lives.

One test each:

1. Of two sessions between the same two nodes, the one dialled by the smaller instance lives; the other ends "busy".
2. So many members are met at once, and so many who have not proved yet that they are some; who ended makes room.

SPEC section 13.
"""

from __future__ import annotations

from protocol.errors import Busy
from protocol.keys import CLIENT, SERVER
from protocol.session import Session

SESSIONS_MAX = 64
"""Members met at once: each holds at most a few frames, 64 of them about 300 MB at the very worst."""

STRANGERS_MAX = 256
"""Sessions that peers began and have not proved membership in yet: each may hold one small frame for HELLO_SECONDS."""


class Sessions:
    """See above. `instance`: this node's."""

    def __init__(self, instance: bytes) -> None:
        self._instance = instance
        self.all: dict[Session, str] = {}
        """Our role in each."""
        self.known: dict[Session, tuple[bytes, str]] = {}
        """Those whose peer is known: its instance, and our role."""
        self.strangers: set[Session] = set()
        """Those that a peer began who is not known yet."""

    def full(self) -> bool:
        """Whether newcomers are to come again later."""
        return len(self.known) >= SESSIONS_MAX or len(self.strangers) >= STRANGERS_MAX

    def busy(self) -> bool:
        """Whether one is under way that is not a stranger's."""
        return len(self.all) > len(self.strangers)

    def begin(self, session: Session, role: str) -> None:
        """It is under way."""
        self.all[session] = role
        if role == SERVER:
            self.strangers.add(session)

    def greeted(self, session: Session) -> None:
        """Its peer is known now. Raises Busy if it must not go on."""
        assert session.outcome.peer is not None
        self.strangers.discard(session)
        peer, role = session.outcome.peer.instance, self.all[session]
        others = {known for known, how in self.known.values() if how != role}
        if peer in others and (role == CLIENT) != (self._instance < peer):
            raise Busy("this node and that one are syncing already, the other way round")
        if role == SERVER and len(self.known) >= SESSIONS_MAX:  # Many came in before the first of them was known.
            raise Busy("too many sessions at once: try again later")
        self.known[session] = peer, role

    def end(self, session: Session) -> None:
        """It is over."""
        self.strangers.discard(session)
        self.known.pop(session, None)
        self.all.pop(session, None)

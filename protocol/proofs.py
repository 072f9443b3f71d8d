"""What is proved of what is said: that a member said it so, in this session.

A frame that is put together of the frames of two sessions, by a broken proxy or by somebody in the middle, is well-formed;
and if the root in it is that of the node that hears it, two that differ take themselves for equal. So from minor version 2
on the client's proof covers all that its greeting says, and wherever a root may end a session (SAME, END, BYE) a seal of
it travels in its place. SPEC section 10.6. One test each:

1. A greeting that was changed in anything we understand proves nothing; what a later version adds is not looked at.
2. What another session said of a root, or the other side of this one, is not what the peer says of it here.
3. Before minor version 2 a proof is of the handshake alone, and a root travels as it is.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TypeVar

from protocol import frames
from protocol.keys import CLIENT, SERVER, Handshake, Keys
from protocol.messages import Hello, Probe

COVERING = 2
"""The minor version from which proofs cover what is said."""
SEAL_BYTES = 16
"""As many as a root has."""

Greeting = TypeVar("Greeting", bound=Hello | Probe)


class Proofs:
    """Those of one side of one session."""

    __slots__ = ("_covering", "_handshake", "_keys", "_peer", "_role")

    def __init__(self, keys: Keys, role: str, handshake: Handshake) -> None:
        self._keys, self._handshake = keys, handshake
        self._role, self._peer = (CLIENT, SERVER) if role == CLIENT else (SERVER, CLIENT)
        self._covering = handshake.minor >= COVERING

    def proved(self, greeting: Greeting) -> Greeting:
        """A client's greeting, with its proof."""
        return replace(greeting, proof=self._keys.proof(CLIENT, self._handshake, self._said(greeting)))

    def proves(self, greeting: Hello | Probe) -> bool:
        """Whether a member said this greeting, as it is, in this session."""
        return self._keys.proves(greeting.proof, CLIENT, self._handshake, self._said(greeting))

    def ours(self, root: bytes) -> bytes:
        """What this side says in END and BYE if this is its root: 16 bytes."""
        return self._seal(self._role, root) if self._covering else root

    def theirs(self, root: bytes) -> bytes:
        """What the peer says there if this is its root."""
        return self._seal(self._peer, root) if self._covering else root

    def is_theirs(self, said: bytes, *roots: bytes) -> bool:
        """Whether the peer said there that one of these is its root, in constant time for each."""
        return any(hmac.compare_digest(said, self.theirs(root)) for root in roots)

    def is_same(self, proof: bytes, root: bytes) -> bool:
        """Whether that is the proof in SAME for this root, in constant time."""
        return hmac.compare_digest(proof, self.same(root))

    def same(self, root: bytes) -> bytes:
        """The proof in SAME, by which the server says that this is its root; empty before minor version 2."""
        return self._seal(SERVER, root) if self._covering else b""

    def _seal(self, role: str, root: bytes) -> bytes:
        return self._keys.proof(role, self._handshake, root)[:SEAL_BYTES]

    def _said(self, greeting: Hello | Probe) -> bytes | None:
        return frames.encode(replace(greeting, proof=b"")) if self._covering else None

"""Planted bugs of conversations: sessions, time limits, and trying again. See sim.bugs."""

from __future__ import annotations

from replica import transport

FOREVER_S = 1e9
FEW = 6
"""A small world comes to a limit of so many; of hundreds, only a large one would."""
NEVER = 9
"""A minor version that nobody speaks."""

BUGS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, object], ...]], ...] = (
    (
        "root-not-compared",
        "A session begins with the roots; else nodes with as many records as each other call themselves equal.",
        (),
        ("I1", "I5", "I9"),
        (
            (
                "protocol.session:Session._on_hello",
                "self._same(hello.root",
                "self._same(self._store.root()[0] if hello.count == self._store.root()[1] else hello.root",
            ),
        ),
    ),
    (
        "proof-without-root",
        "Proofs cover what is said; else frames of two sessions, mixed up, make nodes that differ call themselves equal.",
        ("frames",),
        ("I1", "I5", "I9"),
        (("protocol.proofs:COVERING", "", NEVER),),
    ),
    (
        "silence-borne",
        "A peer that says nothing is dropped after a time; else one that hangs holds a session for ever.",
        ("crash", "suspend", "deaf"),
        ("I9",),
        (
            ("replica.transport:RECEIVE_SECONDS", "", FOREVER_S),
            ("replica.transport:HELLO_SECONDS", "", FOREVER_S),
            ("replica.transport:SEND_SECONDS", "", FOREVER_S),
            ("replica.transport:_OPTIONS", "", {**transport._OPTIONS, "ping_interval": None}),
        ),
    ),
    (
        "sessions-not-released",
        "A session that ended makes room; else after some time nobody is served any more.",
        (),
        ("I9",),
        (("replica.node:Node._serve", "self._ended(session)", "pass"), ("replica.sessions:SESSIONS_MAX", "", FEW)),
    ),
    (
        "strangers-not-released",
        "A stranger who left makes room; else a few that knock often shut everybody out.",
        ("hostile",),
        ("I9",),
        (
            ("replica.sessions:Sessions.end", "self.strangers.discard(session)", "pass"),
            ("replica.sessions:STRANGERS_MAX", "", FEW),
        ),
    ),
    (
        "gives-up",
        "Who cannot meet a peer tries again; else one failure is the last try.",
        ("network",),
        ("I9",),
        (
            (
                "replica.keep:keep_in_sync",
                "except PeerFault as error:\n",
                "except PeerFault as error:\n            return\n",
            ),
        ),
    ),
)
"""Name, what is lost, faults, invariants, and what is changed: (place, old words, new words)."""

"""Planted bugs of conversations: sessions, time limits, and trying again. See sim.bugs."""

from __future__ import annotations

FOREVER_S = 1e9

BUGS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, object], ...]], ...] = (
    (
        "root-not-compared",
        "A session begins with the roots; else nodes with as many records as each other call themselves equal.",
        (),
        ("I1", "I5", "I9"),
        (("protocol.session:Session._on_hello", "if hello.root == self.outcome.root:", "if hello.count == self.outcome.count:"),),
    ),
    (
        "silence-borne",
        "A peer that says nothing is dropped after a time; else one that hangs holds a session for ever.",
        ("deaf", "hostile", "suspend"),
        ("I9",),
        (
            ("replica.transport:RECEIVE_SECONDS", "", FOREVER_S),
            ("replica.transport:HELLO_SECONDS", "", FOREVER_S),
            ("replica.transport:SEND_SECONDS", "", FOREVER_S),
        ),
    ),
    (
        "sessions-not-released",
        "A session that ended makes room; else after some time nobody is served any more.",
        (),
        ("I9",),
        (("replica.node:Node._meet", "self._ended(session)", "pass"),),
    ),
    (
        "strangers-not-released",
        "A stranger who left makes room; else a few that knock often shut everybody out.",
        ("hostile",),
        ("I9",),
        (
            ("replica.node:Node._meet", "self._strangers -= int(stranger)", "pass"),
            ("replica.node:STRANGERS_MAX", "", 4),
        ),
    ),
    (
        "gives-up",
        "Who cannot meet a peer tries again; else one failure is the last try.",
        ("network",),
        ("I9",),
        (("replica.keep:keep_in_sync", "done = SyncReport.failure(url, error)\n            misses += 1\n        except", "return\n        except"),),
    ),
    (
        "refusal-not-said",
        "Both hear of a record that is put off; else they describe the same difference to each other for ever.",
        ("clock",),
        ("I9",),
        (("protocol.session:Session._on_records", "self._refused += self._agenda.refuse(refusal)", "pass"),),
    ),
    (
        "any-round",
        "A frame of another round is refused; else a peer that repeats itself confuses the descent.",
        ("frames",),
        ("I9",),
        (("protocol.session:Session._in_round", "if attempt != self._round:", "if False:"),),
    ),
)
"""Name, what is lost, faults, invariants, and what is changed: (place, old words, new words)."""

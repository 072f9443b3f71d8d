"""Planted bugs of stamps, clocks and identities. See sim.bugs."""

from __future__ import annotations

BUGS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, object], ...]], ...] = (
    (
        "no-drift-bound",
        "A stamp far in the future is put off until its time; else one wrong clock drags those of all others along.",
        ("hostile", "clock"),
        ("I8", "I9"),
        (("replica.store.apply:_Batch.__init__", "((now_ms + limits.DRIFT_MS_MAX) << 16) | 0xFFFF", "(1 << 64) - 1"),),
    ),
    (
        "deferred-stamp-observed",
        "A stamp that is put off does not move our clock either; else our next stamps are as far in the future.",
        ("hostile", "clock"),
        ("I8", "I9", "crash"),
        (
            (
                "replica.store.apply:_Batch._admit",
                'newest = max((item.delta.greatest() for item in items), default=b"")',
                "pass",
            ),
        ),
    ),
    (
        "clock-not-stored",
        "The clock is stored with what it stamped; else the next transaction issues the same stamps again.",
        (),
        ("I3", "I6", "I9"),
        (("replica.store.core:Core.transaction", "if self.clock.last != self._last_saved:", "if False:"),),
    ),
    (
        "clock-follows-wall",
        "A stamp is above the last one even if the wall clock went back; else a later write loses against an earlier.",
        ("clock",),
        ("I3", "I6"),
        (
            (
                "protocol.hlc:Clock.tick",
                "max(self._time + 1, now_ms << 16, 1 << 16)",
                "max((now_ms << 16) + 1 + (self._time & 0xFFFF) % 0xFFFE, 1 << 16)",
            ),
        ),
    ),
    (
        "peers-not-observed",
        "Our clock moves past every stamp that we take in; else an edit of what somebody saw loses against it.",
        (),
        ("I2", "I3", "I6", "I9"),
        (("replica.store.apply:_Batch._admit", "core.clock.observe(newest)", "pass"),),
    ),
    (
        "captured-time-believed",
        "A captured time counts up to now; else what was written before a clock was set back is stamped in the future.",
        ("step",),
        ("I6", "I8", "I9"),
        (("replica.store.outbox:_wall", "max(0, min(at, now))", "max(0, at)"),),
    ),
    (
        "clone-unnoticed",
        "Who sees a stamp of his own that he never issued takes another id; else two copies of a file issue one stamp.",
        ("copies",),
        ("I1", "I2", "I3", "I6", "I9"),
        (("replica.store.apply:_Batch._become_another", "core = self._core\n", "return\n    core = self._core\n"),),
    ),
    (
        "issued-not-stored",
        "The last stamp issued is stored; else each echo of our own writes looks like a clone's.",
        (),
        ("I6", "I9"),
        (("replica.store.core:Core.transaction", "if self.clock.issued:", "if False:"),),
    ),
)
"""Name, what is lost, faults, invariants, and what is changed: (place, old words, new words)."""

"""Nodes of several minor versions of the protocol: 2.0 that knows no hints, 2.1 that proves no more than its handshake,
2.2 that connects anew for each session, today's, and a later one.

The older ones and today's are the real node, told which version to speak. A later one is the real node too, but it says
a later version, and more in its greeting than anybody knows today. One test each:

1. A later node says more at the end of HELLO, PROBE and SAME, and nothing else is other than it was.
2. Which node speaks what is drawn from a stream of its own, and in most worlds all speak today's.
3. Nodes of all of them become equal, whoever dials whom; no hint is said where one of both knows none.
4. Where frames of several sessions are mixed up, nobody is older than 2.2: 2.0 and 2.1 believe such frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from protocol import limits
from protocol.proofs import COVERING
from protocol.session import Session
from protocol.values import pack_plain
from sim.chance import stream
from sim.scenario import Place, Scenario

OLDEST, NOW, LATER = 0, limits.MINOR, limits.MINOR + 1
MIXED = 0.2
"""Share of worlds in which the nodes speak several."""
MINGLING = frozenset({"replay", "splice"})
"""Ways to spoil frames that bring those of one session into another (sim.wire)."""
_GREETINGS = frozenset({1, 2, 9})
_MORE = tuple(pack_plain(value) for value in ("added later", b"\x00\xff"))


class Later(Session):
    """A session of a node that is newer than this program."""

    def open(self, now_ms: int) -> bytes:
        """The client's first frame, which says more."""
        return longer(super().open(now_ms))

    def pull(self, now_ms: int) -> bytes | None:
        """The next frame; one that greets says more."""
        frame = super().pull(now_ms)
        return frame and longer(frame)


def longer(frame: bytes) -> bytes:
    """A greeting with more at its end than anybody knows today; any other frame as it is."""
    if frame[1] not in _GREETINGS:
        return frame
    return bytes((frame[0] + len(_MORE),)) + frame[1:] + b"".join(_MORE)


def versions(places: Sequence[Place]) -> str:
    """Which of these nodes speak another minor version than today's, in words."""
    return ", ".join(f"{p.name} {limits.VERSION}.{p.minor}" for p in places if p.minor != NOW)


def mixed(world: Scenario) -> Scenario:
    """The same world, in some of which the nodes speak several minor versions."""
    rng = stream(world.seed, "minors")
    if rng.random() >= MIXED:
        return world
    drawn = [rng.choice((OLDEST, NOW, LATER)) for _ in world.places]
    mingled = any(event.kind == "frames" and event.with_["how"] in MINGLING for event in world.events)
    older = range(COVERING if mingled else OLDEST, NOW)
    minors = [rng.choice(older) if minor == OLDEST else minor for minor in drawn]
    return replace(world, places=tuple(replace(p, minor=m) for p, m in zip(world.places, minors, strict=True)))

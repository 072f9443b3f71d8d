"""Why the nodes of a world are not equal, in words: their roots, the records that differ, and what may be the reason.

Only looks: nothing is healed, and no time passes. One test each:

1. What differs is told with both values, and every fault, wrong clock and failed sync that may be the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol import limits
from protocol.values import unpack_value
from sim.truth import look, words

if TYPE_CHECKING:
    from sim.hand import Hand
    from sim.machine import Machine

SHOWN = 10
"""Differing records told."""


def apart(hand: Hand, waited: float) -> str:
    """Roots, records and reasons in words."""
    world = hand.world
    with hand.alone():
        roots = world.looks.roots()
        lines = [f"the nodes are not equal, {waited:.0f} s later"]
        lines += [
            f"  {n}: {'root ' + roots[n].hex()[:16] if n in roots else _not_ready(m)}"
            for n, m in world.machines.items()
        ]
        lines += ["differing records:", *_records(hand)]
    return "\n".join([*lines, "what may be the reason:", *_reasons(hand), hand.story()])


def _not_ready(machine: Machine) -> str:
    if not machine.on:
        return "is off or asleep"
    return "has yet to take in what was written" if machine.ready else "does not run"


def _records(hand: Hand) -> list[str]:

    found = {}
    for name, machine in hand.world.machines.items():
        if machine.ready:
            with machine.disk.unharmed(), machine.store._core.reading():
                found[name] = look(machine.store._core).records
    lines = []
    for rid in sorted({rid for records in found.values() for rid in records}):
        copies = {name: records.get(rid) for name, records in found.items()}
        if len({copy.encode() if copy is not None else b"" for copy in copies.values()}) > 1:
            lines.append(f"  {words(rid)}: {_versions(copies)}")
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"  and {more} more"] if more > 0 else [])] or ["  none among the nodes that run"]


def _versions(copies: dict[str, Any]) -> str:
    """What each copy says, of the fields that differ."""

    live = {name: c for name, c in copies.items() if c is not None and c.live}
    said = [f"{'absent' if c is None else 'deleted'} on {name}" for name, c in copies.items() if name not in live]
    for field in sorted({f for c in live.values() for f in c.registers}):
        values = {name: c.registers.get(field) for name, c in live.items()}
        if len(set(values.values())) > 1:
            each = (f"{unpack_value(v[1])!r:.40} on {n}" if v else f"none on {n}" for n, v in values.items())
            said.append(f"{field} is {', '.join(each)}")
    return "; ".join(said) or "the same values, written at other times"


def _reasons(hand: Hand) -> list[str]:

    world = hand.world
    found = [f"  {b.kind} {b.node}: {b.text} (until it is ended)".replace(" :", ":") for b in world.lasting.bands]
    for name, machine in world.machines.items():
        wrong = machine.clock.now_ms() - machine.clock.true_ms()
        if abs(wrong) > limits.DRIFT_MS_MAX:
            found.append(f"  the clock of {name} is {abs(wrong) / 1000:.0f} s {'ahead' if wrong > 0 else 'behind'}")
        others = [m for m in world.machines.values() if m is not machine]
        if (
            others
            and not {m.name for m in others} & set(machine.place.peers)
            and not any(name in m.place.peers for m in others)
        ):
            found.append(f"  {name} dials nobody, and nobody dials it")
    last = {(sync.client, sync.server): sync for sync in world.result.syncs}
    bad = [s for s in last.values() if s.kind != "in sync"]
    found += [
        f"  the last sync of {s.client} with {s.server}, at {s.end:.0f} s: {s.outcome} {s.text}".rstrip() for s in bad
    ]
    return found or ["  none is known: perhaps it only needs more time"]

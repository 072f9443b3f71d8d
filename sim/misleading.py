"""Ways to mislead a node about what differs: false estimates, sketches, memories, lists and picks, and short ways that
are out of place.

Nothing of this is a record, so nothing of it may change one; what it costs the node is bounded. The liar's own store
tells it what the node holds, so that some of its lies are near the truth. One test each:

1. An honest node throws it out or outlasts it, and holds what it held.
2. What it makes of sketches has the form of true ones: a sketch of items that nobody has is peeled, and picked in vain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

from websockets.asyncio.client import ClientConnection

from protocol import frames, limits
from protocol.messages import HEAD, LISTED, Cells, Described, End, Listing, Message, More, Nodes, Pick, Same
from protocol.prints import ITEM_BYTES, ItemHash
from protocol.sketch import Sketch, beyond, cells_size, wider
from sim.liar import GaveUp, Liar, hear, met, say, turn

TURNS_MAX = 8
"""Turns after which it gives up."""

WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 1_536, 2_048, 3_072, 4_096, 6_144)
"""Of the sketches that it says or asks for."""

FULL = 0.03
"""Share of frames that are as large as may be: each takes a node a second."""


def _end(random: Random, *, idle: bool = False) -> bytes:
    return frames.encode(End(random.randbytes(16), 1, idle, 1, 0))


async def _turn(socket: ClientConnection, random: Random, *said: Message) -> list[Message]:
    """Say this in a turn, and hear the peer's."""
    for message in said:
        await say(socket, frames.encode(message))
    await say(socket, _end(random, idle=random.random() < 0.5))
    return await turn(socket)


# --- estimates and sketches ---------------------------------------------------------------------------------------------


def _estimated(liar: Liar) -> tuple[int, bytes]:
    """A number of records and an estimator: of nothing, of anything, or a little beside the truth."""
    random, size = liar.random, limits.SKETCH_COUNTERS
    near = bytearray(liar.store.counters())
    for _ in range(random.choice((1, 3, 9, 30))):
        near[random.randrange(size)] ^= random.randrange(32)
    counters = random.choice((bytes(size), random.randbytes(size), bytes(near), bytes(near)))
    return random.choice((1, 100, 1 << 20, (1 << 63) - 1, liar.store.root()[1])), counters


async def _estimate(liar: Liar) -> str:
    random, (count, counters) = liar.random, _estimated(liar)
    liar.did.append(f"an estimate of {count} records")

    async def action(socket: ClientConnection) -> None:
        heard = liar.heard
        for number in range(TURNS_MAX):
            width = next((m.width for m in heard if isinstance(m, Cells)), None)
            if width is None and number:
                break
            wide = width or random.choice(WIDTHS)
            heard = await _turn(socket, random, More(wider(wide) or wide if number else wide))
            liar.did[1:] = [f"widened from {wide}"]
        raise GaveUp("the peer widened its sketch for nothing")

    return await met(liar, action, counters=counters, count=count)


class FalseCells:
    """Cells of a set that is not there. `kind`: random; none; near (ours, less or more some items that nobody has)."""

    def __init__(self, liar: Liar, kind: str) -> None:
        self._liar, self._kind = liar, kind
        family = ItemHash(liar.keys.sketch())
        self._made = Sketch(family)
        self._made.add(family.prints(liar.random.randbytes(ITEM_BYTES * liar.random.choice((1, 5, 200)))))

    def cells(self, width: int) -> bytes:
        """At this width."""
        size = cells_size(width)
        match self._kind:
            case "random":
                return self._liar.random.randbytes(size)
            case "none":
                return bytes(size)
        pairs = zip(self._liar.store.cells(width), self._made.cells(width), strict=True)
        return bytes(a ^ b for a, b in pairs)

    def extension(self, width: int) -> bytes:
        """What widens them: of each sub-table what is beyond this width."""
        wide = wider(width)
        assert wide is not None, "nobody is asked to widen the widest"
        return beyond(self.cells(wide), width)


async def _cells(liar: Liar) -> str:
    random, (count, counters) = liar.random, _estimated(liar)
    kind = random.choice(("random", "none", "near"))
    false, at_once = FalseCells(liar, kind), random.random() < 0.5
    liar.did.append(f"cells: {kind}")

    async def action(socket: ClientConnection) -> None:
        width = random.choice(WIDTHS[:6])
        heard = await _turn(socket, random, Cells(width, False, false.cells(width)))
        while asked := [m.width for m in heard if isinstance(m, More)]:
            heard = await _turn(socket, random, Cells(asked[0], True, false.extension(asked[0])))
        picked = sum(len(m.heads) for m in heard if isinstance(m, Pick))
        liar.did.append(f"{picked} items picked that nobody has")
        await _turn(socket, random, Cells(width, False, false.cells(width)))  # There is one sketch in a session.
        raise GaveUp("the peer took two sketches")

    cells = false.cells(limits.SKETCH_WIDTH_MIN) if at_once else b""
    return await met(liar, action, counters=counters, cells=cells, count=count)


# --- memories, lists and picks ------------------------------------------------------------------------------------------


async def _memory(liar: Liar) -> str:
    random, (count, counters) = liar.random, _estimated(liar)
    agreed = random.choice((random.randbytes(16), liar.store.root()[0], bytes(16)))
    liar.did.append("a false memory")

    async def action(socket: ClientConnection) -> None:
        for _ in range(TURNS_MAX):
            await _turn(socket, random)
        raise GaveUp(f"{TURNS_MAX} turns with nothing in them")

    news = random.choice((0, 1, 70, 1 << 62))
    return await met(liar, action, agreed=agreed, news=news, counters=random.choice((b"", counters)), count=count)


def _many(random: Random, size: int, most: int) -> list[bytes]:
    count = most if random.random() < FULL else random.choice((0, 1, 300))
    data = random.randbytes(size * count)
    return [data[at : at + size] for at in range(0, len(data), size)]


async def _list(liar: Liar) -> str:
    random, true = liar.random, liar.store.heads(limits.LISTED_MAX)
    together = random.random() < 0.5
    liar.did.append("two lists in a turn" if together else "a list in each turn")

    async def action(socket: ClientConnection) -> None:
        for _ in range(TURNS_MAX):
            some = random.choice((true, true[::2] * 3, _many(random, LISTED, limits.LISTED_MAX)))
            await _turn(socket, random, *[Listing(tuple(some))] * (2 if together else 1))
        raise GaveUp("the peer took lists without end")

    return await met(liar, action, count=_estimated(liar)[0])


async def _picks(liar: Liar) -> str:
    random, true = liar.random, [head[:HEAD] for head in liar.store.heads(limits.LISTED_MAX)]
    flood = random.random() < FULL
    liar.did.append("a flood of picks" if flood else "picks in every turn")

    async def action(socket: ClientConnection) -> None:
        for _ in range(TURNS_MAX):
            full = _many(Random(random.random()), HEAD, limits.PICKED_PER_FRAME_MAX)
            some = random.choice((true, true * 3, full))
            frames = [[random.randbytes(HEAD)] * limits.PICKED_PER_FRAME_MAX] * 2 if flood else [some] * 2
            await _turn(socket, random, *(Pick(tuple(frame)) for frame in frames))
        raise GaveUp(f"the peer heard {TURNS_MAX} turns of picks")

    return await met(liar, action, count=_estimated(liar)[0])


# --- out of place -------------------------------------------------------------------------------------------------------


async def _probe(liar: Liar) -> str:
    random = liar.random
    root = random.choice((random.randbytes(16), liar.store.root()[0]))

    async def action(socket: ClientConnection) -> None:
        liar.did.append("the same" if isinstance(liar.heard[-1], Same) else "a root that was not there")
        for _ in range(TURNS_MAX):
            await _turn(socket, random)
        raise GaveUp(f"{TURNS_MAX} turns with nothing in them")

    return await met(liar, action, probed=root)


async def _disorder(liar: Liar) -> str:
    random = liar.random
    zeros = bytes(cells_size(limits.SKETCH_WIDTH_MIN))
    unasked: list[Message] = [Cells(8, True, zeros), More(8)]
    short = [*unasked, Cells(8, False, zeros), Listing(()), Pick(())]
    trie = Nodes(0, (Described("", False, ()),))
    socket, handshake = await liar.dial()
    greeting: list[Message] = [liar.hello(handshake), liar.probe(handshake, random.randbytes(16))]
    same = Same(liar.me.node, liar.now_ms())
    when, said = random.choice((
        ("at first", [random.choice(short)]),
        ("as a greeting", [same]),
        ("greeted again", [random.choice(greeting), random.choice([*greeting, same])]),
        ("unasked", [random.choice(greeting), random.choice(unasked)]),
        ("after the trie", [random.choice(greeting), trie, random.choice(short)]),
    ))  # fmt: skip
    liar.did.append(f"{type(said[-1]).__name__} {when}")
    try:
        for number, message in enumerate(said):
            await say(socket, frames.encode(message))
            if number == 0 and len(said) > 1:
                await turn(socket)
        await hear(socket)
    finally:
        socket.transport.abort()
    raise GaveUp("the peer took it and went on")


MISLEADING: dict[str, Callable[[Liar], Awaitable[str]]] = {
    "estimate": _estimate,
    "cells": _cells,
    "memory": _memory,
    "list": _list,
    "picks": _picks,
    "probe": _probe,
    "disorder": _disorder,
}
"""Ways to attack."""

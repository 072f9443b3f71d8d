"""A member that lies: it holds the group's secrets, so it gets in, and then breaks every rule that it can.

It dials as any node does. Where a lie fits into an honest conversation, the real session speaks it, over a store that
lies; the rest are frames made by hand. Whatever it does, it gives up by itself after a while, so that an attack which
nobody stops ends all the same. It never writes anything that an honest node may take: after an attack, every honest
node holds what it held. One test each:

1. An honest node throws it out or outlasts it, keeps its records, and meets honest nodes as before.
2. An attack takes chance and time from its arguments alone, and raises nothing but what a bug in itself is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection

from protocol import frames, limits
from protocol.errors import PeerFault
from protocol.hlc import COUNTER_MAX, MILLIS_MAX, pack
from protocol.keys import CLIENT
from protocol.messages import Bye, Described, End, Have, Nodes, Question, Records, Want
from protocol.record import Record, pack_id
from protocol.session import Session
from protocol.trie import NIBBLES
from protocol.values import pack_value
from replica import transport
from replica.errors import UsageError
from replica.store.store import Store
from sim.bombs import BOMBS, garbage
from sim.liar import GaveUp, Liar, hear, met, say, whole_turn
from sim.lies import Lies, tamper
from sim.misleading import MISLEADING

PULLS_MAX = 200
"""Frames after which a liar in a session gives up."""

TURNS_MAX = 8
"""Turns after which one without end does."""

DRAWN = 64
"""So many lists of slices stand in the nodes that a frame is full of, each of them at many prefixes."""

KNOCKS = 8
"""Connections, one after another, of one who knocks."""

YEAR_MS = 31_557_600_000
SLACK_SECONDS = 1.0


async def attack(
    url: str,
    store: Store,
    how: str,
    random: Random,
    now_ms: Callable[[], int],
    instance: bytes,
    true_ms: Callable[[], int] | None = None,
) -> str:
    """Attack the node at `url` in the way `how` (one of HOWS). `store` is that of the hostile node, a legal member;
    `true_ms` gives the right time, if its own clock may be wrong. Returns in words how it was thrown off, or what it
    achieved. Raises UsageError for a way that there is not."""
    if how not in HOWS:
        raise UsageError(f"{how!r} is no way to attack; there are {', '.join(HOWS)}")
    liar = Liar(url, store, random, now_ms, instance, true_ms)
    try:
        end = await HOWS[how](liar)
    except PeerFault as error:
        end = f"thrown out, {error.code}: {error}"
    except GaveUp as error:
        end = f"gave up: {error}"
    return f"{', '.join(liar.did[-3:])}: {end}" if liar.did else end


# --- lies in a session ------------------------------------------------------------------------------------------------


async def _lies(liar: Liar) -> str:
    socket, handshake = await liar.dial()
    session = Session(CLIENT, liar.keys, Lies(liar.store, liar.random), liar.me, handshake)
    pulls = 0

    async def call(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal pulls
        result = function(*args)
        if function == session.say:
            pulls += len(result)
            if pulls > PULLS_MAX:
                raise GaveUp(f"the peer listened to {PULLS_MAX} frames of lies")
            result = [tamper(frame, liar.random) for frame in result]
        return result

    try:
        first = session.open(liar.now_ms())
        await transport.converse(socket, session, call, liar.now_ms, transport.Traffic(), lambda _: None, first=first)
    finally:
        await socket.close()
    return f"the session ended as one does: {session.outcome.code} {'; '.join(session.outcome.reasons)}".strip()


async def _again(liar: Liar) -> str:
    socket, handshake = await liar.dial()
    session = Session(CLIENT, liar.keys, liar.store, liar.me, handshake)
    first = session.open(liar.now_ms())

    async def call(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    try:
        await transport.converse(socket, session, call, liar.now_ms, transport.Traffic(), lambda _: None, first=first)
        end = frames.encode(End(bytes(16), 0, True, 0, 0))
        after: dict[str, bytes | str] = {
            "its first frame again": first, "news": frames.NEWS, "an end": end, "no frame": b"\xc1", "nothing": b"",
            "a text": "hello",
        }  # fmt: skip
        what = liar.random.choice(sorted(after))
        liar.did.append(f"a true session, and then {what}")
        await say(socket, after[what])
        await hear(socket)
    finally:
        await socket.close()
    raise GaveUp("the peer answered that")


# --- frames made by hand ----------------------------------------------------------------------------------------------


def _ahead(liar: Liar, old: Record) -> Record:
    """A record with a field, a birth or a delete ahead of time, or a new one; what is in time of it is true.

    At least a year ahead, so that no honest clock that errs takes it for now; up to the end of all stamps."""
    # Of a clock that stands in 1970 the future is what honest nodes take for the past, and believe.
    random, soon = liar.random, max(liar.now_ms(), liar.true_ms()) + YEAR_MS

    def stamp() -> bytes:
        last = max(soon, random.choice((1 << 42, 5_000_000_000_000, MILLIS_MAX)))
        node = random.choice((liar.me.node, random.randbytes(8), bytes(8)))
        return pack(random.choice((soon, last, random.randint(soon, last))), random.choice((0, COUNTER_MAX)), node)

    record = Record(old.collection, old.id, old.floor, old.born, dict(old.registers))
    what = random.choice(("nothing", "field", "fields", "born", "floor", "new"))
    if what == "new":
        record.id = pack_id([f"future {random.randrange(1 << 30)}"])
    if what in {"born", "new"}:
        record.born = stamp()
    if what == "floor":
        record.floor, record.registers = stamp(), {}
    for name in sorted(record.registers):
        if what in {"fields", "new"} or (what == "field" and random.random() < 0.3):
            record.registers[name] = stamp(), pack_value(f"from the future {random.random()}")
    return record


async def _future(liar: Liar) -> str:
    keys = [key for key, _ in liar.store.entries("", b"", 200)]
    true = liar.store.records(liar.random.sample(keys, min(len(keys), limits.LEAF_MAX)))
    made = [one for record in true if (one := _ahead(liar, record).delta()).size() < limits.BATCH_BYTES_AIM // 16]

    async def action(socket: ClientConnection) -> None:
        prints = tuple(liar.random.randbytes(3) for _ in made)
        for turn in range(3):
            if turn:
                await say(socket, frames.encode(Nodes(0, (Described("", False, prints),))))
            if made:
                await say(socket, frames.encode(Records(tuple(made))))
            await say(socket, frames.encode(End(liar.random.randbytes(16), 1, False, 0, 0)))
            refused = (await whole_turn(socket)).refused
            liar.did[:] = [f"of {len(made)} records {refused} were refused"]
        await say(socket, frames.encode(Bye("differ", "it is later than you think", bytes(16), 0, ())))
        raise GaveUp("all was said")

    return await met(liar, action)


def _inner(random: Random) -> Described:
    return Described(_prefix(random), True, tuple(_threes(random, len(NIBBLES))))


def _prefix(random: Random) -> str:
    return "".join(random.choices(NIBBLES, k=random.choice((0, 0, 1, 2, random.randrange(limits.DEPTH_MAX + 1)))))


def _threes(random: Random, count: int) -> list[bytes]:
    """What so many `randbytes(3)` would give: each takes the upper three bytes of a word of 32 bits."""
    words = random.getrandbits(32 * count).to_bytes(4 * count, "little")
    return [words[at + 1 : at + 4] for at in range(0, len(words), 4)]


def _demand(random: Random, kind: int, full: bool) -> bytes:
    """A frame full of what the peer shall look up. `full`: as much as a frame may hold."""
    match kind:
        case 0:
            count = limits.ITEMS_PER_FRAME_MAX if full else 300
            keys, stamps = random.randbytes(6 * count), bytes(210)
            asked = [Question(keys[at : at + 6], stamps) for at in range(0, len(keys), 6)]
            return frames.encode(Have(0, False, tuple(asked)))
        case 1:
            leaf = tuple(_threes(random, limits.LEAF_MAX))
            return frames.encode(Want(0, (("", leaf),) * 300))
        case _:
            count = limits.NODES_PER_TURN if full else 100
            slices = cycle([_inner(random).slices for _ in range(DRAWN)])
            nodes = (Described(_prefix(random), True, some) for some in islice(slices, count))
            return frames.encode(Nodes(0, tuple(nodes)))


async def _endless(liar: Liar) -> str:
    random = liar.random
    polite = random.random() < 0.5
    liar.did.append("turns without end" if polite else "a turn without end")

    async def action(socket: ClientConnection) -> None:
        await say(socket, frames.encode(Nodes(0, (_inner(random),))))
        kind = random.choice((0, 2))  # What is wanted is looked up at once: a turn full of it takes seconds.
        for _ in range(TURNS_MAX):
            await say(socket, _demand(random, random.randrange(3) if polite else kind, not polite))
            if polite:  # A turn within its limits, and another, and another.
                await say(socket, frames.encode(End(random.randbytes(16), 1, False, 1, 0)))
                await whole_turn(socket)
        await say(socket, frames.encode(End(random.randbytes(16), 1, False, 1, 0)))
        await whole_turn(socket)
        raise GaveUp(f"the peer heard {TURNS_MAX} demands")

    return await met(liar, action)


async def _bomb(liar: Liar) -> str:
    name = liar.random.choice(sorted(BOMBS))
    liar.did.append(name)

    async def action(socket: ClientConnection) -> None:
        await say(socket, frames.encode(Nodes(0, (_inner(liar.random),))))
        await say(socket, BOMBS[name]())
        await say(socket, frames.encode(End(bytes(16), 0, False, 0, 0)))
        await whole_turn(socket)
        raise GaveUp("the peer took it and went on")

    return await met(liar, action)


async def _garbage(liar: Liar) -> str:
    async def action(socket: ClientConnection) -> None:
        for _ in range(liar.random.randrange(TURNS_MAX)):
            name, frame = garbage(liar.random)
            liar.did.append(name)
            if name == "raw bytes" and isinstance(frame, bytes):
                socket.transport.write(frame)
            else:
                await say(socket, frame)
        await say(socket, b"\xc1")

    return await met(liar, action)


async def _mute(liar: Liar) -> str:
    what = liar.random.choice(("says no hello", "says hello and no more", "never reads"))
    liar.did.append(what)
    socket, handshake = await liar.dial()
    try:
        if what != "says no hello":
            await say(socket, frames.encode(liar.hello(handshake)))
            await hear(socket)
        if what == "never reads":
            await say(socket, frames.encode(Nodes(0, (Described("", False, ()),))))
            await say(socket, frames.encode(End(bytes(16), 0, False, 0, 0)))
            await asyncio.sleep(transport.SEND_SECONDS + SLACK_SECONDS)
        while True:
            await hear(socket)
    finally:
        await socket.close()


async def _knock(liar: Liar) -> str:
    for _ in range(KNOCKS):
        socket, _ = await liar.dial()
        if liar.random.random() < 0.5:
            socket.transport.abort()
        await socket.close()
    raise GaveUp(f"{KNOCKS} strangers were let in, and left without a word")


HOWS: dict[str, Callable[[Liar], Awaitable[str]]] = {
    "future": _future,
    "lies": _lies,
    "again": _again,
    "endless": _endless,
    "bomb": _bomb,
    "garbage": _garbage,
    "mute": _mute,
    "knock": _knock,
    **MISLEADING,
}
"""Ways to attack."""

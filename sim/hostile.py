"""A member that lies: it holds the group's secrets, so it gets in, and then breaks every rule that it can.

It dials as any node does. Where a lie fits into an honest conversation, the real session speaks it, over a store that
lies; the rest are frames made by hand. Whatever it does, it gives up by itself after a while, so that an attack which
nobody stops ends all the same. It never writes anything that an honest node may take: after an attack, every honest
node holds what it held. One test each:

1. An honest node throws it out or outlasts it, keeps its records, and meets honest nodes as before.
2. An attack takes chance and time from its arguments alone, and raises nothing but what a bug in itself is.
3. What a bomb claims, an honest decoder does not allocate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from protocol import limits, messages
from protocol.descent import Applied
from protocol.errors import PeerFault, PeerRefused
from protocol.hlc import COUNTER_MAX, MILLIS_MAX, pack
from protocol.keys import CLIENT
from protocol.messages import Bye, Described, End, Have, Hello, Nodes, Question, Records, Sample, Want
from protocol.record import Record, encode, pack_id
from protocol.session import Self, Session
from protocol.trie import NIBBLES, Entry, Inner, Leaf, Node, key_range
from protocol.values import pack_any, pack_value
from replica import transport
from replica.errors import UsageError
from replica.store.store import Store

PULLS_MAX = 200
"""Frames after which a liar in a session gives up."""

TURNS_MAX = 8
"""Turns after which one without end does."""

YEAR_MS = 31_557_600_000
SLACK_SECONDS = 1.0


class GaveUp(Exception):
    """The attack ends by itself: nobody had stopped it."""


class Liar:
    """One attack on one address: what it needs in all its conversations."""

    def __init__(self, url: str, store: Store, random: Random, now_ms: Callable[[], int], instance: bytes) -> None:
        self.url, self.store, self.random, self.now_ms = url, store, random, now_ms
        self.me = Self(store.node_id, instance, store.name)
        self.keys = store.group_keys
        self.did: list[str] = []

    async def dial(self) -> tuple[ClientConnection, tuple[bytes, bytes]]:
        """A connection that was let in, and its nonces. Raises PeerFault."""
        return await transport.dial(self.url, self.keys, self.random.randbytes, None)

    def hello(self, nonces: tuple[bytes, bytes]) -> Hello:
        """A true one, but for a root that nobody has."""
        proof = self.keys.proof(CLIENT, *nonces)
        root, me = self.random.randbytes(16), self.me
        return Hello(limits.VERSION, proof, self.keys.group, me.node, me.instance, me.name, self.now_ms(), 1, root)

    async def meet(self) -> ClientConnection:
        """A connection on which both have said HELLO. Raises PeerFault."""
        socket, nonces = await self.dial()
        await _say(socket, messages.encode(self.hello(nonces)))
        await _hear(socket)
        return socket


async def attack(url: str, store: Store, how: str, random: Random, now_ms: Callable[[], int], instance: bytes) -> str:
    """Attack the node at `url` in the way `how` (one of HOWS). `store` is that of the hostile node, a legal member.
    Returns in words how it was thrown off, or what it achieved. Raises UsageError for a way that there is not."""
    if how not in HOWS:
        raise UsageError(f"{how!r} is no way to attack; there are {', '.join(HOWS)}")
    liar = Liar(url, store, random, now_ms, instance)
    try:
        end = await HOWS[how](liar)
    except PeerFault as error:
        end = f"thrown out, {error.code}: {error}"
    except GaveUp as error:
        end = f"gave up: {error}"
    return f"{', '.join(liar.did[-3:])}: {end}" if liar.did else end


# --- lies in a session ------------------------------------------------------------------------------------------------


class Lies:
    """A store that lies at random: its root, its trie, what it has and what it sends."""

    def __init__(self, store: Store, random: Random) -> None:
        self._store, self._random = store, random
        self._noise = random.choice((0.0, 0.0, 0.02, 0.3))
        """How often what it sends is no record at all: then it is thrown out at once."""

    def root(self) -> tuple[bytes, int]:
        """Another each time."""
        return self._random.randbytes(16), self._random.choice((0, 1, 1 << 20, (1 << 63) - 1))

    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        """Inner nodes and leaves that never were."""
        return {prefix: self._node(prefix) for prefix in prefixes}

    def _node(self, prefix: str) -> Node:
        random = self._random
        if random.random() < 0.1:
            return self._store.nodes([prefix])[prefix]
        if random.random() < 0.6:
            return Inner(tuple(random.randbytes(16) if random.random() < 0.7 else b"" for _ in NIBBLES))
        return Leaf(tuple(self.entries(prefix, b"", random.randrange(limits.LEAF_MAX + 1))))

    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        """True entries, and ones that never were."""
        if after:
            return []  # What is listed must end, or nothing would ever be said.
        entries = self._store.entries(prefix, b"", limit) if self._random.random() < 0.5 else []
        low, high = (int.from_bytes(key, "big") for key in key_range(prefix))
        for _ in range(self._random.randrange(limit - len(entries) + 1) if limit <= limits.LEAF_MAX else 0):
            entries.append((self._random.randint(low, high).to_bytes(16, "big"), self._random.randbytes(16)))
        return sorted(entries)

    def keys(self, heads: Sequence[bytes]) -> dict[bytes, bytes]:
        """It knows all that it is asked for, or nothing of it."""
        return {h: h.ljust(16, b"\0") for h in heads if self._random.random() < 0.7}

    def stamps(self, keys: Sequence[bytes]) -> dict[bytes, set[bytes]]:
        """It has seen whatever stamps."""
        return {key: {self._random.randbytes(16) for _ in range(self._random.randrange(4))} for key in keys}

    def records(self, _: Sequence[bytes]) -> list[Record]:
        """True ones that nobody asked for, or none."""
        return self._store.records([key for key, _ in self._store.entries("", b"", self._random.randrange(1, 8))])

    def encoded(self, keys: Sequence[bytes]) -> list[bytes]:
        """Nothing of what it claimed; now and then what is no record."""
        if self._random.random() >= self._noise:
            return [record.encode() for record in self.records(keys)]
        data = bytearray(self._random.choice(self.records(keys) or [Record("x", b"\x91\x01", b"", bytes(16))]).encode())
        for _ in range(self._random.randrange(1, 9)):
            data[self._random.randrange(len(data))] = self._random.randrange(256)
        # A record that is still one would be a lawful write under an arbitrary name.
        return [bytes(data[: self._random.randrange(len(data))])]

    def apply(self, *_: object) -> Applied:
        """It takes nothing."""
        return Applied(self._random.randrange(2), 0, [])

    def sample(self, *_: object) -> list[Entry]:
        """It has no rows of its own."""
        return []

    def compare_sample(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """It finds all the same."""
        return len(entries), 0


def _tamper(frame: bytes, random: Random) -> bytes:
    """An END that lies about how the turn went."""
    message = messages.decode(frame)
    if not isinstance(message, End) or random.random() < 0.7:
        return frame
    big = random.choice((0, 1, (1 << 63) - 1))
    reasons = ("\x1b[2J\r\nall is well\0", "x" * 10_000)[: random.randrange(3)]
    return messages.encode(replace(message, idle=random.random() < 0.5, applied=big, refused=big, reasons=reasons))


async def _lies(liar: Liar) -> str:
    socket, nonces = await liar.dial()
    session = Session(CLIENT, liar.keys, Lies(liar.store, liar.random), liar.me, nonces)
    pulls = 0

    async def call(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal pulls
        result = function(*args)
        if function == session.pull and result is not None:
            pulls += 1
            if pulls > PULLS_MAX:
                raise GaveUp(f"the peer listened to {PULLS_MAX} frames of lies")
            result = _tamper(result, liar.random)
        return result

    try:
        first = session.open(liar.now_ms())
        await transport.converse(socket, session, call, liar.now_ms, transport.Traffic(), lambda _: None, first)
    finally:
        await socket.close()
    return f"the session ended as one does: {session.outcome.code} {'; '.join(session.outcome.reasons)}".strip()


# --- frames made by hand ----------------------------------------------------------------------------------------------


def _patience() -> float:
    """Seconds, longer than an honest node waits for anything."""
    return transport.HELLO_SECONDS + transport.SEND_SECONDS + transport.RECEIVE_SECONDS + 60


async def _say(socket: ClientConnection, frame: bytes | str) -> None:
    """Send, or hear why not. Raises PeerFault or GaveUp."""
    try:
        async with asyncio.timeout(_patience()):
            await socket.send(frame)
    except ConnectionClosed:
        while True:
            await _hear(socket)
    except TimeoutError:
        socket.transport.abort()
        raise GaveUp("the peer does not read, and does not throw out either") from None


async def _hear(socket: ClientConnection) -> messages.Message:
    """The next message. Raises PeerFault if it is a BYE or the connection ended, or GaveUp."""
    try:
        async with asyncio.timeout(_patience()):
            frame = await socket.recv(decode=False)
    except ConnectionClosed as error:
        close = error.rcvd or error.sent
        raise transport.Unreachable(f"cut, {close.code} {close.reason}" if close else "cut without a word") from None
    except TimeoutError:
        socket.transport.abort()
        raise GaveUp("the peer says nothing, and does not throw out either") from None
    message = messages.decode(frame)
    if isinstance(message, Bye):
        raise PeerRefused(message.code, message.text)
    return message


async def _whole_turn(socket: ClientConnection) -> End:
    while not isinstance(heard := await _hear(socket), End):
        pass
    return heard


async def _with(liar: Liar, action: Callable[[ClientConnection], Awaitable[None]]) -> str:
    """Meet, act, and hear what the peer says to it."""
    socket = await liar.meet()
    try:
        await action(socket)
        while True:
            await _hear(socket)
    except PeerFault:
        socket.transport.abort()  # It owes nobody a closing handshake.
        raise
    finally:
        await socket.close()


def _ahead(liar: Liar, old: Record) -> Record:
    """A record with a field, a birth or a delete ahead of time, or a new one; what is in time of it is true.

    At least a year ahead, so that no honest clock that errs takes it for now; up to the end of all stamps."""
    random, soon = liar.random, liar.now_ms() + YEAR_MS

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
    made = [data for record in true if len(data := _ahead(liar, record).encode()) < limits.BATCH_BYTES_AIM // 16]

    async def action(socket: ClientConnection) -> None:
        prints = tuple(liar.random.randbytes(3) for _ in made)
        for turn in range(3):
            if turn:
                await _say(socket, messages.encode(Nodes(0, (Described("", False, prints),))))
            if made:
                await _say(socket, messages.encode(Records(tuple(made))))
            await _say(socket, messages.encode(End(liar.random.randbytes(16), 1, False, 0, 0)))
            refused = (await _whole_turn(socket)).refused
            liar.did[:] = [f"of {len(made)} records {refused} were refused"]
        await _say(socket, messages.encode(Bye("differ", "it is later than you think", bytes(16), 0, ())))
        raise GaveUp("all was said")

    return await _with(liar, action)


def _inner(random: Random) -> Described:
    prefix = "".join(random.choices(NIBBLES, k=random.choice((0, 0, 1, 2, random.randrange(limits.DEPTH_MAX + 1)))))
    return Described(prefix, True, tuple(random.randbytes(3) for _ in NIBBLES))


def _demand(random: Random, kind: int, full: bool) -> bytes:
    """A frame full of what the peer shall look up. `full`: as much as a frame may hold."""
    match kind:
        case 0:
            count = limits.ITEMS_PER_FRAME_MAX if full else 300
            return messages.encode(
                Have(0, False, tuple(Question(random.randbytes(6), bytes(210)) for _ in range(count)))
            )
        case 1:
            leaf = tuple(random.randbytes(3) for _ in range(limits.LEAF_MAX))
            return messages.encode(Want(0, (("", leaf),) * 300))
        case _:
            count = limits.NODES_PER_TURN if full else 100
            return messages.encode(Nodes(0, tuple(_inner(random) for _ in range(count))))


async def _endless(liar: Liar) -> str:
    random = liar.random
    polite = random.random() < 0.5
    liar.did.append("turns without end" if polite else "a turn without end")

    async def action(socket: ClientConnection) -> None:
        await _say(socket, messages.encode(Nodes(0, (_inner(random),))))
        kind = random.choice((0, 2))  # What is wanted is looked up at once: a turn full of it takes seconds.
        for _ in range(TURNS_MAX):
            await _say(socket, _demand(random, random.randrange(3) if polite else kind, not polite))
            if polite:  # A turn within its limits, and another, and another.
                await _say(socket, messages.encode(End(random.randbytes(16), 1, False, 1, 0)))
                await _whole_turn(socket)
        await _say(socket, messages.encode(End(random.randbytes(16), 1, False, 1, 0)))
        await _whole_turn(socket)
        raise GaveUp(f"the peer heard {TURNS_MAX} demands")

    return await _with(liar, action)


async def _bomb(liar: Liar) -> str:
    name = liar.random.choice(sorted(BOMBS))
    liar.did.append(name)

    async def action(socket: ClientConnection) -> None:
        await _say(socket, messages.encode(Nodes(0, (_inner(liar.random),))))
        await _say(socket, BOMBS[name])
        await _say(socket, messages.encode(End(bytes(16), 0, False, 0, 0)))
        await _whole_turn(socket)
        raise GaveUp("the peer took it and went on")

    return await _with(liar, action)


async def _garbage(liar: Liar) -> str:
    async def action(socket: ClientConnection) -> None:
        for _ in range(liar.random.randrange(TURNS_MAX)):
            name, frame = garbage(liar.random)
            liar.did.append(name)
            if name == "raw bytes" and isinstance(frame, bytes):
                socket.transport.write(frame)
            else:
                await _say(socket, frame)
        await _say(socket, b"\xc1")

    return await _with(liar, action)


async def _mute(liar: Liar) -> str:
    what = liar.random.choice(("says no hello", "says hello and no more", "never reads"))
    liar.did.append(what)
    socket, nonces = await liar.dial()
    try:
        if what != "says no hello":
            await _say(socket, messages.encode(liar.hello(nonces)))
            await _hear(socket)
        if what == "never reads":
            await _say(socket, messages.encode(Nodes(0, (Described("", False, ()),))))
            await _say(socket, messages.encode(End(bytes(16), 0, False, 0, 0)))
            await asyncio.sleep(transport.SEND_SECONDS + SLACK_SECONDS)
        while True:
            await _hear(socket)
    finally:
        await socket.close()


def _zstd(header: bytes, block: bytes = b"\x01\0\0", count: int = 1) -> bytes:
    """A RECORDS of one record, whose zstd frame is made by hand; the last block closes it."""
    return pack_any([6, count, b"\x28\xb5\x2f\xfd" + header + block])


def _record(fields: int = 1, id_: bytes = b"\x91\x01", size: int = 1) -> bytes:
    names = [f"f{n:05}" for n in range(fields)]
    return encode("bomb", id_, b"", b"s" * 16, names, b"s" * 16, b"", [pack_any("x" * size)] * fields)


_RLE = (131_072 << 3 | 2).to_bytes(3, "little") + b"\0"  # 4 bytes that become 128 KiB.

BOMBS: dict[str, bytes] = {
    "zstd claims 1 TiB": _zstd(b"\xe0" + (1 << 40).to_bytes(8, "little")),
    "zstd claims little, holds 1 GiB": _zstd(b"\xa0" + (4_096).to_bytes(4, "little"), _RLE * 8_192 + b"\x01\0\0"),
    "zstd claims nothing, holds 1 GiB": _zstd(b"\0\x50", _RLE * 8_192 + b"\x01\0\0"),
    "zstd window of 2 TiB": _zstd(b"\x80\xff" + (4_096).to_bytes(4, "little"), _RLE + b"\x01\0\0"),
    "zstd of the size it claims": _zstd(b"\xa0" + (1 << 22).to_bytes(4, "little"), _RLE * 32 + b"\x01\0\0"),
    "8,192 records of nothing": messages.encode(Records((b"",) * limits.BATCH_RECORDS_MAX)),
    "more records than allowed": messages.encode(Records((b"",) * (limits.BATCH_RECORDS_MAX + 1))),
    "records beyond count": _zstd(b"\x20\0", count=1 << 62),
    "array of 4 G": b"\xdd\xff\xff\xff\xff",
    "map of 4 G": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 G": b"\x93\x06\x01\xc6\xff\xff\xff\xff",
    "200,000 deep": b"\x91" * 200_000 + b"\xc0",
    "a million empty arrays": b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000,
    "a million empty maps": b"\xdd\x00\x0f\x42\x40" + b"\x80" * 1_000_000,
    "oversize frame": bytes(limits.FRAME_BYTES_MAX + 1),
    "oversize record": messages.encode(Records((_record(size=limits.RECORD_BYTES_MAX),))),
    "2,001 fields": messages.encode(Records((_record(fields=limits.FIELDS_MAX + 1),))),
    "a deep id": messages.encode(Records((_record(id_=b"\x91" * 60_000 + b"\xc0"),))),
    "a long id": messages.encode(Records((_record(id_=b"\x91" + pack_any("x" * limits.ID_BYTES_MAX)),))),
    "a deep record": messages.encode(Records((b"\x98" + b"\x91" * 100_000 + b"\xc0" * 8,))),
    "two million nodes": pack_any([3, 0, bytes(4_000_000)]),
    "half a million questions": pack_any([4, 0, False, bytes(3_500_000)]),
    "two million wants": pack_any([5, 0, bytes(4_000_000)]),
    "a prefix too deep": pack_any([3, 0, b"\x21" + bytes(18)]),
    "a thousand reasons": messages.encode(End(bytes(16), 0, False, 0, 0, ("x" * 4_000,) * 1_000)),
    "a round far off": messages.encode(Nodes((1 << 63) - 1, ())),
}
"""Frames that claim, or grow to, more than is allowed, by name."""

_WHOLE = [
    messages.encode(Nodes(0, (Described("a", True, (b"abc",) * 16), Described("", False, (b"abc",) * 3)))),
    messages.encode(Have(0, False, (Question(b"sixbyt", b"abcdef"), Question(b"others", b"")))),
    messages.encode(Want(0, (("ab", (b"abc", b"def")), ("", ())))),
    messages.encode(End(b"r" * 16, 3, True, 0, 0, ("because",))),
    messages.encode(Sample(((bytes(16), bytes(16)),))),
    messages.encode(Bye("failed", "\x1b[2J\r\nERROR all is lost\0", bytes(16), 0, ("\x07",))),
]


def garbage(random: Random) -> tuple[str, bytes | str]:
    """A frame that makes no sense, and what kind of one."""
    kind = random.choice(("noise", "text", "raw bytes", "wrong types", "bent", "bent", "whole", "hello", "false bye"))
    match kind:
        case "text":
            return kind, "text \0 " * random.randrange(9)
        case "wrong types":
            pool: list[object] = [
                None,
                True,
                -1,
                1 << 63,
                0.5,
                "",
                "x" * 300,
                b"",
                b"r" * 16,
                [],
                [1],
                ["r"] * 16,
                [[[]]],
            ]
            return kind, pack_any([random.randrange(-1, 11), *random.choices(pool, k=random.randrange(11))])
        case "bent":
            data = bytearray(random.choice(_WHOLE))
            for _ in range(random.randrange(1, 4)):
                data[random.randrange(len(data))] = random.randrange(256)
            return kind, bytes(data)
        case "whole":
            return kind, random.choice(_WHOLE)
        case "hello":
            big = (1 << 63) - 1
            hello = Hello(
                limits.VERSION, b"p" * 32, b"g" * 16, bytes(8), random.randbytes(16), "\x1b\n", big, big, bytes(16)
            )
            return kind, messages.encode(hello)
        case "false bye":
            return kind, messages.encode(Bye("in sync", "", random.randbytes(16), 0, ()))
    return kind, random.randbytes(random.choice((0, 1, 9, 500, 70_000)))


HOWS: dict[str, Callable[[Liar], Awaitable[str]]] = {
    "future": _future,
    "lies": _lies,
    "endless": _endless,
    "bomb": _bomb,
    "garbage": _garbage,
    "mute": _mute,
}
"""Ways to attack."""

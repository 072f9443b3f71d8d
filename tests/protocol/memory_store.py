"""A store in memory and a wire between two sessions: all that a session needs of the world, in the plainest way.

The store keeps whole `Record`s in a dict and computes every digest from the definition, `trie.digest`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from unittest import mock

from protocol import limits, trie
from protocol.descent import Applied, Refusal
from protocol.errors import PeerFault
from protocol.hlc import is_base, millis
from protocol.keys import CLIENT, SERVER, Handshake, Keys, Secrets
from protocol.messages import Hello
from protocol.outcome import Outcome
from protocol.prints import ItemHash
from protocol.reading import Items
from protocol.reconcile import Reconciler
from protocol.record import Delta, Record, decode, gather, pack_id
from protocol.session import Self, Session
from protocol.sketch import Sketch
from protocol.trie import Entry, Inner, Leaf, Node, key_range
from protocol.values import Value, pack_plain, pack_value

NOW_MS = 1_800_000_000_000
GROUP = Secrets(bytes(range(16)), bytes(range(32)), bytes(range(32, 64)))
KEYS = Keys(GROUP)
HANDSHAKE = Handshake(b"c" * 16, b"s" * 16, limits.MINOR, limits.MINOR)
HASHES = ItemHash(KEYS.sketch())


def fragment(
    id_: bytes,
    *,
    floor: bytes = b"",
    born: bytes = b"",
    stamp: bytes = b"",
    fields: Mapping[str, Value] | None = None,
    collection: str = "contacts",
) -> bytes:
    """The encoding of one event: `fields` all carry `stamp` (by default that of the birth)."""
    registers = {name: (stamp or born, pack_value(value)) for name, value in (fields or {}).items()}
    return Record(collection, id_, floor, born, registers).encode()


class MemoryStore:
    """The port of a session, over a dict of records."""

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        self.state: dict[bytes, Record] = {}
        self._digests: dict[bytes, bytes] = {}
        self._entries: list[Entry] = []
        self._root = trie.EMPTY
        self._stale = False
        self.past: dict[bytes, frozenset[tuple[bytes, bytes]]] = {trie.EMPTY: frozenset()}
        """Root that was once -> items of then."""
        for record in records:
            self.take(record)

    # --- writing ----------------------------------------------------------------------------------------------------

    def take(self, record: bytes) -> bool:
        """Join one encoded record or fragment. Returns whether anything changed."""
        return self._join(decode(record))

    def insert(self, number: int, stamp: bytes, fields: Mapping[str, Value]) -> None:
        """A row appears, or appears again."""
        self.take(fragment(pack_id([number]), born=stamp, fields=fields))

    def update(self, number: int, stamp: bytes, fields: Mapping[str, Value]) -> None:
        """Fields of a row change."""
        self.take(fragment(pack_id([number]), stamp=stamp, fields=fields))

    def delete(self, number: int, stamp: bytes) -> None:
        """A row disappears."""
        self.take(fragment(pack_id([number]), floor=stamp))

    def _join(self, delta: Delta) -> bool:
        key = key_of(delta)
        record = self.state.get(key) or Record(delta.collection, delta.id)
        if not record.join(delta):
            return False
        self.state[key] = record
        self._digests[key] = KEYS.digest(record.encode())
        self._stale = True
        return True

    def _sorted(self) -> list[Entry]:
        if self._stale:
            self._entries = sorted(self._digests.items())
            self._root = trie.digest(KEYS.trie, self._entries)
            self._stale = False
            self.past[self._root] = frozenset(self.items())
        return self._entries

    # --- the port ---------------------------------------------------------------------------------------------------

    def root(self) -> tuple[bytes, int]:
        return self._root if self._sorted() else trie.EMPTY, len(self.state)

    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        return {prefix: self.node(prefix) for prefix in prefixes}

    def node(self, prefix: str) -> Node:
        entries = self._below(prefix)
        if len(entries) <= limits.LEAF_MAX:
            return Leaf(tuple(entries))
        depth = len(prefix)
        parts = trie.split(entries, depth)
        return Inner(tuple(trie.digest(KEYS.trie, part, depth + 1) if part else b"" for part in parts))

    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        return [entry for entry in self._below(prefix) if entry[0] > after][:limit]

    def _below(self, prefix: str) -> list[Entry]:
        entries, (low, high) = self._sorted(), key_range(prefix)
        return entries[bisect_left(entries, (low, b"")) : bisect_right(entries, (high, b"\xff" * 17))]

    def keys(self, heads: Sequence[bytes]) -> dict[bytes, bytes]:
        entries, found = self._sorted(), {}
        for head in heads:
            at = bisect_left(entries, (head, b""))
            if at < len(entries) and entries[at][0].startswith(head):
                found[head] = entries[at][0]
        return found

    def stamps(self, keys: Sequence[bytes]) -> dict[bytes, set[bytes]]:
        return {key: self.state[key].stamps() for key in keys if key in self.state}

    def records(self, keys: Sequence[bytes]) -> list[Record]:
        return [replace(self.state[key]) for key in keys if key in self.state]

    def deltas(self, keys: Sequence[bytes]) -> list[Delta]:
        return [self.state[key].delta() for key in keys if key in self.state]

    def apply(self, records: Sequence[Delta], now_ms: int) -> Applied:
        changed, refused = 0, []
        for delta in records:
            taken = self._near(delta, now_ms)
            if taken is not delta:
                refused.append(Refusal(key_of(delta), KEYS.digest(delta.encode()), "the peer's clock is ahead"))
            if taken is not None:
                changed += self._join(taken)
        return Applied(changed, 0, refused)

    def _near(self, delta: Delta, now_ms: int) -> Delta | None:
        """The delta, or what is left of it without registers of the far future."""
        latest = now_ms + limits.DRIFT_MS_MAX
        if millis(delta.greatest()) <= latest:
            return delta
        stamps = delta.register_stamps()
        near = [i for i, stamp in enumerate(stamps) if millis(stamp) <= latest]
        if not near or any(millis(stamp) > latest for stamp in (delta.floor, delta.born) if stamp):
            return None
        packed, which = gather([stamps[i] for i in near])
        names, values = tuple(delta.names[i] for i in near), tuple(delta.values[i] for i in near)
        return delta._replace(names=names, values=values, stamps=packed, which=which)

    def items(self) -> list[tuple[bytes, bytes]]:
        """(record key, stamp), ascending."""
        return sorted((key, stamp) for key, record in self.state.items() for stamp in record.stamps())

    def node_name(self, node: bytes) -> str:
        return node.hex()

    def came_since(self, root: bytes) -> int | None:
        self._sorted()
        return len(set(self.items()) - self.past[root]) if root in self.past else None

    def news(self, root: bytes) -> Items:
        found: Items = {}
        for key, stamp in set(self.items()) - self.past[root] if root in self.past else ():
            found.setdefault(key, set()).add(stamp)
        return found

    def sketch(self, since: bytes = b"") -> Sketch:
        """Of all items, or of those that came and went since a root."""
        now, then = set(self.items()), self.past.get(since, frozenset()) if since else frozenset()
        made = Sketch(HASHES)
        made.add(_prints(now - then))
        made.remove(_prints(then - now))
        return made

    def prints(self) -> Sequence[int]:
        """Of `items`, in their order."""
        return _prints(self.items())

    def counters(self, since: bytes = b"") -> bytes:
        return self.sketch(since).counters()

    def cells(self, width: int, since: bytes = b"") -> bytes:
        return self.sketch(since).cells(width)

    def extension(self, width: int, since: bytes = b"") -> bytes:
        return self.sketch(since).extension(width)

    def recent(self, limit: int) -> Sequence[int]:
        return _prints(sorted(self.items(), key=itemgetter(1), reverse=True)[:limit])

    def heads(self, limit: int) -> list[bytes]:
        return sorted((print_ >> 16).to_bytes(5, "big") for print_ in self.prints()[:limit])

    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for item, print_ in zip(self.items(), self.prints(), strict=True):
            whole = print_.to_bytes(7, "big")
            for head in {whole, whole[:4], whole[:5]} & set(heads):
                found.setdefault(head, []).append(item)
        return found

    def sample(self, limit: int) -> list[Entry]:
        return [(key, self.state[key].born) for key, _ in self._sorted() if self._adopted(key)][:limit]

    def compare_sample(self, entries: Sequence[Entry]) -> tuple[int, int]:
        common = [(key, born) for key, born in entries if self._adopted(key)]
        return len(common), sum(self.state[key].born != born for key, born in common)

    def _adopted(self, key: bytes) -> bool:
        return key in self.state and all(is_base(stamp) for stamp in self.state[key].stamps())


class Mute(Reconciler):
    """A side that knows no short way and says so, as it may: what differs is left to the trie."""

    def introduction(self, count: int, agreed: bytes) -> tuple[bytes, int, bytes, bytes]:
        return b"", 0, b"", b""

    def welcome(self, hello: Hello, count: int) -> tuple[bytes, int, bytes, bytes]:
        return b"", 0, b"", b""

    def probed(self, root: bytes) -> tuple[bytes, int, bytes, bytes]:
        return b"", 0, b"", b""

    def welcomed(self, hello: Hello, count: int) -> None:
        pass


@contextmanager
def trie_alone() -> Iterator[None]:
    """Sessions that begin in here are mute."""
    with mock.patch("protocol.session.Reconciler", Mute):
        yield


def _prints(items: Iterable[tuple[bytes, bytes]]) -> Sequence[int]:
    return HASHES.prints(b"".join([key + stamp for key, stamp in items]))


def key_of(record: Record | Delta) -> bytes:
    """The place of a record in the trie."""
    return KEYS.record_key(pack_plain(record.collection), record.id)


@dataclass
class Talk:
    """A conversation as it was heard on the wire, and how it ended on both sides."""

    client: Session
    server: Session
    frames: list[tuple[str, bytes]] = field(default_factory=list)
    faults: list[PeerFault] = field(default_factory=list)

    @property
    def outcomes(self) -> tuple[Outcome, Outcome]:
        """The client's and the server's."""
        return self.client.outcome, self.server.outcome

    def size_bytes(self) -> int:
        """All that went over the wire."""
        return sum(len(frame) for _, frame in self.frames)

    def said_by(self, role: str) -> list[bytes]:
        """The frames of one side."""
        return [frame for speaker, frame in self.frames if speaker == role]


def session(
    role: str,
    store: MemoryStore,
    *,
    keys: Keys = KEYS,
    sample: bool = False,
    agreed: bytes = b"",
    resumes: bool = False,
    handshake: Handshake = HANDSHAKE,
) -> Session:
    """One side of a conversation over the common handshake."""
    me = Self(role[:1].encode() * 8, role)
    return Session(role, keys, store, me, handshake, sample=sample, agreed=agreed, resumes=resumes)


def run(client: Session, server: Session, *, frames_max: int = 1_000_000, now_ms: int = NOW_MS) -> Talk:
    """Carry frames to and fro until both are silent, one could not go on, or the wire is cut after `frames_max`."""
    talk = Talk(client, server)
    names = {id(client): CLIENT, id(server): SERVER}

    def cut() -> bool:
        return len(talk.frames) > frames_max

    def deliver(frame: bytes, sender: Session, receiver: Session) -> None:
        talk.frames.append((names[id(sender)], frame))
        if cut() or receiver.closed:
            return
        try:
            receiver.receive(frame, now_ms)
        except PeerFault as fault:
            talk.faults.append(fault)
            goodbye = receiver.farewell(fault)
            if goodbye is not None:
                deliver(goodbye, receiver, sender)

    deliver(client.open(now_ms), client, server)
    sides = [(client, server), (server, client)]
    while not cut() and not talk.faults and (client.speaking or server.speaking):
        assert not (client.speaking and server.speaking), "both sides speak at once"
        for sender, receiver in sides:
            while sender.speaking and not cut() and (frame := sender.pull(now_ms)) is not None:
                deliver(frame, sender, receiver)
    for side in (client, server) if cut() else ():
        side.settle(now_ms)
    return talk


def sync(
    a: MemoryStore, b: MemoryStore, *, sample: bool = False, agreed: bytes = b"", now_ms: int = NOW_MS
) -> Talk:
    """A whole conversation; `a` dials. `agreed`: where it believes that both were equal last."""
    return run(session(CLIENT, a, sample=sample, agreed=agreed), session(SERVER, b), now_ms=now_ms)

"""What a side has to say in its next turn, and what it needs of a store to say it.

The short ways (`reconcile`), the trie (`compare`) and the peer's questions leave notes on the agenda; `Agenda.speech`
turns them into messages. Everything noted in one turn is said in the next, but for trie nodes, which wait their turn
deepest first. SPEC section 10.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, Protocol, TypeVar

from protocol import limits, messages
from protocol.errors import LimitExceeded
from protocol.keys import Keys
from protocol.messages import QUESTION_STAMP_BYTES, Described, Have, Message, Nodes, Question, Records, Want
from protocol.reading import SCAN, Items, Reader, Sized
from protocol.record import Delta, Record
from protocol.trie import Entry, Inner, Leaf, Node, cut, fingerprint, slice_of
from protocol.values import pack_plain

MUCH = 64
"""To read so many records takes longer than to send what the peer can answer meanwhile."""

_T = TypeVar("_T")


class Refusal(NamedTuple):
    """A record (or part of one) that was not taken, and why. `digest`: of what the peer offered, if it was whole."""

    key: bytes
    digest: bytes
    reason: str


class Applied(NamedTuple):
    """What came of a batch: records that changed here, those of them held from view, and those refused."""

    changed: int
    held: int
    refused: list[Refusal]


class Port(Protocol):
    """What a session needs of a store. Every call is atomic; the state may move between calls."""

    def root(self) -> tuple[bytes, int]:
        """Root digest and number of records."""

    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        """The trie nodes at these prefixes (an empty Leaf where nothing is)."""

    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        """Up to `limit` entries below a prefix with keys above `after`, ascending."""

    def keys(self, heads: Sequence[bytes]) -> dict[bytes, bytes]:
        """Head of a key -> the first key that begins so."""

    def stamps(self, keys: Sequence[bytes]) -> dict[bytes, set[bytes]]:
        """Key -> every stamp in that record's state."""

    def records(self, keys: Sequence[bytes]) -> list[Record]:
        """The records under these keys that exist, in any order."""

    def deltas(self, keys: Sequence[bytes]) -> list[Delta]:
        """The same as they travel, whole."""

    def apply(self, records: Sequence[Delta], now_ms: int) -> Applied:
        """Join a peer's records. Raises Malformed and changes nothing if one of them is no record."""

    def sample(self, limit: int) -> list[Entry]:
        """(key, birth stamp) of the first adopted, never changed records in key order."""

    def compare_sample(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """(adopted records that both sides have, those of them that differ)."""

    def node_name(self, node: bytes) -> str:
        """What the group calls a node."""

    def came_since(self, root: bytes) -> int | None:
        """How many items came since this was the root; None if it is not remembered that it was."""

    def news(self, root: bytes) -> Items:
        """Those items; none if that is not remembered."""

    def counters(self, since: bytes = b"") -> bytes:
        """The estimator of this store's items: of all, or of those that came and went since that was the root."""

    def cells(self, width: int, since: bytes = b"") -> bytes:
        """The sketch of the same, folded to a width."""

    def extension(self, width: int, since: bytes = b"") -> bytes:
        """What widens `cells(width, since)`."""

    def recent(self, limit: int) -> Sequence[int]:
        """Fingerprints of the items that came last, the last first, as far as that is remembered."""

    def heads(self, limit: int) -> list[bytes]:
        """The first 5 bytes of every item's fingerprint, ascending; of some `limit` items, if there are more."""

    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """The first 4, 5 or all 7 bytes of a fingerprint -> the items, as (record key, stamp), that it may stand for."""


class Agenda:
    """What this side will say in its next turn. Bounded: a peer that makes it grow without end is cut off."""

    def __init__(self, store: Port, keys: Keys) -> None:
        self._store, self._keys, self._hash = store, keys, keys.trie
        self._reader = Reader(store, keys)
        self._frontier: list[str] = []
        self._absent: deque[str] = deque()
        self._asks: dict[bytes, bool] = {}
        self._answers: dict[bytes, bool] = {}
        self._wants: list[tuple[str, tuple[bytes, ...]]] = []
        self._deltas: dict[bytes, bytes] = {}
        self._whole: dict[bytes, None] = {}
        self._streams: dict[str, frozenset[bytes]] = {}
        self._items: Items = {}
        self._begun: Items = {}
        self._ready: Iterator[Records] = iter(())
        """Batches of what these items are, of which the first was read."""
        self._left_out = False
        """Some of them are not to be sent any more, or not yet."""
        self._contested: Items = {}
        """Of records that the peer just wrote in too: read when the peer's are joined, since those may win."""
        self._asked: set[bytes] = set()
        self._answered: set[tuple[bool, bytes]] = set()
        self._heard = self._nodes_heard = self._leaves_wanted = self._stamps_seen = self._stamps_left = 0
        self._refused: set[bytes] = set()
        self._refused_prints: set[bytes] = set()
        self._refused_slices: tuple[int, set[bytes]] = (0, set())

    # --- notes ------------------------------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Nothing to say."""
        return not (
            self._frontier or self._absent or self._asks or self._answers or self._wants
            or self._deltas or self._streams or self._whole
            or self._items or self._begun or self._contested
        )  # fmt: skip

    @property
    def certain(self) -> bool:
        """There is something to say, whatever comes of the records that the peer just sent."""
        return bool(self._items or self._begun)

    @property
    def much(self) -> bool:
        """Whether MUCH is to be read for what will be said, as far as is known: not how much is below a prefix."""
        return len(self._deltas) + len(self._items) + len(self._whole) >= MUCH

    def hear_nodes(self, count: int) -> None:
        """Count the peer's nodes of this turn. Raises LimitExceeded past the allowed number."""
        self._nodes_heard += count
        if self._nodes_heard > limits.NODES_HEARD_MAX or len(self._frontier) + len(self._absent) > limits.BACKLOG_MAX:
            raise LimitExceeded("the peer describes nodes without end")

    def hear(self, items: int, slices: int) -> None:
        """Count what the peer asks for in this turn. Raises LimitExceeded past the allowed number."""
        self._heard += 8 * items + slices
        if self._heard > limits.HEARD_PER_TURN_MAX:
            raise LimitExceeded("the peer asks without end")

    def describe(self, prefix: str) -> None:
        """Describe our node at this prefix."""
        self._frontier.append(prefix)

    def absent(self, prefix: str) -> None:
        """Say that we have nothing at this prefix."""
        self._absent.append(prefix)

    def send_below(self, prefix: str, but: frozenset[bytes] = frozenset()) -> None:
        """Send everything below a prefix, but the entries with these fingerprint slices."""
        self._streams[prefix] = but

    def send(self, keys: Sequence[bytes]) -> None:
        """Send these records whole."""
        self._whole.update(dict.fromkeys(keys))

    def send_items(self, items: Iterable[tuple[bytes, set[bytes]]]) -> None:
        """Send what these stamps wrote in these records."""
        for key, stamps in items:
            if more := stamps - self._begun.get(key, set()):
                self._items.setdefault(key, set()).update(more)

    def prepare(self) -> None:
        """Read a first batch of these items now, since the peer is busy; so that it can be sent before ours are joined."""
        if self._items and not self._begun:
            made = self._reader.batches(self._reader.fragments(self._items))
            first = list(islice(made, 1))
            self._begun, self._items, self._left_out = self._items, {}, False
            self._ready = chain(first, made)

    def leave_out(self, records: Sequence[Delta]) -> None:
        """Leave out of the items to be sent what the peer just said itself: it came to both by other ways. What else there
        is of these records waits for `contested`."""
        for delta in records if self._items or self._begun or self._contested else ():
            key, mine = self._key(delta), set[bytes]()
            for items in (self._items, self._begun, self._contested):
                mine |= items.pop(key, set())
            self._left_out = True
            if mine := mine - delta.seen():
                self._contested[key] = mine

    def ask(self, keys: Sequence[bytes]) -> None:
        """Ask what the peer has of these records that we have not."""
        self._asks.update(dict.fromkeys((k for k in keys if k not in self._refused), False))

    def want(self, prefix: str, prints: Sequence[bytes], attempt: int) -> None:
        """Ask for entries of the peer's leaf, but for those that we refused before."""
        if self._refused_slices[0] != attempt:
            self._refused_slices = attempt, {slice_of(p, attempt) for p in self._refused_prints}
        asked = tuple(p for p in prints if p not in self._refused_slices[1])
        if asked:
            self._wants.append((prefix, asked))

    def refuse(self, refusal: Refusal) -> int:
        """Remember what was not taken, so that it is not asked for again. Returns 1 if it is new."""
        new = refusal.key not in self._refused
        if len(self._refused) < limits.REFUSED_MAX:
            self._refused.add(refusal.key)
        if refusal.digest and len(self._refused_prints) < limits.REFUSED_MAX:
            print_ = fingerprint(self._hash, (refusal.key, refusal.digest))
            self._refused_prints.add(print_)
            self._refused_slices[1].add(slice_of(print_, self._refused_slices[0]))
        return int(new)

    def prints(self, entries: Sequence[Entry], attempt: int) -> list[bytes]:
        """The fingerprint slices of entries."""
        hash_, where = self._hash, cut(attempt)
        return [fingerprint(hash_, entry)[where] for entry in entries]

    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        """Our own nodes."""
        return self._store.nodes(prefixes)

    def entries(self, prefix: str, limit: int) -> list[Entry]:
        """The first of our own entries below a prefix."""
        return self._store.entries(prefix, b"", limit)

    # --- what the peer asks -----------------------------------------------------------------------------------------

    def answer(self, have: Have) -> None:
        """Note what the peer lacks of the records it asks about, and what we lack of them. Where stamps tell nothing
        (too many, the same ones, the last attempts) whole records go both ways. A question that is put again costs nothing,
        and records of a million stamps in all are looked at in a turn: what is asked beyond goes whole."""
        self.hear(len(have.questions), sum(len(q.stamps) for q in have.questions) // QUESTION_STAMP_BYTES)
        questions: dict[bytes, Question] = {}
        for asked in have.questions:
            if (have.answer, asked.key) not in self._answered:
                questions.setdefault(asked.key, asked)
        self._answered.update((have.answer, head) for head in questions)
        heads = self._store.keys(list(questions))
        known = self._store.stamps(list(heads.values()))
        for asked in questions.values():
            key = heads.get(asked.key)
            if key is None:
                if not have.answer:
                    self._answers[asked.key] = True
                continue
            self._asked.add(key)
            stamps = known.get(key, set())
            self._stamps_seen += len(stamps)
            if self._stamps_seen > limits.STAMPS_PER_TURN:
                stamps = set()
            theirs = asked.slices()
            mine = messages.question(key, stamps, have.attempt, self._hash).slices()
            whole = not theirs or not mine or mine == theirs
            if whole or mine - theirs:
                self._deltas[key] = b"" if whole else asked.stamps
            if not have.answer and key not in self._refused and (whole or theirs - mine):
                self._answers[key] = whole

    def wanted(self, want: Want) -> None:
        """Note what the peer wants below leaves of ours, but what it asked about in this turn: the answer says more. It can
        want no more leaves in a turn than it may hear described in one."""
        self.hear(len(want.leaves), sum(len(prints) for _, prints in want.leaves))
        self._leaves_wanted += len(want.leaves)
        if self._leaves_wanted > limits.NODES_HEARD_MAX:
            raise LimitExceeded("the peer wants more leaves than were described to it")
        wanted: dict[str, set[bytes]] = {}
        for prefix, prints in want.leaves:
            wanted.setdefault(prefix, set()).update(prints)
        nodes = self._store.nodes(list(wanted))
        for prefix, slices in wanted.items():
            node = nodes[prefix]
            if isinstance(node, Leaf):
                entries: Sequence[Entry] = node.entries
            else:  # It has grown since it was described.
                entries = self._store.entries(prefix, b"", 2 * limits.LEAF_MAX)
            found = zip(entries, self.prints(entries, want.attempt), strict=True)
            self.send([key for (key, _), print_ in found if print_ in slices and key not in self._asked])

    def end_of_turn(self) -> None:
        """The peer has said everything of this turn."""
        self._asked.clear()
        self._answered.clear()
        self._heard = self._nodes_heard = self._leaves_wanted = self._stamps_seen = 0

    # --- saying it --------------------------------------------------------------------------------------------------

    def speech(self, attempt: int) -> Iterator[Message]:
        """The messages of one turn. The nodes left over wait for the next."""
        self._stamps_left = limits.STAMPS_PER_TURN
        yield from self._describe_frontier(attempt)
        asks, self._asks = self._asks, {}
        yield from self._questions(asks, False, attempt)
        answers, self._answers = self._answers, {}
        yield from self._questions(answers, True, attempt)
        wants, self._wants = self._wants, []
        for leaves in _chunks(wants, limits.ITEMS_PER_FRAME_MAX):
            yield Want(attempt, tuple(leaves))
        for batch in self._ready:
            if not self._left_out:
                yield batch
            elif rest := tuple([delta for delta in batch.records if self._key(delta) in self._begun]):
                yield Records(rest)
        self._begun, self._ready = {}, iter(())
        yield from self._reader.batches(self._outgoing(attempt))

    def contested(self) -> Iterator[Message]:
        """The last of it, when what the peer sent is joined: what that overwrote is not sent."""
        items, self._contested = self._contested, {}
        yield from self._reader.batches(self._reader.fragments(items))

    def _questions(self, waiting: dict[bytes, bool], answer: bool, attempt: int) -> Iterator[Have]:
        for keys in _chunks(list(waiting), limits.QUESTIONS_PER_FRAME):
            known = self._store.stamps([key for key in keys if not waiting[key]])
            yield Have(attempt, answer, tuple(self._question(key, known.get(key, set()), attempt) for key in keys))

    def _question(self, key: bytes, stamps: set[bytes], attempt: int) -> Question:
        question = messages.question(key, stamps, attempt, self._hash)
        count = len(question.stamps) // QUESTION_STAMP_BYTES
        if count > self._stamps_left:
            return question._replace(stamps=b"")
        self._stamps_left -= count
        return question

    def _describe_frontier(self, attempt: int) -> Iterator[Message]:
        nodes: list[Described] = []
        while self._absent and len(nodes) < limits.NODES_PER_TURN:
            nodes.append(Described(self._absent.popleft(), False, ()))
        room = min(limits.NODES_PER_TURN - len(nodes), len(self._frontier))
        prefixes = [self._frontier.pop() for _ in range(room)]  # Deepest first: the backlog stays small.
        mine, where = self._store.nodes(prefixes), cut(attempt)
        for prefix in prefixes:
            match mine[prefix]:
                case Inner(children):
                    slices = tuple([child[where] for child in children])
                    nodes.append(Described(prefix, True, slices))
                case Leaf(entries):
                    nodes.append(Described(prefix, False, tuple(self.prints(entries, attempt))))
        if nodes:
            yield Nodes(attempt, tuple(nodes))

    def _outgoing(self, attempt: int) -> Iterator[Sized]:
        deltas, self._deltas = self._deltas, {}
        for record in self._reader.parted(list(deltas)):
            yield from self._delta(record, deltas)
        items, self._items = self._items, {}
        yield from self._reader.fragments(items)
        whole, self._whole = self._whole, {}
        yield from self._reader.whole(list(whole))
        streams, self._streams = self._streams, {}
        for prefix, but in streams.items():
            after = b""
            while entries := self._store.entries(prefix, after, SCAN):
                after = entries[-1][0]
                if but:
                    prints = self.prints(entries, attempt)
                    entries = [e for e, p in zip(entries, prints, strict=True) if p not in but]
                yield from self._reader.whole([key for key, _ in entries])

    def _key(self, record: Record | Delta) -> bytes:
        return self._keys.record_key(pack_plain(record.collection), record.id)

    def _delta(self, record: Record, asked: dict[bytes, bytes]) -> Iterator[Sized]:
        key = self._key(record)
        theirs = Question(key, asked.get(key, b"")).slices()
        missing = {s for s in record.stamps() if messages.stamp_slice(s, self._hash) not in theirs}
        if missing or not theirs:
            delta = record.delta(missing if theirs else None)
            yield delta, delta.size()


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[i : i + size] for i in range(0, len(items), size))

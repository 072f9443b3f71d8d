"""The short ways to know what to send: the memory of the last agreement, the sketch, the list. None of them is trusted.

Acquaintances: the client names the root at which both were equal last. If the server had that root too, each sends what
came to it since, and nothing is compared at all. Strangers: an estimator tells how much differs. A sketch sized for that,
of one side, tells the other both sides' items: it sends its own, and picks the peer's. If most differs, a list of all
fingerprints is shorter. What differs beyond all that, or is missed or misled, the trie finds, because the session goes on
until both roots are equal. All of it happens before the first round of the trie.

Where one side was sending all that it has when the line was cut, what is left is whole branches of the trie. It names them
in some hundred bytes, while a list of all that came already might fill the line before each next cut. SPEC section 10.3. One
test each:

1. Acquaintances send each other what came since, and nothing else.
2. Strangers find what differs in one message, whatever it is: a width too small is widened. What came last helps the
   smallest out.
3. A peer that estimates, sketches, lists or remembers falsely costs the trie's descent, never data.
4. What a peer can make us do is bounded: a sketch is widened at most to its full width, a list comes once, and what is
   picked in a turn is looked up twice at most, however many frames it takes.
5. Who cannot read its own records hears the peer out all the same: the error comes when it speaks.
6. A stream that is cut again and again goes on behind what came, unless by now something else differs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import Enum

from protocol import limits, sketch
from protocol.descent import Agenda, Port
from protocol.errors import LimitExceeded, Malformed
from protocol.keys import Keys
from protocol.messages import HEAD, Cells, Hello, Listing, Message, More, Pick
from protocol.prints import PRINT_BYTES, ItemHash


class Way(Enum):
    """How this side came to know what to send before the trie was asked: by the last thing that told anything."""

    NONE = ""
    STREAM = "stream"
    NEWS = "news"
    SKETCH = "sketch"
    LISTING = "list"


def _lopsided(mine: int, theirs: int) -> bool:
    """Whether one side has next to nothing: then each sends all that it has."""
    return min(mine, theirs) <= limits.LEAF_MAX and max(mine, theirs) > limits.COMPARED_MAX


def _resuming(hello: Hello, count: int) -> bool:
    """Whether this client has, or brought us, the first records of a stream: it says nothing then but that it differs."""
    return bool(hello.count and count) and not (hello.agreed or hello.counters)


class Reconciler:
    """One side's short ways, in one session. What it wants to be said waits here until the turn comes."""

    def __init__(self, store: Port, agenda: Agenda, keys: Keys, *, resumes: bool = False) -> None:
        """`resumes`: this client's last session with the server was `broken_off`."""
        self._store, self._agenda, self._resumes = store, agenda, resumes
        self._family = ItemHash(keys.sketch())
        self._waiting: list[Message] = []
        self._picked: set[bytes] = set()
        """What the peer picked in this turn, and what of that was not looked up yet."""
        self._looked = False
        """What was picked in this turn was looked up before its end."""
        self._theirs = b""
        """The peer's cells that were too few."""
        self._said_width, self._said_root = 0, b""
        self._asked_width = 0
        self._listed = False
        self._since = b""
        """The root since when the sketches of this session count; empty: always."""
        self._named: bytes | None = None
        """The agreed root in our HELLO, if there was one; None without a HELLO."""
        self.way = self._tried = Way.NONE
        """What told what to send; and what was said, of which the peer has not yet answered that it told anything."""

    @property
    def empty(self) -> bool:
        """Nothing to say."""
        return not (self._waiting or self._picked)

    @property
    def apart(self) -> bool:
        """Whether what is to be sent is known without the records that the peer sends."""
        return self.way in {Way.NEWS, Way.SKETCH, Way.LISTING}

    def speech(self) -> Iterator[Message]:
        """What is to be said in this turn. What was picked goes to the agenda, whose speech follows."""
        self._look_up()
        self._looked = False
        waiting, self._waiting = self._waiting, []
        yield from waiting

    def _look_up(self) -> None:
        if self._picked:
            self._send(self._store.locate(sorted(self._picked)))
            self._picked.clear()

    def _prepare(self) -> None:
        """Read what is to be sent while the peer is busy. What cannot be read is no reason not to hear the peer out: it is
        left as it was, and read when our turn comes. If it still cannot, the error comes then."""
        with suppress(Exception):
            self._look_up()
            self._agenda.prepare()

    # --- greeting -----------------------------------------------------------------------------------------------------

    def introduction(self, count: int, agreed: bytes) -> tuple[bytes, int, bytes, bytes]:
        """(agreed root, news since, estimator, first cells) for the client's HELLO, as far as they are known."""
        self._named = b""
        if not count or self._resumes:
            return b"", 0, b"", b""
        news = self._store.came_since(agreed) if agreed else None
        if news is not None:
            self._named = agreed
            return agreed, news, self._store.counters(agreed) if news > limits.NEWS_FREELY else b"", b""
        return b"", 0, self._store.counters(), self._store.cells(limits.SKETCH_WIDTH_MIN)

    def welcome(self, hello: Hello, count: int) -> tuple[bytes, int, bytes, bytes]:
        """The same for the server's, who has heard the client's: notes what follows from that."""
        if _lopsided(count, hello.count) and not _resuming(hello, count):
            self._stream(count)
        elif self._store.came_since(hello.root) is not None:  # The peer is where this store once was.
            self._send_news(hello.root)
        elif hello.agreed and (news := self._store.came_since(hello.agreed)) is not None:
            if self._pays(hello, news):
                self._send_news(hello.agreed)
                return hello.agreed, news, b"", b""
            self._since = hello.agreed
            self._compare(hello, count)
            return hello.agreed, news, self._store.counters(hello.agreed), b""
        elif hello.counters and not hello.agreed:
            self._compare(hello, count)
        else:  # Nothing is known of the client but that it differs: now it is the one to find out in what.
            return b"", 0, self._store.counters(), self._store.cells(limits.SKETCH_WIDTH_MIN)
        return b"", 0, b"", b""

    def probed(self, root: bytes) -> tuple[bytes, int, bytes, bytes]:
        """The same for a client that said PROBE: it has this root, and wrote nothing since both of us did."""
        if self._store.came_since(root) is None:
            return b"", 0, self._store.counters(), self._store.cells(limits.SKETCH_WIDTH_MIN)
        self._send_news(root)
        return b"", 0, b"", b""

    def welcomed(self, hello: Hello, count: int) -> None:
        """The client hears the server's. After PROBE it has written nothing since, so there is nothing to stream."""
        if hello.agreed and hello.agreed != self._named:
            raise Malformed("the peer remembers an agreement that nobody named")
        if hello.agreed and hello.counters:  # Most of it came to both by other ways: the sketch is of what came since.
            self._since = hello.agreed
        elif hello.agreed:
            self._send_news(hello.agreed)
            self._prepare()
        elif hello.counters:
            if not self._resumes or self._more_differs(hello, count):
                self._compare(hello, count)
        elif self._named is not None and _lopsided(count, hello.count):
            self._stream(count)

    def _stream(self, count: int) -> None:
        self.way = Way.STREAM
        if count > limits.LEAF_MAX:
            self._agenda.send_below("")
        else:  # What is here now: when the turn comes, it is far more.
            self._agenda.send([key for key, _ in self._store.entries("", b"", limits.LEAF_MAX)])

    def _send_news(self, root: bytes) -> None:
        self.way = Way.NEWS
        self._agenda.send_items(self._store.news(root).items())

    def _pays(self, hello: Hello, news: int) -> bool:
        """Whether to send what came since is not much more than what differs."""
        if not hello.counters or news <= limits.NEWS_FREELY:
            return True
        difference = sketch.estimate(self._store.counters(hello.agreed), hello.counters)
        in_vain = news + hello.news > limits.NEWS_FACTOR * difference + limits.NEWS_FREELY
        return not in_vain or sketch.size_for(difference) is None

    def _compare(self, hello: Hello, count: int) -> None:
        difference = sketch.estimate(self._store.counters(self._since), hello.counters)
        if hello.cells and self._first_peeled(hello.cells, difference):
            return
        most = max(count, hello.count)
        width = sketch.size_for(difference)
        listed = most <= limits.LISTED_FREELY or (4 * difference > most and most <= limits.LISTED_MAX)
        if listed and not self._since:
            heads = self._list()
            if heads is not None:
                self._tried = Way.LISTING
                self._waiting.append(Listing(tuple(heads)))
        elif width is not None and (self._since or 4 * difference <= most):
            self._tried = Way.SKETCH
            self._said_width, self._said_root = width, self._store.root()[0]
            self._waiting.append(Cells(width, False, self._store.cells(width, self._since)))

    def _more_differs(self, hello: Hello, count: int) -> bool:
        """Whether it is more than that one side lacks what the other has."""
        difference = sketch.estimate(self._store.counters(), hello.counters)
        return difference > 2 * abs(count - hello.count) + limits.NEWS_FREELY

    def _list(self) -> list[bytes] | None:
        """All that is here, if it is no more than a list may hold. A record of many stamps is many items."""
        if self._store.root()[1] > limits.LISTED_MAX:
            return None
        heads = self._store.heads(limits.LISTED_MAX + 1)
        return heads if len(heads) <= limits.LISTED_MAX else None

    # --- what the peer says -------------------------------------------------------------------------------------------

    def hear(self, message: Cells | More | Listing | Pick) -> None:
        """Take in one of these. Raises Malformed or LimitExceeded."""
        match message:
            case Cells():
                self.on_cells(message)
            case More():
                self.on_more(message)
            case Listing():
                self.on_listing(message)
            case Pick():
                self.on_pick(message)

    def on_cells(self, message: Cells) -> None:
        """Peel the peer's sketch, or ask for more of it."""
        if message.extends:
            if message.width != self._asked_width:
                raise Malformed("the peer widens a sketch that we did not ask for")
            theirs, width = sketch.widen(self._theirs, message.cells), sketch.wider(message.width)
            assert width is not None
        elif self._theirs:
            raise Malformed("a second sketch in one session")
        else:
            theirs, width = message.cells, message.width
        self._theirs, self._asked_width = theirs, 0
        if not self._peeled(self._store.cells(width, self._since), theirs) and sketch.wider(width) is not None:
            self._asked_width = width
            self._waiting.append(More(width))

    def _first_peeled(self, theirs: bytes, difference: int) -> bool:
        mine = self._store.cells(limits.SKETCH_WIDTH_MIN)
        if self._peeled(mine, theirs):
            return True
        if difference > len(mine) // PRINT_BYTES:
            return False
        return self._peeled(mine, theirs, self._store.recent(sketch.LIKELY))

    def _peeled(self, mine: bytes, theirs: bytes, likely: Sequence[int] = ()) -> bool:
        found = sketch.peel(self._family, mine, theirs, likely)
        if found is None:
            return False
        self.way = Way.SKETCH
        self._settle([fingerprint.to_bytes(PRINT_BYTES, "big") for fingerprint in found])
        return True

    def on_more(self, message: More) -> None:
        """Widen what was said, if it is still true: cells of two sets together are of none."""
        if message.width != self._said_width:
            raise Malformed("the peer asks to widen a sketch that was not sent")
        if self._store.root()[0] != self._said_root:
            return
        extension = self._store.extension(message.width, self._since)
        self._waiting.append(Cells(message.width, True, extension))
        self._said_width = sketch.wider(message.width) or 0

    def on_listing(self, message: Listing) -> None:
        """Compare the peer's list with what is here."""
        if self._listed:
            raise LimitExceeded("a second list in one session")
        self._listed = True
        heads = self._list()
        if heads is None:
            return  # The peer says few items to many of ours; the trie finds them.
        self.way = Way.LISTING
        mine, theirs = set(heads), set(message.heads)
        self._settle(mine - theirs)
        self._pick({head[:HEAD] for head in theirs - mine})

    def on_pick(self, message: Pick) -> None:
        """Note what the peer lacks. The last frame is not full: while the peer sends its records, ours are read."""
        self._agenda.hear(len(message.heads), 0)
        self._picked.update(message.heads)
        self.on_settled()
        if len(message.heads) < limits.PICKED_PER_FRAME_MAX and not self._looked:
            self._looked = True
            self._prepare()

    def on_settled(self) -> None:
        """The peer sends or picks something before the trie was asked: what we said told it what differs."""
        if self._tried is not Way.NONE:
            self.way = self._tried

    def _settle(self, heads: Iterable[bytes]) -> None:
        """Send those of these items that are here, and pick the others."""
        wanted = sorted(heads)
        found = self._store.locate(wanted)
        self._send(found)
        self._pick({head[:HEAD] for head in wanted if head not in found})

    def _send(self, found: dict[bytes, list[tuple[bytes, bytes]]]) -> None:
        self._agenda.send_items((key, {stamp}) for items in found.values() for key, stamp in items)

    def _pick(self, heads: Iterable[bytes]) -> None:
        some = tuple(sorted(heads))
        for at in range(0, len(some), limits.PICKED_PER_FRAME_MAX):
            self._waiting.append(Pick(some[at : at + limits.PICKED_PER_FRAME_MAX]))

"""What is said: one dataclass a message.

A frame is one binary websocket message: a msgpack array whose first item is the message's number. `frames` writes and reads
them. SPEC section 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from protocol import limits
from protocol.record import Delta

QUESTION_KEY_BYTES = 6
QUESTION_STAMP_BYTES = 3
HEAD = 4
"""Bytes of a fingerprint that ask for it: what else they stand for is sent in vain."""
LISTED = 5
"""Bytes of a fingerprint in a list: what else they stand for is missed. The first 3 are the same for a whole record, and
one more would hide one new version of a record in 256 behind its old one."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who I am, what time I have, what I hold. The client's carries its proof of membership."""

    version: int
    proof: bytes
    node: bytes
    name: str
    wall_ms: int
    count: int
    root: bytes = b""
    """The client's. (The server's is in its END.)"""
    agreed: bytes = b""
    """The client's: where it believes that we were equal last. The server's: the same, if it remembers that too."""
    news: int = 0
    """How many items came since then."""
    counters: bytes = b""
    """The estimator of my items, if it may be needed."""
    cells: bytes = b""
    """A first small sketch, if nothing better is known."""
    sample: tuple[tuple[bytes, bytes], ...] = ()
    """My first adopted records in key order: (key, birth stamp), to tell copies from strangers."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The client's HELLO when it wrote nothing since it was equal with this peer: are we still?"""

    proof: bytes
    node: bytes
    wall_ms: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Same:
    """The server's answer: your root is mine."""

    node: bytes
    wall_ms: int
    proof: bytes = b""
    """The server's, of that root. Empty before minor version 2."""


class Described(NamedTuple):
    """A trie node as it travels: slices of its children's digests (empty: absent child), or of its entries'
    fingerprints if it is a leaf."""

    prefix: str
    inner: bool
    slices: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes of my trie, to compare with yours."""

    attempt: int
    nodes: tuple[Described, ...]


class Question(NamedTuple):
    """A record that we hold differently: the head of its key, and a slice of the hash of each stamp that I have seen
    in it, in one string, ascending. Send me what carries other stamps; none at all asks for the whole record."""

    key: bytes
    stamps: bytes

    def slices(self) -> frozenset[bytes]:
        """The stamp slices, apart."""
        size = QUESTION_STAMP_BYTES
        return frozenset(self.stamps[i : i + size] for i in range(0, len(self.stamps), size))


@dataclass(frozen=True, slots=True)
class Have:
    """Questions. An answer is not answered with another question."""

    attempt: int
    answer: bool
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Entries below these leaves of yours that I know nothing of, by fingerprint: send their records."""

    attempt: int
    leaves: tuple[tuple[str, tuple[bytes, ...]], ...]


@dataclass(frozen=True, slots=True)
class Records:
    """Records or fragments of them, in any order."""

    records: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class End:
    """My turn is over: it is yours. The root is of all that I applied so far."""

    root: bytes
    count: int
    idle: bool
    """I have nothing left to say, unless I hear more."""
    applied: int
    """Records that changed here in this round."""
    refused: int
    """Records that I put off or refused in this session."""
    reasons: tuple[str, ...] = ()
    """Some of the reasons, said when I am idle."""


@dataclass(frozen=True, slots=True)
class Bye:
    """The session is over, and how it ended. `refused` counts records that I put off; `reasons` are some of them."""

    code: str
    text: str
    root: bytes
    refused: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """My sketch at this width, or only what widens the one I sent to the next. Find out what differs."""

    width: int
    extends: bool
    cells: bytes


@dataclass(frozen=True, slots=True)
class More:
    """The cells of this width did not do: send what widens them."""

    width: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The first 5 bytes of all my fingerprints, ascending."""

    heads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Pick:
    """Send the items whose fingerprints begin like this."""

    heads: tuple[bytes, ...]


Message = Hello | Probe | Same | Cells | More | Listing | Pick | Nodes | Have | Want | Records | End | Bye


def hints(message: Message) -> bool:
    """Whether it says, or is, a hint: what minor version 0 does not know (SPEC section 10.6)."""
    if isinstance(message, Hello):
        return bool(message.agreed or message.news or message.counters or message.cells)
    return isinstance(message, Probe | Cells | More | Listing | Pick)


def key_width(attempt: int) -> int:
    """Bytes of a record's key that a question says: two heads that agree are told apart by the last attempts."""
    return QUESTION_KEY_BYTES if attempt < limits.SLICES else 16


def stamp_slice(stamp: bytes, hash_: Callable[[bytes], bytes]) -> bytes:
    """What stands for a stamp in a question."""
    return hash_(b"\x03" + stamp)[:QUESTION_STAMP_BYTES]


def question(key: bytes, stamps: Iterable[bytes], attempt: int, hash_: Callable[[bytes], bytes]) -> Question:
    """The question about one record. It asks for all of it if it has more than 255 stamps, and in the last attempts."""
    slices = {stamp_slice(stamp, hash_) for stamp in stamps} if attempt < limits.SLICES else set()
    return Question(key[: key_width(attempt)], b"".join(sorted(slices)) if len(slices) <= 255 else b"")

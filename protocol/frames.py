"""How messages are written: one table that encodes and decodes them all.

Everything that comes in numbers (trie nodes, fingerprints, questions) is packed into byte strings of fixed layout, so that
no frame can make many objects before it is checked. `decode` takes a peer's bytes and raises Malformed or LimitExceeded,
never anything else. SPEC section 9; vectors: tests/vectors/messages.json.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from protocol import batch, limits
from protocol.errors import LimitExceeded, Malformed
from protocol.messages import (
    HEAD,
    LISTED,
    QUESTION_STAMP_BYTES,
    Bye,
    Cells,
    Described,
    End,
    Have,
    Hello,
    Listing,
    Message,
    More,
    Nodes,
    Pick,
    Probe,
    Question,
    Records,
    Same,
    Want,
    key_width,
)
from protocol.sketch import cells_size, fits, wider
from protocol.trie import slice_width
from protocol.values import pack_plain, unpack

_INNER = 0xFF

NEWS = pack_plain([14])
"""A frame between two sessions on one connection: it is worth beginning the next. No session hears it (SPEC section 13)."""


def encode(message: Message) -> bytes:
    """The frame of a message."""
    match message:
        case Hello() as m:
            sample = b"".join(key + birth for key, birth in m.sample)
            parts: list[object] = [
                1, m.version, m.proof, m.node, m.name, m.wall_ms, m.count, m.root, m.agreed, m.news, m.counters, m.cells,
                sample,
            ]  # fmt: skip
        case Probe() as m:
            parts = [2, m.proof, m.node, m.wall_ms, m.root]
        case Nodes():
            parts = [3, message.attempt, b"".join(map(_pack_node, message.nodes))]
        case Have():
            parts = [4, message.attempt, message.answer, b"".join(map(_pack_question, message.questions))]
        case Want():
            leaves = [_pack_prefix(prefix) + bytes((len(f),)) + b"".join(f) for prefix, f in message.leaves]
            parts = [5, message.attempt, b"".join(leaves)]
        case Records():
            parts = [6, len(message.records), batch.pack(message.records)]
        case End() as m:
            parts = [7, m.root, m.count, m.idle, m.applied, m.refused, list(m.reasons)]
        case Bye():
            parts = [8, message.code, message.text, message.root, message.refused, list(message.reasons)]
        case Same() as m:
            parts = [9, m.node, m.wall_ms, m.proof]
        case Cells() as m:
            parts = [10, m.width, m.extends, m.cells]
        case More():
            parts = [11, message.width]
        case Listing():
            parts = [12, b"".join(message.heads)]
        case Pick():
            parts = [13, b"".join(message.heads)]
    return pack_plain(parts)


def _pack_prefix(prefix: str) -> bytes:
    return bytes((len(prefix),)) + bytes.fromhex(prefix + "0" * (len(prefix) % 2))


def _pack_node(node: Described) -> bytes:
    head = _pack_prefix(node.prefix)
    if not node.inner:
        return head + bytes((len(node.slices),)) + b"".join(node.slices)
    bitmap = 0
    for part in node.slices:
        bitmap = bitmap << 1 | bool(part)
    return head + bytes((_INNER,)) + bitmap.to_bytes(2, "big") + b"".join(node.slices)


def _pack_question(question: Question) -> bytes:
    key, stamps = question
    return b"%b%c%b" % (key, len(stamps) // QUESTION_STAMP_BYTES, stamps)


# --- decoding ---------------------------------------------------------------------------------------------------


class _Reader:
    """Walks a packed byte string. Every read past the end is Malformed."""

    __slots__ = ("_at", "_data", "_items")

    def __init__(self, data: object, items_max: int) -> None:
        if type(data) is not bytes:
            raise Malformed("packed items travel as bytes")
        self._data, self._at, self._items = data, 0, items_max

    def more(self) -> bool:
        """Whether another item follows. Raises LimitExceeded past the allowed number."""
        if self._at == len(self._data):
            return False
        self._items -= 1
        if self._items < 0:
            raise LimitExceeded("too many items in one frame")
        return True

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise Malformed("a packed item is cut short")
        part = self._data[self._at : end]
        self._at = end
        return part

    def several(self, count: int, size: int) -> list[bytes]:
        """So many items of one size."""
        parts = self.take(count * size)
        return [parts[i : i + size] for i in range(0, len(parts), size)]

    def byte(self) -> int:
        return self.take(1)[0]

    def prefix(self) -> str:
        depth = self.byte()
        if depth > limits.DEPTH_MAX:
            raise Malformed(f"a prefix of {depth} nibbles: at most {limits.DEPTH_MAX}")
        digits = self.take((depth + 1) // 2).hex()
        if depth % 2 and digits[-1] != "0":
            raise Malformed("a prefix of odd length is padded with zero")
        return digits[:depth]


def decode(frame: bytes) -> Message:
    """The message of a peer's frame."""
    if len(frame) > limits.FRAME_BYTES_MAX:
        raise LimitExceeded(f"a frame of {len(frame)} bytes: at most {limits.FRAME_BYTES_MAX}")
    parts = unpack(frame, arrays_max=2, array_max=limits.REASONS_MAX)
    if type(parts) is not tuple or not parts or type(parts[0]) is not int:
        raise Malformed("a frame is an array that begins with a number")
    reader = _DECODERS.get(parts[0])
    if reader is None:
        raise Malformed(f"unknown message {parts[0]}: the peer may run a newer version")
    shape, make = reader
    body = (*parts[1:], *_GREW.get(parts[0], ()))
    if parts[0] in _MAY_GROW:
        body = body[: len(shape)]
    if len(body) != len(shape) or any(type(p) is not kind for p, kind in zip(body, shape, strict=True)):
        raise Malformed(f"message {parts[0]} does not have its shape")
    if any(type(p) is int and not 0 <= p < 1 << 63 for p in body):
        raise Malformed(f"a number in message {parts[0]} is out of range")
    return make(*body)


def _fixed(what: str, data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise Malformed(f"{what} has {size} bytes, not {len(data)}")
    return data


def _either(what: str, data: bytes, size: int) -> bytes:
    return data if not data else _fixed(what, data, size)


def _hello(
    version: int,
    proof: bytes,
    node: bytes,
    name: str,
    wall: int,
    count: int,
    root: bytes,
    agreed: bytes,
    news: int,
    counters: bytes,
    cells: bytes,
    sample: bytes,
) -> Hello:
    if len(name) > limits.NODE_NAME_CHARS_MAX:
        raise Malformed(f"a node's name has at most {limits.NODE_NAME_CHARS_MAX} characters")
    reader, entries = _Reader(sample, limits.SAMPLE_MAX), []
    while reader.more():
        entries.append((reader.take(16), reader.take(16)))
    return Hello(
        version,
        _either("a proof", proof, 32),
        _fixed("a node id", node, 8),
        name,
        wall,
        count,
        _either("a root", root, 16),
        _either("a root", agreed, 16),
        news,
        _either("an estimator", counters, limits.SKETCH_COUNTERS),
        _either("a first sketch", cells, cells_size(limits.SKETCH_WIDTH_MIN)),
        tuple(entries),
    )


def _probe(proof: bytes, node: bytes, wall: int, root: bytes) -> Probe:
    return Probe(_fixed("a proof", proof, 32), _fixed("a node id", node, 8), wall, _fixed("a root", root, 16))


def _same(node: bytes, wall: int, proof: bytes) -> Same:
    return Same(_fixed("a node id", node, 8), wall, _either("a proof of SAME", proof, 16))


def _cells(width: int, extends: bool, cells: bytes) -> Cells:
    after = wider(width) if extends else None
    if not fits(width) or (extends and after is None):
        raise Malformed(f"no sketch is {width} cells wide")
    size = cells_size(width) if after is None else cells_size(after) - cells_size(width)
    return Cells(width, extends, _fixed("a sketch of this width", cells, size))


def _more(width: int) -> More:
    if not fits(width) or wider(width) is None:
        raise Malformed(f"a sketch {width} cells wide cannot be widened")
    return More(width)


def _heads(data: bytes, size: int, at_most: int) -> tuple[bytes, ...]:
    count, rest = divmod(len(data), size)
    if rest:
        raise Malformed("a packed item is cut short")
    if count > at_most:
        raise LimitExceeded(f"{count} fingerprints in one frame: at most {at_most}")
    return tuple([data[at : at + size] for at in range(0, len(data), size)])


def _listing(data: bytes) -> Listing:
    return Listing(_heads(data, LISTED, limits.LISTED_MAX))


def _pick(data: bytes) -> Pick:
    return Pick(_heads(data, HEAD, limits.PICKED_PER_FRAME_MAX))


def _nodes(attempt: int, data: bytes) -> Nodes:
    reader, nodes, width = _Reader(data, limits.NODES_HEARD_MAX), [], slice_width(attempt)
    while reader.more():
        prefix, kind = reader.prefix(), reader.byte()
        if kind == _INNER:
            bitmap = int.from_bytes(reader.take(2), "big")
            slices = reader.several(bitmap.bit_count(), width)
            if bitmap != 0xFFFF:
                there = iter(slices)
                slices = [next(there) if bitmap >> place & 1 else b"" for place in range(15, -1, -1)]
        elif kind <= limits.LEAF_MAX:
            slices = reader.several(kind, width)
        else:
            raise Malformed(f"a leaf has at most {limits.LEAF_MAX} entries")
        nodes.append(Described(prefix, kind == _INNER, tuple(slices)))
    return Nodes(attempt, tuple(nodes))


def _have(attempt: int, answer: bool, data: bytes) -> Have:
    reader, questions, width = _Reader(data, limits.ITEMS_PER_FRAME_MAX), [], key_width(attempt)
    while reader.more():
        key = reader.take(width)
        questions.append(Question(key, reader.take(reader.byte() * QUESTION_STAMP_BYTES)))
    return Have(attempt, answer, tuple(questions))


def _want(attempt: int, data: bytes) -> Want:
    reader, leaves, width = _Reader(data, limits.ITEMS_PER_FRAME_MAX), [], slice_width(attempt)
    while reader.more():
        prefix, count = reader.prefix(), reader.byte()
        if count > limits.LEAF_MAX:
            raise Malformed(f"a leaf has at most {limits.LEAF_MAX} entries")
        leaves.append((prefix, tuple(reader.several(count, width))))
    return Want(attempt, tuple(leaves))


def _records(count: int, packed: bytes) -> Records:
    return Records(tuple(batch.unpack(packed, count)))


def _end(root: bytes, count: int, idle: bool, applied: int, refused: int, reasons: Sequence[object]) -> End:
    return End(_fixed("a root", root, 16), count, idle, applied, refused, _words(reasons))


def _bye(code: str, text: str, root: bytes, refused: int, reasons: Sequence[object]) -> Bye:
    words = _words(reasons)
    return Bye(code[:32], text[: limits.TEXT_CHARS_MAX], _fixed("a root", root, 16), refused, words)


def _words(reasons: Sequence[object]) -> tuple[str, ...]:
    words = tuple(r[: limits.TEXT_CHARS_MAX] for r in reasons if type(r) is str)
    if len(words) != len(reasons):
        raise Malformed("reasons are text")
    return words


_MAY_GROW = frozenset({1, 2, 9})
"""HELLO, PROBE and SAME: what a later minor version says at their end is ignored."""

_GREW: dict[int, tuple[object, ...]] = {9: (b"",)}
"""What their older forms lack: SAME had no proof before minor version 2."""

_DECODERS: dict[int, tuple[tuple[type, ...], Callable[..., Message]]] = {
    1: ((int, bytes, bytes, str, int, int, bytes, bytes, int, bytes, bytes, bytes), _hello),
    2: ((bytes, bytes, int, bytes), _probe),
    3: ((int, bytes), _nodes),
    4: ((int, bool, bytes), _have),
    5: ((int, bytes), _want),
    6: ((int, bytes), _records),
    7: ((bytes, int, bool, int, int, tuple), _end),
    8: ((str, str, bytes, int, tuple), _bye),
    9: ((bytes, int, bytes), _same),
    10: ((int, bool, bytes), _cells),
    11: ((int,), _more),
    12: ((bytes,), _listing),
    13: ((bytes,), _pick),
}

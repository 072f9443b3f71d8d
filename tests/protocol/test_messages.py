"""What is said arrives as it was said, and what cannot be said is refused before it costs anything."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from dataclasses import replace

import msgpack
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits
from protocol.errors import LimitExceeded, Malformed, PeerFault
from protocol.frames import decode, encode
from protocol.messages import (
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
    question,
)
from protocol.record import Delta, Record
from protocol.sketch import cells_size, wider
from protocol.trie import slice_width
from tests.protocol.memory_store import HANDSHAKE, KEYS, NOW_MS
from tests.protocol.strategies import records
from tests.vectors import vectors
from tests.vectors.make import message_from

HELLO = Hello(2, b"p" * 32, b"n" * 8, "laptop 7", NOW_MS, 1_000_000, b"r" * 16, b"a" * 16, 3)


def sized(size: int) -> st.SearchStrategy[bytes]:
    """Exactly so many bytes."""
    return st.binary(min_size=size, max_size=size)


attempts = st.integers(0, limits.ROUNDS_MAX - 1)
numbers = st.integers(0, (1 << 63) - 1)
prefixes = st.text("0123456789abcdef", max_size=limits.DEPTH_MAX)
texts = st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def nodes(draw: st.DrawFn) -> Nodes:
    attempt = draw(attempts)
    slices = sized(slice_width(attempt))
    leaf = st.builds(Described, prefixes, st.just(False), st.lists(slices, max_size=16).map(tuple))
    children = st.lists(st.one_of(st.just(b""), slices), min_size=16, max_size=16)
    inner = st.builds(Described, prefixes, st.just(True), children.map(tuple))
    return Nodes(attempt, tuple(draw(st.lists(st.one_of(leaf, inner), max_size=3))))


@st.composite
def haves(draw: st.DrawFn) -> Have:
    attempt = draw(attempts)
    stamps = st.sets(sized(3), max_size=4).map(lambda s: b"".join(sorted(s)))
    asked = st.lists(st.builds(Question, sized(key_width(attempt)), stamps), max_size=4)
    return Have(attempt, draw(st.booleans()), tuple(draw(asked)))


@st.composite
def wants(draw: st.DrawFn) -> Want:
    attempt = draw(attempts)
    prints = st.lists(sized(slice_width(attempt)), max_size=16).map(tuple)
    return Want(attempt, tuple(draw(st.lists(st.tuples(prefixes, prints), max_size=4))))


def maybe(size: int) -> st.SearchStrategy[bytes]:
    """So many bytes, or none."""
    return st.one_of(st.just(b""), sized(size))


@st.composite
def cells(draw: st.DrawFn) -> Cells:
    width = draw(st.integers(limits.SKETCH_WIDTH_MIN, 50))
    after = wider(width)
    assert after is not None
    extends = draw(st.booleans())
    size = cells_size(after) - cells_size(width) if extends else cells_size(width)
    return Cells(width, extends, draw(st.one_of(st.just(bytes(size)), st.randoms().map(lambda r: r.randbytes(size)))))


heads = st.lists(sized(4), max_size=5).map(tuple)
longer_heads = st.lists(sized(5), max_size=5).map(tuple)

greetings: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Hello, numbers, maybe(32), sized(8), texts, numbers, numbers, maybe(16), maybe(16), numbers,
        maybe(limits.SKETCH_COUNTERS), maybe(cells_size(limits.SKETCH_WIDTH_MIN)),
        st.lists(st.tuples(sized(16), sized(16)), max_size=3).map(tuple),
    ),
    st.builds(Probe, sized(32), sized(8), numbers, sized(16)),
    st.builds(Same, sized(8), numbers, st.one_of(st.just(b""), sized(16))),
)  # fmt: skip
others: st.SearchStrategy[Message] = st.one_of(
    cells(),
    st.builds(More, st.integers(limits.SKETCH_WIDTH_MIN, limits.SKETCH_WIDTH - 1)),
    st.builds(Listing, longer_heads),
    st.builds(Pick, heads),
    nodes(),
    haves(),
    wants(),
    st.builds(Records, st.lists(records().map(Record.delta), min_size=1, max_size=5).map(tuple)),
    st.builds(End, sized(16), numbers, st.booleans(), numbers, numbers, st.lists(texts, max_size=3).map(tuple)),
    st.builds(Bye, texts, texts, sized(16), numbers, st.lists(texts, max_size=3).map(tuple)),
)
anything = st.one_of(greetings, others)


@settings(max_examples=200)
@given(anything)
def test_what_is_said_arrives_as_it_was_said(message: Message) -> None:
    heard = decode(encode(message))
    if isinstance(message, Records) and isinstance(heard, Records):  # In some order: test_batch says more.
        assert sorted(r.encode() for r in heard.records) == sorted(r.encode() for r in message.records)
    else:
        assert heard == message


@settings(max_examples=300)
@given(anything, st.data())
def test_a_frame_that_was_changed_on_the_way_raises_peer_fault_or_is_another_frame(
    message: Message, data: st.DataObject
) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PeerFault):
        decode(bytes(frame))


@given(anything, st.data())
def test_a_frame_cut_short_or_with_something_behind_it_is_refused(message: Message, data: st.DataObject) -> None:
    frame = encode(message)
    with pytest.raises(Malformed):
        decode(frame[: data.draw(st.integers(0, len(frame) - 1))])
    with pytest.raises(Malformed):
        decode(frame + b"\0")


@given(st.integers(0, 255), st.binary(max_size=60))
def test_random_bytes_raise_nothing_but_peer_fault(kind: int, data: bytes) -> None:
    for frame in (data, bytes((0x90 | len(data) % 16, kind)) + data):
        with suppress(PeerFault):
            decode(frame)


def pack(*items: object) -> bytes:
    """A frame that no `encode` would make."""
    return bytes(msgpack.packb(items))


def batch(count: int, content: bytes = b"") -> bytes:
    """A RECORDS frame that says so many records."""
    return pack(6, count, zstandard.ZstdCompressor().compress(content))


def hello(**changed: object) -> bytes:
    """A HELLO, some parts replaced."""
    parts = {field: getattr(HELLO, field) for field in HELLO.__dataclass_fields__}
    return pack(1, *(parts | {"sample": b""} | changed).values())


def claiming(size: int, payload: bytes) -> bytes:
    """A zstd frame of one raw block whose header claims `size` bytes."""
    block = (len(payload) << 3 | 1).to_bytes(3, "little")
    return bytes.fromhex("28b52ffd") + b"\xe0" + size.to_bytes(8, "little") + block + payload


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", "incomplete"),
        (b"\x01", "an array that begins with a number"),
        (b"\x90", "an array that begins with a number"),
        (pack("hello"), "an array that begins with a number"),
        (pack(True), "an array that begins with a number"),
        (pack(99), "unknown message 99: the peer may run a newer version"),
        (pack(-1), "unknown message -1"),
        (pack(7), "message 7 does not have its shape"),
        (pack(2, "x"), "message 2 does not have its shape"),
        (pack(12, "x"), "message 12 does not have its shape"),
        (pack(3, True, b""), "message 3 does not have its shape"),
        (pack(4, 0, 1, b""), "message 4 does not have its shape"),
        (pack(6, 0, msgpack.ExtType(1, b"\xff")), "message 6 does not have its shape"),
        (pack(12, msgpack.Timestamp(0)), "message 12 does not have its shape"),
        (pack(12, {}), "a map"),
        (pack(12, {"a": 1}), "exceeds max_map_len"),
        (pack(12, msgpack.ExtType(5, b"")), "unknown extension type 5"),
        (pack(3, -1, b""), "out of range"),
        (pack(3, 1 << 63, b""), "out of range"),
        (hello(proof=b"x"), "a proof has 32 bytes"),
        (hello(node=b"x"), "a node id has 8 bytes"),
        (hello(root=b"x"), "a root has 16 bytes, not 1"),
        (hello(agreed=b"x" * 17), "a root has 16 bytes, not 17"),
        (hello(news=-1), "out of range"),
        (hello(counters=b"x" * 63), "an estimator has 64 bytes, not 63"),
        (hello(cells=b"x" * 195), "a first sketch has 196 bytes, not 195"),
        (hello(sample=b"x" * 33), "cut short"),
        (hello(name="x" * 65), "at most 64 characters"),
        (hello(name=b"x"), "does not have its shape"),
        (pack(2, b"p" * 31, b"n" * 8, 0, bytes(16)), "a proof has 32 bytes"),
        (pack(2, b"p" * 32, b"n" * 7, 0, bytes(16)), "a node id has 8 bytes"),
        (pack(2, b"p" * 32, b"n" * 8, 0, b""), "a root has 16 bytes"),
        (pack(2, b"p" * 32, b"n" * 8, -1, bytes(16)), "out of range"),
        (pack(9, b"", 0), "a node id has 8 bytes"),
        (pack(10, 0, False, b""), "no sketch is 0 cells wide"),
        (pack(10, 6, False, bytes(168)), "no sketch is 6 cells wide"),
        (pack(10, 24_576, False, b""), "no sketch is 24576 cells wide"),
        (pack(10, 8, False, bytes(223)), "a sketch of this width has 224 bytes, not 223"),
        (pack(10, 8, False, bytes(231)), "a sketch of this width has 224 bytes, not 231"),
        (pack(10, 4_096, True, bytes(114_688)), "a sketch of this width has 57344 bytes, not 114688"),
        (pack(10, 12_288, True, b""), "no sketch is 12288 cells wide"),
        (pack(11, 0), "a sketch 0 cells wide cannot be widened"),
        (pack(11, 12_288), "a sketch 12288 cells wide cannot be widened"),
        (pack(12, b"x" * 4), "cut short"),
        (pack(13, b"x" * 7), "cut short"),
        (pack(3, 0, b"\x21"), "a prefix of 33 nibbles: at most 32"),
        (pack(3, 0, b"\x01\xab\x00"), "padded with zero"),
        (pack(3, 0, b"\x02"), "cut short"),
        (pack(3, 0, b"\x00\x11" + b"x" * 51), "a leaf has at most 16 entries"),
        (pack(3, 0, b"\x00\xff\xff\xff" + b"x" * 47), "cut short"),
        (pack(3, 5, b"\x00\x01" + b"x" * 3), "cut short"),
        (pack(4, 0, False, b"x" * 6), "cut short"),
        (pack(4, 0, False, b"x" * 6 + b"\x02" + b"x" * 5), "cut short"),
        (pack(5, 0, b"\x00\x11" + b"x" * 51), "a leaf has at most 16 entries"),
        (pack(6, 1, b""), "does not decompress"),
        (pack(6, 1, b"not zstd"), "does not decompress"),
        (pack(6, 1, claiming(10, b"")), "does not decompress"),
        (pack(6, 1, claiming(3, b"\0\0\0\0")), "does not decompress"),
        (pack(6, 1, claiming(4_000_000, b"\0\0\0\0")), "does not decompress"),
        (pack(6, 1, bytes.fromhex("28b52ffd2000010000") + b"tail"), "cut short"),
        (batch(1) + b"tail", "ExtraData"),
        (batch(1, b"abc"), "cut short"),
        (batch(1, b"\0"), "a batch of 1 records that holds 0"),
        (pack(7, b"", 0, False, 0, 0, []), "a root has 16 bytes"),
        (pack(7, bytes(16), 0, False, 0, 0, [5]), "reasons are text"),
        (pack(7, bytes(16), 0, False, 0, 0, ["x"] * 17), "exceeds max_array_len"),
        (pack(7, bytes(16), 0, False, 0, 0, [["x"]]), "nested too deep"),
        (pack(8, "limit", "", bytes(15), 0, []), "a root has 16 bytes"),
        (pack(8, "limit", "", bytes(16), 0, [b"x"]), "reasons are text"),
        (b"\x91" * 64 + b"\x01", "nested"),
        (b"\xdd\x40\0\0\0\x01", "exceeds"),
        (b"\x92\x02\xc6\x40\0\0\0", "exceeds|incomplete"),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(frame: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(frame)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"x" * (limits.FRAME_BYTES_MAX + 1), "a frame of 4259841 bytes: at most 4259840"),
        (hello(sample=bytes(32 * 65)), "too many items in one frame"),
        (pack(12, bytes(5 * 262_145)), "262145 fingerprints in one frame: at most 262144"),
        (pack(13, bytes(4 * 262_145)), "262145 fingerprints in one frame: at most 262144"),
        (pack(3, 0, b"\x00\x00" * 4_097), "too many items in one frame"),
        (pack(4, 0, False, b"abcdef\x00" * 16_385), "too many items in one frame"),
        (pack(5, 0, b"\x00\x00" * 16_385), "too many items in one frame"),
        (batch(8_193), "8193 records in one batch: 1 to 8192"),
        (batch(0, b"abc"), "0 records in one batch: 1 to 8192"),
        (pack(6, 1, claiming(1 << 30, b"\0" * 4)), "claims 1073741824 bytes: at most 4210688"),
        (pack(6, 1, claiming(1 << 62, b"\0" * 4)), "claims 4611686018427387904 bytes"),
        (pack(6, 1, zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 99)), "claims -1 bytes"),
        (pack(6, 1, zstandard.ZstdCompressor().compress(bytes(5_000_000))), "claims 5000000 bytes"),
    ],
)
def test_what_is_too_much_is_refused_in_words(frame: bytes, why: str) -> None:
    with pytest.raises(LimitExceeded, match=why):
        decode(frame)


def test_a_bomb_costs_no_memory() -> None:
    """Refused by what its header claims, before anything is allocated."""
    bomb = pack(6, 1, zstandard.ZstdCompressor().compress(bytes(200_000_000)))
    lies = [pack(6, 1, claiming(4_210_688, b"\0")), pack(6, 1, claiming(1 << 40, b"\0")), bomb]
    assert len(bomb) < 20_000
    tracemalloc.start()
    for frame in lies:
        with pytest.raises(PeerFault):
            decode(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_the_largest_record_fits_into_a_frame_even_uncompressible() -> None:
    noise = b"".join(KEYS.proof(str(i), HANDSHAKE) for i in range(limits.RECORD_BYTES_MAX // 32 - 2))
    record = Delta("t", b"\x91\1", b"", bytes(15) + b"\1", ("photo",), bytes(15) + b"\1", b"", (noise,))
    assert limits.RECORD_BYTES_MAX - 20 < len(record.encode()) <= limits.RECORD_BYTES_MAX
    frame = encode(Records((record,)))
    assert len(frame) <= limits.FRAME_BYTES_MAX
    assert decode(frame) == Records((record,))


def test_a_hello_is_smaller_than_its_limit_and_an_acquaintances_than_200_bytes() -> None:
    large, name = (1 << 63) - 1, "🙂" * limits.NODE_NAME_CHARS_MAX
    longest = replace(
        HELLO, name=name, wall_ms=large, count=large, news=large, counters=bytes(limits.SKETCH_COUNTERS),
        cells=bytes(cells_size(limits.SKETCH_WIDTH_MIN)), sample=((bytes(16), bytes(16)),) * limits.SAMPLE_MAX,
    )  # fmt: skip
    assert len(encode(longest)) < limits.HELLO_BYTES_MAX
    assert len(encode(HELLO)) < 200


def test_what_one_side_may_say_in_one_frame_the_other_takes() -> None:
    everything = tuple(n.to_bytes(5, "big") for n in range(limits.LISTED_MAX))
    for message in (
        Cells(limits.SKETCH_WIDTH, False, bytes(cells_size(limits.SKETCH_WIDTH))),
        Listing(everything),
        Pick(tuple(head[1:] for head in everything[: limits.PICKED_PER_FRAME_MAX])),
    ):
        assert decode(encode(message)) == message


def test_long_words_of_a_peer_are_cut() -> None:
    bye = decode(pack(8, "c" * 99, "t" * 999, bytes(16), 0, ["r" * 999]))
    assert bye == Bye("c" * 32, "t" * 500, bytes(16), 0, ("r" * 500,))


# --- questions ----------------------------------------------------------------------------------------------------


def stamps(count: int) -> list[bytes]:
    """So many different stamps."""
    return [i.to_bytes(16, "big") for i in range(count)]


def test_a_question_shows_a_slice_of_each_stamps_hash_ascending() -> None:
    asked = question(b"k" * 16, stamps(3), 0, KEYS.trie)
    slices = sorted(KEYS.trie(b"\x03" + stamp)[:3] for stamp in stamps(3))
    assert asked == Question(b"k" * 6, b"".join(slices))
    assert asked.slices() == frozenset(slices)


def test_a_question_about_more_stamps_than_it_can_carry_asks_for_everything() -> None:
    assert len(question(b"k" * 16, stamps(255), 0, KEYS.trie).stamps) == 3 * 255
    assert question(b"k" * 16, stamps(256), 0, KEYS.trie).stamps == b""


def test_the_last_attempts_ask_by_the_whole_key_for_everything() -> None:
    assert question(b"k" * 16, stamps(3), limits.SLICES, KEYS.trie) == Question(b"k" * 16, b"")


def test_vectors() -> None:
    cases = vectors("messages")
    for case in cases["messages"]:
        assert decode(bytes.fromhex(case["bytes"])) == message_from(case), case["name"]
        if case["kind"] != "Records":  # another compressor may make other bytes of the same batch
            assert encode(message_from(case)).hex() == case["bytes"], case["name"]
    known = {case["name"]: case for case in cases["messages"]}
    for case in cases["grown"]:
        assert decode(bytes.fromhex(case["bytes"])) == message_from(known[case["as"]]), case["name"]
    assert {known[case["as"]]["kind"] for case in cases["grown"]} == {"Hello", "Probe", "Same"}
    for case in cases["refused"]:
        with pytest.raises(PeerFault):
            decode(bytes.fromhex(case["bytes"]))


@pytest.mark.parametrize("count", [1, 255])
def test_a_question_that_ends_where_its_stamps_would_begin_is_cut_short(count: int) -> None:
    with pytest.raises(Malformed, match="cut short"):
        decode(msgpack.packb([4, 0, False, bytes(6) + bytes((count,))]))

"""Frames that no honest node sends: some claim, or grow to, more than is allowed, and some make no sense.

One test each:

1. What a bomb claims, an honest decoder does not allocate.
2. Garbage is refused in words, or means something.
3. Nothing is made before it is thrown.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import zstandard

from protocol import frames, limits, messages
from protocol.columns import varint
from protocol.messages import (
    Bye,
    Cells,
    Described,
    End,
    Have,
    Hello,
    Listing,
    More,
    Nodes,
    Pick,
    Probe,
    Question,
    Records,
    Same,
    Want,
)
from protocol.record import Delta
from protocol.sketch import cells_size
from protocol.values import pack_any

_SAME_ID = b"\x13\xc4\2\x91\1"
"""A column of ids, all [1]."""


def _zstd(header: bytes, block: bytes = b"\x01\0\0", count: int = 1) -> bytes:
    """A RECORDS of one record, whose zstd frame is made by hand; the last block closes it."""
    return pack_any([6, count, b"\x28\xb5\x2f\xfd" + header + block])


def _one(fields: int = 1, id_: bytes = b"\x91\x01", size: int = 1) -> bytes:
    names = tuple([f"f{n:05}" for n in range(fields)])
    record = Delta("bomb", id_, b"", b"s" * 16, names, b"s" * 16, b"", ("x" * size,) * fields)
    return frames.encode(Records((record,)))


def _batch(content: bytes, count: int) -> bytes:
    return pack_any([6, count, zstandard.ZstdCompressor(level=19).compress(content)])


def _many(count: int, column: bytes, fields: int = 1, ids: bytes = _SAME_ID) -> bytes:
    """A batch of so many new records with one stamp each, by hand: the same column for each field."""
    names = [b"f%05d" % n for n in range(fields)]
    part = [b"\1", b"n" * 8, b"\4bomb", varint(fields), *(b"\6" + name for name in names)]
    shape = [b"\1", varint(count), b"\6", b"\1", b"\0"]
    return _batch(b"".join([*part, *shape, bytes(9 * count), ids, *[column] * fields]), count)


_LARGE = pack_any("x" * 60_000)
_HALF = limits.BATCH_RECORDS_MAX // 2

_RLE = (131_072 << 3 | 2).to_bytes(3, "little") + b"\0"  # 4 bytes that become 128 KiB.

BOMBS: dict[str, Callable[[], bytes]] = {
    "zstd claims 1 TiB": lambda: _zstd(b"\xe0" + (1 << 40).to_bytes(8, "little")),
    "zstd claims little, holds 1 GiB": lambda: _zstd(
        b"\xa0" + (4_096).to_bytes(4, "little"), _RLE * 8_192 + b"\x01\0\0"
    ),
    "zstd claims nothing, holds 1 GiB": lambda: _zstd(b"\0\x50", _RLE * 8_192 + b"\x01\0\0"),
    "zstd window of 2 TiB": lambda: _zstd(b"\x80\xff" + (4_096).to_bytes(4, "little"), _RLE + b"\x01\0\0"),
    "zstd of the size it claims": lambda: _zstd(b"\xa0" + (1 << 22).to_bytes(4, "little"), _RLE * 32 + b"\x01\0\0"),
    "8,192 records of nothing": lambda: _batch(b"", limits.BATCH_RECORDS_MAX),
    "more records than allowed": lambda: _many(limits.BATCH_RECORDS_MAX + 1, b"\7\xc0"),
    "one long value for all": lambda: _many(limits.BATCH_RECORDS_MAX, varint(len(_LARGE) << 2 | 3) + _LARGE),
    "one long id for all": lambda: _many(
        limits.BATCH_RECORDS_MAX, b"\7\xc0", ids=varint(60_003 << 2 | 3) + pack_any(bytes(60_000))
    ),
    "few long values for all": lambda: _many(
        limits.BATCH_RECORDS_MAX, varint((len(_LARGE) + 1) << 2 | 2) + _LARGE + b"\xc0\2" + b"\0\1" * _HALF
    ),
    "2,000 names for all": lambda: _many(limits.BATCH_RECORDS_MAX, b"\7\xc0", fields=limits.FIELDS_MAX),
    "a column of arrays": lambda: _many(2, varint(400_000 << 2) + b"\xdd\x00\x10\x00\x00" * 80_000),
    "four million values for two": lambda: _many(2, varint(4_000_000 << 2) + b"\xc0" * 4_000_000),
    "8,192 parts": lambda: _batch(
        b"\1" + b"n" * 8 + (b"\1c\0\1\1\2\0\0" + bytes(9) + b"\x13\xc4\2\x91\1") * limits.BATCH_RECORDS_MAX + b"more",
        limits.BATCH_RECORDS_MAX,
    ),
    "records beyond count": lambda: _zstd(b"\x20\0", count=1 << 62),
    "array of 4 G": lambda: b"\xdd\xff\xff\xff\xff",
    "map of 4 G": lambda: b"\xdf\xff\xff\xff\xff",
    "bytes of 4 G": lambda: b"\x93\x06\x01\xc6\xff\xff\xff\xff",
    "200,000 deep": lambda: b"\x91" * 200_000 + b"\xc0",
    "a million empty arrays": lambda: b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000,
    "a million empty maps": lambda: b"\xdd\x00\x0f\x42\x40" + b"\x80" * 1_000_000,
    "oversize frame": lambda: bytes(limits.FRAME_BYTES_MAX + 1),
    "oversize record": lambda: _one(size=limits.RECORD_BYTES_MAX),
    "2,001 fields": lambda: _one(fields=limits.FIELDS_MAX + 1),
    "a deep id": lambda: _one(id_=b"\x91" * 60_000 + b"\xc0"),
    "a long id": lambda: _one(id_=b"\x91" + pack_any("x" * limits.ID_BYTES_MAX)),
    "a deep record": lambda: _many(1, varint(100_001 << 2) + b"\x91" * 100_000 + b"\xc0"),
    "two million nodes": lambda: pack_any([3, 0, bytes(4_000_000)]),
    "half a million questions": lambda: pack_any([4, 0, False, bytes(3_500_000)]),
    "two million wants": lambda: pack_any([5, 0, bytes(4_000_000)]),
    "a sketch as wide as none": lambda: frames.encode(Cells(1 << 62, False, bytes(1 << 20))),
    "a sketch of another width": lambda: frames.encode(Cells(limits.SKETCH_WIDTH, False, bytes(1 << 20))),
    "a widest one widened": lambda: frames.encode(Cells(limits.SKETCH_WIDTH, True, bytes(1 << 20))),
    "more than the widest": lambda: frames.encode(More(limits.SKETCH_WIDTH)),
    "a list too long": lambda: pack_any([12, bytes(5 * (limits.LISTED_MAX + 1))]),
    "a million picks": lambda: pack_any([13, bytes(4_000_000)]),
    "a prefix too deep": lambda: pack_any([3, 0, b"\x21" + bytes(18)]),
    "a thousand reasons": lambda: frames.encode(End(bytes(16), 0, False, 0, 0, ("x" * 4_000,) * 1_000)),
    "a round far off": lambda: frames.encode(Nodes((1 << 63) - 1, ())),
}
"""Makers of frames that claim, or grow to, more than is allowed, by name. Made when thrown: some are large."""

_WHOLE: list[messages.Message] = [
    Nodes(0, (Described("a", True, (b"abc",) * 16), Described("", False, (b"abc",) * 3))),
    Have(0, False, (Question(b"sixbyt", b"abcdef"), Question(b"others", b""))),
    Want(0, (("ab", (b"abc", b"def")), ("", ()))),
    End(b"r" * 16, 3, True, 0, 0, ("because",)),
    Probe(bytes(32), bytes(8), 0, bytes(16)),
    Same(bytes(8), 0),
    Cells(8, False, b"c" * cells_size(8)),
    Cells(8, True, b"c" * cells_size(4)),
    More(8),
    Listing((b"five.", b"heads")),
    Pick((b"four",)),
    Bye("failed", "\x1b[2J\r\nERROR all is lost\0", bytes(16), 0, ("\x07",)),
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
            return kind, pack_any([random.randrange(-1, 15), *random.choices(pool, k=random.randrange(13))])
        case "bent":
            data = bytearray(frames.encode(random.choice(_WHOLE)))
            for _ in range(random.randrange(1, 4)):
                data[random.randrange(len(data))] = random.randrange(256)
            return kind, bytes(data)
        case "whole":
            return kind, frames.encode(random.choice(_WHOLE))
        case "hello":
            big = (1 << 63) - 1
            hello = Hello(limits.VERSION, b"p" * 32, bytes(8), "\x1b\n", big, big, bytes(16), random.randbytes(16), big)
            return kind, frames.encode(hello)
        case "false bye":
            return kind, frames.encode(Bye("in sync", "", random.randbytes(16), 0, ()))
    return kind, random.randbytes(random.choice((0, 1, 9, 500, 70_000)))

"""RECORDS for the vectors: batches in zstd frames of one raw block, whole and bent."""

from __future__ import annotations

from collections.abc import Mapping

import zstandard

from protocol import batch
from protocol.hlc import pack
from protocol.record import Record, decode, pack_id
from protocol.values import Value, pack_plain, pack_value

_EDIT = pack(1_800_000_000_500, 2, b"branch-3")


def _fields(stamp: bytes, **fields: Value) -> dict[str, tuple[bytes, bytes]]:
    return {name: (stamp, pack_value(value)) for name, value in fields.items()}


def raw_zstd(data: bytes) -> bytes:
    """A zstd frame of one raw block: what any compressor may send, and the same in all their versions."""
    block = (len(data) << 3 | 1).to_bytes(3, "little")
    size = b"\x20" + bytes([len(data)]) if len(data) < 256 else b"\x60" + (len(data) - 256).to_bytes(2, "little")
    return bytes.fromhex("28b52ffd") + size + block + data


def _batch(content: bytes, count: int) -> bytes:
    return pack_plain([6, count, raw_zstd(content)])


def batch_frames(made: Mapping[str, bytes]) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """Frames of batches, some of `made` records by name; and some that are no batches."""
    row = decode(made["row"])
    mixed = ("row", "edited", "delta of the edit", "deleted", "hidden edit", "delta of the delete")
    born = [pack(1_800_000_000_000 + 60_000 * i, 0, b"laptop-7") for i in range(4)]
    people = [
        Record("people", pack_id([i], at), b"", at, _fields(at, city=("Bonn", "Köln")[i % 2], phone=f"030 {i * 111}"))
        for i, at in enumerate(born, 1)
    ]
    edits = [Record("people", r.id, b"", b"", _fields(_EDIT, city="Bonn")) for r in people[:2]]
    one, shapes, columns = (
        zstandard.decompress(batch.pack(some))
        for some in ([row], [decode(made[name]) for name in mixed], [r.delta() for r in [*people, *edits]])
    )
    shape, city = one.index(b"\x01\x06\x01\x00"), one.index(b"\x07\xc0")
    refused = [
        ("batch that claims 1 GiB", pack_plain([6, 1, bytes.fromhex("28b52ffda000000040010000")])),
        ("batch of unknown size", pack_plain([6, 1, bytes.fromhex("28b52ffd0058010000")])),
        ("batch of one that says two", _batch(one, 2)),
        ("batch cut short", _batch(one[:-1], 1)),
        ("batch with a byte behind it", _batch(one + b"\0", 1)),
        ("shape of no records", _batch(one[:shape] + b"\x00" + one[shape + 1 :], 1)),
        ("shape with an unknown bit", _batch(one[: shape + 1] + b"\x26" + one[shape + 2 :], 1)),
        ("shape without its stamp", _batch(one[: shape + 2] + b"\x00" + one[shape + 3 :], 1)),
        ("value that is an array", _batch(one[:city] + b"\x07\x90" + one[city + 2 :], 1)),
        ("index of nothing", _batch(one[:city] + b"\x06\xc0\x01\x01" + one[city + 2 :], 1)),
    ]
    frames = [
        ("batch", _batch(one, 1)),
        ("batch of shapes", _batch(shapes, 6)),
        ("batch of columns", _batch(columns, 6)),
    ]
    return frames, refused

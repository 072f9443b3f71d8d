"""What is sealed in a backup: a manifest, and the database as one zstd frame.

    4 bytes   length of the manifest, big-endian
    JSON      {"made_ms", "node", "name", "group", "root", "count", "size", "blake3"}: what was copied, and the size and
              BLAKE3 of the database file
    zstd      one frame with its checksum; nothing after it

One test each:

1. What comes out is what went in, proven by its digest.
2. A payload that says something impossible, or that unpacks to more than it says or than disks hold, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import zstandard
from blake3 import blake3

from replica.backup.sealed import Sealer, Unsealer
from replica.errors import FileRefused
from replica.store.adopt import Progress

PART = 1 << 20
LEVEL = 3
_MANIFEST_MAX = 1 << 16
_WINDOW_MAX = 1 << 27
_SLICE = 1_024
_RATIO_MAX = 4_096
_SMALL = 1 << 28
"""A database of this size may be as empty as it likes."""


class Manifest(NamedTuple):
    """What was copied: by whom and when; root and number of its records; size and BLAKE3 of the database file."""

    made_ms: int
    node: bytes
    name: str
    group: bytes
    root: bytes
    records: int
    size: int
    digest: bytes

    def encode(self) -> bytes:
        """As it stands in the payload."""
        document = {
            "made_ms": self.made_ms, "node": self.node.hex(), "name": self.name, "group": self.group.hex(),
            "root": self.root.hex(), "count": self.records, "size": self.size, "blake3": self.digest.hex(),
        }  # fmt: skip
        data = json.dumps(document, ensure_ascii=False).encode()
        return len(data).to_bytes(4, "big") + data


def digest_of(file: BinaryIO) -> tuple[int, bytes]:
    """Size and BLAKE3 of a file, from its beginning, which it is left at."""
    hasher, size = blake3(), 0
    file.seek(0)
    while part := file.read(PART):
        hasher.update(part)
        size += len(part)
    file.seek(0)
    return size, hasher.digest()


def write(sealer: Sealer, manifest: Manifest, database: BinaryIO, progress: Progress | None = None) -> None:
    """Write the payload; the caller closes the sealer."""
    sealer.write(manifest.encode())
    done = 0
    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=manifest.size)
    while part := database.read(PART):
        sealer.write(packer.compress(part))
        done += len(part)
        if progress:
            progress("packing bytes", done, manifest.size)
    sealer.write(packer.flush())


def read_manifest(unsealer: Unsealer, name: str) -> Manifest:
    """The first part of the payload. Raises FileRefused."""
    size = int.from_bytes(_exactly(unsealer, 4, name), "big")
    if size > _MANIFEST_MAX:
        raise FileRefused(f"{name} is no backup of this program: its manifest has {size} bytes")
    try:
        found: Any = json.loads(_exactly(unsealer, size, name))
        manifest = Manifest(
            int(found["made_ms"]), bytes.fromhex(found["node"]), str(found["name"]), bytes.fromhex(found["group"]),
            bytes.fromhex(found["root"]), int(found["count"]), int(found["size"]), bytes.fromhex(found["blake3"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise FileRefused(f"{name} is no backup of this program: its manifest makes no sense ({error!r})") from None
    if manifest.size < 512 or manifest.size > max(_SMALL, _RATIO_MAX * unsealer.size):
        raise FileRefused(f"{name} says that it unpacks to {manifest.size} bytes: no database packs like that")
    return manifest


def _exactly(unsealer: Unsealer, size: int, name: str) -> bytes:
    data = b""
    while len(data) < size:
        part = unsealer.read(size - len(data))
        if not part:
            raise FileRefused(f"{name} is no backup of this program: it ends within its manifest")
        data += part
    return data


def read(unsealer: Unsealer, manifest: Manifest, name: str, progress: Progress | None = None) -> Iterator[bytes]:
    """The database after its manifest, in parts; it is proven only when the last has come. Raises FileRefused."""
    hasher, size = blake3(), 0
    try:
        for part in _unpack(unsealer):
            size += len(part)
            if size > manifest.size:
                raise FileRefused(f"{name} unpacks to more than the {manifest.size} bytes it says: it is a forgery")
            hasher.update(part)
            yield part
            if progress:
                progress("reading bytes", unsealer.done, unsealer.size)
    except zstandard.ZstdError as error:
        raise FileRefused(f"{name} does not unpack ({error}): take an older backup") from None
    if size != manifest.size or hasher.digest() != manifest.digest:
        raise FileRefused(f"{name} does not unpack to what its manifest says: take an older backup")


def _unpack(unsealer: Unsealer) -> Iterator[bytes]:
    """One frame, and nothing else, in parts. The input comes in small slices: zstd unpacks 4 bytes to 128 KiB at most."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).decompressobj()
    while data := unsealer.read(_SLICE):
        if unpacker.eof:
            raise zstandard.ZstdError("something follows its end")
        part = unpacker.decompress(data)
        if unpacker.unused_data:
            raise zstandard.ZstdError("something follows its end")
        if part:
            yield part
    if not unpacker.eof:
        raise zstandard.ZstdError("its end is missing")

"""The container of a backup: bytes in, sealed pieces out; a flipped bit, a cut, a swap or a wrong key is found and named.

Layout, big-endian. The header, 109 bytes:

    offset size
         0   16  magic 89 "replica-bak" 0D 0A 1A 0A: text-mode transfers break it
        16    1  version, 1
        17    1  lock: 0 none, 1 key file, 2 passphrase
        18    3  scrypt's log2 N, r, p; zeros unless lock is 2
        21    1  log2 of the piece size, 16
        22   32  salt, random
        54    7  nonce prefix, random
        61   32  check of the key; zeros if lock is 0
        93    8  size of the whole file
       101    8  BLAKE3 of the 101 bytes before, so that a damaged header is not taken for a wrong key

Then the payload in pieces of 64 KiB, the last one shorter (empty only if the payload is), each followed by its 16-byte tag.
This is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", 2015): AES-256-GCM with nonce = prefix || number of the piece (4 bytes) || 1 if it is the last, else 0,
and the first 93 bytes of the header as associated data.

Keys: master = the key file's 32 bytes, or scrypt(passphrase, salt, N, r, p); seal key (32 bytes) || check (32 bytes) =
HKDF-SHA256(master, salt, "replica backup 1"). The salt makes each file's seal key its own, so no nonce meets a key twice,
and the check commits to the key. Without a lock, the tag is a keyed BLAKE3 whose key derives from the salt: it finds
accidents, not enemies.

One test each:

1. A flipped byte anywhere, a cut anywhere, and anything after the end are refused; the last two are named as such.
2. Pieces in another order are named; a piece of another file is refused.
3. A wrong key is told from damage, and a damaged header from a wrong key.
4. Cuts and additions are found by the pieces themselves, if somebody mends the header too.
5. Memory does not grow with the file.
6. The bytes are those of this text (known answers, computed apart).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, NamedTuple, Protocol

from blake3 import blake3

from replica.errors import FileRefused, UsageError
from replica.libraries import library

MAGIC = b"\x89replica-bak\r\n\x1a\n"
VERSION = 1
OPEN, KEY_FILE, PASSPHRASE = 0, 1, 2
KEY_BYTES = 32
TAG_BYTES = 16
PIECE_LOG = 16
PIECE = 1 << PIECE_LOG
SCRYPT = (16, 8, 2)
"""log2 N, r, p: 64 MiB of memory, about half a second; OWASP's table of equal choices for scrypt."""
_SCRYPT_MAX = (18, 8, 8)
"""What a header may ask for: 256 MiB."""

_FIXED = struct.Struct(">16sBBBBBB32s7s32s")
_SIZE = struct.Struct(">Q")
HEADER_BYTES = _FIXED.size + _SIZE.size + 8
_ORDERS_TRIED = 1_024
"""Other places in which a piece is tried, to say that it was moved."""


class Damaged(FileRefused):
    """The file is not what was written."""


class CutShort(Damaged):
    """The end is missing."""


class Appended(Damaged):
    """There is more than was written."""


class Reordered(Damaged):
    """The pieces stand in another order."""


class WrongKey(FileRefused):
    """The key or passphrase is not the one, or is missing."""


class Key(NamedTuple):
    """What locks a backup: `kind` KEY_FILE with 32 bytes, or PASSPHRASE with those of the passphrase."""

    kind: int
    secret: bytes


class _Header(NamedTuple):
    lock: int
    scrypt: tuple[int, int, int]
    salt: bytes
    prefix: bytes
    check: bytes
    size: int = 0

    def fixed(self) -> bytes:
        return _FIXED.pack(MAGIC, VERSION, self.lock, *self.scrypt, PIECE_LOG, self.salt, self.prefix, self.check)

    def pack(self) -> bytes:
        head = self.fixed() + _SIZE.pack(self.size)
        return head + blake3(head).digest(8)


class _Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class _Checked:
    """No secret, a checksum: the interface of an AEAD, so that one code writes both kinds."""

    def __init__(self, salt: bytes) -> None:
        self._key = blake3(salt, derive_key_context="replica backup 1 checksum").digest(32)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        return data + self._tag(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        plain, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
        if self._tag(nonce, plain, associated_data) != tag:
            raise ValueError
        return plain

    def _tag(self, nonce: bytes, data: bytes, head: bytes | None) -> bytes:
        return blake3(nonce + (head or b"") + data, key=self._key).digest(TAG_BYTES)


def _derive(key: Key, salt: bytes, scrypt: tuple[int, int, int]) -> tuple[bytes, bytes]:
    """(seal key, check)."""
    with library("cryptography"):
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    master = key.secret
    if key.kind == PASSPHRASE:
        log_n, r, p = scrypt
        master = Scrypt(salt=salt, length=KEY_BYTES, n=1 << log_n, r=r, p=p).derive(key.secret)
    both = HKDF(SHA256(), length=64, salt=salt, info=b"replica backup 1").derive(master)
    return both[:32], both[32:]


def _cipher(key: bytes) -> _Cipher:
    with library("cryptography"):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])


class Sealer:
    """Writes a sealed file: `write` the payload, then `close`. `out` is empty and can seek."""

    def __init__(self, out: BinaryIO, key: Key | None, random: Callable[[int], bytes]) -> None:
        self._out, self._number, self._waiting = out, 0, bytearray()
        scrypt = SCRYPT if key is not None and key.kind == PASSPHRASE else (0, 0, 0)
        salt, prefix = random(32), random(7)
        seal, check = _derive(key, salt, scrypt) if key is not None else (b"", bytes(32))
        self._header = _Header(key.kind if key is not None else OPEN, scrypt, salt, prefix, check)
        self._head = self._header.fixed()
        self._cipher = _cipher(seal) if key is not None else _Checked(salt)
        out.write(self._header.pack())

    def write(self, data: bytes) -> None:
        """Add to the payload."""
        self._waiting += data
        while len(self._waiting) > PIECE:  # A full piece waits: it may be the last.
            piece = bytes(self._waiting[:PIECE])
            del self._waiting[:PIECE]
            self._seal(piece, last=False)

    def close(self) -> None:
        """Seal the last piece, and write the size into the header."""
        self._seal(bytes(self._waiting), last=True)
        header = self._header._replace(size=self._out.tell())
        self._out.seek(0)
        self._out.write(header.pack())

    def _seal(self, piece: bytes, *, last: bool) -> None:
        if self._number >> 32:
            raise UsageError("more than 256 TiB do not fit into one backup")
        nonce = _nonce(self._header.prefix, self._number, last)
        self._out.write(self._cipher.encrypt(nonce, piece, self._head))
        self._number += 1


class Unsealer:
    """Reads a sealed file: the payload, each byte of it proven. `size`: bytes of the file; `locked`: whether a key was
    needed; `done`: bytes of the file read so far."""

    def __init__(self, file: BinaryIO, key: Key | None, name: str) -> None:
        """Raises WrongKey, or FileRefused and its kin. `name` is for messages."""
        self._file, self._name, self._number, self._left = file, name, 0, b""
        header = self._read_header()
        self._check_size(header)
        self._header, self._head = header, header.fixed()
        self.locked = header.lock != OPEN
        self._cipher = self._open(header, key)
        body = self.size - HEADER_BYTES
        self._pieces = max(1, -(-body // (PIECE + TAG_BYTES)))
        self.done = HEADER_BYTES

    def _read_header(self) -> _Header:
        data = self._file.read(HEADER_BYTES)
        if not data.startswith(MAGIC):
            if data and MAGIC.startswith(data[: len(MAGIC)]):
                raise CutShort(f"{self._name} is cut short: a backup has at least {HEADER_BYTES} bytes")
            what = "a database, not a backup of one" if data.startswith(b"SQLite format 3") else "no backup"
            raise FileRefused(f"{self._name} is {what}: name a file that `replica backup` made")
        if len(data) < HEADER_BYTES:
            raise CutShort(f"{self._name} is cut short within its header: copy it again, whole")
        head, check = data[:-8], data[-8:]
        if blake3(head).digest(8) != check:
            raise Damaged(f"{self._name} is damaged in its header: copy it again, or take an older backup")
        _, version, lock, log_n, r, p, piece, salt, prefix, key_check = _FIXED.unpack_from(head)
        if version != VERSION:
            raise FileRefused(f"{self._name} has format {version}, this program reads {VERSION}: update it")
        asked, locks = (log_n, r, p), (OPEN, KEY_FILE, PASSPHRASE)
        low = 1 if lock == PASSPHRASE else 0
        fair = all(low <= n <= most for n, most in zip(asked, _SCRYPT_MAX if low else (0, 0, 0), strict=True))
        if lock not in locks or piece != PIECE_LOG or not fair:
            raise FileRefused(f"{self._name} asks for what no backup asks for: it was tampered with, or is damaged")
        return _Header(lock, asked, salt, prefix, key_check, *_SIZE.unpack_from(head, _FIXED.size))

    def _check_size(self, header: _Header) -> None:
        self.size = self._file.seek(0, 2)
        self._file.seek(HEADER_BYTES)
        if self.size < header.size or self.size < HEADER_BYTES + TAG_BYTES:
            missing = max(header.size, HEADER_BYTES + TAG_BYTES) - self.size
            raise CutShort(f"{self._name} is cut short: {missing} bytes of the end are missing; copy it again, whole")
        if self.size > header.size:
            more = self.size - header.size
            raise Appended(f"{self._name} has {more} bytes after its end: copy it again, byte by byte")

    def _open(self, header: _Header, key: Key | None) -> _Cipher:
        if header.lock == OPEN:
            if key is not None:
                raise WrongKey(f"{self._name} is not encrypted: run it without a key, if you trust where it was kept")
            return _Checked(header.salt)
        wanted = "--key-file" if header.lock == KEY_FILE else "--passphrase-file"
        if key is None or key.kind != header.lock:
            raise WrongKey(f"{self._name} is encrypted: name what it was made with by {wanted}")
        seal, check = _derive(key, header.salt, header.scrypt)
        if check != header.check:
            raise WrongKey(f"{self._name} was made with another key: name the right one by {wanted}")
        return _cipher(seal)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes of the payload; b"" at its end. Raises Damaged and its kin."""
        while not self._left and self._number < self._pieces:
            self._left = self._next()
        if size < 0:
            size = len(self._left)
        data, self._left = self._left[:size], self._left[size:]
        return data

    def _next(self) -> bytes:
        number, last = self._number, self._number == self._pieces - 1
        sealed = self._file.read(PIECE + TAG_BYTES)
        self.done += len(sealed)
        piece = self._decrypt(sealed, number, last)
        if piece is None:
            raise self._diagnosis(sealed, number, last)
        self._number += 1
        return piece

    def _decrypt(self, sealed: bytes, number: int, last: bool) -> bytes | None:
        """None: this is not what was sealed in this place."""
        failures: tuple[type[Exception], ...] = (ValueError,)
        if self.locked:
            with library("cryptography"):
                from cryptography.exceptions import InvalidTag

            failures = (ValueError, InvalidTag)
        with suppress(*failures):
            return self._cipher.decrypt(_nonce(self._header.prefix, number, last), sealed, self._head)
        return None

    def _diagnosis(self, sealed: bytes, number: int, last: bool) -> FileRefused:
        if self._decrypt(sealed, number, not last) is not None:
            if last:
                return CutShort(f"{self._name} is cut short after {self.done} bytes: copy it again, whole")
            return Appended(f"{self._name} should end after {self.done} bytes: what follows was added")
        for other in range(min(self._pieces, _ORDERS_TRIED)):
            if any(self._decrypt(sealed, other, flag) is not None for flag in (False, True)):
                return Reordered(f"{self._name} has piece {other} in place of piece {number}: it was put together wrongly")
        where = self.done - len(sealed)
        return Damaged(
            f"{self._name} is damaged between byte {where} and {self.done}, or holds a part of another backup: copy it "
            "again, or take an older backup"
        )

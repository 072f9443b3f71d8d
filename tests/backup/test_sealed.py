"""The container: what is found when bytes are not what was written."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable
from random import Random

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from replica.backup.sealed import (
    HEADER_BYTES,
    KEY_FILE,
    MAGIC,
    PASSPHRASE,
    PIECE,
    TAG_BYTES,
    Appended,
    CutShort,
    Damaged,
    Key,
    Reordered,
    Sealer,
    Unsealer,
    WrongKey,
)
from replica.errors import FileRefused

KEY = Key(KEY_FILE, bytes(range(32)))
WORDS = Key(PASSPHRASE, "correct horse 电池 staple".encode())
LONG = Random(7).randbytes(PIECE * 3 + 1_000)
STEP = PIECE + TAG_BYTES


def sealed(payload: bytes, key: Key | None = KEY, seed: int = 1) -> bytes:
    out = io.BytesIO()
    sealer = Sealer(out, key, Random(seed).randbytes)
    sealer.write(payload)
    sealer.close()
    return out.getvalue()


def opened(data: bytes, key: Key | None = KEY) -> bytes:
    unsealer = Unsealer(io.BytesIO(data), key, "b")
    found = b""
    while part := unsealer.read():
        found += part
    return found


def mended(data: bytes, size: int | None = None) -> bytes:
    """With a header that says the size that there is now, and whose sum is right."""
    head = data[: HEADER_BYTES - 16] + (len(data) if size is None else size).to_bytes(8, "big")
    return head + blake3(head).digest(8) + data[HEADER_BYTES:]


def pieces(data: bytes) -> list[bytes]:
    return [data[i : i + STEP] for i in range(HEADER_BYTES, len(data), STEP)]


BOTH = pytest.mark.parametrize("key", [KEY, None], ids=["key", "open"])


@BOTH
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5])
def test_what_went_in_comes_out(size: int, key: Key | None) -> None:
    payload = Random(size).randbytes(size)
    data = sealed(payload, key)
    assert opened(data, key) == payload
    assert len(data) == HEADER_BYTES + size + TAG_BYTES * max(1, -(-size // PIECE))


@given(parts=st.lists(st.binary(max_size=300), max_size=5), sizes=st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_parts_do_not_matter(parts: list[bytes], sizes: list[int]) -> None:
    out = io.BytesIO()
    sealer = Sealer(out, KEY, Random(1).randbytes)
    for part in parts:
        sealer.write(part)
    sealer.close()
    assert out.getvalue() == sealed(b"".join(parts))
    out.seek(0)
    unsealer, found, turn = Unsealer(out, KEY, "b"), b"", 0
    while part := unsealer.read(sizes[turn % len(sizes)]):
        found, turn = found + part, turn + 1
    assert found == b"".join(parts)


# --- 1: flips, cuts, additions ----------------------------------------------------------------------------------------


@BOTH
def test_1_any_flipped_bit_of_a_small_file_is_found(key: Key | None) -> None:
    data = sealed(b"the secrets of the group", key)
    for at in range(len(data)):
        for bit in (1, 128):
            bad = bytearray(data)
            bad[at] ^= bit
            with pytest.raises(FileRefused):
                opened(bytes(bad), key)


@BOTH
@pytest.mark.parametrize("at", [0, 40, 92, 93, 100, 108])
def test_1_a_flip_in_the_header_is_called_so(at: int, key: Key | None) -> None:
    bad = bytearray(sealed(LONG, key))
    bad[at] ^= 4
    with pytest.raises(FileRefused, match="no backup" if at < len(MAGIC) else "damaged in its header") as caught:
        opened(bytes(bad), key)
    assert not isinstance(caught.value, WrongKey)


@BOTH
@given(at=st.integers(HEADER_BYTES, HEADER_BYTES + len(LONG) + 4 * TAG_BYTES - 1), bit=st.integers(0, 7))
def test_1_a_flip_anywhere_says_where(key: Key | None, at: int, bit: int) -> None:
    bad = bytearray(sealed(LONG, key))
    bad[at] ^= 1 << bit
    with pytest.raises(Damaged, match="damaged between byte") as caught:
        opened(bytes(bad), key)
    low, high = (int(word) for word in str(caught.value).replace(",", "").split() if word.isdigit())
    assert low <= at < high


@BOTH
@given(left=st.integers(1, HEADER_BYTES + len(LONG) + 4 * TAG_BYTES - 1))
def test_1_a_cut_anywhere_is_a_cut(key: Key | None, left: int) -> None:
    with pytest.raises(CutShort, match="is cut short"):
        opened(sealed(LONG, key)[:left], key)


@BOTH
@pytest.mark.parametrize("more", [1, TAG_BYTES, STEP, HEADER_BYTES + STEP])
def test_1_additions_are_additions(more: int, key: Key | None) -> None:
    with pytest.raises(Appended, match=f"{more} bytes after its end"):
        opened(sealed(LONG, key) + bytes(more), key)


def test_1_an_empty_file_and_other_files_are_no_backups() -> None:
    with pytest.raises(FileRefused, match="no backup"):
        opened(b"")
    with pytest.raises(FileRefused, match="no backup"):
        opened(b"PK\3\4" + bytes(200))
    with pytest.raises(FileRefused, match="a database, not a backup"):
        opened(b"SQLite format 3\0" + bytes(200))


# --- 2: order, and other files ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("one", "two"), [(0, 1), (0, 2), (1, 2)])
def test_2_swapped_pieces_are_named(one: int, two: int, key: Key | None) -> None:
    data = sealed(LONG, key)
    parts = pieces(data)
    parts[one], parts[two] = parts[two], parts[one]
    with pytest.raises(Reordered, match=f"has piece {two} in place of piece {one}"):
        opened(data[:HEADER_BYTES] + b"".join(parts), key)


@BOTH
def test_2_a_piece_twice_or_missing_is_named(key: Key | None) -> None:
    data = sealed(LONG, key)
    parts = pieces(data)
    with pytest.raises(Reordered, match="piece 0 in place of piece 1"):
        opened(data[:HEADER_BYTES] + b"".join([parts[0], parts[0], *parts[2:]]), key)
    with pytest.raises(Reordered, match="piece 2 in place of piece 1"):
        opened(mended(data[:HEADER_BYTES] + b"".join([parts[0], *parts[2:]])), key)


@BOTH
def test_2_a_piece_of_another_backup_with_the_same_key_is_refused(key: Key | None) -> None:
    one, two = sealed(LONG, key, 1), sealed(LONG, key, 2)
    parts = pieces(one)
    parts[1] = pieces(two)[1]
    with pytest.raises(Damaged, match="another backup"):
        opened(one[:HEADER_BYTES] + b"".join(parts), key)
    with pytest.raises(Damaged):  # Nor all pieces of one below the salt of the other.
        opened(one[:HEADER_BYTES] + b"".join(pieces(two)), key)


# --- 3: keys ----------------------------------------------------------------------------------------------------------


def test_3_a_wrong_key_is_no_damage() -> None:
    for made, tried in ((KEY, Key(KEY_FILE, bytes(32))), (WORDS, Key(PASSPHRASE, WORDS.secret + b"!"))):
        with pytest.raises(WrongKey, match="another key"):
            opened(sealed(b"x", made), tried)
    cases: list[tuple[Key, Key | None, str]] = [
        (KEY, None, "--key-file"),
        (KEY, WORDS, "--key-file"),
        (WORDS, KEY, "--passphrase"),
    ]
    for made, other, option in cases:
        with pytest.raises(WrongKey, match=f"name what it was made with by {option}"):
            opened(sealed(b"x", made), other)


def test_3_an_unlocked_file_does_not_pass_for_a_locked_one() -> None:
    with pytest.raises(WrongKey, match="is not encrypted"):
        opened(sealed(b"x", None), KEY)


def test_3_a_damaged_file_is_damaged_under_the_right_key_and_a_passphrase_opens() -> None:
    data = sealed(b"x" * 10, WORDS)
    assert opened(data, WORDS) == b"x" * 10
    with pytest.raises(Damaged):
        opened(data[:-1] + bytes([data[-1] ^ 1]), WORDS)


# --- 4: a mended header -----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("left", [1, 2, 3])
def test_4_a_cut_between_pieces_is_found_although_the_header_agrees(left: int, key: Key | None) -> None:
    data = sealed(LONG, key)
    with pytest.raises(CutShort, match="is cut short after"):
        opened(mended(data[: HEADER_BYTES + left * STEP]), key)


@BOTH
@pytest.mark.parametrize("cut", [1, 15, 17, 500, PIECE])
def test_4_any_other_cut_is_found_too(cut: int, key: Key | None) -> None:
    with pytest.raises(Damaged):
        opened(mended(sealed(LONG, key)[:-cut]), key)


@BOTH
def test_4_pieces_after_the_last_are_found(key: Key | None) -> None:
    data = sealed(LONG[: 2 * PIECE], key)
    with pytest.raises(Appended, match="what follows was added"):
        opened(mended(data + data[HEADER_BYTES : HEADER_BYTES + STEP]), key)


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [(16, 2, "has format 2"), (17, 3, "tampered"), (18, 30, "tampered"), (19, 255, "tampered"), (21, 30, "tampered")],
)
def test_4_a_header_cannot_ask_for_what_would_hurt(place: int, value: int, match: str) -> None:
    data = bytearray(sealed(b"x", WORDS))
    data[place] = value
    with pytest.raises(FileRefused, match=match):
        opened(mended(bytes(data)), WORDS)


def test_4_the_lock_cannot_be_taken_off() -> None:
    data = bytearray(sealed(LONG, KEY))
    data[17] = 0
    with pytest.raises(Damaged):
        opened(mended(bytes(data)), None)


# --- 5: memory --------------------------------------------------------------------------------------------------------


@BOTH
def test_5_memory_does_not_grow(key: Key | None) -> None:
    class Sink(io.RawIOBase):
        size = at = 0

        def write(self, data: object) -> int:
            self.at += len(data)  # type: ignore[arg-type]
            self.size = max(self.size, self.at)
            return len(data)  # type: ignore[arg-type]

        def seek(self, at: int, whence: int = 0) -> int:
            self.at = at
            return at

        def tell(self) -> int:
            return self.at

    def peak(parts: int) -> int:
        part, sink = bytes(1 << 20), Sink()
        tracemalloc.start()
        sealer = Sealer(sink, key, Random(1).randbytes)  # type: ignore[arg-type]
        for _ in range(parts):
            sealer.write(part)
        sealer.close()
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sink.size > parts << 20
        return top

    peak(1)
    assert peak(64) < peak(4) + (1 << 20)


# --- 6: known answers -------------------------------------------------------------------------------------------------


def hkdf(master: bytes, salt: bytes) -> bytes:
    """RFC 5869 in four lines, apart from the library that the code uses."""
    import hashlib
    import hmac

    key = hmac.new(salt, master, hashlib.sha256).digest()
    one = hmac.new(key, b"replica backup 1\1", hashlib.sha256).digest()
    return one + hmac.new(key, one + b"replica backup 1\2", hashlib.sha256).digest()


def written(chance: Callable[[int], bytes], payload: bytes, key: Key, master: bytes, scrypt: tuple[int, int, int]) -> bytes:
    """A sealed file, built by the text of the format."""
    salt, prefix = chance(32), chance(7)
    both = hkdf(master, salt)
    fixed = MAGIC + struct.pack(">BBBBBB", 1, key.kind, *scrypt, 16) + salt + prefix + both[32:]
    parts = [payload[i : i + PIECE] for i in range(0, len(payload), PIECE)] or [b""]
    body = b""
    for number, part in enumerate(parts):
        nonce = prefix + struct.pack(">IB", number, number == len(parts) - 1)
        body += AESGCM(both[:32]).encrypt(nonce, part, fixed)
    head = fixed + struct.pack(">Q", len(fixed) + 16 + len(body))
    return head + blake3(head).digest(8) + body


def test_6_the_bytes_are_those_of_the_text() -> None:
    import hashlib

    for payload in (b"", b"hello", LONG):
        assert sealed(payload) == written(Random(1).randbytes, payload, KEY, KEY.secret, (0, 0, 0))
    salt = Random(1).randbytes(32)
    master = hashlib.scrypt(WORDS.secret, salt=salt, n=1 << 16, r=8, p=2, maxmem=1 << 28, dklen=32)
    assert sealed(b"hello", WORDS) == written(Random(1).randbytes, b"hello", WORDS, master, (16, 8, 2))


def test_6_known_answers() -> None:
    def chance(size: int) -> bytes:
        return bytes(range(size))

    found = {}
    for name, key in (("key", KEY), ("open", None)):
        out = io.BytesIO()
        sealer = Sealer(out, key, chance)
        sealer.write(b"hello")
        sealer.close()
        found[name] = out.getvalue()[HEADER_BYTES - 48 :].hex()
    assert found == ANSWERS


ANSWERS = {
    "key": "7e1f9f663599f4f75240a1f3d6aa12b87ef8c4cbf0b68c9b1f645fb5c65b88290000000000000082"
    "e64f525b847aac638d93b2e6f59f0881ade6c5bac06845d0831c7b0296",
    "open": "0" * 64 + "0000000000000082376864bf3c5214a768656c6c6fa2674dfe89e57624b74fc81348e78d4b",
}
"""From the check of the key on: check, size, sum, sealed piece."""

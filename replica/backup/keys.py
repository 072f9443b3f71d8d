"""What locks a backup: a key file, or a file with a passphrase.

A key file is one line of 64 hexadecimal digits (32 bytes, so that it can be printed and kept in a safe), or those 32 bytes
raw. A passphrase is the first line of its file, in UTF-8, as it stands. Neither is ever an argument: the list of processes
shows those to everybody. One test each:

1. A key file is made once, readable to its owner alone, and never written over.
2. Hexadecimal and raw are one key; anything else is refused, and never cut or filled up to size.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable
from pathlib import Path

from replica import system
from replica.backup.sealed import KEY_BYTES, KEY_FILE, PASSPHRASE, Key
from replica.errors import UsageError

_BYTES_MAX = 4_096


def make_key(out: str | Path, random: Callable[[int], bytes] = system.random_bytes) -> None:
    """Write a new key file. Raises UsageError if there is such a file: old backups may need it."""
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{out} exists, and backups may need it: choose another name for the new key") from None
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; choose a folder that may be written") from error
    with os.fdopen(handle, "wb") as file:
        file.write(random(KEY_BYTES).hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_key(key_file: str | Path | None = None, passphrase_file: str | Path | None = None) -> Key | None:
    """The key that one of the two names; None if neither does. Raises UsageError."""
    if key_file is not None and passphrase_file is not None:
        raise UsageError("a backup has one lock: name either --key-file or --passphrase-file")
    if key_file is not None:
        return Key(KEY_FILE, _key(_read(key_file), key_file))
    if passphrase_file is not None:
        words = _read(passphrase_file).partition(b"\n")[0].removesuffix(b"\r")
        if not words:
            raise UsageError(f"{passphrase_file} has no passphrase in its first line")
        return Key(PASSPHRASE, words)
    return None


def _read(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _BYTES_MAX:
        raise UsageError(f"{path} is too long for a key or passphrase: is it the right file?")
    return data


def _key(data: bytes, path: str | Path) -> bytes:
    if len(data) == KEY_BYTES:
        return data
    try:
        key = binascii.unhexlify(data.strip())
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(f"{path} is no key file: make one with `replica backup-key {path}.new`")
    return key

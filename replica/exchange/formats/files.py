"""Files as they lie: any input becomes a stream of plain bytes.

Packing is told from the first bytes, never from the name. What cannot be read twice (standard input, a pipe) is put into a
temporary file first. One test each:

1. Plain, gzip, zip and zstd give the same bytes, as often as they are opened, whatever the name; a spreadsheet, which is
   a zip too, stays as it is.
2. A zip with several members asks which; `file.zip!member` says it.
3. A bomb, a file packed twice, a truncated or damaged one ends in FileRefused, within a second.
4. The digest is of the file as it lies; progress counts its bytes.
5. A stream of text without a line break is FileRefused after LINE_MAX bytes, or MARKUP_MAX if it may be JSON or XML.
6. A stream that would take more than half of the disk is FileRefused before, and nothing is left of it.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from blake3 import blake3

from replica.errors import FileRefused, Unsure
from replica.words import clean

RATIO_MAX = 200
"""Unpacked bytes a packed one may become. Text shrinks to a tenth, a bomb to a thousandth."""

RATIO_FREE = 16 << 20
"""Unpacked bytes before the ratio counts: small files may repeat themselves."""

UNPACKED_MAX = 64 << 30
"""Unpacked bytes, and bytes of standard input, in all."""

LINE_MAX = 64 << 20
"""Bytes of a stream without a line break: no record of a text is as long (/dev/zero has none at all)."""

MARKUP_MAX = 4 << 30
"""The same of JSON and XML, which programs write in one line."""

ROOM_SHARE = 2
"""A stream may take this part of what is free where temporary files are: the store must grow too, on the same disk often."""

WINDOW_MAX = 1 << 27
"""Memory that a zstd frame may ask for: what its own command line allows."""

MEMBERS_MAX = 10_000
"""Members of a zip that is looked into."""

_PIECE = 1 << 18
_MAGIC: Final = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"))
_BINARY: Final = (*(magic for magic, _ in _MAGIC), b"PAR1", b"\xd0\xcf\x11\xe0")
"""How files begin in which a line break means nothing."""
_DOCUMENTS: Final = frozenset({"[Content_Types].xml", "mimetype", "content.xml", "xl/workbook.xml"})
"""Members that make a zip a document of its own: a sheet is not unpacked here."""


class _At(io.RawIOBase):
    """A place of its own in a shared file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self.position, os.fstat(self._file.fileno()).st_size)[whence]
        self.position = max(0, base + offset)
        return self.position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self.position)
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)


class _Zstd:
    """Frames of zstd, one after the other. Pieces are small, because one of them may become 16 MiB at once; the library's
    own stream would take a cut frame for a finished one."""

    def __init__(self, at: _At) -> None:
        self._at, self._left, self._ready = at, b"", bytearray()
        self._frame: Any = None

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end. Raises EOFError for a cut frame."""
        from zstandard import ZstdDecompressor

        while not self._ready:
            piece = self._left or self._at.read(512)
            self._left = b""
            if not piece:
                if self._frame is not None:
                    raise EOFError
                break
            if self._frame is None:
                self._frame = ZstdDecompressor(max_window_size=WINDOW_MAX).decompressobj()
            self._ready += self._frame.decompress(piece)
            if self._frame.eof:
                self._left, self._frame = self._frame.unused_data, None
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def close(self) -> None:
        """Nothing to let go of."""


class _Unpacked(io.RawIOBase):
    """A packed stream, unpacked under caps; what goes wrong in it is a FileRefused."""

    def __init__(self, name: str, packed: Any, at: _At, unpacked_max: int) -> None:
        self._name, self._packed, self._at, self._made, self._max = name, packed, at, 0, unpacked_max

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from zstandard import ZstdError

        try:
            data = self._packed.read(len(buffer))
        except EOFError as error:
            raise FileRefused(f"{self._name} is cut off after {self._made:,} unpacked bytes: get it again") from error
        except (OSError, zlib.error, ZstdError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise FileRefused(
                f"{self._name} cannot be unpacked after {self._made:,} bytes: {clean(error)}; get it again, or unpack it"
                " yourself"
            ) from error
        buffer[: len(data)] = data
        if not self._made and data[:4].startswith((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")):
            raise FileRefused(f"{self._name} is packed twice: unpack it once yourself")
        self._made += len(data)
        if self._made > self._max or (self._made > RATIO_FREE and self._made > RATIO_MAX * max(self._at.position, 1)):
            raise FileRefused(
                f"{self._name} unpacks to {self._made:,} bytes and more from {self._at.position:,}: that is a bomb, or not a"
                " table; unpack it yourself if you trust it"
            )
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()


class Input:
    """A file to read. `name`: as the user said it, clean; `packing`: "", "gzip", "zip" or "zstd"; `size`: bytes as it lies;
    `member`: of a zip; `path`: of a plain file on the disk, for libraries that open files themselves, else None."""

    def __init__(self, name: str, file: IO[bytes], member: str | None, path: Path | None, unpacked_max: int) -> None:
        self.name, self._file, self._max = name, file, unpacked_max
        self.size = os.fstat(file.fileno()).st_size
        self._at = _At(file)
        head = _At(file).read(4) or b""
        self.packing = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")
        self.member: str | None = None
        if self.packing == "zip":
            self.member = _member(name, _At(file), member)
            if self.member is None:
                self.packing = ""
        elif member is not None:
            raise FileRefused(f"{name} is no zip: it has no member {clean(member)}")
        self.path = path if not self.packing else None

    @property
    def inner(self) -> str:
        """The name that says what is in it: of the zip's member, else of the file without the suffix of its packing."""
        if self.member is not None:
            return self.member
        suffixes = {"gzip": (".gz", ".gzip"), "zstd": (".zst", ".zstd")}.get(self.packing, ())
        return next((self.name[: -len(s)] for s in suffixes if self.name.lower().endswith(s)), self.name)

    def open(self) -> IO[bytes]:
        """The plain bytes from the beginning; as often as wanted. Reading raises FileRefused for bombs and damage."""
        at = self._at = _At(self._file)
        if not self.packing:
            return io.BufferedReader(at, _PIECE)
        packed: Any
        if self.packing == "gzip":
            packed = gzip.GzipFile(fileobj=io.BufferedReader(at, 1 << 16), mode="rb")
        elif self.packing == "zstd":
            packed = _Zstd(at)
        else:
            try:
                packed = zipfile.ZipFile(at).open(self.member or "")  # noqa: SIM115 (the stream owns it)
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
                raise FileRefused(f"{self.name} cannot be unpacked ({clean(error)}): unpack it yourself") from error
        return io.BufferedReader(_Unpacked(self.name, packed, at, self._max), _PIECE)

    def digest(self) -> str:
        """BLAKE3 of the file as it lies, 64 hexadecimal digits."""
        total, at = blake3(), _At(self._file)
        while piece := at.read(_PIECE):
            total.update(piece)
        return total.hexdigest()

    def progress(self) -> tuple[int, int]:
        """(bytes read, bytes in all) of the file as it lies, of the stream opened last."""
        return min(self._at.position, self.size), self.size

    def close(self) -> None:
        """Let go of the file; its streams end with it."""
        self._file.close()

    def __enter__(self) -> Input:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _member(name: str, at: _At, wanted: str | None) -> str | None:
    """The member to read; None of a document that happens to be a zip. Raises FileRefused, Unsure."""
    try:
        entries = zipfile.ZipFile(at).infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FileRefused(f"{name} is a damaged zip ({clean(error)}): get it again") from error
    if len(entries) > MEMBERS_MAX:
        raise FileRefused(f"{name} has {len(entries):,} members, {MEMBERS_MAX:,} at most: unpack it yourself")
    if wanted is None and any(entry.filename in _DOCUMENTS for entry in entries):
        return None
    # macOS adds a shadow of every file.
    names = [e.filename for e in entries if not e.is_dir() and not e.filename.startswith("__MACOSX/")]
    if wanted is not None:
        if wanted not in names:
            raise FileRefused(f"{name} has no member {clean(wanted)}; it has {clean(', '.join(names[:20]))}")
        names = [wanted]
    if not names:
        raise FileRefused(f"{name} is an empty zip")
    if len(names) > 1:
        raise Unsure(
            f"{name} has {len(names)} members: say which, as {name}!{clean(names[0])}",
            "member",
            tuple(names),
            "FILE!MEMBER",
        )
    if any(entry.filename == names[0] and entry.flag_bits & 1 for entry in entries):
        raise FileRefused(f"{name} is encrypted: unpack it yourself")
    return names[0]


def open_input(source: str | Path, stdin: IO[bytes] | None = None, *, unpacked_max: int = UNPACKED_MAX) -> Input:
    """Open a file to read: a path, `path.zip!member`, or "-" for standard input. Raises FileRefused for what is not there
    or cannot be read, Unsure for a zip with several members."""
    text, member = str(source), None
    if text == "-":
        name = "standard input"
        return _input(name, _nameless_copy(stdin or sys.stdin.buffer, name, unpacked_max), None, None, unpacked_max)
    if "!" in text and not os.path.lexists(text):
        parts = text.split("!")
        heads = ("!".join(parts[:i]) for i in range(len(parts) - 1, 0, -1))
        if there := next((head for head in heads if os.path.lexists(head)), None):
            text, member = there, text[len(there) + 1 :]
    path, name = Path(text), clean(text)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FileRefused(f"{name} is a folder: give a file in it")
        file: IO[bytes] = path.open("rb", buffering=0)
        if not stat.S_ISREG(mode):
            with file:
                return _input(name, _nameless_copy(file, name, unpacked_max), member, None, unpacked_max)
    except FileNotFoundError as error:
        raise FileRefused(f"{name} is not there: check the name") from error
    except (OSError, ValueError) as error:
        raise FileRefused(f"{name} cannot be read: {clean(getattr(error, 'strerror', None) or error)}") from error
    return _input(name, file, member, path, unpacked_max)


def _input(name: str, file: IO[bytes], member: str | None, path: Path | None, unpacked_max: int) -> Input:
    try:
        return Input(name, file, member, path, unpacked_max)
    except BaseException:
        file.close()
        raise


def _nameless_copy(source: IO[bytes], name: str, most: int) -> IO[bytes]:
    """All of a stream, in a temporary file without a name: nothing is left of it, however the process ends."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the Input)
    try:
        spool(source, file, name, most)
    except BaseException:
        file.close()
        raise
    return file


def spool(source: IO[bytes], out: IO[bytes], name: str = "standard input", most: int = UNPACKED_MAX) -> None:
    """Put all of a stream into a file of the temporary folder. Raises FileRefused for what seems to have no end."""
    total = since = 0
    folder, longest = tempfile.gettempdir(), LINE_MAX
    room = shutil.disk_usage(folder).free // ROOM_SHARE
    try:
        while piece := source.read(_PIECE):
            if not total:
                longest = _longest(piece)
            total += len(piece)
            broken = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            since = since + len(piece) if broken < 0 else len(piece) - broken - 1
            if total > most:
                raise FileRefused(f"{name} gives more than {most:,} bytes")
            if since > longest:
                raise FileRefused(f"{name} gives {longest:,} bytes and more without a line break: that is no table")
            if total > room:
                raise FileRefused(
                    f"{name} gives more than {room:,} bytes, half of what {clean(folder)} had free: put it into a file and "
                    "name that, or set TMPDIR to a larger disk"
                )
            out.write(piece)
        out.flush()
    except OSError as error:
        raise FileRefused(f"{name} cannot be kept in {clean(folder)} after {total:,} bytes: {clean(error)}") from error


def _longest(head: bytes) -> int:
    """Bytes without a line break that a stream which begins so may have."""
    if head.startswith(_BINARY):
        return UNPACKED_MAX
    begin = head.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n\x1e")[:1]
    return MARKUP_MAX if begin in {b"[", b"{", b"<"} else LINE_MAX


def pieces(stream: IO[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """A stream in pieces of about this many bytes."""
    while piece := stream.read(size):
        yield piece

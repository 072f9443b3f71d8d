"""In which encoding a text file is: the surest evidence first, and a person asked when none is sure.

A byte order mark; strict UTF-8 over the whole file; UTF-16 without a mark, by its NULs; then every legacy encoding of
offices, decoded and weighed by what people write, with charset-normalizer as one voice. One test each:

1. Each of these is found out, with a confidence; what cannot be told is Unsure, what a user says is done.
2. A bad byte in a good file spoils its line and no other: it comes out as a lone surrogate that says which byte it was.
3. Damage that is in the data already ("Ã¼", "锟斤拷", U+FFFD) is a finding; the data stays.
4. Names are those that people use; GB2312 and GBK are read as GB18030, UTF-7 is refused.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from replica.errors import FileRefused, Unsure, UsageError
from replica.exchange.formats.files import Input
from replica.exchange.formats.letters import plausible
from replica.exchange.rows import SURE, Finding
from replica.libraries import library
from replica.words import clean

OPTION = "--encoding"
PIECE = 1 << 18
"""Bytes that are decoded at once."""

_BOMS: Final = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_SAME: Final = {
    "gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030", "hz": "gb18030", "big5": "cp950", "shift_jis": "cp932",
    "euc_kr": "cp949", "utf-8-sig": "utf-8", "ascii": "utf-8",
}  # fmt: skip
"""Encodings that a larger one contains; offices write the larger one and say the smaller."""

_LEGACY: Final = (
    ("gb18030", 1.0), ("cp950", 0.98), ("cp932", 0.99), ("cp949", 0.97), ("euc_jp", 0.9), ("cp1252", 1.0),
    ("cp1250", 0.98), ("iso8859-2", 0.97), ("cp1251", 0.99), ("cp1254", 0.96), ("cp1257", 0.93), ("cp1253", 0.95),
    ("cp850", 0.94), ("cp852", 0.9), ("cp866", 0.93), ("koi8-r", 0.93), ("mac-roman", 0.88), ("cp1255", 0.9),
    ("cp1256", 0.9),
)  # fmt: skip
_EVIDENCE = 1 << 16
"""Bytes of lines beyond ASCII that are weighed."""
_BAD_MANY = 200
_MOJIBAKE: Final = re.compile("Ã[\u0080-\u00bf\u2013-\u203a€]|â€|Â[\u00a0-\u00bf]|锟斤|斤拷|烫烫烫|\ufffd|ï»¿|\\?{4,}")
BAD: Final = re.compile("[\udc00-\udcff]")
"""A byte that the encoding does not know, as `Decoder` gives it."""


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("replica.bad", _escape)


class Decoder:
    """Pieces of bytes to pieces of text. A bad byte becomes U+DC00 + byte, which no good text holds."""

    def __init__(self, codec: str) -> None:
        self._decoder: Any = codecs.getincrementaldecoder(codec)("strict")

    def decode(self, data: bytes, final: bool = False) -> str:
        """The text of the next bytes."""
        state = self._decoder.getstate()
        try:
            return str(self._decoder.decode(data, final))
        except UnicodeDecodeError:
            self._decoder.setstate(state)
            self._decoder.errors = "replica.bad"
            try:
                return str(self._decoder.decode(data, final))
            finally:
                self._decoder.errors = "strict"


@dataclass(frozen=True, slots=True)
class Encoding:
    """What a file is in. `codec`: for Python; `mark`: bytes of the byte order mark; `finding`: for people."""

    codec: str
    mark: int
    finding: Finding


def codec(name: str) -> str:
    """The codec of an encoding as people call it. Raises UsageError for an unknown one, and for UTF-7."""
    try:
        info = codecs.lookup(name.strip().lower().replace("windows-", "cp").replace("ansi", "cp1252"))
    except (LookupError, ValueError) as error:
        raise UsageError(f"no encoding is called {clean(name)}: say for example utf-8, gb18030, cp1252") from error
    if info.name == "utf-7":
        raise UsageError("UTF-7 is not read: it hides what a text says; save the file as UTF-8")
    odd = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
    if not getattr(info, "_is_text_encoding", True) or info.name.replace("-", "_") in odd:
        raise UsageError(f"{clean(name)} is no encoding of text: say for example utf-8, gb18030, cp1252")
    return _SAME.get(info.name, info.name)


def detect(file: Input, said: str | None = None) -> Encoding:
    """The encoding of a file. Raises Unsure where it cannot be told, FileRefused for an empty file, UsageError for a name
    that makes no sense."""
    with file.open() as stream:
        head = stream.read(1 << 16)
        if not head:
            raise FileRefused(f"{file.name} is empty: there is nothing to read")
        mark, marked = next(((len(bom), name) for bom, name in _BOMS if head.startswith(bom)), (0, ""))
        if said is not None:
            wanted = codec(said)
            if wanted in {"utf-16", "utf-32"}:
                wanted = marked if marked.startswith(wanted) else _utf16(head) or f"{wanted}-le"
            return Encoding(wanted, mark if wanted == marked else 0, Finding("encoding", wanted, 1.0, (), OPTION))
        if head.startswith(b"+/v") and head[3:4] in b"89+/":
            raise FileRefused(f"{file.name} is UTF-7, which is not read: save it as UTF-8")
        if mark:
            return Encoding(marked, mark, Finding("encoding", f"{marked} with byte order mark", 1.0, (), OPTION))
        if wide := _utf16(head):
            return Encoding(wide, 0, Finding("encoding", wide, 0.95, (), OPTION))
        seen = _survey(head, stream)
    return Encoding(*_judged(file.name, seen))


@dataclass(slots=True)
class _Seen:
    """What one pass found: characters beyond ASCII that are UTF-8, bytes that are not, and lines to weigh."""

    good: int = 0
    bad: int = 0
    lines: bytes = b""
    whole: bool = True


def _survey(head: bytes, stream: Any) -> _Seen:
    seen, decoder, piece = _Seen(), Decoder("utf-8"), head
    while True:
        following = stream.read(1 << 20)
        text = decoder.decode(piece, not following)
        if not text.isascii():
            bad = len(BAD.findall(text)) if not _encodes(text) else 0
            seen.bad += bad
            # Other characters are counted until it is clear that there are many of them.
            if seen.good < 10_000 or bad:
                seen.good += len(text) - len(text.encode("ascii", "ignore")) - bad
            if len(seen.lines) < _EVIDENCE and (bad or seen.good < 64):
                seen.lines += _beyond_ascii(piece)
        if seen.bad > _BAD_MANY and seen.bad * 4 > seen.good:
            seen.whole = False
            return seen
        if not following:
            return seen
        piece = following


def _beyond_ascii(piece: bytes) -> bytes:
    """Lines with bytes beyond ASCII; of a long one what follows the first of them."""
    found, size = [], 0
    for line in piece.splitlines():
        if not line.isascii():
            if len(line) > 1000 and (first := re.search(b"[\x80-\xff]", line)):
                line = line[first.start() : first.start() + 1000]
            found.append(line)
            size += len(line)
            if size > _EVIDENCE:
                break
    return b"\n".join(found) + b"\n"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _utf16(head: bytes) -> str:
    """Text of most languages has a NUL in every other byte of its commas and line ends, and none in the others."""
    even, odd = head[0:4096:2].count(0), head[1:4096:2].count(0)
    size = min(len(head), 4096) // 2
    # ASCII in UTF-16 is good UTF-8 full of NULs; UTF-8 with some NULs in it is not UTF-16.
    least = size * 0.4 if _encodes(Decoder("utf-8").decode(head[:4096])) else size * 0.02
    for few, many, name in ((even, odd, "utf-16-le"), (odd, even, "utf-16-be")):
        if (len(head) % 2 == 0) and many >= max(2, least) and few * 20 <= many:
            text = Decoder(name).decode(head[:4096])
            if not BAD.search(text) and not re.search("[\x00-\x08\x0e-\x1f\ue000-\uf8ff\ufffe\uffff]", text):
                return name
    return ""


def _judged(name: str, seen: _Seen) -> tuple[str, int, Finding]:
    if not seen.bad and (not seen.good or seen.good > 8):
        return "utf-8", 0, Finding("encoding", "utf-8", 0.99 if seen.good else 1.0, (), OPTION)
    if seen.good >= 4 and seen.bad * 4 <= seen.good:
        sure = 0.98 - 0.2 * seen.bad / seen.good
        return "utf-8", 0, Finding("encoding", "utf-8", round(sure, 2), (), OPTION)
    ranked = _legacy(seen.lines)
    if not seen.bad:  # A few characters may be UTF-8 by chance: still that is likelier than anything else.
        own = plausible(Decoder("utf-8").decode(seen.lines))[0]
        rivals = tuple(name for score, name, _ in ranked[:3] if score > own + 0.3)
        return "utf-8", 0, Finding("encoding", "utf-8", 0.75 if rivals else 0.95, rivals, OPTION)
    if seen.bad <= 20 and (not ranked or ranked[0][0] < 0.4):
        return "utf-8", 0, Finding("encoding", "utf-8", 0.75, tuple(r[1] for r in ranked[:3]), OPTION)
    if not ranked:
        raise Unsure(f"the encoding of {name} cannot be told: say {OPTION} NAME", "encoding", (), OPTION)
    best, wins, text = ranked[0]
    rival = next((score for score, _, other in ranked[1:] if other != text), 0.0)
    count = plausible(text)[1]
    wins = next(name for name, _ in _LEGACY if any(r[1] == name and r[2] == text for r in ranked) or name == wins)
    doubt = 0.5 * math.exp(-(12 + 1.5 * min(count, 40)) * (best - rival))
    sure = round(min(0.99, best * 1.15) * (1 - doubt) * (0.9 if count < 3 else 1.0), 2)
    others = tuple(codec_name for _, codec_name, other in ranked[1:6] if other != text)[:4]
    if sure < SURE:
        raise Unsure(
            f"the encoding of {name} is not clear ({wins}? {', '.join(others[:3])}?): say {OPTION} NAME",
            "encoding",
            (wins, *others),
            OPTION,
        )
    return wins, 0, Finding("encoding", wins, sure, others, OPTION)


def _legacy(lines: bytes) -> list[tuple[float, str, str]]:
    """(score, codec, text) of all that may be, the best first."""
    raw = [line for line in lines.split(b"\n") if line]
    voice = _voice(lines[:16_384])
    found = []
    for name, prior in _LEGACY:
        good, failed = [], 0
        for line in raw:
            try:
                good.append(line.decode(name))
            except UnicodeDecodeError:
                failed += 1
        if good and failed * 10 <= len(raw):
            text = "\n".join(good)
            score = plausible(text[:20_000])[0] * prior * (1 - 2 * failed / len(raw))
            found.append((score + (0.05 if name == voice else 0.0), name, text))
    return sorted(found, key=lambda f: -f[0])


def _voice(data: bytes) -> str:
    with library("charset-normalizer"):
        from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    return "" if best is None else _SAME.get(codecs.lookup(best.encoding).name, codecs.lookup(best.encoding).name)


def texts(file: Input, encoding: Encoding, size: int = PIECE) -> Iterator[str]:
    """The text of a file in pieces; bad bytes as `Decoder` gives them."""
    with file.open() as stream:
        stream.read(encoding.mark)
        decoder = Decoder(encoding.codec)
        while piece := stream.read(size):
            if text := decoder.decode(piece):
                yield text
        if text := decoder.decode(b"", True):
            yield text


def damage(text: str) -> Finding | None:
    """What looks wrongly decoded by somebody before us, and NULs. The data stays as it is."""
    if text.isascii() and "????" not in text:
        return None
    found = _MOJIBAKE.findall(text)
    if not found:
        return None
    shown = ", ".join(sorted(set(found))[:5])
    return Finding(
        "mojibake", f"{clean(shown)} ({len(found)} places in the first lines): damaged before it came here", 0.9
    )

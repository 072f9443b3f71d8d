"""Words of others, made fit for people: whatever a peer or a row says is shown, and never obeyed by a terminal.

All of the node's log goes through here, so that no line of it can be forged. One test each:

1. Control characters are escaped, in the text of an error and of a traceback too.
2. A reason that names a node or a key of a peer carries none.
3. What fails while nobody waits for it is told once, one of our errors in its own words.
4. One thing is one thing, and several are several.
"""

from __future__ import annotations

import logging
import unicodedata

from protocol.errors import ReplicaError

_CONTROL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that move a cursor, turn the direction of writing, begin a line, or show nothing."""


def clean(text: object) -> str:
    """Text of a peer or a row, safe for a terminal: control characters are shown, not obeyed."""
    words = str(text)
    if words.isascii() and words.isprintable():
        return words
    return "".join(_escaped(c) if unicodedata.category(c) in _CONTROL else c for c in words)


def counted(count: int, one: str, how: str = "") -> str:
    """So many things: "1 row", "20 rows". `how`: the format of the number."""
    return f"{count:{how}} {one}" + "s" * (count != 1)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


class _Clean(logging.Filter):
    """Every record, as a line of clean text; a traceback keeps its lines, each with a bar before it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = clean(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            lines = logging.Formatter().formatException(record.exc_info).split("\n")
            record.exc_text = "\n".join(f"| {clean(line)}" for line in lines)
        return True


log = logging.getLogger("replica")
"""What a node tells whoever runs it."""
log.addFilter(_Clean("replica"))


class Telling:
    """Work for which nobody waits, and which is tried again and again: an error of it is logged, with these words if it is
    none of ours, and ends here. The same one is not told again before it went well once."""

    def __init__(self, failed: str) -> None:
        self._failed, self._told = failed, ""

    def __enter__(self) -> None:
        """Try it."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        words = "" if error is None else f"{type(error).__name__}: {error}"
        again, self._told = words == self._told, words
        if isinstance(error, Exception) and not again:
            if isinstance(error, ReplicaError):
                log.warning("%s", error)
            else:
                log.error(self._failed, exc_info=error)
        return isinstance(error, Exception)

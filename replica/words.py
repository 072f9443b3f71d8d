"""Words of others, made fit for people: whatever a peer or a row says is shown, and never obeyed by a terminal.

All of the node's log goes through here, so that no line of it can be forged. One test each:

1. Control characters are escaped, in the text of an error and of a traceback too.
2. A reason that names a node or a key of a peer carries none.
3. What fails while nobody waits for it is told, one of our errors in its own words.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from protocol.errors import ReplicaError

_CONTROL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that move a cursor, turn the direction of writing, begin a line, or show nothing."""


def clean(text: object) -> str:
    """Text of a peer or a row, safe for a terminal: control characters are shown, not obeyed."""
    words = str(text)
    if words.isascii() and words.isprintable():
        return words
    return "".join(_escaped(c) if unicodedata.category(c) in _CONTROL else c for c in words)


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


@contextmanager
def telling(failed: str) -> Iterator[None]:
    """Work for which nobody waits: an error of it is logged, with these words if it is none of ours, and ends here."""
    try:
        yield
    except ReplicaError as error:
        log.warning("%s", error)
    except Exception:
        log.exception(failed)

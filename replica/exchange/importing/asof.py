"""When the source last changed a row: the stamp of an import that looks at it (`--as-of`).

The stamp's node is not this one but the source, so two nodes that import the same row write the very same registers, and
an old export never overwrites what was edited since. A time to come is refused: it would win over every edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from protocol import limits
from protocol.hlc import pack
from protocol.keys import content_hash
from replica.exchange.rows import MISSING

_SECONDS_MAX = 1e11
"""A number above this is milliseconds: as seconds it would be the year 5138."""


_SECONDS_MIN = 315_532_800
"""1980: a lower number is no time of a computer, but a day number or a date."""


def author(source: str) -> bytes:
    """The node id that stands for a source in stamps."""
    return content_hash(b"source\0" + source.encode("utf-8", "surrogatepass"))


def moment(cell: Any) -> int:
    """Unix milliseconds of ISO 8601 (without an offset: UTC), of RFC 2822, or of a number of seconds or milliseconds since
    1970. Raises ValueError with a sentence."""
    if cell is None or cell is MISSING or cell == "":
        raise ValueError("no time in the row: it cannot be told whether it is newer")
    text = str(cell).strip()
    if len(text) != 8 and text.isascii() and text.replace(".", "", 1).isdecimal():
        number = float(text)
        seconds = number / 1000 if number > _SECONDS_MAX else number
        if seconds < _SECONDS_MIN:
            raise ValueError(f"{text!r} would be a time before 1980: write it as 2026-03-12T09:30:00Z")
        return int(seconds * 1000)
    try:
        time = datetime.fromisoformat(text.replace("/", "-") if text[4:5] == "/" else text)
    except ValueError:
        try:
            time = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            raise ValueError(f"{text[:40]!r} is no time: write it as 2026-03-12T09:30:00Z") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def stamps(cells: Sequence[Any], source: str, now_ms: int) -> tuple[list[bytes], dict[int, str]]:
    """The stamp of each row, and why it has none, by index."""
    node, out, reasons = author(source), [], {}
    for i, cell in enumerate(cells):
        try:
            time = moment(cell)
            if time > now_ms + limits.DRIFT_MS_MAX:
                raise ValueError(f"{str(cell)[:40]!r} is still to come: the clock of the source is wrong, or the column")
            out.append(pack(max(1, min(time, now_ms)), 0, node))
        except (ValueError, OverflowError) as error:
            out.append(b"")
            reasons[i] = str(error)
    return out, reasons

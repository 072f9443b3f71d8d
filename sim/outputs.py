"""Files that a command is to write, looked at before the work: no result is lost for a path that cannot be, and nobody's
database for one that was mistyped. One test each:

1. A path whose folder is not there, or that is a folder, is refused at once.
2. So is one that is read by the same command, and any SQLite database.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from replica.errors import UsageError

_SQLITE = b"SQLite format 3\0"


def check(outputs: Mapping[str, object], inputs: Mapping[str, object]) -> None:
    """Option -> path, if it was given. Raises UsageError."""
    read = {Path(str(path)).resolve(): option for option, path in inputs.items() if path}
    written: dict[Path, str] = {}
    for option, given in outputs.items():
        if given is None:
            continue
        if not str(given):
            raise UsageError(f"{option}: it names no file")
        path = Path(str(given))
        place = path.resolve()
        if path.is_dir():
            raise UsageError(f"{option} {path}: this is a folder; name a file in it")
        if not path.parent.is_dir():
            raise UsageError(f"{option} {path}: there is no folder {path.parent}")
        if other := read.get(place) or written.get(place):
            raise UsageError(f"{option} {path}: {other} names the same file")
        if path.is_file() and _begins(path) == _SQLITE:
            raise UsageError(f"{option} {path}: this is a database; it would be overwritten")
        written[place] = option


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_SQLITE))

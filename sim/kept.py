"""What a swarm has finished, in a file: a line of JSON for each seed, after one that says whose they are.

A result counts for one state of the program, one set of options, and one content of the database that the worlds begin with.
One test each:

1. A torn last line is run again; any other damage is told with its line, and the file left alone.
2. A file of other options, of another program or another database is refused, and it is said which.
3. What is no plain file is refused without reading it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from replica.errors import UsageError

Found = dict[str, Any]
"""What is kept of a seed."""

NEEDED: dict[str, type | tuple[type, ...]] = {"seed": int, "ok": bool, "invariant": str, "cpu_s": (int, float)}
WHOSE = {"swarm": "other options", "program": "another state of the program", "db": "another content of the database"}


@cache
def program() -> str:
    """A digest of the sources of engine and simulator."""
    root, found = Path(__file__).parent.parent, blake2b(digest_size=8)
    for package in ("protocol", "replica", "sim"):
        for path in sorted((root / package).rglob("*.py")):
            found.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


@contextlib.contextmanager
def kept(state: Path | None, options: dict[str, Any], db: str) -> Iterator[tuple[list[Found], Callable[[Found], None]]]:
    """The lines of a file, and what adds one. Raises UsageError."""
    if state is None:
        yield [], lambda _: None
        return
    if state.exists() and not state.is_file():
        raise UsageError(f"{state}: this is no plain file; name one")
    head = json.loads(json.dumps({"swarm": options, "program": program(), "db": _content(db)}))
    try:
        data = state.read_bytes() if state.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # What follows was torn by a crash.
        first, *lines = [_read(line, f"{state}: line {n}") for n, line in enumerate(whole.split(b"\n")[:-1], 1)] or [head]
    except OSError as error:
        raise UsageError(f"{state}: it cannot be read: {error}") from None
    if other := [what for key, what in WHOSE.items() if first.get(key) != head[key]]:
        raise UsageError(f"{state}: it is the file of another swarm: {', '.join(other)}; give this one another name")
    for n, line in enumerate(lines, 2):
        if bad := [key for key, kind in NEEDED.items() if not isinstance(line.get(key), kind)]:
            raise UsageError(f"{state}: line {n}: it has no {bad[0]!r} that makes sense; remove the line, or the file")
    with state.open("ab") as file:

        def keep(line: Found) -> None:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()

        file.truncate(len(whole))
        if not whole:
            keep(head)
        yield lines, keep


def _content(db: str) -> str:
    """A digest of a database, with what is still in its log."""
    found = blake2b(digest_size=8)
    for path in (Path(db), Path(f"{db}-wal")) if db else ():
        if path.is_file():
            with path.open("rb") as file:
                found.update(file_digest(file, "blake2b").digest())
    return found.hexdigest()


def _read(line: bytes, where: str) -> Found:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{where}: it cannot be used: {error}; remove the line, or the file") from None
    if not isinstance(found, dict):
        raise UsageError(f"{where}: it cannot be used: it is no object; remove the line, or the file")
    return found

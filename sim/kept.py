"""What a swarm has finished, in a file: a line of JSON for each seed, after one that says whose they are.

A result counts for one state of the program, one set of options, and one content of the database that the worlds begin with.
One test each:

1. A torn last line is run again; any other damage is told with its line, and the file left alone; so is what never was a
   file of a swarm.
2. A file of other options, of another program or another database is refused, and it is said which.
3. What is no plain file is refused without reading it.
4. Two swarms do not write one file at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from replica.errors import UsageError
from sim.theirs import theirs

if sys.platform != "win32":
    import fcntl

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


@contextmanager
def kept(state: Path | None, options: dict[str, Any], db: str) -> Iterator[tuple[list[Found], Callable[[Found], None]]]:
    """The lines of a file, and what adds one. Raises UsageError."""
    if state is None:
        yield [], lambda _: None
        return
    if state.exists() and not state.is_file():
        raise UsageError(f"{state}: this is no plain file; name one")
    head = json.dumps({"swarm": options, "program": program(), "db": _content(db)}).encode() + b"\n"
    with state.open("a+b") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{state}: another swarm is writing it; wait, or give this one another name") from None
        file.seek(0)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # What follows was torn by a crash.
        lines = _lines(state, whole, json.loads(head)) if whole else []
        if not whole and not head.startswith(data):
            raise UsageError(f"{state}: this is no file of a swarm; give another name")

        def keep(line: Found) -> None:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()

        file.truncate(len(whole))
        if not whole:
            file.write(head)
        yield lines, keep


def _lines(state: Path, whole: bytes, head: Found) -> list[Found]:
    first, *others = whole.split(b"\n")[:-1]
    whose = _read(first)
    if whose is None or "swarm" not in whose:
        raise UsageError(f"{state}: this is no file of a swarm; give another name")
    if other := [what for key, what in WHOSE.items() if whose.get(key) != head[key]]:
        raise UsageError(f"{state}: it is the file of another swarm: {', '.join(other)}; give this one another name")
    lines = []
    for n, text in enumerate(others, 2):
        line = _read(text)
        if line is None or not all(isinstance(line.get(key), kind) for key, kind in NEEDED.items()):
            raise UsageError(f"{state}: line {n} is no result of a seed; remove it, and the seed is run again")
        lines.append(line)
    return lines


def _content(db: str) -> str:
    """A digest of what is read of a database."""
    if not db:
        return ""
    with closing(theirs(db)) as own:
        return blake2b(own.serialize(), digest_size=8).hexdigest()


def _read(line: bytes) -> Found | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

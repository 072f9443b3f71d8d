"""Real files and real processes for the tale: a directory, a command line, servers.

1. A directory is emptied only if an earlier demonstration marked it, and only of names that one leaves.
2. The user's database is copied as a consistent snapshot; nothing is written to it or beside it.
3. A server is ready when it says so on its output; every server started is stopped, whatever happens.
4. An invite, which is a secret, is never printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from replica.demo.plot import NODES

MARKER = ".made-by-replica-demo"
COMMAND = (sys.executable, "-m", "replica.cli")
READY_S_MAX = 60.0  # a server that has said nothing for so long has failed
COMMAND_S_MAX = 3_600.0  # a user's database may be large
STOP_S_MAX = 15.0  # then it is killed
OUTPUT_LINES_MAX = 12  # of a failed command's output, shown to the reader


class DemoError(Exception):
    """The demonstration cannot go on; the text says why, for whoever ran it."""


class Output(NamedTuple):
    code: int  # as the process returned it
    lines: list[str]
    seconds: float


# --- Files ------------------------------------------------------------------------------------------------


def prepare(directory: Path, original: Path | None) -> None:
    """Create the directory, or empty it of what an earlier run left."""
    if original is not None and not original.is_file():
        raise DemoError(f"there is no file {original}")
    if original is not None and directory.resolve() in original.resolve().parents:
        raise DemoError(f"{original} lies in {directory}, which is emptied first: choose another --keep")
    if directory.exists() and not directory.is_dir():
        raise DemoError(f"{directory} is not a directory")
    found = sorted(directory.iterdir()) if directory.exists() else []
    if found and not (directory / MARKER).is_file():
        raise DemoError(f"{directory} was not made by this demonstration: not touched (use --keep DIR)")
    foreign = [path.name for path in found if not _is_ours(path)]
    if foreign:
        raise DemoError(f"{directory} holds {', '.join(foreign)}, not made by this demonstration: not touched")
    for path in found:
        if path.name != MARKER:
            path.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARKER).write_text("Emptied by the next `python -m replica.demo`.\n", encoding="utf-8")


def _is_ours(path: Path) -> bool:
    names = "|".join(NODES)
    left = rf"({names})\.(db([-.][\w.-]+)?|log)|{re.escape(MARKER)}"  # side files of SQLite and ours too
    return path.is_file() and re.fullmatch(left, path.name) is not None


def copy_database(original: Path, target: Path) -> None:
    """Copy a database that other programs may be using."""
    try:
        with original.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise DemoError(f"cannot read {original}: {error.strerror}") from error
    if header[:16] != b"SQLite format 3\x00":
        raise DemoError(f"{original} is not an SQLite database")
    log, index = (original.with_name(original.name + suffix) for suffix in ("-wal", "-shm"))
    try:
        if header[18] == 2 and not index.exists():
            # In WAL mode even a reader creates files beside the database. Nobody has it open, so copy plainly.
            shutil.copyfile(original, target)
            if log.exists():
                shutil.copyfile(log, target.with_name(target.name + "-wal"))
            return
        uri = f"{original.resolve().as_uri()}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
    except (sqlite3.Error, OSError) as error:
        raise DemoError(f"cannot copy {original}: {error}") from error


# --- Processes --------------------------------------------------------------------------------------------


def shown(arguments: Sequence[str], secret: str | None = None) -> str:
    """The command as a reader would type it."""
    return shlex.join(["replica", *("INVITE" if word == secret else word for word in arguments)])


def run(*arguments: str, secret: str | None = None, codes: Container[int] | None = (0,)) -> Output:
    """Run one command to its end. DemoError if its exit code is not in `codes`; None means any."""
    began = perf_counter()
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            check=False, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            env=_environment(), timeout=COMMAND_S_MAX,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DemoError(f"{shown(arguments, secret)} did not end in {COMMAND_S_MAX:.0f} s") from None
    if codes is not None and done.returncode not in codes:
        said = done.stdout + done.stderr
        if secret:
            said = said.replace(secret, "INVITE")
        raise DemoError(f"{shown(arguments, secret)} failed, exit code {done.returncode}:\n{_tail(said)}")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return Output(done.returncode, lines, perf_counter() - began)


def run_json(*arguments: str, codes: Container[int] | None = (0,)) -> Any:
    """Run a command with --json and return what it printed."""
    output = run(*arguments, "--json", codes=codes)
    try:
        return json.loads("\n".join(output.lines))
    except json.JSONDecodeError:
        text = _tail("\n".join(output.lines))
        command = f"{shown(arguments)} --json"
        raise DemoError(f"{command}, exit code {output.code}, printed no JSON:\n{text}") from None


def _tail(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-OUTPUT_LINES_MAX:])


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


@dataclass
class Server:
    """One `replica serve` process; `url` is what it printed."""

    process: subprocess.Popen[str]
    reader: threading.Thread
    url: str


class Servers:
    """The servers of the tale. Leaving the context stops those that still run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, Server] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, node: str) -> str:
        """Serve this node's file and return the URL, once the server listens."""
        arguments = ["serve", str(self._directory / f"{node}.db"), "--listen", "127.0.0.1:0"]
        journal = self._directory / f"{node}.log"
        with journal.open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", errors="replace",
                env=_environment(),
            )  # fmt: skip
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert process.stdout is not None
        reader = threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True)
        reader.start()
        server = self._running[node] = Server(process, reader, "")
        try:
            while (line := lines.get(timeout=READY_S_MAX)) is not None:
                if found := re.search(r"listening on (wss?://\S+)", line):
                    server.url = found[1]
                    return server.url
        except queue.Empty:
            raise DemoError(f"{shown(arguments)} was not ready in {READY_S_MAX:.0f} s; see {journal}") from None
        said = journal.read_text(encoding="utf-8", errors="replace")
        raise DemoError(f"{shown(arguments)} ended before it listened:\n{_tail(said)}")

    def stop(self) -> None:
        """Terminate what runs, and wait until it has ended."""
        for server in self._running.values():
            server.process.terminate()
        while self._running:
            _, server = self._running.popitem()
            try:
                server.process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
            server.reader.join()
            if server.process.stdout is not None:
                server.process.stdout.close()


def _pump(output: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Keep reading, so that a talkative server never blocks on a full pipe."""
    for line in output:
        lines.put(line)
    lines.put(None)

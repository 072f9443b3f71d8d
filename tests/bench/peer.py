"""One node in a process of its own, told what to do on standard input, with its measures.

`python -m tests.bench.peer FILE` is the process: one JSON list a line in, [command, arguments...]; one JSON object out.
`Peer` drives it. Measured inside: the longest time that the event loop did not run (a task that wakes every 5 ms), the
bytes of frames by kind, the time of each session without its upgrade, and the peak of resident memory.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import replica
from protocol.session import Session
from replica import transport
from replica.node import Node
from replica.sync_report import SyncReport

HEARTBEAT_SECONDS = 0.005
KINDS = ("", "hello", "sample", "nodes", "have", "want", "records", "end", "bye")


# --- inside the process -----------------------------------------------------------------------------------------------


def resident_mb() -> float:
    """Peak of this process's resident memory. Not ru_maxrss where it can be helped: that one counts the parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


class _Measures:
    def __init__(self) -> None:
        self.block = 0.0
        self.session = 0.0
        self.bytes = dict.fromkeys(KINDS[1:], 0)

    async def heartbeat(self) -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self.block = max(self.block, perf_counter() - began - HEARTBEAT_SECONDS)

    def install(self) -> None:
        """Count what every session says and hears, and time it."""
        pull, receive, converse = Session.pull, Session.receive, transport.converse

        def counted_pull(session: Session, now_ms: int) -> bytes | None:
            frame = pull(session, now_ms)
            if frame is not None:
                self.bytes[KINDS[frame[1]]] += len(frame)
            return frame

        def counted_receive(session: Session, frame: bytes, now_ms: int) -> None:
            self.bytes[KINDS[frame[1]]] += len(frame)
            receive(session, frame, now_ms)

        async def timed(*args: Any, **more: Any) -> None:
            began = perf_counter()
            await converse(*args, **more)
            self.session = perf_counter() - began

        for owner, name, measured in (
            (Session, "pull", counted_pull), (Session, "receive", counted_receive), (transport, "converse", timed),
        ):  # fmt: skip
            setattr(owner, name, measured)

    def taken(self) -> dict[str, Any]:
        """What was measured since the last time."""
        told: dict[str, Any] = {
            "rss_mb": resident_mb(),
            "block_ms": self.block * 1000,
            "session_ms": self.session * 1000,
        }
        told["bytes"] = dict(self.bytes)
        self.block = 0.0
        self.bytes = dict.fromkeys(self.bytes, 0)
        return told


async def _run(path: str) -> None:
    measures = _Measures()
    measures.install()
    loop = asyncio.get_running_loop()
    async with replica.open(path) as node:
        beat = asyncio.create_task(measures.heartbeat())
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command, *arguments = json.loads(line)
            answer = await _commands[command](node, *arguments)
            if command == "measures":
                answer = measures.taken()
            print(json.dumps(answer), flush=True)
        beat.cancel()


async def _serve(node: Node) -> str:
    return (await node.serve()).url


async def _sync(node: Node, url: str) -> dict[str, Any]:
    return (await node.sync(url)).as_json()


async def _absorb(node: Node) -> list[object]:
    await node.call(node.store.absorb)
    root, count = await node.call(node.store.root)
    return [root.hex(), count]


async def _nothing(node: Node) -> None:
    """Measures come from elsewhere."""


_commands: dict[str, Callable[..., Any]] = {"serve": _serve, "sync": _sync, "absorb": _absorb, "measures": _nothing}


# --- outside ----------------------------------------------------------------------------------------------------------


class Peer:
    """A running process with one node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        command = [sys.executable, "-m", "tests.bench.peer", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, *command: object) -> Any:
        """Have it do something; returns its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the node on {self.path.name} died: see above")
        return json.loads(line)

    def serve(self) -> str:
        """Listen; returns the address."""
        return str(self.tell("serve"))

    def sync(self, url: str) -> SyncReport:
        """Meet the other one. Raises RuntimeError unless both are in sync afterwards."""
        report = SyncReport(**self.tell("sync", url))
        if not report.in_sync:
            raise RuntimeError(f"the sync ended {report.outcome}: {report.text}")
        return report

    def measures(self) -> dict[str, Any]:
        """Measures since they were last asked for."""
        return dict(self.tell("measures"))


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1]))

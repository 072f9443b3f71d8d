"""One node in a process of its own, told what to do on standard input, with its measures.

`python -m tests.bench.peer FILE FULL|NORMAL [CORE]` is the process: one JSON list a line in, [command, arguments...]; one
JSON value out. `Peer` drives it. Measured inside: the longest time that the event loop did not run (a task that wakes
every 5 ms), the time of each session without its upgrade, CPU time, and the peak of resident memory. Bytes are counted
outside, by `proxy`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from types import TracebackType
from typing import Any, Self

import replica
from replica import transport
from replica.node import Node
from replica.sync_report import SyncReport

HEARTBEAT_SECONDS = 0.005


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

    async def heartbeat(self) -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self.block = max(self.block, perf_counter() - began - HEARTBEAT_SECONDS)

    def install(self) -> None:
        """Time every session."""
        converse = transport.converse

        async def timed(*args: Any, **more: Any) -> None:
            began = perf_counter()
            await converse(*args, **more)
            self.session = perf_counter() - began

        transport.converse = timed

    def taken(self) -> dict[str, Any]:
        """What was measured since the last time."""
        told: dict[str, Any] = {
            "rss_mb": resident_mb(),
            "block_ms": self.block * 1000,
            "session_ms": self.session * 1000,
            "cpu_s": process_time(),
        }
        self.block = 0.0
        return told


async def _run(path: str, *, durable: bool) -> None:
    measures = _Measures()
    measures.install()
    loop = asyncio.get_running_loop()
    async with replica.open(path, durable=durable) as node:
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


async def _edit(node: Node, changes: list[list[str]]) -> None:
    for field, value, id_ in changes:
        await node.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, id_))


async def _query(node: Node, sql: str) -> list[Any]:
    return await node.query(sql)


async def _absorb(node: Node) -> list[object]:
    await node.call(node.store.absorb)
    root, count = await node.call(node.store.root)
    return [root.hex(), count]


async def _nothing(node: Node) -> None:
    """Measures come from elsewhere."""


_commands: dict[str, Callable[..., Any]] = {
    "serve": _serve, "sync": _sync, "edit": _edit, "query": _query, "absorb": _absorb, "measures": _nothing,
}  # fmt: skip


# --- outside ----------------------------------------------------------------------------------------------------------


class Peer:
    """A running process with one node."""

    def __init__(self, path: Path, *, durable: bool = True, core: int | None = None) -> None:
        """`core`: the only one that it may use."""
        self.path = path
        command = [sys.executable, "-m", "tests.bench.peer", str(path), "FULL" if durable else "NORMAL"]
        command += [] if core is None else [str(core)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

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
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    asyncio.run(_run(sys.argv[1], durable=sys.argv[2] == "FULL"))

"""People's statements through the node: acknowledged when they are on the disk, and stamped soon after, not within them.

What is acknowledged so is what another program's transaction is: durable, not yet a record, and the engine's to find. Only
this is new: the acknowledgement comes from the engine, which may give it for nothing. One test each:

1. A statement through the node is acknowledged before it is stamped, and the oracle waits for it as for another program's.
2. Where nothing else ran since, what stood in the transaction stands in the file when it is acknowledged: else that is I2.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from protocol.errors import ReplicaError
from replica.node import Node
from replica.store.core import Core
from replica.store.statement import statement
from sim.diary import Row
from sim.result import Work
from sim.scenario import Event

if TYPE_CHECKING:
    from sim.machine import Machine

Keys = Sequence[tuple[str, tuple[Any, ...]]]


class Through:
    """What the people of one machine have asked of its node."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._asked: list[Keys] = []
        """Rows of the writes under way."""
        self._eyes: sqlite3.Connection | None = None
        """What people look through; the disk closes it when the node dies."""

    @contextmanager
    def asking(self, keys: Keys) -> Iterator[None]:
        """A write of these rows by the node is under way."""
        oracle, name = self._machine.world.oracle, self._machine.name
        self._asked.append(keys)
        oracle.user_asks(name, len(self._asked))
        try:
            yield
        finally:
            self._asked.remove(keys)
            oracle.user_asks(name, len(self._asked))

    def died(self) -> None:
        """The node is no more: nobody knows what became of what was under way."""
        oracle, name = self._machine.world.oracle, self._machine.name
        oracle.user_unsure(name, [key for keys in self._asked for key in keys])
        oracle.user_asks(name, 0)

    def look(self, keys: Keys) -> list[Row]:
        """What now stands in these rows."""
        machine = self._machine
        with machine.disk.unharmed():
            if self._eyes is None or self._eyes not in machine.disk.opened:
                self._eyes = machine.disk.foreign()
            return [(table, key, machine.row(self._eyes, table, key)) for table, key in keys]

    def acknowledged(self, keys: Keys) -> list[Row]:
        """People were told that these rows are safe: they hold the engine to what they now see. Returns that."""
        seen = self.look(keys)
        with self._machine.disk.unharmed():
            self._machine.world.oracle.user_wrote(self._machine.name, seen)
        return seen

    async def execute(self, node: Node, event: Event, keys: Keys) -> None:
        """`Node.execute` of the one statement of this event, with a look at the rows within the transaction."""
        machine, (sql,) = self._machine, event.with_["sql"]
        run, tables = statement(sql), tuple(dict.fromkeys(table for table, _ in keys))
        inside: list[tuple[list[Row], object]] = []

        def write(core: Core) -> None:
            run(core)
            with machine.disk.unharmed():
                rows = [(table, key, machine.row(core.db, table, key)) for table, key in keys]
            inside[:] = [(rows, self._moment())]

        with self.asking(keys):
            try:
                await node._waiting.write(write)
                node._soon.wrote()
            except (ReplicaError, sqlite3.Error, sqlite3.Warning) as error:
                machine.world.worked(Work(event.at, machine.name, event.kind, False, tables), f"{sql[:80]}: {error}")
                return
            alone = inside[0][1] == self._moment()
            seen = self.acknowledged(keys)
            machine.world.worked(Work(event.at, machine.name, event.kind, True, tables), sql[:80])
            machine.world.count("statements through the node")
        if alone and not self._asked and seen != inside[0][0]:
            text = f"{sql[:80]}: acknowledged, and then {seen!r:.100} stood where {inside[0][0]!r:.100} had been"
            machine.world.fail("I2", machine.name, text)

    def _moment(self) -> object:
        """Equal to another, if nothing else has run at this machine in between."""
        return self._machine.world.loop.time(), self._machine.jobs, self._machine.written, len(self._asked)

"""`replica.open`: a node on a file that may have to be made first.

One test each:

1. A file that is not there is made in the group of the invite, or in a new one, without blocking the event loop.
2. An invite of another group than the file's is refused; one of the same group is fine.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from replica.errors import UsageError
from replica.invite import Invite
from replica.invite import decode as decode_invite
from replica.node import Node
from replica.store.store import initialize


class _Joined(Node):
    """A node whose file is made, or found to be of the right group, when it starts."""

    def __init__(self, path: str | Path, invite: Invite | None, name: str, durable: bool) -> None:
        super().__init__(path, durable=durable)
        self._invite, self._name = invite, name

    async def start(self) -> Node:
        await asyncio.to_thread(self._make)
        await super().start()
        if self._invite is not None and self.store.group_keys.group != self._invite.secrets.group:
            await self.close()
            raise UsageError(
                f"{self.path} is part of another replication group than the invite is for: open it without join=, or join "
                "with another file"
            )
        return self

    def _make(self) -> None:
        if not Path(self.path).exists():
            initialize(self.path, self._name, self._invite.secrets if self._invite else None)


def open(path: str | Path, *, join: str | None = None, name: str | None = None, durable: bool = True) -> Node:
    """A node on this file, for `async with`. A file that is not there is made then, with this `name` (that of the file, if
    none is given): in the group of the invite `join`, or in a new group. Raises UsageError for what is no invite; `async
    with` raises StoreError, or UsageError if the file is of another group than the invite."""
    return _Joined(path, decode_invite(join) if join else None, name or Path(path).stem, durable)

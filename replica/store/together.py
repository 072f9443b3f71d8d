"""Group commit: writes that wait for the store at one moment share a transaction, and so one sync of the disk.

Each stands behind a savepoint, so that one which is refused leaves the others alone; what they wrote is stamped and
digested together, before the one commit. One test each:

1. Each write returns or raises what it would alone, and nobody hears of his before it is committed.
2. A refused write leaves nothing: no row, no stamp, no change that anybody is told of.
3. If the disk ends the transaction under all of them, or something cannot be absorbed, each is tried alone.
4. A statement that changed a definition ends its group: the next one begins with what the definitions are now.
5. Root and count are right after many changes too, when the trie is brought up to date before the end.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, NamedTuple

from protocol.errors import OurFault
from replica.errors import StoreBusy, UsageError
from replica.store.absorb import absorb_all
from replica.store.core import Core
from replica.store.put import Row, put_many

Write = Callable[[Core], Any]
"""One write, in a transaction that somebody else began. It leaves its plain SQL to be absorbed."""


_CONTROL = re.compile(
    r"(?>[\s;\ufeff]|--[^\n]*\n|/\*.*?\*/)*+(BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE|VACUUM|ATTACH|DETACH)\b",
    re.I | re.S,
)


_Columns = tuple[list[str], list[Any]]


def statement(sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> Callable[[Core], _Columns]:
    """One SQL statement: (columns, rows). Raises UsageError for one about transactions."""
    if control := _CONTROL.match(sql):
        raise UsageError(f"{control[1].upper()} has no place here: each call is one transaction of its own")

    def run(core: Core) -> _Columns:
        cursor = core.db.execute(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        return [d[0] for d in cursor.description or ()], rows

    return run


class Rows:
    """`put_many` of a few rows, when nothing waits to be absorbed: its fast way counts on that."""

    def __init__(self, table: str, rows: Sequence[Row]) -> None:
        self.table, self.rows = table, rows

    def __call__(self, core: Core) -> int:
        """Returns how many."""
        return put_many(core, self.table, self.rows)


class Done(NamedTuple):
    """How a write ended: with a value, or with an error."""

    value: Any = None
    error: BaseException | None = None


def together(
    core: Core, writes: Sequence[Write], transaction: Callable[[], AbstractContextManager[Core]]
) -> list[Done]:
    """Run these writes, in order, each as if alone, in as few transactions as may be. `transaction` makes one in which
    nothing waits to be absorbed. Errors of a write are returned; everything else is raised."""
    done: list[Done] = []
    while len(done) < len(writes):
        done += _some(core, writes[len(done) :], transaction)
    return done


class _Ended(Exception):
    """The whole transaction is lost."""


def _some(core: Core, writes: Sequence[Write], transaction: Callable[[], AbstractContextManager[Core]]) -> list[Done]:
    """The first few of these, at least one."""
    if len(writes) == 1:
        return [_alone(writes[0], transaction)]
    done: list[Done] = []
    try:
        with transaction():
            for _, some in groupby(writes, lambda write: write.table if isinstance(write, Rows) else write):
                done += _alike(core, list(some))
                if core.schema_moved:
                    break
            _absorb(core)
    except StoreBusy as error:  # Each would wait as long again.
        return [Done(error=error)] * len(writes)
    except (OurFault, sqlite3.Error, _Ended):  # Nothing was committed.
        return [_alone(write, transaction) for write in writes]
    return done


def _alone(write: Write, transaction: Callable[[], AbstractContextManager[Core]]) -> Done:
    try:
        with transaction() as core:
            value = write(core)
            absorb_all(core)
    except Exception as error:
        return Done(error=error)
    return Done(value)


def _alike(core: Core, writes: Sequence[Write]) -> list[Done]:
    """Rows of one table are put by one call; if that fails, the careful way says whose they are that cannot be."""
    rows = [write for write in writes if isinstance(write, Rows)]
    if rows:
        _absorb(core)
    if len(rows) > 1:
        whole = _one(core, Rows(rows[0].table, [row for write in rows for row in write.rows]))
        if whole.error is None:
            return [Done(len(write.rows)) for write in rows]
    return [_one(core, write) for write in writes]


def _absorb(core: Core) -> None:
    """Absorb what writes before this left. Whose it is that cannot be absorbed shows only when each is alone."""
    try:
        absorb_all(core)
    except Exception as error:
        raise _Ended from error


def _one(core: Core, write: Write) -> Done:
    try:
        with core.reporting(), core.savepoint():
            return Done(write(core))
    except Exception as error:
        if not core.db.in_transaction:
            raise _Ended from error
        core.reload()  # What was refused may have made fields.
        return Done(error=error)

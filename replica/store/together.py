"""Group commit: writes that wait for the store at one moment share a transaction, and so one sync of the disk.

They run one after the other. A statement is what any other program's is: it leaves its rows in the outbox, and is
acknowledged when they are on the disk; who needs their stamps absorbs first. If a write is refused, all is undone and done
again with each behind a savepoint, so that it leaves the others alone. One test each:

1. Each write returns or raises what it would alone, and nobody hears of his before it is committed.
2. A refused write leaves nothing: no row, no stamp, no change that anybody is told of.
3. If the disk ends the transaction under all of them, or what waits cannot be absorbed for one of them, each is tried alone.
4. A statement that changed a definition ends its group: the next one begins with what the definitions are now.
5. Root and count are right after many changes too, when the trie is brought up to date before the end.
6. Statements stamp nothing, and what waits is not in their way; rows are put when nothing waits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any, NamedTuple

from protocol.errors import OurFault
from replica.errors import StoreBusy
from replica.store import index
from replica.store.absorb import absorb_all
from replica.store.careful import Row
from replica.store.core import Core
from replica.store.put import put_many

_Transaction = Callable[[], AbstractContextManager[Core]]

Write = Callable[[Core], Any]
"""One write, in a transaction that somebody else began. It leaves its plain SQL to be absorbed."""


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


def together(core: Core, writes: Sequence[Write], transaction: _Transaction) -> list[Done]:
    """Run these writes, in order, each as if alone, in as few transactions as may be. What statements wrote is left to be
    absorbed. `transaction` makes a transaction in which nothing waits for that. Errors of a write are returned; everything
    else is raised."""
    done: list[Done] = []
    while len(done) < len(writes):
        done += _some(core, writes[len(done) :], transaction)
    return done


class _Ended(Exception):
    """The whole transaction is lost."""


@contextmanager
def _begin(core: Core, writes: Sequence[Write], transaction: _Transaction) -> Iterator[None]:
    """A transaction for these writes. Whoever absorbs what statements left copies the log too."""
    if any(isinstance(write, Rows) for write in writes):
        with transaction():
            yield
    else:
        with core.pace.unhurried(), core.transaction(index.flush):
            yield


def _some(core: Core, writes: Sequence[Write], transaction: _Transaction) -> list[Done]:
    """The first few of these, at least one."""
    if len(writes) == 1:
        return [_alone(core, writes[0], transaction)]
    for run in (_boldly, _carefully):
        try:
            with _begin(core, writes, transaction):
                return run(core, writes)
        except StoreBusy as error:  # Each would wait as long again.
            return [Done(error=error)] * len(writes)
        except (OurFault, sqlite3.Error, _Ended):  # Nothing was committed: there is another way.
            continue
    return [_alone(core, write, transaction) for write in writes]


def _boldly(core: Core, writes: Sequence[Write]) -> list[Done]:
    """All of them without savepoints, each of which costs half as much as a write."""
    done: list[Done] = []
    try:
        for alike in _groups(writes):
            rows = _rows(alike)
            if rows is not None:
                _absorb(core)
                rows(core)
                done += [Done(len(write.rows)) for write in alike if isinstance(write, Rows)]
            else:
                done += [Done(write(core)) for write in alike]
    except Exception as error:
        raise _Ended from error
    if core.schema_moved:
        raise _Ended
    return done


def _carefully(core: Core, writes: Sequence[Write]) -> list[Done]:
    """Each behind a savepoint, up to one that changes a definition."""
    done: list[Done] = []
    for alike in _groups(writes):
        done += _alike(core, alike)
        if core.schema_moved:
            break
    return done


def _groups(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """Rows of one table that follow each other, and each other write by itself."""
    for _, some in groupby(writes, lambda write: write.table if isinstance(write, Rows) else write):
        yield list(some)


def _rows(alike: Sequence[Write]) -> Rows | None:
    """These writes as one, if they are rows of one table."""
    rows = [write for write in alike if isinstance(write, Rows)]
    return Rows(rows[0].table, [row for write in rows for row in write.rows]) if rows else None


def _alone(core: Core, write: Write, transaction: _Transaction) -> Done:
    try:
        with _begin(core, [write], transaction):
            value = write(core)
    except Exception as error:
        return Done(error=error)
    return Done(value)


def _alike(core: Core, writes: Sequence[Write]) -> list[Done]:
    """Rows of one table are put by one call; if that fails, the careful way says whose they are that cannot be."""
    rows = _rows(writes)
    if rows is not None:
        _absorb(core)
        if len(writes) > 1:
            whole = _one(core, rows)
            if whole.error is None:
                return [Done(len(write.rows)) for write in writes if isinstance(write, Rows)]
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

"""Undo of an import: ordinary writes that put back what stood there, and leave alone what somebody edited since.

A record that the run made is deleted if nothing in it was written since: it is known by the stamp of its birth, on every
node. What the run overwrote is kept on its own node; a field gets its old value back if it still has the run's stamp.
Nothing is taken out of the past, so the undo replicates as any edit does. One test each:

1. What nobody touched since is as it was before the run.
2. What somebody edited since is kept, and listed with the editor.
3. To import the file again after its undo brings the records back.
4. Records that two nodes made of one file stay until both runs are undone.
5. Records of its collections that were deleted and made again since stay, and are listed: of which run the first was, is
   gone with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgpack

from protocol.hlc import is_base
from protocol.record import Delta, fold
from protocol.values import unpack_value
from replica.errors import UsageError
from replica.exchange.importing import runs
from replica.exchange.importing.runs import Run
from replica.store import ddl
from replica.store.apply import apply
from replica.store.core import Core
from replica.store.report import printable
from replica.store.state import State, load
from replica.store.store import Store

ROWS = 4_096
KEPT_MAX = 1_000
"""Kept records that are listed; all are counted."""


@dataclass(slots=True)
class Kept:
    """A record, or fields of one, that somebody wrote after the run. `again`: it was deleted and made again."""

    collection: str
    key: list[object]
    fields: list[str]
    by: list[str]
    again: bool = False


@dataclass(slots=True)
class Undone:
    """What an undo did: records deleted that the run had made, records whose fields were put back, and what was kept."""

    run: str
    deleted: int = 0
    restored: int = 0
    kept: int = 0
    listed: list[Kept] = field(default_factory=list)
    remade: int = 0
    """Records that were deleted and made again since the run began; listed too, without fields."""
    also: list[str] = field(default_factory=list)
    """Other runs of the same file: while one of them stands, so do the records that both made."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        listed = [asdict(kept) for kept in self.listed]
        return {
            "run": self.run,
            "deleted": self.deleted,
            "restored": self.restored,
            "kept": self.kept,
            "made_again": self.remade,
            "listed": listed,
            "also_imported_by": self.also,
        }


def undo(store: Store, name: str) -> Undone:
    """Undo a run; done in parts, each a transaction, so that an undo which is interrupted goes on when it is asked for
    again. Raises UsageError for a run that is not known, was undone, or was made on another node."""
    run = runs.named(store, name)
    if run.state == runs.UNDONE:
        raise UsageError(f"run {run.id} was undone already")
    done = Undone(run.id)
    with store.transaction() as core:
        noted = core.db.execute("SELECT 1 FROM _replica_import WHERE run = ? LIMIT 1", (run.id,)).fetchone()
        if not noted and run.node != core.clock.node.hex() and (run.counts.get("updated") or run.as_of):
            by = ddl.node_name(core, bytes.fromhex(run.node))
            raise UsageError(f"what run {run.id} overwrote is known on {by} alone: undo it there, and sync")
        if not run.undone:
            run.undone = core.clock.tick(core.now_ms()).hex()
            runs.write(core, run)
    now = bytes.fromhex(run.undone)
    twins = [r for r in runs.runs(store) if r.id != run.id and (r.digest, r.source) == (run.digest, run.source)]
    done.also = [r.id for r in twins if r.state != runs.UNDONE]
    own = frozenset(bytes.fromhex(r.stamp) for r in (run, *twins))
    for part in _noted(store, [] if done.also else sorted(own), run):
        with store.transaction() as core:
            _take_back(core, part, now, own, done)
            gone = [(run.id, key) for key, _, _ in part]
            core.db.executemany("DELETE FROM _replica_import WHERE run = ? AND key = ?", gone)
    with store.transaction() as core:
        _find_remade(core, run, own, done)
        run.state = runs.UNDONE
        runs.write(core, run)
    return done


def _find_remade(core: Core, run: Run, own: frozenset[bytes], done: Undone) -> None:
    """Count and list the records that were deleted after the run began, and made again by somebody."""
    tables = [core.by_name[fold(k.collection)].tbl for k in run.collections if fold(k.collection) in core.by_name]
    began, undone = bytes.fromhex(run.stamp).hex(), bytes.fromhex(run.undone).hex()
    sql = (
        f"SELECT key, born FROM _replica_record WHERE tbl IN ({', '.join(map(str, tables))}) AND floor > x'{began}' "
        f"AND born > floor AND born <> x'{undone}' ORDER BY key"
    )
    for part in core.stream(sql, ROWS):
        keys = [key for key, born in part if born not in own]
        done.remade += len(keys)
        for state in load(core, keys[: max(0, KEPT_MAX - len(done.listed))]).values():
            by = [_writer(core, state.record.born)]
            done.listed.append(Kept(state.table.label, [printable(v) for v in state.pk], [], by, again=True))


def _noted(
    store: Store, births: Sequence[bytes], run: Run
) -> Iterator[list[tuple[bytes, bytes, bytes | None]]]:
    """(key, stamp, what stood there before) of what the run wrote, in parts: as it was noted, and the records with these
    stamps of birth."""
    while rows := store.query("SELECT key, stamp, before FROM _replica_import WHERE run = ? LIMIT ?", (run.id, ROWS)):
        yield rows
    sql = "SELECT key, born, NULL FROM _replica_record WHERE born = ? AND born > floor AND key > ? ORDER BY key LIMIT ?"
    for stamp in births:
        last = b""
        while rows := store.query(sql, (stamp, last, ROWS)):
            last = rows[-1][0]
            yield rows


def _take_back(
    core: Core, rows: list[tuple[Any, ...]], now: bytes, own: frozenset[bytes], done: Undone
) -> None:
    states = load(core, [key for key, _, _ in rows])
    deltas = []
    for key, stamp, before in rows:
        state = states.get(key)
        if state is not None and before is not None and state.record.floor == stamp and not state.record.live:
            deltas.append(_rebear(state, msgpack.unpackb(before), now))
            done.restored += 1
            continue
        if state is None or not state.record.live:
            continue  # Deleted since: that is taken back already.
        if before is None and done.also:
            continue
        if before is None:
            delta = _unmake(core, state, {stamp, *own}, now, done)
        else:
            delta = _restore(core, state, stamp, msgpack.unpackb(before), now, done)
        if delta is not None:
            deltas.append(delta)
    apply(core, deltas, core.now_ms())


def _unmake(core: Core, state: State, own: set[bytes], now: bytes, done: Undone) -> Delta | None:
    """Delete a record of the run (`own`: its stamps), unless somebody wrote in it since."""
    record = state.record
    later = sorted(n for n, (at, _) in record.registers.items() if at not in own and not is_base(at))
    if later or record.born not in own:
        _keep(core, state, later, done)
        return None
    done.deleted += 1
    return Delta(record.collection, record.id, now, b"", (), b"", b"", ())


def _restore(
    core: Core, state: State, stamp: bytes, before: dict[str, bytes], now: bytes, done: Undone
) -> Delta | None:
    registers = state.record.registers
    mine = sorted(n for n in before if n in registers and registers[n][0] == stamp)
    later = sorted(n for n in before if n in registers and registers[n][0] > stamp)
    if later:
        _keep(core, state, later, done)
    if not mine:
        return None
    done.restored += 1
    values = tuple(unpack_value(before[n]) for n in mine)
    return Delta(state.record.collection, state.record.id, b"", b"", tuple(mine), now, b"", values)


def _rebear(state: State, before: dict[str, bytes], now: bytes) -> Delta:
    """A record that the run deleted, as it was."""
    names = tuple(sorted(before))
    values = tuple(unpack_value(before[n]) for n in names)
    return Delta(state.record.collection, state.record.id, b"", now, names, now if names else b"", b"", values)


def _keep(core: Core, state: State, fields: list[str], done: Undone) -> None:
    done.kept += 1
    if len(done.listed) < KEPT_MAX:
        stamps = {state.record.registers[n][0] for n in fields} or {state.record.born}
        by = sorted({_writer(core, stamp) for stamp in stamps})
        columns = {c.folded: c.name for c in state.table.columns}
        names = [columns.get(fold(n), n) for n in fields]
        done.listed.append(Kept(state.table.label, [printable(v) for v in state.pk], names, by))


def _writer(core: Core, stamp: bytes) -> str:
    """Whose stamp it is, for people."""
    return core.name if stamp[8:] == core.clock.node else ddl.node_name(core, stamp[8:])

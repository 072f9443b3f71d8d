"""What `rescan` makes of records and of the small tables where bits have flipped, before it compares rows. One test each:

1. A record whose stored state makes no sense and whose row stands in the table is a local edit of now.
2. One without a row is dropped, in words: peers that have it bring it back. What this node itself has to say, it says anew.
3. What stands for no record is deleted; who is held and whose number it is follows from the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protocol.errors import ReplicaError
from protocol.record import pack_id, unpack_id
from protocol.values import pack_values
from replica.store import ddl
from replica.store.catalog import Table, marks
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.damage import NONSENSE, Place, named, unsound
from replica.store.shadow import SHOWN, load_shadows
from replica.store.show import UNKNOWN
from replica.store.state import fetch_rows, key_of, load, new, save, trim
from replica.store.verify import numbered

ROWS = 4_096
"""Records that are looked at together."""


def repair(core: Core) -> list[str]:
    """Mend what no comparison with rows can mend, in the caller's transaction, which makes the trie anew. Returns what was
    done, a sentence each."""
    bad = {row[0]: row for row in unsound(core)}
    bad.update({row[0]: row for row in _wrong(core, bad)})
    said = [_mend(core, *row) for row in bad.values()]
    if bad:
        _speak(core)
    said += _strays(core)
    for table in core.tables.values():
        if table.shape is not None and any(numbered(core, table)):
            _number(core, table)
            said.append(f"{table.label}: the numbers of its rows were found anew")
    return said


def _wrong(core: Core, known: dict[object, Place]) -> Iterator[Place]:
    """Records whose form is sound, and that are not what it says, where no comparison with a row would find it."""
    for part in core.stream("SELECT key, tbl, id, flags FROM _replica_record ORDER BY key", ROWS):
        by_table: dict[int, list[tuple[bytes, int, bytes, int]]] = {}
        for row in part:
            if row[0] not in known:
                by_table.setdefault(row[1], []).append(row)
        places, doubtful = {}, []
        for tbl, rows in by_table.items():
            table = core.tables[tbl]
            due = core.keys.record_keys(table.packed_name, [id_ for _, _, id_, _ in rows])
            for (key, _, id_, flags), own in zip(rows, due, strict=True):
                if key != own or (flags & SHOWN and table.shape is None):
                    yield key, tbl, id_
                elif flags != SHOWN:
                    places[key] = key, tbl, id_
                    doubtful.append(key)
        yield from (places[key] for key in _unreadable(core, doubtful))


def _unreadable(core: Core, keys: Sequence[bytes]) -> list[bytes]:
    try:
        found = []
        for key, state in load(core, keys).items():
            assert state.shadow is not None
            if core.keys.digest(state.record.encode()) != state.shadow.digest and not state.shown:
                found.append(key)
        return found
    except (ReplicaError, *NONSENSE):
        if len(keys) == 1:
            return list(keys)
    half = len(keys) // 2
    return [*_unreadable(core, keys[:half]), *_unreadable(core, keys[half:])]


def _mend(core: Core, key: object, tbl: object, id_: object) -> str:
    """Take the row of this record as an edit, if its id is known and its row stands; else forget the record. Its row, if
    there is one, is then a new one's."""
    name = named(core, key, tbl, id_)
    sql = f"DELETE FROM _replica_{{}} WHERE key IS {marks([key])}"
    for small in ("record", "extra", "held"):
        core.db.execute(sql.format(small), (key,))
    table = _table(core, key, tbl, id_)
    if table is not None and isinstance(id_, bytes) and _take_row(core, table, id_):
        return f"{named(core, key, table.tbl, id_)}: what was stored about it made no sense: its row is an edit of now"
    core.db.execute(sql.format("row"), (key,))
    return (
        f"{name}: what was stored about it made no sense, and no row is known to be its own: it was dropped here; peers "
        "that have it bring it back"
    )


def _table(core: Core, key: object, tbl: object, id_: object) -> Table | None:
    """Whose record it is: its key tells, else its number of a table, if that makes it a record which is not there."""
    keys = {t.tbl: key_of(core, t, id_) for t in core.tables.values()} if isinstance(id_, bytes) else {}
    for table in core.tables.values():
        if keys.get(table.tbl) == key or (table.tbl == tbl and keys and not load_shadows(core, [keys[table.tbl]])):
            return table
    return None


def _take_row(core: Core, table: Table, id_: bytes) -> bool:
    """Whether its row stands. It is the same record as before, but for its stamps."""
    try:
        pk, key = unpack_id(id_)[0], key_of(core, table, id_)
    except ReplicaError:
        return False
    if table.shape is None or len(pk) != len(table.shape.key):
        return False
    row = fetch_rows(core, table, [pk]).get(pack_id(pk))
    if row is None:
        return False
    if table.shape.rowid_alias:
        place = (table.tbl, pk[0], key)
        if core.rows("SELECT 1 FROM _replica_row WHERE tbl = ? AND pk = ? AND key <> ?", place):
            return False
        core.db.execute("INSERT OR REPLACE INTO _replica_row VALUES (?, ?, ?)", place)
    state, stamp = new(table, key, id_), core.clock.tick(core.now_ms())
    state.record.born, state.flags = stamp, SHOWN
    state.record.registers = {name: (stamp, value) for name, value in zip(table.names, pack_values(row), strict=True)}
    trim(core, state, stamp)
    save(core, [state])
    core.note(Change(table.collection, id_, "update", False))
    return True


def _speak(core: Core) -> None:
    """Say again what this node has to say of itself and of its tables, where that was dropped."""
    ddl.introduce(core)
    for table in list(core.tables.values()):
        if table.shape is not None:
            ddl.publish(core, table)


def _strays(core: Core) -> list[str]:
    """Delete what stands for no record; hold what lives and is not shown, by what is not known: it is looked at later."""
    done = [
        core.db.execute(f"DELETE FROM _replica_{small} WHERE key NOT IN (SELECT key FROM _replica_record)").rowcount
        for small in ("held", "past", "extra")
    ]
    live = "SELECT key FROM _replica_record WHERE born > floor AND NOT flags & 1"
    done.append(core.db.execute(f"DELETE FROM _replica_held WHERE key NOT IN ({live})").rowcount)
    shown, held = "SELECT key FROM _replica_record WHERE flags & 1", "SELECT key FROM _replica_held"
    done.append(
        core.db.execute(
            "UPDATE _replica_held SET blocker = ?1, reason = '' WHERE typeof(reason) <> 'text' OR typeof(blocker) NOT IN "
            f"('blob', 'null') OR blocker <> ?1 AND blocker NOT IN ({shown})",
            (UNKNOWN,),
        ).rowcount
    )
    own = "(SELECT tbl FROM _replica_record AS r WHERE r.key = _replica_held.key)"
    done.append(core.db.execute(f"UPDATE _replica_held SET tbl = {own} WHERE tbl IS NOT {own}").rowcount)
    for table in core.tables.values():
        if table.shape is not None:
            rest = f"INSERT INTO _replica_held SELECT key, ?1, '', ?2 FROM ({live} AND tbl = ?1 EXCEPT {held})"
            done.append(core.db.execute(rest, (table.tbl, UNKNOWN)).rowcount)
    return [f"{sum(done)} entries beside the records made no sense: they follow from the records again"] if any(done) else []


def _number(core: Core, table: Table) -> None:
    core.db.execute("DELETE FROM _replica_row WHERE tbl = ?", (table.tbl,))
    sql = f"SELECT id, key FROM _replica_record WHERE tbl = {table.tbl:d} AND flags & {SHOWN}"
    for part in core.stream(sql, ROWS):
        rows = [(table.tbl, unpack_id(id_)[0][0], key) for id_, key in part]
        core.db.executemany("INSERT OR REPLACE INTO _replica_row VALUES (?, ?, ?)", rows)

"""What an administrator asks of a store: status, why, held."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from protocol import limits
from protocol.errors import OurFault
from protocol.hlc import is_base, lowest, unpack
from protocol.record import fold, pack_id, unpack_id
from protocol.values import IllFormedText, Value, check, pack_value, unpack_value
from replica.errors import UsageError
from replica.store import absorb, index
from replica.store.catalog import Table, called, marks, quote
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.ddl import SYSTEM, node_name
from replica.store.shadow import SHOWN
from replica.store.show import engine_writes, kind_of, settle
from replica.store.state import State, key_of, load

Json = dict[str, Any]


def printable(value: object) -> object:
    """A value as JSON can say it: bytes as x'hex', and what is no finite number as "Infinity" or "NaN"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("inf", "Infinity").replace("nan", "NaN")
    if isinstance(value, IllFormedText):
        return f"ill-formed text x'{value.hex()}'"
    return f"x'{value.hex()}'" if isinstance(value, bytes) else value


def status(core: Core) -> Json:
    """Who this node is, what it holds, whom it met. Absorb first."""
    root, count = index.root(core)
    now = core.now_ms()
    clock_ahead = core.clock.last_ms - now
    tables = [_table_status(core, t) for t in core.tables.values() if t.collection not in SYSTEM]
    report: Json = {
        "node": core.clock.node.hex(),
        "name": core.name,
        "group": core.keys.group.hex(),
        "file": core.path,
        "scopes": [{"scope": "main", "root": root.hex(), "count": count}],
        "root": root.hex(),
        "count": count,
        "tables": sorted(tables, key=lambda t: str(t["table"])),
        "backlog": absorb.backlog(core),
        "clock": {"now_ms": now, "last_ms": core.clock.last_ms, "ahead_ms": max(0, clock_ahead)},
        "peers": _peers(core),
        "local_only": [
            {"table": core.tables[tbl].label, "reason": reason}
            for tbl, reason in core.db.execute("SELECT tbl, reason FROM _replica_local LIMIT 1000")
            if tbl in core.tables
        ],
        "orphans": _orphans(core),
    }
    report["notices"] = notices(core)
    return report


def notices(core: Core) -> list[str]:
    """What its user must know: a clock that is far ahead, a copy of this file that writes too."""
    found = []
    if core.meta("clone"):
        found.append(core.meta("clone").partition(": ")[2])
    ahead = core.clock.last_ms - core.now_ms()
    if ahead > limits.DRIFT_MS_MAX:
        found.append(
            f"this node's newest stamp is {ahead // 60_000} min ahead of its wall clock: other nodes put its writes "
            "off until then; set the clock right"
        )
    return found


def _table_status(core: Core, table: Table) -> Json:
    live, shown, records = core.db.execute(
        f"SELECT coalesce(sum(born > floor), 0), coalesce(sum(flags & {SHOWN}), 0), count(*) "
        "FROM _replica_record WHERE tbl = ?",
        (table.tbl,),
    ).fetchone()
    hidden = core.db.execute(
        "SELECT count(DISTINCT e.key) FROM _replica_extra AS e JOIN _replica_record AS r USING (key) "
        "WHERE r.tbl = ? AND r.born <= r.floor",
        (table.tbl,),
    ).fetchone()[0]
    reasons = core.db.execute(
        "SELECT reason, count(*) FROM _replica_held WHERE tbl = ? GROUP BY reason ORDER BY 2 DESC LIMIT 5", (table.tbl,)
    ).fetchall()
    return {
        "table": table.label,
        "live": live,
        "deleted": records - live,
        "held": live - shown,
        "hidden_edits": hidden,
        "state": table.state or ("" if table.shape else "no such table here"),
        "held_reasons": [{"reason": reason, "records": count} for reason, count in reasons],
    }


def _peers(core: Core) -> list[Json]:
    columns = ("node", "name", "url", "met_ms", "outcome", "root", "agreed_ms", "offset_ms", "sent", "received")
    rows = core.db.execute(f"SELECT {', '.join(columns)} FROM _replica_peer ORDER BY met_ms DESC").fetchall()
    peers = [dict(zip(columns, row, strict=True)) for row in rows]
    for peer in peers:
        peer["node"], peer["root"] = peer["node"].hex(), peer["root"].hex()
    return peers


def _orphans(core: Core) -> int:
    adopted = {t.shape.name for t in core.tables.values() if t.shape is not None and t.shape.references}
    total = 0
    for name in adopted:
        try:
            total += core.db.execute("SELECT count(*) FROM pragma_foreign_key_check(?)", (name,)).fetchone()[0]
        except Exception as error:
            if "foreign key mismatch" not in str(error):
                raise
    return total


def find(core: Core, name: str, key: list[str]) -> list[State]:
    """The records of a table under a key given as text: each part is tried as text and as number."""
    table = called(core.tables.values(), name) or core.by_name.get(fold(name))
    if table is None:
        raise UsageError(f"table {name!r} is not replicated here")
    tries: list[list[Value]] = [[]]
    for part in key:
        tries = [[*t, v] for t in tries for v in _readings(part)]
    keys = [key_of(core, table, pack_id(parts)) for parts in tries]
    if table.surrogate:
        numbers = [t[0] for t in tries if isinstance(t[0], int)]
        rows = core.select_in("SELECT key FROM _replica_row WHERE tbl = ? AND pk IN (", numbers, table.tbl)
        keys += [k for (k,) in rows]
        held = core.db.execute("SELECT key, id FROM _replica_record WHERE tbl = ? AND NOT flags & 1", (table.tbl,))
        keys += [k for k, id_ in held.fetchall() if unpack_id(id_)[0][0] in numbers]
    states = list(load(core, list(dict.fromkeys(keys))).values())
    if not states and table.shape is None:
        raise UsageError(f"no record {' '.join(key)!r} of {table.label} is here: {table.state or 'no such table here'}")
    if not states:
        raise UsageError(f"no record {' '.join(key)!r} was ever in {table.label}")
    return states


def _readings(part: str) -> list[Value]:
    readings: list[Value] = [part]
    for kind in (int, float):
        try:
            readings.append(check(kind(part)))
        except (ValueError, OurFault):
            continue
    if part[:2].lower() == "x'" and part.endswith("'"):
        try:
            readings.append(bytes.fromhex(part[2:-1]))
        except ValueError:
            return readings
    return readings


def why(core: Core, name: str, key: list[str], field: str | None) -> Json:
    """For each field of a record: its value, its stamp, who wrote it, and what it overwrote if known."""
    states = find(core, name, key)
    state = max(states, key=lambda s: (s.shown, s.record.live, s.order))
    record, table = state.record, state.table
    wanted = sorted(record.registers) if field is None else [fold(field)]
    past = {
        table.fields[pos]: (winner, stamp, value)
        for pos, winner, stamp, value in core.db.execute(
            "SELECT pos, winner, stamp, value FROM _replica_past WHERE key = ?", (state.key,)
        )
    }
    fields = []
    for field_name in wanted:
        if field_name not in record.registers:
            if field_name not in table.positions:
                raise UsageError(f"{table.label} has no field {field!r} beside its key: {', '.join(table.fields)}")
            raise UsageError(f"{table.label} has no value of its own in {field!r} for this record")
        stamp, value = record.registers[field_name]
        entry: Json = {"field": field_name, "value": printable(unpack_value(value)), **_stamp(core, stamp)}
        if field_name in past:
            winner, lost_stamp, lost = past[field_name]
            if winner == stamp:
                entry["overwrote"] = {"value": printable(unpack_value(lost)), **_stamp(core, lost_stamp)}
        fields.append(entry)
    return {
        "table": table.label,
        "key": [printable(v) for v in state.pk],
        "live": record.live,
        "shown": state.shown,
        "held": _unseen(core, [state]).get(state.key),
        "born": _stamp(core, record.born) if record.born else None,
        "deleted": _stamp(core, record.floor) if record.floor else None,
        "fields": fields,
    }


def _stamp(core: Core, stamp: bytes) -> Json:
    millis, counter, node = unpack(stamp)
    if is_base(stamp):
        by = "its column's default" if stamp == lowest(b"") else "its adoption"
        return {"stamp": stamp.hex(), "millis": 0, "counter": counter, "node": "", "by": by}
    mine = node == core.clock.node
    return {
        "stamp": stamp.hex(),
        "millis": millis,
        "counter": counter,
        "node": node.hex(),
        "by": core.name if mine else node_name(core, node),
    }


def held(core: Core) -> list[Json]:
    """Live records that no table shows, and edits hidden under a delete: each with its reason."""
    rows = core.db.execute(
        f"SELECT key FROM _replica_record WHERE born > floor AND NOT flags & {SHOWN} "
        "UNION SELECT key FROM _replica_record JOIN _replica_extra USING (key) WHERE born <= floor"
    ).fetchall()
    states = load(core, [key for (key,) in rows])
    reasons = _unseen(core, states.values())
    found = [
        {
            "ref": state.key.hex()[:12],
            "table": state.table.label,
            "key": [printable(v) for v in state.pk],
            "reason": reasons[state.key],
            "live": state.record.live,
            "values": {n: printable(unpack_value(v)) for n, (_, v) in sorted(state.record.registers.items())},
        }
        for state in states.values()
        if state.key in reasons
    ]
    return sorted(found, key=lambda h: (str(h["table"]), str(h["key"])))


def _unseen(core: Core, states: Iterable[State]) -> dict[bytes, str]:
    """Key -> why no table shows the record, or what it says although it is deleted; of the others nothing, and nothing of
    the engine's own."""
    some = [state for state in states if not state.shown and state.table.collection not in SYSTEM]
    stored = dict(core.select_in("SELECT key, reason FROM _replica_held WHERE key IN (", [s.key for s in some]))
    found = {}
    for state in some:
        if state.record.live:
            missing = "nothing says why: run `replica verify`" if state.table.shape else "no such table here"
            found[state.key] = stored.get(state.key) or state.table.state or missing
        elif state.record.registers:
            found[state.key] = "edited elsewhere after it was deleted"
    return found


def _by_ref(core: Core, ref: str) -> State:
    try:
        low = bytes.fromhex(ref.ljust(32, "0"))
        high = bytes.fromhex(ref.ljust(32, "f"))
    except ValueError:
        raise UsageError(f"{ref!r} is no reference: take one from the list of `replica held`") from None
    keys = core.db.execute("SELECT key FROM _replica_record WHERE key BETWEEN ? AND ? LIMIT 2", (low, high)).fetchall()
    states = list(load(core, [k for (k,) in keys]).values())
    if len(states) != 1 or states[0].shown:
        raise UsageError(f"{ref!r} names no held record: take a reference from the list of `replica held`")
    return states[0]


def held_edit(core: Core, ref: str, changes: dict[str, object]) -> None:
    """Write fields of a held record, in the caller's transaction; it surfaces if it can."""
    state = _by_ref(core, ref)
    stamp, was_live = core.clock.tick(core.now_ms()), state.record.live
    for name, value in changes.items():
        if fold(name) not in state.record.registers:
            raise UsageError(f"the record has no field {name!r}")
        state.record.registers[fold(name)] = (stamp, pack_value(value))
    if not state.record.live:
        state.record.born = stamp  # To edit what was deleted is to insert it again.
    size = len(state.record.encode())
    if size > limits.RECORD_BYTES_MAX:
        raise UsageError(f"the record would have {size} bytes and could not travel: at most {limits.RECORD_BYTES_MAX}")
    _settle(core, state, was_live)


def held_delete(core: Core, ref: str) -> None:
    """Delete a held record everywhere, in the caller's transaction."""
    state = _by_ref(core, ref)
    state.record.floor = core.clock.tick(core.now_ms())
    state.record.registers.clear()
    _settle(core, state, was_live=True)


def _settle(core: Core, state: State, was_live: bool) -> None:
    with engine_writes(core, [state.table]):
        settle(core, [state], told=True)
    core.note(Change(state.table.collection, state.record.id, kind_of(state, was_live=was_live), False))


def held_count(core: Core) -> int:
    """Live records that no table shows: those that are held, and all of collections that have no table here."""
    count = int(core.db.execute("SELECT count(*) FROM _replica_held").fetchone()[0])
    bare = [t.tbl for t in core.tables.values() if t.shape is None and t.collection not in SYSTEM]
    if bare:  # Only then are all records looked at.
        marks = ",".join("?" * len(bare))
        sql = f"SELECT count(*) FROM _replica_record WHERE born > floor AND NOT flags & {SHOWN} AND tbl IN ({marks})"
        count += core.db.execute(sql, bare).fetchone()[0]
        count -= core.db.execute(f"SELECT count(*) FROM _replica_held WHERE tbl IN ({marks})", bare).fetchone()[0]
    return count


def held_rekey(core: Core, ref: str, key: object | None) -> tuple[object, list[str]]:
    """Insert a held record anew under another key (the next free one, if none is given), and delete the held one, in the
    caller's transaction. Returns the key, and which rows refer to the old one: nobody but a person can tell whose they
    are."""
    state = _by_ref(core, ref)
    table = state.table
    if table.shape is None or len(table.shape.key) != 1 or not state.record.live:
        raise UsageError(f"{ref!r}: only a live record of a table with one key column can get another key")
    if key is None and not table.shape.rowid_alias:
        raise UsageError(f"name the new key: {table.label} does not number its rows")
    columns = {c.folded: c.name for c in table.shape.columns}
    values = {columns[n]: unpack_value(v) for n, (_, v) in state.record.registers.items() if n in columns}
    if key is not None:
        values[table.shape.key[0].name] = check(key)
    notes = _referring(core, table, state.pk[0])
    held_delete(core, ref)
    names = ", ".join(map(quote, values))
    sql = f"INSERT INTO {table.sql}({names}) VALUES({marks(list(values.values()))})"
    cursor = core.db.execute(sql if values else f"INSERT INTO {table.sql} DEFAULT VALUES", list(values.values()))
    return cursor.lastrowid if key is None else key, notes


def _referring(core: Core, table: Table, key: Value) -> list[str]:
    notes = []
    for other in core.tables.values():
        for column, target, _ in other.shape.references if other.shape is not None else ():
            if fold(target) == table.collection:
                sql = f"SELECT count(*) FROM {other.sql} WHERE {quote(column)} = ?"
                (rows,) = core.db.execute(sql, (key,)).fetchone()
                if rows:
                    notes.append(f"rows of {other.label} that refer by {column} to {key!r}: {rows}; check whose they are")
    return notes

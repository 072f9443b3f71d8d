"""Verify: recompute every digest and the trie from the tables, and name each difference. Changes nothing.

What is held from view has no digest: it is held against what is shown. Memory grows neither with the tables nor with the
size of their rows, but with what is found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain

from protocol.errors import PeerFault, ValueRefused
from protocol.hlc import base_stamp
from protocol.keys import Secrets
from protocol.record import pack_id, unpack_id
from protocol.values import IllFormedText, pack_values
from replica.store import capture, catalog, index
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.damage import NONSENSE, named, spelled, unsound
from replica.store.fresh import Whole, fresh_rows, plain, whole
from replica.store.identity import introduced
from replica.store.refit import triggers_of
from replica.store.shadow import COLUMNS, SHOWN, Shadow, load_shadows
from replica.store.state import NIL, bulk, check, fetch_rows, load, local_cells, row_id

ROWS = 4_096
"""Records between two reports of progress."""

BYTES = 4 << 20
"""Of the records that are looked at together, about: keys are hashes, so the next ones are as large as those before."""

FEW = 64
"""Records that are looked at together while their size is not known."""

_NONSENSE = (PeerFault, ValueRefused, *NONSENSE)
"""What reading raises where bits have flipped."""

Progress = Callable[[str, int, int], None]


def verify(core: Core, progress: Progress | None = None) -> Iterator[str]:
    """Each difference in a sentence; nothing if all is well. Run it in a snapshot, after absorption."""
    (ok,) = core.db.execute("PRAGMA integrity_check(1)").fetchone()  # The quick one compares no index with its table.
    told = ok != "ok"
    if told:
        yield f"the file is damaged: {ok}"
    (count,) = core.db.execute("SELECT count(*) FROM _replica_record").fetchone()
    done, sizes = 0, _Sizes()
    for part in core.stream("SELECT key FROM _replica_record ORDER BY key", ROWS):
        at = 0
        while at < len(part):
            some = [key for (key,) in part[at : at + sizes.next()]]
            for text in _readable(core, some, sizes):
                told = True
                yield text
            at += len(some)
        done += len(part)
        if progress:
            progress("verifying records", done, count)
    for place in () if told else unsound(core):
        yield f"{named(core, *place)}: what is stored about it makes no sense"
    shown = dict(core.rows(f"SELECT tbl, count(*) FROM _replica_record WHERE flags & {SHOWN} GROUP BY tbl"))
    for table in core.tables.values():
        if table.shape is None:
            continue
        yield from _told(table.label, _definitions(core, table))
        numbers = list(_told(table.label, numbered(core, table)))
        # Each shown record has its row, another than all others: then there is no row beside, if there are as many.
        if told or numbers or not _as_many(core, table.sql, shown.get(table.tbl, 0)):
            yield from _told(table.label, _uncaptured(core, table))
        yield from numbers
        yield from _told(table.label, _hidden(core, table))
    yield from _told("held records", _held(core))
    yield from _told("trie", _trie(core))
    yield from _told("settings", _settings(core))


class _Sizes:
    """How large the records so far were."""

    def __init__(self) -> None:
        self.records = self.bytes = 0

    def add(self, records: int, size: int) -> None:
        """So many, of so many bytes together."""
        self.records += records
        self.bytes += size

    def next(self) -> int:
        """How many records to look at together."""
        if not self.records:
            return FEW
        return max(1, min(ROWS, 2 * self.records, BYTES * self.records // max(1, self.bytes)))


def _as_many(core: Core, of: str, count: int) -> bool:
    """Whether that is the number of rows."""
    (there,) = core.db.execute(f"SELECT count(*) FROM {of}").fetchone()
    return bool(there == count)


def _told(what: str, found: Iterator[str]) -> Iterator[str]:
    """What was found, and that nothing can be found where nothing makes sense."""
    try:
        yield from found
    except _NONSENSE as error:
        yield f"{what}: what is stored about it makes no sense: {error!r}"


def label(table: Table, id_: bytes) -> str:
    """A record for people."""
    key = unpack_id(id_)[0]
    return f"{table.label} {json.dumps([v if not isinstance(v, bytes) else v.hex() for v in key], ensure_ascii=False)}"


def _readable(core: Core, keys: list[bytes], sizes: _Sizes) -> Iterator[str]:
    """`_records`; what makes no sense there is told record by record."""
    try:
        yield from list(_records(core, keys, sizes))
    except _NONSENSE as error:
        if len(keys) == 1:
            yield f"record {spelled(keys[0])}: what is stored about it makes no sense: {error!r}"
            return
        half = len(keys) // 2
        yield from _readable(core, keys[:half], sizes)
        yield from _readable(core, keys[half:], sizes)


def _records(core: Core, keys: list[bytes], sizes: _Sizes) -> Iterator[str]:
    found, others = plain(core, keys)
    as_made = {key for table, rows in found for key in _as_made(core, table, rows, sizes)}
    shadows = load_shadows(core, [key for key in keys if key not in as_made])
    places = {(shadow.tbl, shadow.id): key for key, shadow in shadows.items()}
    sound = set()
    known = (record for table, rows in found for record in whole(table, [r for r in rows if r[0][0] not in as_made]))
    for record in chain(known, (state.record for state in load(core, others).values())):
        table = core.by_name[record.collection]
        key = places[table.tbl, record.id]
        body = record.encode()
        sizes.add(1, len(body))
        if (
            core.keys.digest(body) == shadows[key].digest
            and core.keys.record_key(table.packed_name, record.id) == key
        ):
            sound.add(key)
    yield from _unspoken(core, [shadow for key, shadow in shadows.items() if key in sound and shadow.shown])
    doubtful = [key for key in shadows if key not in sound]
    states = load(core, doubtful)
    for key in doubtful:
        shadow, state = shadows[key], states.get(key)
        table = core.tables[shadow.tbl]
        if state is None:
            yield f"{label(table, shadow.id)}: its row is gone, and no delete was captured"
        elif core.keys.record_key(table.packed_name, shadow.id) != key:
            yield f"{label(table, shadow.id)}: stands under another record's key"
        else:
            fields = _differing(core, table, state.pk, shadow.checks) if shadow.shown else []
            where = f"in {', '.join(fields)} " if fields else ""
            yield f"{label(table, shadow.id)}: the row differs {where}from its digest: changed without capture, or damaged"


def _as_made(core: Core, table: Table, rows: list[Whole], sizes: _Sizes) -> set[bytes]:
    """Those that nobody wrote since their insert, and that stand as it would make them now: most are such, and many are
    made at once. What is wrong with another is not told here."""
    some = [(shadow[2], shadow[4], row) for shadow, row in rows if shadow[5] == shadow[4] and not shadow[3]]
    if not some:
        return set()
    with suppress(*_NONSENSE):
        ids, born, values = zip(*some, strict=True)
        keys, columns = core.keys.record_keys(table.packed_name, ids), list(zip(*values, strict=True))
        made = {*fresh_rows(core, table, keys, ids, born, columns)}
        stored = core.select_in(f"SELECT {COLUMNS} FROM _replica_record WHERE key IN (", keys)
        sizes.add(len(ids), sum(map(bulk, columns)))
        return {row[0] for row in stored if row in made}
    return set()


def _unspoken(core: Core, shadows: list[Shadow]) -> Iterator[str]:
    """Cells of which no register speaks show what was last seen in them: NULL, or a value that stays here."""
    by_table: dict[int, list[Shadow]] = {}
    for shadow in shadows:
        table = core.tables[shadow.tbl]
        if any(at < len(shadow.checks) and not shadow.stamps[at] for at in table.at):
            by_table.setdefault(shadow.tbl, []).append(shadow)
    for tbl, some in by_table.items():
        table = core.tables[tbl]
        pks = [unpack_id(shadow.id)[0] for shadow in some]
        rows, local = fetch_rows(core, table, pks), local_cells(core, [shadow.id for shadow in some])
        for shadow, pk in zip(some, pks, strict=True):
            cells = zip(table.names, table.at, pack_values(rows[pack_id(pk)]), strict=True)
            for name, at, value in cells:
                if at >= len(shadow.checks) or shadow.stamps[at]:
                    continue
                if shadow.checks[at] != check(value):
                    yield f"{label(table, shadow.id)}: {name} differs from what was seen: written unseen, or damaged"
                elif value != NIL and at not in local.get((tbl, shadow.id), ()):
                    yield f"{label(table, shadow.id)}: {name} shows its column's default here, and no other node knows of it"


def _differing(core: Core, table: Table, pk: tuple[object, ...], checks: list[int]) -> list[str]:
    row = fetch_rows(core, table, [pk])[pack_id(pk)]
    packed = pack_values(row)
    return [
        n for n, at, v in zip(table.names, table.at, packed, strict=True) if at >= len(checks) or checks[at] != check(v)
    ]


def _definitions(core: Core, table: Table) -> Iterator[str]:
    assert table.shape is not None
    now = catalog.shape(core.db, table.shape.name)
    followed = core.rows("SELECT signature FROM _replica_table WHERE tbl = ?", (table.tbl,))
    if followed != [(now.signature,)]:
        yield f"{table.label}: its definition is not the one that was followed"
    if {name: sql for name, (_, sql) in triggers_of(core, table).items()} != capture.triggers(table.tbl, now):
        yield f"{table.label}: its triggers are not the ones that were made: writes may go unseen"


def _uncaptured(core: Core, table: Table) -> Iterator[str]:
    assert table.shape is not None
    missing: dict[tuple[object, ...], list[tuple[object, ...]]] = {}
    for rows in core.stream(f"SELECT {', '.join(table.key_columns)} FROM {table.sql}", ROWS):
        some: dict[tuple[object, ...], list[tuple[object, ...]]] = {}
        for row in rows:
            try:
                some.setdefault(unpack_id(row_id(row))[0], []).append(row)
            except ValueRefused:
                continue
        for pk in _where_due(core, table, list(some)):
            some.pop(pk, None)
        missing.update(some)
    # A record under another's key has captured its row all the same.
    for ids in core.stream(f"SELECT id FROM _replica_record WHERE tbl = {table.tbl:d} AND flags & {SHOWN}", ROWS):
        for (id_,) in ids:
            missing.pop(unpack_id(id_)[0], None)
    for row in chain.from_iterable(missing.values()):
        yield f"{table.label} {list(row)}: a row that was never captured"


def _where_due(core: Core, table: Table, pks: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """Those of these primary keys whose record is shown, and found where it is due."""
    assert table.shape is not None
    if table.shape.rowid_alias:
        sql = "SELECT key FROM _replica_row WHERE tbl = ? AND pk IN ("
        keys = [key for (key,) in core.select_in(sql, [pk[0] for pk in pks], table.tbl)]
    else:
        keys = core.keys.record_keys(table.packed_name, [pack_id(pk) for pk in pks]) if pks else []
    for _, pk in _shown(core, table, keys):
        yield pk


def _shown(core: Core, table: Table, keys: list[bytes]) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    """Key and primary key of those of these records that are shown in this table."""
    sql = f"SELECT key, id FROM _replica_record WHERE tbl = ? AND flags & {SHOWN} AND key IN ("
    for key, id_ in core.select_in(sql, keys, table.tbl):
        yield key, unpack_id(id_)[0]


def numbered(core: Core, table: Table) -> Iterator[str]:
    """Each row number stands for the record that is shown under it."""
    assert table.shape is not None
    if not table.shape.rowid_alias:
        return
    wrong: set[tuple[object, bytes]] = set()
    sql, count = f"SELECT id, key FROM _replica_record WHERE tbl = {table.tbl:d} AND flags & {SHOWN}", 0
    for part in core.stream(sql, ROWS):
        count += len(part)
        due = {(unpack_id(id_)[0][0], key) for id_, key in part}
        numbers = "SELECT pk, key FROM _replica_row WHERE tbl = ? AND pk IN ("
        wrong |= due.difference(core.select_in(numbers, [number for number, _ in due], table.tbl))
    there = f"_replica_row WHERE tbl = {table.tbl:d}"
    if not wrong and _as_many(core, there, count):
        return
    for part in core.stream(f"SELECT pk, key FROM {there}", ROWS):
        shown = ((pk[0], key) for key, pk in _shown(core, table, [key for _, key in part]))
        wrong |= set(part).difference(shown)
    for number, _ in sorted(wrong):
        yield f"{table.label} {number!r}: its number does not stand for the record that is shown"


def _hidden(core: Core, table: Table) -> Iterator[str]:
    """Every live record is shown or held."""
    sql = (
        f"SELECT id FROM _replica_record WHERE tbl = ? AND born > floor AND NOT flags & {SHOWN} "
        "AND key NOT IN (SELECT key FROM _replica_held)"
    )
    for (id_,) in core.db.execute(sql, (table.tbl,)).fetchall():
        yield f"{label(table, id_)}: neither shown nor held from view"


def _held(core: Core) -> Iterator[str]:
    """What is held lives and is not shown; what holds it is shown."""
    for small, what in (("held", "held from view"), ("past", "a lost value"), ("extra", "a value that no column shows")):
        sql = f"SELECT key FROM _replica_{small} EXCEPT SELECT key FROM _replica_record"
        for (key,) in core.db.execute(sql).fetchall():
            yield f"{spelled(key)}: {what}, and no record"
    sql = (
        f"SELECT r.tbl, r.id, r.flags & {SHOWN} OR r.born <= r.floor FROM _replica_held AS h JOIN _replica_record AS r "
        f"USING (key) LEFT JOIN _replica_record AS b ON b.key = h.blocker WHERE r.flags & {SHOWN} OR r.born <= r.floor "
        f"OR (length(h.blocker) > 0 AND NOT coalesce(b.flags & {SHOWN}, 0))"
    )
    for tbl, id_, wrong in core.db.execute(sql).fetchall():
        what = "but shown or deleted" if wrong else "by a record that is not shown"
        yield f"{label(core.tables[tbl], id_)}: held from view {what}"


def _settings(core: Core) -> Iterator[str]:
    settings = core.settings()
    for name, value in settings.items():
        if isinstance(value, IllFormedText):
            yield f"setting {name}: damaged text"
    secrets = Secrets(*(settings[n] for n in ("group", "digest_secret", "access_key")))
    if settings.get("check") not in {None, secrets.check()}:
        yield "the secrets of the group are damaged: no peer will know this node; join anew with an invite"
    elif not introduced(core):
        yield "the node's id is damaged, or `init` was interrupted: no record has its name; `replica rescan` takes a new one"
    last = "SELECT coalesce(max(max(born, floor, substr(stamps, -16))), x'') FROM _replica_record"
    (newest,) = core.db.execute(last).fetchone()
    base = base_stamp(bytes(8))[:8]  # No clock ever sees these.
    if max(newest[:8], settings.get("issued") or b"") > max(settings["clock"], base):
        yield "the clock is damaged: it stands before what was written already"
    if _last_own(core) > (settings.get("issued") or b""):
        yield "the time of this node's last write is damaged: it wrote later than that; its next write sets it right"


def _last_own(core: Core) -> bytes:
    """Time of the newest stamp of this node's that any record has."""
    node: bytes = core.meta("node")
    found = b""
    holds = " OR ".join(f"instr({column}, x'{node.hex()}')" for column in ("floor", "born", "stamps"))
    for part in core.stream(f"SELECT floor, born, stamps FROM _replica_record WHERE {holds}", ROWS):
        for stamps in chain.from_iterable(part):
            for at in range(8, len(stamps), 16):
                if stamps[at : at + 8] == node and stamps[at - 8 : at] > found:
                    found = stamps[at - 8 : at]
    return found


def _trie(core: Core) -> Iterator[str]:
    digest, count, rows = index.build(core)
    stored = {row[0]: row[1:] for row in core.rows("SELECT prefix, counts, digests FROM _replica_trie")}
    for prefix, *rest in rows:
        if stored.pop(prefix, None) != tuple(rest):
            yield f"trie node {prefix or 'root'}: differs from the records below it"
    for prefix in stored:
        yield f"trie node {prefix}: stands where no node belongs"
    settings = core.settings()
    root, number = settings.get("root"), settings.get("count")
    if (root, number) != (digest, count):
        stored_root = root.hex() if isinstance(root, bytes) else repr(root)
        of = f"{count} records" if number == count else f"{count} records, not {number!r}"
        yield f"root: {stored_root} is stored, the records make {digest.hex()} ({of})"

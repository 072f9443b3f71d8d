"""Which record a row is, by the primary key of its table.

Most tables say it themselves. In one whose numbers SQLite makes up, the record behind a number is the one that is shown
there; a number that is new here gets an identity that is made from it, so that the same number, imported on two nodes, is
one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from protocol.errors import ValueRefused
from protocol.hlc import base_stamp
from protocol.keys import content_hash
from protocol.record import Birth, pack_id, pack_ids
from protocol.values import pack_any
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.shadow import load_shadows


def identify(
    core: Core, table: Table, pks: list[tuple[Any, ...]], todo: Sequence[int], reasons: dict[int, str]
) -> dict[int, tuple[bytes, bytes]]:
    """Record key and id of the rows `todo`, by index. A None among the numbers of a table that makes them up is replaced in
    `pks` by the next one; a row whose key cannot travel goes into `reasons`."""
    assert table.shape is not None
    shown: dict[Any, bytes] = {}
    if table.shape.rowid_alias:
        numbered = _number(core, table, pks, todo)
        sql = "SELECT pk, key FROM _replica_row WHERE tbl = ? AND pk IN ("
        shown = dict(core.select_in(sql, [pks[i][0] for i in todo], table.tbl))
        known = {key: shadow.id for key, shadow in load_shadows(core, list(shown.values())).items()}
        ids = {
            i: known[key] if (key := shown.get(pks[i][0])) else _birth(core, table, pks[i], made_up=i in numbered)
            for i in todo
        }
    else:
        ids = _ids(pks, todo, reasons)
    keys = dict(zip(ids, core.keys.record_keys(table.packed_name, list(ids.values())), strict=True))
    return {i: (shown.get(pks[i][0], keys[i]), id_) for i, id_ in ids.items()}


def _birth(core: Core, table: Table, pk: tuple[Any, ...], *, made_up: bool) -> bytes:
    """Id of a record with a number that is new here."""
    if table.surrogate and made_up:
        return pack_id(pk, Birth(core.clock.tick(core.now_ms())))
    return told_id(table, pk)


def told_id(table: Table, pk: tuple[Any, ...]) -> bytes:
    """Id of a record with a number that another system has told."""
    if not table.surrogate:
        return pack_id(pk)
    return pack_id(pk, Birth(base_stamp(content_hash(b"import" + table.packed_name + pack_any(pk[0])))))


def _ids(pks: Sequence[tuple[Any, ...]], todo: Sequence[int], reasons: dict[int, str]) -> dict[int, bytes]:
    some = [pks[i] for i in todo]
    with suppress(ValueRefused):
        return dict(zip(todo, pack_ids(list(zip(*some, strict=True))), strict=True)) if some else {}
    ids = {}
    for i, pk in zip(todo, some, strict=True):
        try:
            ids[i] = pack_id(pk)
        except ValueRefused as error:
            reasons[i] = str(error)
    return ids


def _number(core: Core, table: Table, pks: list[tuple[Any, ...]], todo: Sequence[int]) -> set[int]:
    """Give the next numbers to rows that have none. Returns which those are."""
    assert table.shape is not None
    without = [i for i in todo if pks[i][0] is None]
    if not without:
        return set()
    sql = f"SELECT coalesce(max({table.key_columns[0]}), 0) FROM {table.sql}"
    tops = [core.db.execute(sql).fetchone()[0], *(pk[0] for pk in pks if type(pk[0]) is int)]
    if table.shape.autoincrement:
        last = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        tops += [seq for (seq,) in core.db.execute(last, (table.shape.name,))]
    for number, i in enumerate(without, max(tops) + 1):
        pks[i] = (number,)
    return set(without)

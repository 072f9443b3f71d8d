"""Where records go: a table that is here, or one that the import makes, and how its rows find their records.

A table that an import makes has one column for the record id and one for each field; fields that a later file brings are
added to it. A table of the user's own is never altered unless he says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from protocol import limits
from protocol.record import fold
from replica.errors import UsageError
from replica.exchange.importing.identity import made_id
from replica.exchange.importing.runs import Known, known_in
from replica.exchange.maps.mapmodel import Target
from replica.exchange.maps.mapping import Mapping
from replica.store import absorb, adopt, ddl
from replica.store.catalog import Table, find, meant, quote
from replica.store.core import Core
from replica.store.mend import follow_schema

COLUMNS_MAX = 1_900
"""Of a table: SQLite's own default limit is 2,000."""


class How(Enum):
    """How a row finds its record: see `identity`."""

    MADE = "made"
    OWN = "own"
    LOOKUP = "lookup"


@dataclass(slots=True)
class Place:
    """A target of a map, in this store. `table`: as it is called here; `columns`: of the target's fields, by position, the
    column that each goes to (None: part of the table's own key); `key`: positions of the fields that are the external key;
    `own`: for each column of the table's primary key, the position of its field, if the target has them all; `id`: column of
    the made-up id; `told`: position of the field with those ids, of a file that an export of another node made."""

    target: Target
    table: str
    how: How
    key: tuple[int, ...]
    columns: tuple[str | None, ...]
    own: tuple[int, ...] = ()
    id: str | None = None
    refers: dict[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    told: int | None = None

    @property
    def collection(self) -> str:
        """As the group calls it."""
        return fold(self.target.collection)

    def known(self, source: str, before: Known | None = None) -> Known:
        """What the run keeps about it, together with what it knew `before`, of another file."""
        fields = [f.name for f, c in zip(self.target.fields, self.columns, strict=True) if c or self.own]
        refers = {self.target.fields[i].name: to for i, to in self.refers.items()}
        if before is not None:
            fields, refers = list(dict.fromkeys([*before.fields, *fields])), {**before.refers, **refers}
        name = self.table if fold(self.table) == self.collection else self.target.collection
        return Known(name, source, self.target.key, self.id, tuple(fields), refers)


def in_group(core: Core, mapping: Mapping) -> Mapping:
    """The same map, by what the group calls the tables that were renamed here. Raises UsageError for a table that is not
    replicated."""

    def named(said: str) -> str | None:
        table = meant(core.db, core.tables.values(), said)
        return None if table is None else table.named(said)

    collections = []
    for spec in mapping.collections:
        name = named(spec.name)
        if name is None and find(core.db, spec.name) is not None:
            raise UsageError(f"table {spec.name!r} is here, but not replicated: run `replica adopt FILE` first")
        fields = tuple(replace(f, refers=named(f.refers) or f.refers) if f.refers else f for f in spec.fields)
        collections.append(replace(spec, name=name or spec.name, fields=fields))
    return replace(mapping, collections=tuple(collections))


def place(
    core: Core, target: Target, source: str, *, text: bool, new_columns: str | None, before: Place | None = None,
    mapped: bool = True,
) -> Place:  # fmt: skip
    """Find or make the table of a target, in the caller's transaction. `text`: fields without a type are text;
    `new_columns`: what to do about fields without a column, "add", "ignore" or "refuse" (None: add to tables that an import
    made, else refuse); `before`: the place of an earlier file of the run; `mapped`: a map says what refers to what, else it
    is what the last import said. Raises UsageError."""
    absorb.absorb_all(core)
    table = core.by_name.get(fold(target.collection))
    shape = table.shape if table is not None else None
    name = target.collection if shape is None else shape.name
    positions = {fold(f.name): i for i, f in enumerate(target.fields)}
    if len(positions) < len(target.fields):
        raise UsageError(
            f"{name}: two fields differ only in the case of their letters; rename one in a map"
        )
    missing = [n for n in target.key if fold(n) not in positions]
    if missing or not target.key:
        near = difflib.get_close_matches(missing[0], [f.name for f in target.fields], 3, 0.5) if missing else []
        what = f"the key {missing[0]!r} is no field of the file" if missing else "no key is named"
        hint = f": did you mean {', '.join(map(repr, near))}?" if near else ""
        fields = ", ".join(f.name for f in target.fields[:12])
        raise UsageError(
            f"{name}: {what}{hint} (fields: {fields}). Name what tells its records apart: --key FIELD"
        )
    key = tuple(positions[fold(n)] for n in target.key)
    known = known_in(core, target.collection, source)
    if known is not None and known.source == source and {*map(fold, known.key)} != {*map(fold, target.key)}:
        raise UsageError(
            f"{name} was imported from {source!r} by the key {', '.join(known.key)} before: by another key all "
            "its records would come a second time. Use that key, or name another --source if this is another system"
        )
    if shape is None:
        return _make(core, target, key, text=text)
    assert table is not None
    made = before.id if before is not None else known.id if known is not None else None
    if made is None or fold(made) not in {c.folded for c in shape.key}:
        own = tuple(positions.get(c.folded, -1) for c in shape.key)
        how = How.OWN if {*own} == {*key} else How.LOOKUP
        own = own if -1 not in own else ()
        found = _fill(core, table, Place(target, shape.name, how, key, (), own), text, new_columns or "refuse")
    else:
        found = _fill(core, table, Place(target, shape.name, How.MADE, key, (), (), made), text, new_columns or "add")
    if not mapped and known is not None:
        found.refers = {positions[fold(n)]: to for n, to in known.refers.items() if fold(n) in positions}
    return found


def _make(core: Core, target: Target, key: tuple[int, ...], *, text: bool) -> Place:
    """Make a table and replicate it."""
    names = [f.name for f in target.fields]
    _check_names(target.collection, names)
    id_ = made_id(names)
    columns = [f"{quote(f.name)} {f.declared or ('TEXT' if text else '')}".rstrip() for f in target.fields]
    sql = f"CREATE TABLE {quote(target.collection)}({', '.join([f'{quote(id_)} TEXT PRIMARY KEY NOT NULL', *columns])})"
    core.db.execute(sql)
    adopt.adopt(core, [target.collection], [])
    refers = {i: f.refers for i, f in enumerate(target.fields) if f.refers}
    return Place(target, target.collection, How.MADE, key, tuple(names), (), id_, refers)


def _check_names(collection: str, names: Sequence[str]) -> None:
    if len(names) > COLUMNS_MAX:
        raise UsageError(
            f"{collection}: {len(names)} fields, a table has at most {COLUMNS_MAX}: name those you need in a map"
        )
    for name in (collection, *names):
        if not name or "\0" in name or len(name.encode("utf-8", "surrogatepass")) > limits.NAME_BYTES_MAX:
            raise UsageError(f"{name[:40]!r} cannot be the name of a table or column: give it another in a map")
    if fold(collection).startswith(("_replica", "sqlite_")):
        raise UsageError(f"{collection!r}: names that begin so belong to the engine or to SQLite: choose another")


def _fill(core: Core, table: Table, found: Place, text: bool, new_columns: str) -> Place:
    """Find the column of each field, or make it."""
    assert table.shape is not None
    target = found.target
    have = {c.folded: c.name for c in table.shape.columns}
    keys = {c.folded for c in table.shape.key}
    lacking = [f for f in target.fields if fold(f.name) not in have and fold(f.name) not in keys]
    if lacking and new_columns == "refuse":
        names = ", ".join(f.name for f in lacking[:8]) + (", …" if len(lacking) > 8 else "")
        near = {n for f in lacking for n in difflib.get_close_matches(f.name, [*have.values()], 1, 0.6)}
        hint = f" (did you mean {', '.join(sorted(near))}?)" if near else ""
        raise UsageError(
            f"{table.label} has no column for {names}{hint}: rename the fields in a map, or say "
            "--new-columns add (or ignore)"
        )
    if lacking and new_columns == "add":
        _check_names(table.label, [f.name for f in lacking])
        for f in lacking:
            kind = f.declared or ("TEXT" if text else "")
            core.db.execute(f"ALTER TABLE {table.sql} ADD COLUMN {quote(f.name)} {kind}".rstrip())
        follow_schema(core)
        table = core.by_name[fold(table.collection)]
        assert table.shape is not None
        have = {c.folded: c.name for c in table.shape.columns}
    ignored = {fold(f.name) for f in lacking} if new_columns == "ignore" else set()
    found.columns = tuple(have.get(fold(f.name)) for f in target.fields)
    found.left_out = tuple(f.name for f in target.fields if fold(f.name) in ignored)
    found.refers = {i: f.refers for i, f in enumerate(target.fields) if f.refers}
    if any(fold(target.fields[i].name) in ignored for i in found.key):
        raise UsageError(f"{table.label} has no column for the key {', '.join(target.key)}: it must have one")
    return found


def name_source(core: Core, author: bytes, source: str) -> None:
    """Tell the group who the author of an import's stamps is."""
    ddl.introduce(core, author, f"source {source}"[: limits.NODE_NAME_CHARS_MAX])

"""From what a map makes of some rows to rows of tables: keys become record ids, relations point at records.

Inside the transaction of a batch. What points at a record that is not here yet waits: it may come later in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol.record import fold
from replica.exchange.importing.identity import Namespace, external, externals, look_up
from replica.exchange.importing.places import How, Place
from replica.exchange.importing.runs import known_in
from replica.exchange.maps.mapmodel import Mapped
from replica.exchange.rows import MISSING
from replica.store.catalog import Table, find, quote
from replica.store.core import Core
from replica.store.upsert import Rows, graves

REBIRTHS_MAX = 16
"""How often one external key may have been deleted and imported as a new record."""


_NOTHING = (None, MISSING, "")


@dataclass(slots=True)
class Resolved:
    """Rows for a table. `sources`: of each, the row of the batch that it comes from; `reasons` and `later`: of rows of the
    batch, why they cannot be, and for what they wait."""

    place: Place
    sources: list[int]
    rows: Rows
    texts: list[str]
    """The external key of each, for people."""
    reasons: dict[int, list[str]] = field(default_factory=dict)
    later: dict[int, list[str]] = field(default_factory=dict)
    twice: dict[int, list[str]] = field(default_factory=dict)
    """Rows whose unique value another row of this batch has."""


class Resolver:
    """Of one run. `on_deleted`: keep, resurrect or new."""

    def __init__(self, source: str, places: Mapping[str, Place], on_deleted: str) -> None:
        self._source, self._places, self._on_deleted = source, places, on_deleted
        self._namespace = Namespace(source)
        self._referred = {fold(to) for place in places.values() for to in place.refers.values()}
        self._coming: dict[str, dict[str, Any]] = {}
        """Of the collections that others refer to: external key -> id of each record that this very batch makes."""
        self._makers: dict[tuple[str, str], set[int]] = {}
        """(collection, id) of those -> rows of the batch that make it."""
        self._leaning: dict[tuple[str, str], dict[int, str]] = {}
        """(collection, id) of those -> rows that refer to it, and what is to be said if it does not come."""

    def expect(
        self, core: Core, place: Place, mapped: Mapped, left: Sequence[int], dead: frozenset[bytes]
    ) -> None:
        """Records that this batch is about to make: others of it may refer to them, in any order and in circles. The
        arguments are those of `resolve`, of every target before the first is resolved."""
        if place.collection not in self._referred:
            return
        columns = [[column[i] for i in left] for column in mapped.columns]
        texts = externals([columns[i] for i in place.key])
        if place.how is How.MADE:
            keys: Sequence[Any] = self._namespace.ids(texts)
        elif place.how is How.OWN:
            keys = texts
        else:
            made = self._generated(core, place, texts, columns, dead)
            keys = [key[0] for key in made]
            if self._on_deleted == "keep":
                gone = graves(core, place.collection, made)
                keys = [None if gone.get(i, b"") not in {b"", *dead} else key for i, key in enumerate(keys)]
        coming = self._coming.setdefault(place.collection, {})
        for i, text, key in zip(left, texts, keys, strict=True):
            if text and key is not None and key is not MISSING:
                coming.setdefault(text, key)
                self._makers.setdefault((place.collection, str(key)), set()).add(mapped.sources[i])

    def fallen(self, out: Iterable[int]) -> dict[int, list[str]]:
        """Rows that refer to what these rows of the batch, which are left out, would have made, and so on: why."""
        gone, found = set(out), dict[int, list[str]]()
        makes: dict[int, list[tuple[str, str]]] = {}
        for key in self._leaning:
            for row in self._makers[key]:
                makes.setdefault(row, []).append(key)
        todo = list(gone)
        while todo:
            for key in makes.get(todo.pop(), ()):
                for row, what in self._leaning[key].items() if self._makers[key] <= gone else ():
                    if row not in gone:
                        gone.add(row)
                        todo.append(row)
                        found[row] = [what]
        return found

    def resolve(
        self,
        core: Core,
        place: Place,
        mapped: Mapped,
        left: Sequence[int],
        stamps: Sequence[bytes],
        dead: frozenset[bytes],
    ) -> Resolved:
        """`left`: indexes of the records to take; `stamps`: by row of the batch; `dead`: deletes that do not count."""
        columns: list[Sequence[Any]] = list(mapped.columns)
        sources = mapped.sources
        if len(left) < len(sources):
            columns = [[column[i] for i in left] for column in columns]
            sources = [sources[i] for i in left]
        texts = externals([columns[i] for i in place.key])
        target = place.target
        rows = Rows(place.collection, [], {}, [stamps[s] for s in sources], MISSING, target.blank == "leave",
                    self._on_deleted == "resurrect", dead)  # fmt: skip
        out = Resolved(place, sources, rows, texts)
        for i, text in enumerate(texts):
            if not text:
                out.reasons.setdefault(sources[i], []).append(f"no value for the key {', '.join(target.key)}")
        values: dict[int, Sequence[Any]] = dict(enumerate(columns))
        for position, to in place.refers.items():
            values[position] = self._refer(core, out, position, columns[position], to)
        for position, spec in enumerate(target.fields):
            if spec.unique:
                self._check_unique(core, out, position, values[position])
        rows.keys = self._keys(core, out, columns)
        left_out = {fold(n) for n in place.left_out}
        if target.blank == "leave" and mapped.defaulted:
            self._keep_defaults(out, mapped, left)
        rows.columns = {
            column: values[i]
            for i, column in enumerate(place.columns)
            if column is not None and fold(target.fields[i].name) not in left_out
        }
        return out

    @staticmethod
    def _keep_defaults(out: Resolved, mapped: Mapped, left: Sequence[int]) -> None:
        """What the map made up is no news for a record that exists: see `Rows.blank`."""
        at = {record: i for i, record in enumerate(left)}
        for position, records in mapped.defaulted.items():
            column = out.place.columns[position]
            some = {at[r] for r in records if r in at}
            if column is not None and some:
                out.rows.defaulted[column] = some

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _keys(self, core: Core, out: Resolved, columns: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        place = out.place
        if place.how is How.OWN:
            return list(zip(*(list(map(_trimmed, columns[i])) for i in place.own), strict=True))
        if place.how is How.MADE:
            return self._made(core, out, columns)
        return self._looked_up(core, out, columns)

    def _made(self, core: Core, out: Resolved, columns: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        keys: list[tuple[Any, ...]] = [(id_,) for id_ in self._namespace.ids(out.texts)]
        if out.place.told is not None:
            keys = self._told(core, out.place, keys, columns[out.place.told])
        return self._reborn(core, out.place, keys, out.texts, out.rows.pardoned, self._namespace.ids)

    def _reborn(
        self,
        core: Core,
        place: Place,
        keys: list[tuple[Any, ...]],
        texts: Sequence[str],
        pardoned: frozenset[bytes],
        make: Callable[[Sequence[str]], Sequence[Any]],
    ) -> list[tuple[Any, ...]]:
        """Other keys instead of those of records that were deleted here, if such shall be new."""
        if self._on_deleted != "new":
            return keys
        keys, texts = list(keys), list(texts)
        for _ in range(REBIRTHS_MAX):
            there = [i for i, key in enumerate(keys) if key[0] is not None]
            found = graves(core, place.collection, [keys[i] for i in there])
            dead = {there[i]: floor for i, floor in found.items() if floor not in pardoned}
            if not dead:
                break
            for i, floor in dead.items():  # The same wherever the same delete is known.
                texts[i] += "\0" + floor.hex()
                keys[i] = (make([texts[i]])[0],)
        return keys

    def _generated(
        self, core: Core, place: Place, texts: Sequence[str], columns: Sequence[Sequence[Any]], pardoned: frozenset[bytes]
    ) -> list[tuple[Any, ...]]:
        """The primary key that a new record of each external key gets, in a table of the user's own; all None where only the
        file could say it, and does not."""
        table = core.by_name[place.collection]
        assert table.shape is not None
        own = list(zip(*(columns[i] for i in place.own), strict=True)) if place.own else []
        if own and not table.shape.rowid_alias:
            return own
        if table.shape.rowid_alias:
            make: Callable[[Sequence[str]], Sequence[Any]] = self._namespace.numbers
        elif len(table.shape.key) == 1 and table.shape.key[0].affinity in {"TEXT", "BLOB"}:
            make = self._namespace.ids
        else:
            return [(None,) * len(table.shape.key)] * len(texts)
        made = self._reborn(core, place, [(key,) for key in make(texts)], texts, pardoned, make)
        return [mine if mine[0] not in _NOTHING else key for mine, key in zip(own, made, strict=True)] if own else made

    @staticmethod
    def _told(
        core: Core, place: Place, keys: list[tuple[Any, ...]], cells: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """The record ids that an export of another node names; where that one is not here, but a record of the external key
        is, it is the one that is meant."""
        given = [_trimmed(cell) if type(cell) is str else "" for cell in cells]
        told = [(id_,) if id_ else key for id_, key in zip(given, keys, strict=True)]
        differ = {i for i, key in enumerate(told) if key != keys[i]}
        if not differ:
            return keys
        table = core.by_name[place.collection]
        column = table.key_columns[0]
        asked = [ids[i][0] for ids in (told, keys) for i in differ if ids[i][0] is not None]
        here = {id_ for (id_,) in core.select_in(f"SELECT {column} FROM {table.sql} WHERE {column} IN (", asked)}
        return [keys[i] if i in differ and key[0] not in here and keys[i][0] in here else key for i, key in enumerate(told)]

    def _looked_up(self, core: Core, out: Resolved, columns: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        place, table = out.place, core.by_name[out.place.collection]
        assert table.shape is not None
        key_cells = list(zip(*(columns[i] for i in place.key), strict=True))
        trimmed = [tuple(map(_trimmed, cells)) for cells in key_cells]
        found = look_up(core, table, place.target.key, list(dict.fromkeys([*key_cells, *trimmed])))
        new = [i for i, text in enumerate(out.texts) if text not in found]
        some = [[column[i] for i in new] for column in columns]
        made = self._generated(core, place, [out.texts[i] for i in new], some, out.rows.pardoned)
        fresh = dict(zip(new, made, strict=True))
        taken = self._taken(core, place, [key[0] for key in made]) if table.shape.rowid_alias else {}
        keys: list[tuple[Any, ...]] = []
        for i, text in enumerate(out.texts):
            there = found.get(text, [])
            if len(there) > 1:
                what = f"{len(there)} records of {table.label} have the key {text!r}: only a person can tell which is meant"
                out.reasons.setdefault(out.sources[i], []).append(what)
            keys.append(tuple(there[0]) if there else fresh[i])
            if not there and fresh[i][0] in taken and not place.own:
                number = fresh[i][0]
                what = f"the key {text!r} makes the number {number}, which {table.label} has with the key {taken[number]!r}"
                out.reasons.setdefault(out.sources[i], []).append(f"{what}: only a person can tell if that was changed")
            if text and not there and None in fresh[i]:
                names = ", ".join(c.name for c in table.shape.key)
                what = f"no record of {table.label} has the key {text!r}, and a new one needs {names}: map them"
                out.reasons.setdefault(out.sources[i], []).append(what)
        return keys

    @staticmethod
    def _taken(core: Core, place: Place, numbers: Sequence[Any]) -> dict[Any, str]:
        """Those of these numbers that a record has already, with its external key."""
        table = core.by_name[place.collection]
        assert table.shape is not None
        names = {c.folded: quote(c.name) for c in (*table.shape.key, *table.shape.columns)}
        columns = ", ".join([table.key_columns[0], *(names[fold(n)] for n in place.target.key)])
        wanted = [number for number in numbers if type(number) is int]
        rows = core.select_in(f"SELECT {columns} FROM {table.sql} WHERE {table.key_columns[0]} IN (", wanted)
        return {row[0]: external(row[1:]) for row in rows}

    # --- relations ----------------------------------------------------------------------------------------------------

    def _refer(self, core: Core, out: Resolved, position: int, cells: Sequence[Any], to: str) -> Sequence[Any]:
        """What stands in a relation: the id of the record that has this external key."""
        spec = out.place.target.fields[position]
        parts = [cell if isinstance(cell, tuple) else (cell,) for cell in cells]
        texts = [external(p) for p in parts]
        place = self._places.get(fold(to))
        table = core.by_name.get(fold(to))
        known = known_in(core, to, self._source) if place is None else None
        later = place is None and table is None and find(core.db, to) is None  # Another import of this source may make it.
        if later or (place is not None and place.how is How.MADE) or (known is not None and known.id is not None):
            namespace = self._namespace if known is None else Namespace(known.source)
            ids: list[Any] = list(namespace.ids(texts))
            if spec.exists:
                self._check_exists(core, out, position, ids, to)
            here = self._ids_here(core, to, cells) if spec.refers is None else ()
            return [cell if cell is MISSING or cell in here else id_ for cell, id_ in zip(cells, ids, strict=True)]
        if table is None or table.shape is None:
            for source, text in zip(out.sources, texts, strict=True):
                if text:
                    what = f"{spec.name}: there is no table {to!r} that it could refer to"
                    out.reasons.setdefault(source, []).append(what)
            return cells
        if place is None or place.how is How.OWN:
            plain = [p[0] if len(p) == 1 else MISSING for p in parts]
            if spec.exists:
                self._check_exists(core, out, position, plain, to)
            return [None if v == "" else v for v in plain]
        found, coming = look_up(core, table, place.target.key, parts), self._coming.get(fold(to), {})
        ids = []
        for source, cell, text in zip(out.sources, cells, texts, strict=True):
            there = found.get(text, [])
            id_ = there[0][0] if there else coming.get(text)
            ids.append(id_ if id_ is not None else MISSING if cell is MISSING else None)
            what = f"{spec.name}: no record of {to} has the key {text!r}"
            if text and id_ is None:
                out.later.setdefault(source, []).append(what)
            elif text and not there:
                self._leaning.setdefault((fold(to), str(id_)), {})[source] = what
        return ids

    @staticmethod
    def _ids_here(core: Core, to: str, cells: Sequence[Any]) -> set[Any]:
        """Cells that are ids of records already, as an export leaves those whose external key it does not know."""
        table = core.by_name.get(fold(to))
        if table is None or table.shape is None:
            return set()
        column = table.key_columns[0]
        wanted = [cell for cell in cells if type(cell) is str and cell]
        return {id_ for (id_,) in core.select_in(f"SELECT {column} FROM {table.sql} WHERE {column} IN (", wanted)}

    def _check_exists(self, core: Core, out: Resolved, position: int, ids: Sequence[Any], to: str) -> None:
        """What this very batch makes exists too: records may refer to each other in a circle."""
        table = core.by_name.get(fold(to))
        wanted = [v for v in ids if v is not None and v is not MISSING and v != ""]
        there: set[str] = set()
        if table is not None and table.shape is not None:
            column = table.key_columns[0]
            rows = core.select_in(f"SELECT {column} FROM {table.sql} WHERE {column} IN (", wanted)
            there = {str(v) for (v,) in rows}
        name = out.place.target.fields[position].name
        for source, id_ in zip(out.sources, ids, strict=True):
            if id_ is not None and id_ is not MISSING and id_ != "" and str(id_) not in there:
                what, key = f"{name}: there is no such record of {to}", (fold(to), str(id_))
                if key in self._makers:
                    self._leaning.setdefault(key, {})[source] = what
                else:
                    out.later.setdefault(source, []).append(what)

    # --- the rule "unique" --------------------------------------------------------------------------------------------

    @staticmethod
    def _check_unique(core: Core, out: Resolved, position: int, cells: Sequence[Any]) -> None:
        """No other record of the table, and no other row of this batch, has the value."""
        column = out.place.columns[position]
        table: Table | None = core.by_name.get(out.place.collection)
        if column is None or table is None or table.shape is None:
            return
        wanted = [v for v in cells if v is not None and v is not MISSING and v != ""]
        keyed = [quote(n) for n in out.place.target.key if fold(n) in {c.folded for c in table.shape.columns}]
        if len(keyed) < len(out.place.target.key):
            keyed = table.key_columns
        sql = f"SELECT {quote(column)}, {', '.join(keyed)} FROM {table.sql} WHERE {quote(column)} IN ("
        owner: dict[Any, str] = {row[0]: external(row[1:]) for row in core.select_in(sql, wanted)}
        here: dict[Any, str] = {}
        for source, cell, text in zip(out.sources, cells, out.texts, strict=True):
            if cell is None or cell is MISSING or cell == "":
                continue
            other = owner.get(cell) or here.setdefault(cell, text)
            if other != text:
                what = f"{out.place.target.fields[position].name}: {str(cell)[:60]!r} is there already, at {other!r}"
                (out.reasons if cell in owner else out.twice).setdefault(source, []).append(what)


def _trimmed(cell: Any) -> Any:
    """A cell of a key as it compares: see `identity`."""
    return external([cell]) if type(cell) is str else cell

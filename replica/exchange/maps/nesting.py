"""Arrays backwards: records that a map makes of the elements of an array become elements of their parent again.

1. Read by the same map, a parent with its array makes the parent and the records that the array was made of.
2. An array is written if its collection says which parent each record belongs to: a field that is made of the parent's
   key ("^id"), and nothing else of the parent is needed. Where it cannot be, `Lost` says why.
3. Elements stand in the order of the field that is made of "#", else of the collection's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from replica.exchange.maps.inverse import Inverse, Lost, inverse_of
from replica.exchange.maps.mapmodel import CollectionSpec, FieldSpec, folded
from replica.exchange.maps.mapping import Mapping


@dataclass(frozen=True)
class Nested:
    """A collection whose records are elements of another's. `path`: of the array; `key`: field of the parent that
    `belongs`, a field of the elements, has; `number`: field with the element's place, from 1; `separator`: the elements are
    parts of a text instead; `elements`: columns of the elements, by path ("." is the element itself)."""

    collection: str
    path: str
    key: str
    belongs: str
    number: str | None
    separator: str | None
    elements: Inverse


def nested(mapping: Mapping, parent: str, *, flat: bool) -> tuple[list[Nested], list[Lost]]:
    """The arrays that a parent is written with, and the collections that cannot be among them. `flat`: the format has no
    arrays, only texts with parts."""
    spec = next(s for s in mapping.collections if folded(s.name) == folded(parent))
    if spec.rows is not None:
        return [], []
    found: list[Nested] = []
    lost: list[Lost] = []
    taken = {source: f'the field "{f.name}"' for f in spec.fields for source in f.sources}
    for child in mapping.collections:
        if child.rows is None:
            continue
        made = _nested(child, spec, mapping.read.decimal, flat, taken)
        if isinstance(made, str):
            lost.append(Lost(child.name, made))
        else:
            found.append(made)
            taken[made.path] = f'the collection "{child.name}"'
            lost += [Lost(f"{child.name}.{one.field}", one.why) for one in made.elements.lost]
    return found, lost


def _nested(
    child: CollectionSpec, parent: CollectionSpec, decimal: str | None, flat: bool, taken: dict[str, str]
) -> Nested | str:
    """A collection as elements of a parent, or why it cannot be."""
    path = child.rows or ""
    if flat and child.separator is None:
        return f'it is the array "{path}", and the format has none: export to JSON or XML, or export it by itself'
    if "[" in path:
        return f'it is made of one element of an array alone ("{path}")'
    if child.when:
        return f'`when` takes some elements of "{path}": what the others were is not known'
    if path in taken or any(other.startswith(f"{path}.") or path.startswith(f"{other}.") for other in taken):
        other = next(o for o in taken if o == path or o.startswith(f"{path}.") or path.startswith(f"{o}."))
        return f'"{path}" is written from {taken[other]}'
    key = _only(parent, parent.key)
    belongs = None if key is None else next((f for f in child.fields if _belongs(f, key, parent)), None)
    if key is None or belongs is None:
        what = f'"^{key.sources[0]}"' if key is not None else "its key, if that is one column"
        return f'no field of it says which record of "{parent.name}" it belongs to: it would be made of {what}'
    number = next((f.name for f in child.fields if f.sources == ("#",) and f.lookup is None), None)
    above = [f for f in child.fields if f is not belongs and any(s.startswith("^") for s in f.sources)]
    own = tuple(f for f in child.fields if f is not belongs and f not in above and f.sources != ("#",))
    made = inverse_of(replace(child, rows=None, fields=own), decimal)
    more = tuple(Lost(f.name, f'it is taken from the record of "{parent.name}"') for f in above)
    made = replace(made, lost=(*made.lost, *more))
    if "." in made.fields and len(made.fields) > 1:
        return f'both elements of "{path}" and what is in them are fields'
    if child.separator is not None and made.fields != (".",):
        return f'not just one of its fields is made of the part "." of "{path}"'
    return Nested(child.name, path, key.name, belongs.name, number, child.separator, made)


def _only(spec: CollectionSpec, names: Sequence[str]) -> FieldSpec | None:
    """The only field of a key, if one column says it."""
    if len(names) != 1:
        return None
    field = next((f for f in spec.fields if folded(f.name) == folded(names[0])), None)
    return field if field is not None and len(field.sources) == 1 and field.split is None else None


def _belongs(field: FieldSpec, key: FieldSpec, parent: CollectionSpec) -> bool:
    """Whether it has the value that the parent's key has, made of the same column in the same way."""
    if field.sources != (f"^{key.sources[0]}",) or field.split is not None:
        return False
    if field.refers is not None:
        return folded(field.refers) == folded(parent.name) and field.lookup is None
    return replace(field, name=key.name, sources=key.sources, required=key.required) == key

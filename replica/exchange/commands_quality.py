"""`replica profile` and `replica compare`: what is in a collection or a file, and how two of them differ.

One test each:

1. `compare` ends with 0 if the sides are equal, with 1 if they are not.
2. With `--json`, standard output is one JSON document, whatever the values.
3. A page is written whole or not at all.
4. What is not sure about a file is asked, or refused, as an import does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from replica import show
from replica.exchange.asking import asking
from replica.exchange.formats.output import refuse_same
from replica.exchange.importing import runs
from replica.exchange.quality.compare import LIST_MAX, Asked, Check, Result, compare, ratio
from replica.exchange.quality.page import compare_page, profile_page
from replica.exchange.quality.profile import FieldProfile, Profile, profile
from replica.exchange.quality.side import Side, open_side
from replica.exchange.rows import Reader, ReadOptions
from replica.progress import Bar
from replica.store.report import printable
from replica.words import clean

OK, DIFFERS = 0, 1
_READ = ("format", "encoding", "delimiter", "quote", "header", "sheet", "records")
"""What a user may say about files."""


def add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `replica profile` after FILE, a database or any file that an import reads; --json is every
    command's."""
    parser.add_argument("collection", metavar="COLLECTION", nargs="?", help="the table, of a database")
    parser.add_argument("--key", metavar="FIELD[,FIELD]", type=_names, default=(), help="what tells records apart")
    parser.add_argument("--reference", metavar="B", help="compare with this too: FILE:COLLECTION, or a file")
    parser.add_argument("--map", metavar="MAP", help="a map: its rules say which values are valid")
    _add_common(parser)


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """All arguments of `replica compare`, which has two files, and --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("a", metavar="A", help="FILE:COLLECTION, or a file")
    parser.add_argument("b", metavar="B", help="the reference: FILE:COLLECTION, or a file")
    parser.add_argument("--key", metavar="FIELD[,FIELD]", type=_names, required=True, help="what tells records apart")
    parser.add_argument("--collection", metavar="NAME", help="the table, of databases named without one")
    parser.add_argument("--fields", metavar="FIELD,…", type=_names, default=(), help="these only (default: all)")
    parser.add_argument("--ignore-case", action="store_true", help="upper and lower case are the same")
    parser.add_argument("--trim", action="store_true", help="blanks at the begin and end do not count")
    parser.add_argument(
        "--limit", metavar="N", type=_count, default=LIST_MAX, help="entries of a list; default: %(default)s"
    )
    parser.add_argument("--map", metavar="MAP", help="a map: its rules say which values are valid")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--html", metavar="OUT", help="write a page with charts")
    parser.add_argument("--format", metavar="F", help="of files: csv, json, xml, ... (default: find out)")
    parser.add_argument("--encoding", metavar="E", help="of files")
    parser.add_argument("--delimiter", metavar="D", help="of files")
    parser.add_argument("--quote", metavar="Q", help="of files: around cells")
    parser.add_argument("--header", metavar="LINE", type=int, help="of files: line of the header, 0 if there is none")
    parser.add_argument("--sheet", metavar="S", help="of files")
    parser.add_argument("--records", metavar="PATH", help="of files: where the records stand")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError
    return names


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError
    return number


def _guard(options: argparse.Namespace, *inputs: str | None) -> None:
    """A page does not replace what it is about; a store may be named FILE:COLLECTION."""
    if options.html is not None:
        every = [name for some in inputs if some for name in (some, some.rpartition(":")[0]) if name]
        refuse_same(options.html, "--html", every)


def run_profile(options: argparse.Namespace) -> int:
    """Print what a collection or a file is like."""
    _guard(options, options.file, options.reference, options.map)
    with ExitStack() as stack:
        bar = stack.enter_context(Bar(options.json))
        side = _side(stack, options, options.file, options.collection)
        found = profile(side, options.key, _rules(options, side), bar.count)
        result = None
        if options.reference is not None:
            reference = _side(stack, options, options.reference, options.collection)
            asked = Asked(options.key or side.key, rules=_rules(options, side))
            result = compare(side, reference, asked, bar.count)
    if options.html is not None:
        _write(options.html, profile_page(found, result))
    if options.json:
        _print_json(found, {"reference": _as_json(result) if result is not None else None})
    elif options.html != "-":
        _show_profile(found)
        if result is not None:
            print()
            _show_compare(result)
    return OK


def run_compare(options: argparse.Namespace) -> int:
    """Print how two sides differ. 0: they do not; 1: they do."""
    _guard(options, options.a, options.b, options.map)
    with ExitStack() as stack:
        bar = stack.enter_context(Bar(options.json))
        a, b = (_side(stack, options, name, options.collection) for name in (options.a, options.b))
        asked = Asked(options.key, options.fields, options.ignore_case, options.trim, options.limit, _rules(options, a))
        result = compare(a, b, asked, bar.count)
    if options.html is not None:
        _write(options.html, compare_page(result))
    if options.json:
        _print_json(result, {"equal": result.equal})
    elif options.html != "-":
        _show_compare(result)
    return OK if result.equal else DIFFERS


def _side(stack: ExitStack, options: argparse.Namespace, name: str, collection: str | None) -> Side:
    """A side. What its file leaves open is asked of it alone: the other may be of another kind."""
    from replica.exchange.formats.opening import open_sure

    read = ReadOptions(**{n: getattr(options, n) for n in _READ})

    def opened(path: str) -> Reader:
        return asking(read, None, lambda read, _: open_sure(path, read), silent=options.json)

    return stack.enter_context(open_side(name, collection, runs.known_in, opened))


def _rules(options: argparse.Namespace, side: Side) -> Mapping[str, Check]:
    from replica.exchange.quality.checks import checks

    return checks(options.map, side) if options.map is not None else {}


def _write(target: str, page: str) -> None:
    from replica.exchange.formats.output import open_output

    with open_output(target) as out:
        out.write(page.encode("utf-8", "replace"))


# --- for people -------------------------------------------------------------------------------------------------------


def _show_profile(found: Profile) -> None:
    print(f"{clean(found.name)}: {found.records} records, {_share(found.completeness)} of all values filled")
    if found.key:
        print(f"key {clean(', '.join(found.key))}: {found.key_repeats} rows repeat one, {found.keyless} have none")
        for key, rows in found.key_examples:
            print(f"  {rows} rows have {clean('/'.join(map(str, key)))}")
    print()
    columns = ("field", "filled", "distinct", "valid", "kinds", "from", "to", "most frequent")
    show.table(columns, [_line(p) for p in found.fields], most=28)
    for p in found.fields:
        for s in p.suspicions:
            print(f"{clean(p.name)}: {s.rows} x {s.mark}: {clean(', '.join(map(repr, s.examples[:3])))}")
        if p.variant_groups:
            groups = "; ".join(" = ".join(repr(v) for v, _ in group) for group in p.variants[:3])
            print(f"{clean(p.name)}: {p.variant_groups} values are written in several ways: {clean(groups)}")
        if p.repeats:
            repeated = ", ".join(f"{v!r} ({n} times)" for v, n in p.repeated[:3])
            print(f"{clean(p.name)}: nearly a key, but {p.repeats} rows repeat a value: {clean(repeated)}")
    _tell(found.notes)


def _line(p: FieldProfile) -> list[object]:
    kinds = ", ".join(f"{what} {_share(ratio(n, p.filled))}" for what, n in list(p.kinds.items())[:3])
    top = ", ".join(f"{v} ({n})" for v, n in p.top[:2] if n > 1)
    valid = _share(p.validity) if p.validity is not None else ""
    return [p.name, _share(p.completeness), p.distinct, valid, kinds, p.least, p.most, top]


def _show_compare(result: Result) -> None:
    a, b = result.a, result.b
    rows = [[which, s.name, s.rows, s.records, s.repeated, s.keyless] for which, s in (("A", a), ("B", b))]
    show.table(["", "side", "rows", "records", "repeat a key", "no key"], rows)
    print()
    print(
        f"{result.common} common, {result.differing} differ; {result.missing} missing in A, {result.extra} extra in A"
    )
    print(f"consistency {_share(result.consistency)}, completeness {_share(result.completeness)}")
    print()
    columns = ("field", "differ", "consistency", "accuracy", "filled in A", "filled in B")
    measured = [
        [f.name, f.differing, *map(_share, (f.consistency, f.accuracy, f.completeness_a, f.completeness_b))]
        for f in result.fields
    ]
    show.table(columns, measured)
    for side, which in ((a, "A"), (b, "B")):
        if side.only_fields:
            print(f"only in {which}: {clean(', '.join(side.only_fields))}")
    for title, keys, total in (
        ("missing in A", result.missing_keys, result.missing),
        ("extra in A", result.extra_keys, result.extra),
        ("twice in A", a.duplicates, a.repeated),
        ("twice in B", b.duplicates, b.repeated),
    ):
        if total:
            shown = ", ".join("/".join(str(printable(part)) for part in key) for key in keys)
            print(f"{title}: {clean(shown)}{', …' if total > len(keys) else ''}")
    if result.differences:
        print()
        differences = [["/".join(map(str, k)), f, *_side_by_side(x, y)] for k, f, x, y in result.differences]
        show.table(["key", "field", "A", "B"], differences)
    _tell(result.notes)


def _side_by_side(a: object, b: object) -> tuple[object, object]:
    return show.apart(clean(a), clean(b)) if isinstance(a, str) and isinstance(b, str) else (a, b)


def _share(share: float | None) -> str:
    """A share in words, which says 100% of all only."""
    if share is None:
        return "-"
    return f"{share:.0%}" if share in {0.0, 1.0} else f"{min(max(share, 0.001), 0.999):.1%}"


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(clean(note), file=sys.stderr)


# --- for programs -----------------------------------------------------------------------------------------------------


def _print_json(document: Profile | Result, more: dict[str, Any]) -> None:
    print(json.dumps({**_as_json(document), **more}, ensure_ascii=False, indent=2, allow_nan=False))


def _as_json(document: Profile | Result) -> dict[str, Any]:
    said: dict[str, Any] = _plain(asdict(document))
    if isinstance(document, Result):
        said["differences"] = [
            dict(zip(("key", "field", "a", "b"), entry, strict=True)) for entry in said["differences"]
        ]
    return said


def _plain(value: Any) -> Any:
    """A value as JSON can say it."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else printable(value)

"""`replica map`: draft a map from a file, check one, and list those that come with the program.

replica map suggest FILE [--out MAP] [--country DE] [--json]
replica map check MAP [FILE] [--date DMY] [--country DE] [--json]
replica map list [--json]

A draft says how to read the file only where the user had to say it, or where it is not sure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from replica.errors import MapRefused, UsageError
from replica.exchange.maps.inverse import inverse
from replica.exchange.maps.mapfile import ready
from replica.exchange.maps.mapping import Mapping, Problem, load
from replica.exchange.maps.nesting import nested
from replica.exchange.maps.suggest import Draft, suggest
from replica.exchange.rows import Reader, ReadOptions
from replica.words import clean

OK, REJECTS = 0, 1
"""Exit codes: all is well; `check` found rows that the map rejects."""
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `replica map`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    draft = actions.add_parser("suggest", help="draft a map from the headers and the values of a file")
    draft.add_argument("input", metavar="FILE", help="a file to import")
    draft.add_argument("--out", metavar="MAP", help="write the draft here instead of printing it")
    check = actions.add_parser("check", help="check a map, and try it on a file without writing anything")
    check.add_argument("map", metavar="MAP", help="a map file, or the name of a ready map")
    check.add_argument("input", metavar="FILE", nargs="?", help="a file to try it on")
    check.add_argument("--date", choices=("DMY", "MDY", "YMD"), help="order of dates that the values leave open")
    every = actions.add_parser("list", help="the maps that come with the program")
    for action in (draft, check):
        action.add_argument(
            "--country", metavar="CC", help="country of phone numbers that do not say theirs (DE, CN, ...)"
        )
        action.add_argument("--format", help="of the file: csv, json, xml, ...")
        action.add_argument("--encoding", help="of the file: utf-8, gb18030, ...")
        action.add_argument("--delimiter", help="between cells; \\t for a tab")
        action.add_argument("--header", metavar="LINE", type=int, help="line of the header, 0 if there is none")
        action.add_argument("--records", metavar="PATH", help="where the records are in JSON or XML, such as data.items")
        action.add_argument("--sheet", help="name or number of the sheet")
    for action in (draft, check, every):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Carry out `replica map`. Raises MapRefused, FileRefused, Unsure and UsageError."""
    return {"suggest": _suggest, "check": _check, "list": _list}[options.action](options)


def _told(options: argparse.Namespace, read: ReadOptions | None = None) -> ReadOptions:
    """What the user says about the file, over what the map says."""
    names = ("format", "encoding", "delimiter", "header", "records", "sheet")
    return replace(read or ReadOptions(), **{n: value for n in names if (value := getattr(options, n)) is not None})


def _open(path: str, read: ReadOptions, *, sure: bool = False) -> Reader:
    from replica.exchange.formats.opening import open_reader, open_sure

    return open_sure(path, read) if sure else open_reader(path, read)


def _country(options: argparse.Namespace) -> str | None:
    """The country that the user says. Raises UsageError if there is none of these letters."""
    if not options.country:
        return None
    from replica.exchange.maps.contact_types import countries

    country: str = options.country.upper()
    if country not in countries():
        raise UsageError(f"{clean(options.country)} is no country: use its two letters, such as DE")
    return country


def _suggest(options: argparse.Namespace) -> int:
    if options.out and Path(options.out).exists():
        raise UsageError(f"{options.out} exists: choose another name, or remove it")
    country = _country(options)
    told = _told(options)
    reader = _open(options.input, told)
    try:
        draft = suggest(reader, options.input, country, told)
    finally:
        reader.close()
    if options.out:
        Path(options.out).write_text(draft.toml, encoding="utf-8")
    if options.json:
        print(json.dumps(asdict(draft), ensure_ascii=False, indent=2))
    else:
        print(table(draft), file=sys.stdout if options.out else sys.stderr)
        print(f"wrote {options.out}" if options.out else draft.toml, end="\n" if options.out else "")
    return OK


def table(draft: Draft) -> str:
    """The columns of a file with what the draft makes of them, samples and fill rate, for people."""
    head = ("COLUMN", "FIELD", "TYPE", "FILLED", "DISTINCT", "SAMPLES", "LOOK AT")
    lines = [
        (
            clean(c.column),
            clean(c.field) + (" (key)" if c.field in draft.key[:1] else ""),
            c.type or "as it is",
            f"{c.fill:.0%}",
            f"{c.distinct}{'+' if c.more else ''}",
            clean(" | ".join(c.samples[:3])),
            clean("; ".join(c.notes)),
        )
        for c in draft.columns
    ]
    return columns(head, lines)


def columns(head: tuple[str, ...], lines: Sequence[tuple[str, ...]], widest: int = 40) -> str:
    """Lines under a head, padded to the width that they have on a terminal (Chinese letters are two wide)."""
    cut = [tuple(_cut(cell, widest) for cell in line) for line in (head, *lines)]
    widths = [max(_width(line[i]) for line in cut) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cut
    )


def _width(text: str) -> int:
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, widest: int) -> str:
    while _width(text) > widest:
        text = text[: max(len(text) - max(1, (_width(text) - widest) // 2) - 1, 0)] + "…"
    return text


def _check(options: argparse.Namespace) -> int:
    mapping = load(options.map)
    if country := _country(options):
        mapping = replace(mapping, country=country)
    told: dict[str, Any] = {"map": options.map, "source": mapping.source, "collections": []}
    for spec in mapping.collections:
        back = [lost._asdict() for lost in inverse(mapping, spec.name).lost]
        arrays, lost_too = nested(mapping, spec.name, flat=False)
        back += [lost._asdict() for lost in lost_too]
        told["collections"].append(
            {
                "name": spec.name, "key": spec.key, "fields": [f.name for f in spec.fields], "not_exported": back,
                "arrays": [array.collection for array in arrays],
            }
        )  # fmt: skip
    rejected = 0
    if options.input:
        reader = _open(options.input, _told(options, mapping.read), sure=True)
        try:
            told["file"] = _tried(mapping, reader, options.date)
        finally:
            reader.close()
        rejected = told["file"]["rejected"]
    if options.json:
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        _print_check(told)
    return REJECTS if rejected else OK


def _tried(mapping: Mapping, reader: Reader, date: str | None) -> dict[str, Any]:
    """What the map makes of a file: counts, what was decided, and the first problems."""
    settled, findings = mapping.settle(reader, date)
    mapper = settled.mapper(reader.fields)
    made: Counter[str] = Counter()
    rows = rejected = broken = 0
    shown: list[dict[str, Any]] = []
    for batch in reader.batches():
        records, problems = mapper.map(batch)
        rows += len(batch.rows) + len(batch.broken)
        broken += len(batch.broken)
        rejected += len(problems) + len(batch.broken)
        for mapped in records:
            made[mapper.targets[mapped.target].collection] += len(mapped.sources)
        lines: list[tuple[int, list[Problem]]] = [(batch.numbers[index], found) for index, found in problems.items()]
        lines += [(b.number, [Problem("", b.raw[:80], "read", b.reason)]) for b in batch.broken]
        for row, found in sorted(lines)[: max(SHOWN - len(shown), 0)]:
            shown += [{"row": row, **problem._asdict()} for problem in found]
    return {
        "unused": mapper.unused,
        "rows": rows, "rejected": rejected, "broken": broken, "records": dict(made), "problems": shown,
        "findings": [f._asdict() for f in (*reader.findings, *findings)],
    }  # fmt: skip


def _print_check(told: dict[str, Any]) -> None:
    print(f"{clean(told['map'])} is a good map")
    for spec in told["collections"]:
        fields = ", ".join(spec["fields"]) or "all columns, as they are"
        print(f"{clean(spec['name'])} (key {clean(', '.join(spec['key']))}): {clean(fields)}")
        for name in spec["arrays"]:
            print(f"  exported in it, to JSON and XML: {clean(name)}")
        for lost in spec["not_exported"]:
            print(f"  not exported: {clean(lost['field'])}: {clean(lost['why'])}")
    if "file" in told:
        found = told["file"]
        for f in found["findings"]:
            print(f"found: {clean(f['what'])} = {clean(f['value'])} ({f['confidence']:.0%} sure)")
        if found["unused"]:
            print(f"columns that nothing reads: {clean(', '.join(found['unused']))}")
        made = ", ".join(f"{n} {clean(name)}" for name, n in found["records"].items())
        print(f"{found['rows']} rows: {made or 'no records'}; {found['rejected']} rejected")
        for p in found["problems"]:
            print(
                f'  row {p["row"]}: {clean(p["field"])} "{clean(p["value"])}" {clean(p["message"])} [{clean(p["rule"])}]'
            )


def _list(options: argparse.Namespace) -> int:
    found: list[dict[str, Any]] = []
    for name in ready():
        try:
            mapping = load(name)
        except MapRefused as refused:
            raise MapRefused(f"the ready map {name} is spoilt: reinstall the program ({refused})") from None
        found.append({"name": name, "collections": [c.name for c in mapping.collections], "source": mapping.source})
    if options.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print(columns(("MAP", "COLLECTIONS"), [(f["name"], ", ".join(f["collections"])) for f in found]))
    return OK

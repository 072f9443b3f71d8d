"""What the command line prints for people."""

from __future__ import annotations

import datetime
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from protocol import limits
from protocol.outcome import IN_SYNC
from replica.store.adopt import Adopted
from replica.store.report import printable
from replica.sync_report import SyncReport
from replica.words import clean, counted

Json = dict[str, Any]


def told_apart(columns: Sequence[str]) -> list[str]:
    """Names of columns, each once: of two called `a` the second is `a:1`, or has the next number that is free."""
    taken, found, numbers = set(columns), list[str](), dict[str, int]()
    for name in columns:
        told = name
        if name in numbers:
            while told in taken:
                numbers[name] += 1
                told = f"{name}:{numbers[name]}"
            taken.add(told)
        numbers.setdefault(name, 0)
        found.append(told)
    return found


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], most: int = 60) -> None:
    """Rows in columns; long cells are cut."""
    lines = [[clean(c) for c in columns]]
    for row in rows:
        cells = ["" if v is None else clean(printable(v)) for v in row]
        lines.append([c if _width(c) <= most else c[: most - 1] + "…" for c in cells])
    widths = [max(_width(line[i]) for line in lines) for i in range(len(columns))]
    for number, line in enumerate(lines):
        print("  ".join(c + " " * (w - _width(c)) for c, w in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * w for w in widths))


def apart(one: str, other: str, most: int = 60) -> tuple[str, str]:
    """Two texts that differ, begun so late that the first difference stands within `most` columns."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    if _width(one[: same + 1]) <= most * 2 // 3 or max(_width(one), _width(other)) <= most:
        return one, other
    begin = max(same - most // 4, 0)
    return f"…{one[begin:]}", f"…{other[begin:]}"


def when(millis: int | None) -> str:
    """A time for people, in UTC."""
    if not millis:
        return "never"
    try:
        moment = datetime.datetime.fromtimestamp(millis / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{millis} ms after 1970"
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{millis % 1000:03d} UTC"


def size(count: int) -> str:
    """Bytes for people."""
    if count < 10_000:
        return f"{count} B"
    return f"{count / 1000:.0f} kB" if count < 10_000_000 else f"{count / 1e6:.1f} MB"


def adopted(results: Sequence[Adopted]) -> None:
    """What became of each table."""
    for result in results:
        if result.refused:
            print(f"{clean(result.table)}: not adopted: {clean(result.refused)}", file=sys.stderr)
        else:
            print(f"{clean(result.table)}: {counted(result.rows, 'row')}")
    if not results:
        print("there are no tables to adopt")


def status(report: Json) -> None:
    """Node, clock, tables, peers."""
    print(f"node   {clean(report['name'])} ({report['node']}) in group {report['group']}")
    print(f"file   {report['file']}")
    for scope in report["scopes"]:
        print(f"scope  {scope['scope']}: root {scope['root']}, {counted(scope['count'], 'record')}")
    ahead = report["clock"]["ahead_ms"]
    print(f"clock  {when(report['clock']['now_ms'])}" + (f", newest stamp {ahead / 1000:.1f} s ahead" if ahead else ""))
    print(f"waiting to be absorbed: {counted(report['backlog'], 'captured write')}")
    print()
    columns = ("table", "live", "deleted", "held", "hidden_edits")
    table(columns, [[t[c] for c in columns] for t in report["tables"]])
    for entry in report["tables"]:
        if entry["state"]:
            print(f"  {clean(entry['table'])}: {clean(entry['state'])}")
        for reason in entry["held_reasons"]:
            print(f"  held in {clean(entry['table'])}: {reason['records']} because {clean(reason['reason'])}")
    if report["orphans"]:
        print(f"  refer to a row that is not shown here (foreign keys): {counted(report['orphans'], 'row')}")
    for local in report["local_only"]:
        print(f"  stays here only: {clean(local['table'])}: {clean(local['reason'])}")
    print()
    if report["peers"]:
        roots = {scope["root"] for scope in report["scopes"]}
        peers = [
            (
                p["name"],
                p["node"],
                p["outcome"] + (", changed since" if p["outcome"] == IN_SYNC and p["root"] not in roots else ""),
                when(p["met_ms"]),
                when(p["agreed_ms"]),
                f"{p['offset_ms'] / 1000:+.1f} s",
            )
            for p in report["peers"]
        ]
        table(("peer", "node", "last outcome", "last met", "last equal", "its clock"), peers)
    else:
        print("no peer met yet")
    for notice in report["notices"]:
        print(f"! {clean(notice)}")


def _stamp(stamp: Json) -> str:
    if not stamp["millis"]:
        return str(stamp["by"])
    return f"{clean(stamp['by'])} at {when(stamp['millis'])} #{stamp['counter']}"


def _short(value: object) -> str:
    text = clean(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters; all of it with --json)"


def why(report: Json) -> None:
    """Fields, their writers, their losers."""
    state = "shown" if report["shown"] else "live" if report["live"] else "deleted"
    if report["held"]:
        state = f"{'held' if report['live'] else state}: {clean(report['held'])}"
    key = json.dumps(report["key"], ensure_ascii=False)
    print(f"{clean(report['table'])} {clean(key)}: {state}")
    if report["born"]:
        print(f"  inserted by {_stamp(report['born'])}")
    if report["deleted"]:
        print(f"  deleted by {_stamp(report['deleted'])}")
    for field in report["fields"]:
        print(f"  {clean(field['field'])} = {_short(field['value'])}")
        print(f"      by {_stamp(field)}")
        if "overwrote" in field:
            lost = field["overwrote"]
            print(f"      over {_short(lost['value'])} by {_stamp(lost)}")


def held(rows: Sequence[Json]) -> None:
    """What no table shows, and why."""
    if not rows:
        print("nothing is held")
        return
    for row in rows:
        key = json.dumps(row["key"], ensure_ascii=False)
        print(f"{row['ref']}  {clean(row['table'])} {clean(key)}: {clean(row['reason'])}")
        print(f"    {clean(json.dumps(row['values'], ensure_ascii=False))[:300]}")


def _carried(report: SyncReport) -> str:
    records = f"{report.sent} records sent, {report.received} received"
    return f"{records}, {size(report.bytes_out)} out, {size(report.bytes_in)} in, {report.seconds:.2f} s"


def synced(report: SyncReport) -> None:
    """How a sync went, on a few lines."""
    print(f"{report.url}" + (f" ({clean(report.peer)})" if report.peer else ""))
    if report.failed:
        print(f"  failed: {clean(report.text)}")
        if report.bytes_in:
            print(f"  before that: {_carried(report)}; what was received is kept, and the next sync goes on")
        return
    print(f"  records: {report.sent} sent, {report.received} received, {report.held} held")
    if report.held:
        print("  held records are in no table here: `replica held FILE` says which, and why")
    print(
        f"  bytes: {size(report.bytes_out)} out, {size(report.bytes_in)} in; {counted(report.round_trips, 'round trip')}, "
        f"{report.seconds:.2f} s" + (f"; differences found by {report.found_by}" if report.found_by else "")
    )
    if report.version != (ours := f"{limits.VERSION}.{limits.MINOR}"):
        print(f"  the peer speaks version {report.version} of the protocol, this node {ours}")
    if abs(report.offset_ms) > 60_000:
        print(f"  the peer's clock is {report.offset_ms / 60_000:+.0f} min from this one")
    for reason in report.reasons:
        print(f"  ! {clean(reason)}")
    print(f"  root {report.root}, {counted(report.count, 'record')}")
    print(f"  {report.outcome}" + (f": {clean(report.text)}" if report.text else ""))


def session(report: SyncReport, as_json: bool) -> None:
    """One line for each session of a node that serves."""
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False), flush=True)
    elif report.peer and not (report.failed and report.url.startswith("ws")):
        counts = f"{report.sent} sent, {report.received} received" + (f", {report.held} held" if report.held else "")
        print(f"{clean(report.peer)} ({report.url}): {report.outcome}, {counts}", flush=True)
        for reason in report.reasons:
            print(f"  ! {clean(reason)}", flush=True)
    elif report.url.startswith("ws"):
        print(f"{report.url}: {clean(report.text)}" + (f" ({_carried(report)})" if report.bytes_in else ""), flush=True)

"""The report of a run: one file that opens by a double click and shows a person what happened.

On top the verdict, the facts and the story in words; in the middle everything on one axis of virtual time; below the
tables. One test each:

1. The file is whole in itself: it loads nothing.
2. Nothing that came from data is taken for markup or script.
3. The story counts rightly.
4. The same result gives the same bytes.
5. 10,000 syncs and 10,000 writes stay below 3 MB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from sim.chance import RECENT
from sim.minors import versions
from sim.report_cuts import cuts
from sim.report_page import CSS, SCRIPT
from sim.result import CLASSES, DAY, DIFFER, FAILED, IN_SYNC, SHORT_S, Band, Result, Sync, span

FAMILIES = {
    "network": ("partition", "block", "slow", "frames", "cut", "deaf"),
    "clock": ("step", "drift", "freeze", "counter"),
    "machine": ("crash", "off", "suspend"),
    "disk": ("full", "ioerror", "rot"),
    "copies": ("clone", "backup", "restore"),
    "software": ("schema", "version", "hostile"),
    "schedule": ("offline",),
}
"""Kinds of band that share a colour; the hatch tells them apart."""


def write_report(result: Result, path: str | Path) -> None:
    """Write the report of this run as one HTML file."""
    Path(path).write_text(page(result), encoding="utf-8")


def page(result: Result) -> str:
    """The report as HTML."""
    title = f"seed {result.scenario.seed}: {'passed' if result.ok else 'FAILED'}"
    kind = "passed" if result.ok else "broken"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{escape(title)}</title><style>{CSS}</style></head><body><main>
<h1>A simulated world, {escape(title)}</h1>
<p class="card verdict {kind}">{"✓" if result.ok else "✗"} {escape(result.verdict)}</p>
<div class="top"><section class="card"><h2>Facts</h2>{_facts(result)}</section>
<section class="card"><h2>What happened</h2>{_story(result)}</section></div>
{_timeline(result)}
{_last_events(result)}
<section class="card"><h2>Syncs of each pair</h2><div class="scroll">{_pairs(result.syncs)}</div></section>
<section class="card"><h2>Reach: which fault met which state of the protocol</h2>{_reach(result.reach)}</section>
<details class="card"><summary>The scenario file</summary><pre>{escape(result.scenario.to_toml())}</pre></details>
</main><div id="tip" role="status"></div>
<script type="application/json" id="data">{_embedded(_data(result))}</script><script>{SCRIPT}</script></body></html>
"""


# --- above the timeline -----------------------------------------------------------------------------------------------


def _facts(result: Result) -> str:
    refused = sum(not w.ok for w in result.work)
    syncs = ", ".join(f"{n:,} {kind}" for kind, n in result.sync_counts().items())
    rows = [
        ("seed", str(result.scenario.seed)),
        ("nodes", f"{len(result.nodes)}"),
        ("virtual time", span(result.ended_at)),
        ("computed in", f"{result.cpu_s:.1f} s of CPU"),
        ("writes", f"{len(result.work):,}, {refused:,} of them refused"),
        ("syncs", f"{len(result.syncs):,}: {syncs}"),
        ("faults", f"{result.faults:,}"),
        ("carried", f"{result.counts.get('bytes', 0):,} bytes"),
        ("protocol versions", versions(result.scenario.places)),
        ("planted bug", result.scenario.bug),
        ("version", result.version),
        ("trace", result.digest),
    ]
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows if value)
    again = (
        f'<dt>again</dt><dd><code id="replay">{escape(result.replay)}</code> <button class="copy">copy</button></dd>'
    )
    return f"<dl>{body}{again if result.replay else ''}</dl>"


def _story(result: Result) -> str:
    items = "".join(
        f'<li class="{escape(told.mood)}"><time>{escape(result.moment(told.start))}</time><span>{escape(told.text)}</span>'
        f'<button class="go" data-a="{told.start:.3f}" data-z="{told.end:.3f}">show</button></li>'
        for told in story(result)
    )
    return f'<ol class="story">{items}</ol>'


# --- the story --------------------------------------------------------------------------------------------------------

TOLD_MAX = 40
"""Lines of a story: of more happenings, the longest are told."""

FLAPS = 3
"""So many of the same kind at the same place in quick succession are told as one."""

PHRASES = {
    "block": "some links were blocked, one way{}",
    "slow": "some links were slow{}",
    "frames": "frames were spoiled on some links{}",
    "cut": "open connections were cut",
    "deaf": "{node} took no connections{}",
    "step": "the clock of {node} jumped",
    "drift": "the clock of {node} began to run at a wrong speed",
    "freeze": "the clock of {node} stood still{}",
    "counter": "the clock counter of {node} was used up",
    "crash": "{node} crashed and was down{}",
    "off": "{node} was switched off{}",
    "suspend": "{node} slept{}",
    "full": "the disk of {node} was full{}",
    "ioerror": "the disk of {node} failed{}",
    "rot": "a bit rotted on the disk of {node}",
    "clone": "{node} was copied, and both copies ran",
    "backup": "{node} was backed up",
    "restore": "{node} was set back to its backup",
    "schema": "the tables of {node} were changed",
    "version": "{node} ran another version{}",
    "hostile": "{node} lied to its peers{}",
}
"""What a fault is in words; `{}`: how long."""

LONG = frozenset({"partition", "crash", "off", "suspend", "full", "ioerror", "deaf", "version"})
"""Kinds after which it is told when all was well again."""


class Told(NamedTuple):
    """A line of the story. `mood`: "good", "bad" or nothing."""

    start: float
    end: float
    text: str
    mood: str = ""


def story(result: Result) -> list[Told]:
    """The main happenings of a run, in order of time."""
    planned = [b for b in result.bands if b.kind == "offline"]
    told = [_chapter(result, run) for run in _runs([b for b in result.bands if b.kind != "offline"])]
    if len(told) > TOLD_MAX:
        longest = sorted(told, key=lambda t: (t.start - t.end, t.start))
        rest = f"{len(told) - TOLD_MAX} shorter faults are not told here; the timeline shows them"
        told = [*longest[:TOLD_MAX], Told(result.ended_at, result.ended_at, rest)]
    work = sum(e.work for e in result.scenario.events)
    ahead = f"{_many(work, 'write')} and {_many(len(result.scenario.events) - work, 'fault')} lie ahead"
    told.append(Told(0, 0, f"{_many(len(result.scenario.places), 'node')} begin; {ahead}"))
    if planned:
        who = len({b.node for b in planned})
        text = f"by plan, {_many(who, 'node')} had no network now and then, {_many(len(planned), 'time')} in all"
        told.append(Told(planned[0].start, planned[-1].end, text))
    if bad := result.violation:
        where = f" on {bad.node}" if bad.node else ""
        told.append(Told(bad.at, bad.at, f"{bad.invariant} was broken{where} ({bad.meaning}): {bad.text}", "bad"))
    elif result.equal_at is None:
        told.append(
            Told(result.healed_at, result.ended_at, "the last fault ended; the nodes never became equal", "bad")
        )
    else:
        after = span(max(0.0, result.equal_at - result.healed_at))
        told.append(
            Told(result.healed_at, result.equal_at, f"the last fault ended; all were equal {after} later", "good")
        )
    return sorted(told, key=lambda t: t.start)


def _runs(bands: list[Band]) -> list[list[Band]]:
    """Bands of one kind at one place that follow each other closely, together."""
    runs: list[list[Band]] = []
    last: dict[tuple[str, str, object], list[Band]] = {}
    for band in sorted(bands, key=lambda b: (b.start, b.node, b.kind)):
        key = (band.kind, band.node, band.groups)
        run = last.get(key)
        if run is None or band.start - run[-1].end > max(60.0, 2 * (run[-1].end - run[-1].start)):
            run = last[key] = []
            runs.append(run)
        run.append(band)
    return [part for run in runs for part in ([run] if len(run) >= FLAPS else [[band] for band in run])]


def _chapter(result: Result, run: list[Band]) -> Told:
    first, start, end = run[0], run[0].start, max(b.end for b in run)
    lasted = f" for {span(end - start)}" if end > start else ""
    if first.kind == "partition" and first.groups:
        text = _partition(result, first, start, end, lasted)
    elif phrase := PHRASES.get(first.kind):
        text = phrase.format(lasted, node=first.node or "the network")
    else:
        text = f"{first.node or 'the network'}: {first.kind}{lasted}"
    text += f" ({len(run)} times in that while)" if len(run) > 1 else ""
    text += f" ({first.text})" if first.text and len(run) == 1 and not first.groups else ""
    return Told(start, end, text + (_after(result, first, end) if first.kind in LONG else ""))


def _partition(result: Result, band: Band, start: float, end: float, lasted: str) -> str:
    edits = [sum(w.ok and w.node in group and start <= w.at < end for w in result.work) for group in band.groups]
    if len(band.groups) == 2:
        few = 0 if len(band.groups[0]) < len(band.groups[1]) else 1
        was = "was" if len(band.groups[few]) == 1 else "were"
        counts = f"{_many(edits[few], 'edit')} on the one side, {edits[1 - few]:,} on the other"
        return f"{_names(band.groups[few])} {was} cut off from the others{lasted}; meanwhile {counts}"
    parts = " | ".join(" ".join(group[:4]) + (" …" if len(group) > 4 else "") for group in band.groups)
    some = f"edits meanwhile: {_and(f'{n:,}' for n in edits)}" if any(edits) else "nobody wrote meanwhile"
    return f"the network fell into {len(band.groups)} parts ({parts}){lasted}; {some}"


def _after(result: Result, band: Band, end: float) -> str:
    """When all was well again: for a partition all roots equal, for a node its next sync that ended in sync."""
    if not band.node:
        well = min((s.at for s in result.samples if s.at >= end and s.roots <= 1), default=None)
        return "; not seen equal after it" if well is None else f"; equal again {span(well - end)} after the cut ended"
    own = (s.end for s in result.syncs if s.start >= end and s.kind == IN_SYNC and band.node in {s.client, s.server})
    well = min(own, default=None)
    return "; never in sync after it" if well is None else f"; in sync with a peer {span(well - end)} after it"


def _names(names: Sequence[str]) -> str:
    return _and(names) if len(names) <= 5 else f"{', '.join(names[:4])} and {len(names) - 4} more"


def _and(parts: Iterable[str]) -> str:
    *most, last = list(parts) or ["nobody"]
    return f"{', '.join(most)} and {last}" if most else last


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


# --- the timeline -----------------------------------------------------------------------------------------------------


def _timeline(result: Result) -> str:
    shown = [*CLASSES, "writes", "faults"]
    toggles = "".join(f'<button data-show="{name}" aria-pressed="true">{name}</button>' for name in shown)
    moves = (("-", "−", "zoom out"), ("+", "+", "zoom in"), ("left", "◀", "earlier"), ("right", "▶", "later"))
    buttons = "".join(f'<button data-do="{do}" aria-label="{says}">{sign}</button>' for do, sign, says in moves)
    legend = [(f'data-sync="{n}"', f"sync: {kind}") for n, kind in enumerate(CLASSES)] + [
        ('data-sync="write"', "write")
    ]
    legend += [(f'data-kind="{escape(kind)}"', kind) for kind in _kinds(result)]
    swatches = "".join(f"<span><canvas {what}></canvas>{escape(text)}</span>" for what, text in legend)
    return f"""<section class="card draw"><h2>Timeline</h2>
<div class="tools">{buttons}<button data-do="all">all</button><span class="gap"></span>{toggles}</div>
<canvas id="view" tabindex="0" role="img" aria-label="Nodes as lanes over virtual time, with faults, syncs and writes; the
story above tells the same in words. Keys: plus, minus, arrows, 0 for all."></canvas>
<div id="note">The timeline needs JavaScript.</div><div class="legend">{swatches}</div></section>"""


def _kinds(result: Result) -> dict[str, dict[str, Any]]:
    families = {kind: (family, n) for family, kinds in FAMILIES.items() for n, kind in enumerate(kinds)}
    found = sorted({band.kind for band in result.bands})
    unknown = [kind for kind in found if kind not in families]
    families |= {kind: ("other", n) for n, kind in enumerate(unknown)}
    return {kind: {"family": families[kind][0], "hatch": families[kind][1]} for kind in found}


def everybody(result: Result) -> list[str]:
    """The nodes of the run, and whoever else is named in it."""
    named = [s.client for s in result.syncs] + [s.server for s in result.syncs] + [w.node for w in result.work]
    named += [b.node for b in result.bands] + [name for b in result.bands for group in b.groups for name in group]
    return list(dict.fromkeys([*result.nodes, *(name for name in named if name)]))


def _data(result: Result) -> dict[str, Any]:
    nodes = everybody(result)
    number = {name: n for n, name in enumerate(nodes)} | {"": -1}
    words: dict[str, int] = {}

    def word(text: str) -> int:
        return words.setdefault(text, len(words))

    def sync(s: Sync) -> list[float]:
        pair = [number[s.client], number[s.server], CLASSES.index(s.kind), word(s.outcome)]
        return [_ms(s.start), _ms(s.end), *pair[:3], pair[3], s.sent, s.received, s.bytes_out, s.bytes_in, word(s.text)]

    bad = result.violation
    return {
        "nodes": nodes,
        "classes": CLASSES,
        "kinds": _kinds(result),
        "short": result.ended_at <= SHORT_S,
        "day0": result.scenario.start_ms // 1000 % DAY,
        "end": _ms(result.ended_at),
        "cuts": [[_ms(a), _ms(b)] for a, b in cuts(result)],
        "healed": _ms(result.healed_at) if result.healed_at > 0 else None,
        "equal": None if result.equal_at is None else _ms(result.equal_at),
        "violation": {"at": _ms(bad.at), "invariant": bad.invariant} if bad else None,
        "bands": [
            {
                "n": number[b.node],
                "k": b.kind,
                "a": _ms(b.start),
                "b": _ms(b.end),
                "t": b.text,
                "g": [[number[name] for name in group] for group in b.groups],
            }
            for b in result.bands
        ],
        "syncs": [sync(s) for s in result.syncs if s.client],
        "work": [[_ms(w.at), number[w.node], word(w.kind), int(w.ok)] for w in result.work if w.node],
        "samples": [[_ms(s.at), s.roots, s.behind, s.bytes_total] for s in result.samples],
        "words": list(words),
    }


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _embedded(data: object) -> str:
    # Inside <script> only "</script" and "<!--" matter; without any "<" neither can be.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- below the timeline -----------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markup already."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _pairs(syncs: list[Sync]) -> str:
    pairs: dict[tuple[str, str], list[Sync]] = {}
    for sync in syncs:
        pairs.setdefault((sync.client, sync.server), []).append(sync)
    rows = []
    for (client, server), found in sorted(pairs.items()):
        kinds = [s.kind for s in found]
        numbers = [len(found), *(kinds.count(kind) for kind in CLASSES), sum(s.sent for s in found)]
        numbers += [sum(s.received for s in found), sum(s.bytes_out for s in found), sum(s.bytes_in for s in found)]
        cells = [f"<td>{escape(client)} → {escape(server or 'nobody')}</td>", *(f"<td>{n:,}</td>" for n in numbers)]
        rows.append(cells)
    head = ["client → server", "syncs", IN_SYNC, DIFFER, FAILED, "records sent", "received", "bytes out", "bytes in"]
    return _table(head, rows) if rows else "<p>There was no sync.</p>"


def _reach(reach: dict[str, dict[str, int]]) -> str:
    states = sorted({state for found in reach.values() for state in found})
    if not states:
        return "<p>Nothing was counted.</p>"
    rows = []
    for fault, found in sorted(reach.items()):
        cells = [f"<td>{n:,}</td>" if (n := found.get(state, 0)) else '<td class="zero">never</td>' for state in states]
        rows.append([f'<th scope="row">{escape(fault)}</th>', *cells])
    return f'<div class="scroll">{_table(["fault", *map(escape, states)], rows)}</div>'


def _last_events(result: Result) -> str:
    if result.ok:
        return ""
    rows = [
        [f"<td>{line.at:.3f} s</td>", *(f'<td class="log">{escape(part)}</td>' for part in line[1:])]
        for line in result.lines[-RECENT:]
    ]
    table = _table(["at", "node", "event", "details"], rows) if rows else "<p>No events were kept.</p>"
    return (
        f'<section class="card"><h2>The last events before the failure</h2><div class="scroll">{table}</div></section>'
    )

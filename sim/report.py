"""The report of a run: one file that opens by a double click and shows a person what happened.

On top the verdict, the facts and the story in words; in the middle everything on one axis of virtual time; below the
tables. One test each:

1. The file is whole in itself: it loads nothing.
2. Nothing that came from data is taken for markup or script.
3. The same result gives the same bytes.
4. 10,000 syncs and 10,000 writes stay below 3 MB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from sim.chance import RECENT
from sim.minors import versions
from sim.report_cuts import cuts
from sim.report_page import CSS, SCRIPT
from sim.result import CLASSES, DAY, DIFFER, FAILED, IN_SYNC, SHORT_S, Result, Sync, span
from sim.story import story

FAMILIES = {
    "network": ("partition", "block", "slow", "frames", "cut", "deaf"),
    "clock": ("step", "drift", "freeze", "counter"),
    "machine": ("crash", "off", "suspend", "down"),
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

"""The story of a run in words, in order of time: what befell whom, for how long, and when all was well again.

One test each:

1. It counts rightly.
2. Every fault that struck is told, or counted by its kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from replica.words import counted
from sim.result import IN_SYNC, Band, Result, span
from sim.wording import listed

TOLD_MAX = 40
"""Lines of a story: of more happenings, those of the rarest kinds and the longest are told, the rest are counted."""

FLAPS = 3
"""So many of the same kind at the same place in quick succession are told as one."""

PHRASES = {
    "block": "some links were blocked{lasted}{text}",
    "slow": "some links were slow{lasted}{text}",
    "frames": "frames were spoiled on some links{lasted}{text}",
    "cut": "open connections were cut{text}",
    "deaf": "{node} took no connections{lasted}",
    "step": "the clock of {node} jumped{text}",
    "drift": "the clock of {node} began to run at a wrong speed{text}",
    "freeze": "the clock of {node} stood still{lasted}",
    "counter": "{node} had issued all stamps of this millisecond",
    "crash": "{node} was to crash and never came so far{text}",
    "down": "{node} went down{lasted}{text}",
    "off": "{node} was switched off{lasted}",
    "suspend": "{node} slept{lasted}",
    "full": "the disk of {node} was full{lasted}",
    "ioerror": "the disk of {node} failed{lasted}{text}",
    "rot": "a bit rotted on the disk of {node}{text}",
    "clone": "the disk of {node} was copied{text}",
    "backup": "{node} was backed up",
    "restore": "{node} was set back to its backup",
    "schema": "the tables of {node} were changed{text}",
    "version": "{node} ran another version{lasted}",
    "hostile": "{node} attacked its peers{lasted}{text}",
    "nothing": "without effect{text}",
}
"""What a fault is in words."""

LONG = frozenset({"partition", "down", "off", "suspend", "full", "ioerror", "deaf", "version"})
"""Kinds after which it is told when all was well again."""

_many = partial(counted, how=",")


class Told(NamedTuple):
    """A line of the story. `mood`: "good", "bad" or nothing."""

    start: float
    end: float
    text: str
    mood: str = ""


def story(result: Result) -> list[Told]:
    """The main happenings of a run, in order of time."""
    planned = [b for b in result.bands if b.kind == "offline"]
    runs = _runs([b for b in result.bands if b.kind != "offline"])
    if len(runs) > TOLD_MAX:
        often = Counter(run[0].kind for run in runs)
        runs.sort(key=lambda run: (often[run[0].kind], run[0].start - run[-1].end, run[0].start))
    told = [_chapter(result, run) for run in runs[:TOLD_MAX]]
    if rest := Counter(band.kind for run in runs[TOLD_MAX:] for band in run):
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(rest.items()))
        told.append(Told(result.ended_at, result.ended_at, f"and {_many(rest.total(), 'shorter fault')}: {kinds}"))
    work = sum(e.work for e in result.scenario.events)
    ahead = f"{_many(work, 'write')} and {_many(len(result.scenario.events) - work, 'fault')} lie ahead"
    told.append(Told(0, 0, f"{_many(len(result.scenario.places), 'node')} begin; {ahead}"))
    if planned:
        who = len({b.node for b in planned})
        text = f"by plan, {_many(who, 'node')} had no network now and then, {_many(len(planned), 'time')} in all"
        told.append(Told(planned[0].start, planned[-1].end, text))
    if away := next((line.at for line in result.lines if line.kind == "holiday"), None):
        text = (
            f"all machines were switched off for {span(result.healed_at - away)}, until the last wrong clock was right"
        )
        told.append(Told(away, result.healed_at, text))
    if bad := result.violation:
        where = f" on {bad.node}" if bad.node else ""
        text = f"{bad.invariant} was broken{where} ({bad.meaning}): {bad.text}"
        never = len(result.scenario.events) - work - result.faults
        told.append(Told(bad.at, bad.at, text + (f"; {_many(never, 'fault')} never came" if never > 0 else ""), "bad"))
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
    together = [len(run) >= FLAPS and run[0].kind != "nothing" for run in runs]
    return [part for run, one in zip(runs, together, strict=True) for part in ([run] if one else [[b] for b in run])]


def _chapter(result: Result, run: list[Band]) -> Told:
    first, start, end = run[0], run[0].start, max(b.end for b in run)
    lasted = f" for {span(end - start)}" if end > start else ""
    texts = list(dict.fromkeys(band.text for band in run if band.text))
    text = f": {'; '.join(texts)}" if 0 < len(texts) <= FLAPS else ""
    if first.kind == "partition" and first.groups:
        text = _partition(result, first, start, end, lasted)
    elif phrase := PHRASES.get(first.kind):
        text = phrase.format(lasted=lasted, node=first.node or "the network", text=text)
    else:
        text = f"{first.node or 'the network'}: {first.kind}{lasted}{text}"
    text += f" ({len(run)} times in that while)" if len(run) > 1 else ""
    return Told(start, end, text + (_after(result, first, end) if first.kind in LONG else ""))


def _partition(result: Result, band: Band, start: float, end: float, lasted: str) -> str:
    edits = [sum(w.ok and w.node in group and start <= w.at < end for w in result.work) for group in band.groups]
    if len(band.groups) == 2:
        few = 0 if len(band.groups[0]) < len(band.groups[1]) else 1
        was = "was" if len(band.groups[few]) == 1 else "were"
        counts = f"{_many(edits[few], 'edit')} on the one side, {edits[1 - few]:,} on the other"
        return f"{_names(band.groups[few])} {was} cut off from the others{lasted}; meanwhile {counts}"
    parts = " | ".join(" ".join(group[:4]) + (" …" if len(group) > 4 else "") for group in band.groups)
    some = f"edits meanwhile: {listed(f'{n:,}' for n in edits)}" if any(edits) else "nobody wrote meanwhile"
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
    return listed(names) if len(names) <= 5 else f"{', '.join(names[:4])} and {len(names) - 4} more"

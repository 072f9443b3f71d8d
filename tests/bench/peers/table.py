"""What a run of the peers comes to: a table, and the ratios that we promise.

Seconds are those of the quiet core (`q` of the peers' run.py); a ratio is the median over rounds of ours by theirs in the
same round. One test each:

1. A ratio compares only what ran in one round.
2. A peer that failed or is missing is left out, and its ratio is not there: no floor is met by absence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.bench.figure import Figure, median, number

OURS = "replica"
Result = dict[str, Any]
Round = dict[str, Result]
"""Job -> its result."""
Quiet = Callable[[Result], float]
"""Seconds on the quiet core of one phase."""

_HEAD = ("", "insert/s", "update/s", "W2 rec/s", "wall s", "MB", "RSS MB", "W3 s", "kB", "x payl.", "W4 ms", "B", "msgs",
         "W3 ok", "W5 both")  # fmt: skip
_WIDTHS = (14, *[9] * (len(_HEAD) - 1))


def payload(edits: Result) -> int:
    """Bytes of W3's content: ids, field names, values."""
    return sum(36 + len(field) + len(value) for side in ("w3_a", "w3_b") for _, field, value in edits[side])


def lines(rounds: Sequence[Round], quiet: Quiet, content: int, updates: int) -> Iterator[str]:
    """The table, one job a line; medians over rounds. `content`: bytes of W3's; `updates`: how many W1 makes."""
    yield _line(_HEAD)
    for job in dict.fromkeys(job for one in rounds for job in one):
        yield _line((job, *_cells([one[job] for one in rounds if job in one], quiet, content, updates)))


def _line(cells: Sequence[str]) -> str:
    return " ".join(f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, _WIDTHS, strict=False)))


def _cells(results: Sequence[Result], quiet: Quiet, content: int, updates: int) -> Iterator[str]:
    count = results[0]["n"]

    def cell(phase: str, value: Callable[[Result], float]) -> str:
        values = [value(r[phase]) for r in results if phase in r]
        return number(median(values)) if values else "-"

    def size(scale: float) -> Callable[[Result], float]:
        return lambda phase: phase.get("bytes", 0) / scale

    yield cell("w1_insert", lambda p: count / quiet(p))
    yield cell("w1_update", lambda p: updates / quiet(p))
    yield cell("w2", lambda p: count / quiet(p))
    yield cell("w2", lambda p: p["s"])
    yield cell("w2", size(1e6))
    yield cell("w2", lambda p: p["rss_mb"] + p.get("rss_server_mb", 0))
    yield cell("w3", quiet)
    yield cell("w3", size(1e3))
    yield cell("w3", size(content))
    yield cell("w4", lambda p: quiet(p) * 1e3)
    yield cell("w4", size(1))
    yield cell("w4", lambda p: p.get("msgs", 0))
    for name in ("w3_ok", "w5_both"):
        yield number(median([r[name] for r in results])) if name in results[0] else "-"


def figures(rounds: Sequence[Round], quiet: Quiet, content: int) -> Iterator[Figure]:
    """The ratios; each needs a round in which both ran."""

    def ratios(job: str, phase: str, value: Callable[[Result], float]) -> list[float]:
        both = [(one[OURS][phase], one[job][phase]) for one in rounds if OURS in one and phase in one.get(job, {})]
        return [value(theirs) / value(ours) for ours, theirs in both]

    for job, floor, aim in (("pouchdb-http", 4, 10), ("floor-sync", None, None), ("session", None, None)):
        if found := ratios(job, "w2", quiet):
            yield Figure(f"first sync, of {job}", median(found), "x", "records/s", floor, aim, more=True)
    for job, floor in (("floor-cells", 1), ("floor-plain", None)):
        if found := ratios(job, "w1_insert", quiet):
            yield Figure(f"bulk write, of {job}", median(found), "x", "records/s, 1,000 a transaction", floor, more=True)
    own = [one[OURS]["w3"]["bytes"] for one in rounds if OURS in one]
    if own:
        yield Figure("edits both ways, bytes", median(own) / content, "x payload", "all, upgrade and framing too", 1, 0.7)
    for job in dict.fromkeys(job for one in rounds for job in one if job != OURS):
        if (found := ratios(job, "w3", lambda phase: phase.get("bytes", 0))) and any(found):
            yield Figure(f"edits, bytes of {job}", median(found), "x ours", "", None, more=True)

"""Streams and the trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sim.chance import RECENT, Trace, stream

STORY = """
from sim.chance import Trace, stream
trace = Trace()
for name in ("a", "b"):
    trace.decide(stream(7, name).randbytes(8))
    trace.event(1.5, name, "up", "text")
print(trace.digest)
"""


def test_streams_are_independent() -> None:
    alone = stream(7, "network").random()
    other = stream(7, "disk a")
    mine = stream(7, "network")
    for _ in range(100):
        other.random()
    assert mine.random() == alone
    names = [(seed, name) for seed in range(20) for name in ("network", "disk a", "disk b", "")]
    assert len({stream(*n).random() for n in names}) == len(names)


def test_the_same_decisions_have_the_same_hash_in_every_process() -> None:
    found = set()
    for hash_seed in ("0", "12345"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", STORY],
            env=env,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_every_part_of_an_event_counts() -> None:
    def digest(*event: object, decided: bytes = b"") -> str:
        trace = Trace()
        trace.decide(decided)
        trace.event(*event)  # type: ignore[arg-type]
        return trace.digest

    told = [
        (1.0, "a", "up", ""),
        (1.1, "a", "up", ""),
        (1.0, "b", "up", ""),
        (1.0, "a", "down", ""),
        (1.0, "a", "up", "x"),
    ]
    assert len({digest(*event) for event in told} | {digest(*told[0], decided=b"x")}) == 6
    assert digest(*told[0]) == digest(*told[0])


def test_lines_are_kept_only_if_wanted_and_the_last_ones_always() -> None:
    kept, unkept = Trace(), Trace()
    unkept.keep = False
    for number in range(RECENT + 10):
        for trace in (kept, unkept):
            trace.event(number, "a", "sync", str(number))
    assert kept.digest == unkept.digest
    assert len(kept.lines) == RECENT + 10
    assert not unkept.lines
    assert [line.text for line in unkept.recent] == [str(n) for n in range(10, RECENT + 10)]
    assert unkept.skeleton == ["a sync"] * (RECENT + 10)
    assert "sync" in str(kept.lines[0])

"""Worlds from seeds: two hundred, and every one that ever failed. A failure names its seed; `python -m sim run --seed N`
shows it, `python -m sim shrink N` makes it small."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.draw import draw
from sim.world import World

SEEDS = 200
AT_ONCE = 10
FAILED = [
    line.split()
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def check(seed: int, *faults: str) -> str:
    result = World(draw(seed, faults=faults or None), keep=False).run()
    again = f"python -m sim run --seed {seed}{' --faults ' * bool(faults)}{','.join(faults)}"
    assert result.ok, f"{result.violation}\nagain: {again}"
    return result.digest


@pytest.mark.parametrize("first", range(1000, 1000 + SEEDS, AT_ONCE))
def test_no_promise_breaks(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        check(seed)


@pytest.mark.parametrize("line", FAILED, ids=lambda line: line[0])
def test_what_failed_once_fails_no_more(line: list[str]) -> None:
    check(int(line[0]), *(line[2].split(",") if line[1] == "--faults" else ()))


@pytest.mark.parametrize("seed", [2, 12])
def test_a_seed_is_a_world(seed: int) -> None:
    assert check(seed) == check(seed)

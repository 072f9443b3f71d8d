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
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def check(seed: int) -> str:
    result = World(draw(seed), keep=False).run()
    assert result.ok, f"{result.violation}\nagain: python -m sim run --seed {seed}"
    return result.digest


@pytest.mark.parametrize("first", range(1000, 1000 + SEEDS, AT_ONCE))
def test_no_promise_breaks(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        check(seed)


@pytest.mark.parametrize("seed", FAILED)
def test_what_failed_once_fails_no_more(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("seed", [2, 12])
def test_a_seed_is_a_world(seed: int) -> None:
    assert check(seed) == check(seed)

"""Worlds from seeds: two hundred, and every one that ever failed. A failure names its seed; `python -m sim run --seed N`
shows it, `python -m sim shrink N` makes it small."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.options import add_world, setup_of
from sim.world import World

SEEDS = 200
AT_ONCE = 10


def failed() -> Iterator[tuple[int, str]]:
    """Seeds, and the options under which they failed."""
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines():
        seed, _, options = line.partition("#")[0].strip().partition(" ")
        if seed:
            yield int(seed), options


def check(seed: int, options: str = "") -> str:
    parser = argparse.ArgumentParser()
    add_world(parser)
    result = World(setup_of(parser.parse_args(options.split())).scenario(seed), keep=False).run()
    assert result.ok, f"{result.violation}\nagain: python -m sim run --seed {seed} {options}"
    return result.digest


@pytest.mark.parametrize("first", range(1000, 1000 + SEEDS, AT_ONCE))
def test_no_promise_breaks(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        check(seed)


@pytest.mark.parametrize(("seed", "options"), list(failed()))
def test_what_failed_once_fails_no_more(seed: int, options: str) -> None:
    check(seed, options)


@pytest.mark.parametrize(
    ("seed", "options"), [(2, ""), (12, ""), (2, "--nodes 3 --minutes 5 --faults crash:5,ioerror:5,schema:2")]
)
def test_a_seed_is_a_world(seed: int, options: str) -> None:
    """Whatever this process did before it."""
    assert check(seed, options) == check(seed, options)

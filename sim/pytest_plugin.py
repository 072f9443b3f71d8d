"""A pytest fixture for users: does your application's schema survive bad networks, crashes and wrong clocks?

    def test_two_people_edit_one_contact(world):
        hq, laptop = world.node("hq", SCHEMA), world.node("laptop")
        world.partition([["hq"], ["laptop"]])
        ...
        world.heal()
        world.assert_converged()

`world` is a `sim.hand.Hand`: a world (sim.world) of real nodes that a test drives step by step, in virtual time. One
test each:

1. What the oracle objects to fails the test, with the seed, the last events, and how to replay it.
2. The same test has the same world every time, unless another seed is given.
3. Whatever a test does, nothing is left when it ends.
4. A test run that does not use it pays nothing: everything is imported on first use.

PYTEST_DONT_REWRITE: a test may import this before pytest registers the plugin.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Generator, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sim.hand import Hand


def pytest_addoption(parser: pytest.Parser) -> None:
    """--world-seed, and the same in the ini file."""
    text = "seed of the `world` fixture; without it, each test has one of its own, always the same"
    parser.getgroup("replica").addoption("--world-seed", type=int, default=None, metavar="N", help=text)
    parser.addini("world_seed", text, default="")


def seed_of(config: pytest.Config, nodeid: str) -> int:
    """The option's, the ini file's, or one made from the test's name. Raises pytest.UsageError."""
    given = config.getoption("--world-seed", default=None)
    if given is not None:
        return int(given)
    try:
        ini = str(config.getini("world_seed") or "")
    except (KeyError, ValueError):
        ini = ""  # The fixture is used without the plugin's options.
    if ini:
        try:
            return int(ini)
        except ValueError:
            raise pytest.UsageError(f"world_seed is {ini!r}, not a whole number") from None
    return int.from_bytes(blake2b(nodeid.encode(), digest_size=4).digest(), "big")


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Hand]:
    """A world of real nodes in virtual time: see sim.hand.Hand."""
    from sim.hand import Hand

    seed = seed_of(request.config, request.node.nodeid)
    with Hand(seed, f"pytest {shlex.quote(_typed(request))} --world-seed {seed}") as hand:
        yield hand
        hand.check()


def _typed(request: pytest.FixtureRequest) -> str:
    """What names the test where pytest was called; its id does so in the root only."""
    within = request.node.nodeid.partition("::")[2]
    path = os.path.relpath(request.node.path, request.config.invocation_params.dir)
    return f"{path}::{within}" if within else path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test whose failure does not say what happened in its world says it beside."""
    report = yield
    made = sys.modules.get("sim.hand")  # Whoever has a Hand has imported it: nobody else pays for that.
    if made is None or report.when != "call" or not report.failed:
        return report
    hand = getattr(item, "funcargs", {}).get("world")
    if isinstance(hand, made.Hand) and call.excinfo and (story := hand.story()) not in str(call.excinfo.value):
        report.sections.append(("simulated world", story))
    return report

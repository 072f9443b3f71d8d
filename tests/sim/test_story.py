"""The story of a run in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.chance import Line
from sim.draw import draw
from sim.result import Band, Result, Violation
from sim.scenario import PARAMETERS, WORKLOAD, Place, Scenario
from sim.story import PHRASES, story
from sim.world import World


@pytest.mark.parametrize("seed", [8, 21, 33])
def test_every_fault_that_struck_is_told(seed: int) -> None:
    result = World(draw(seed)).run()
    bands = [band for band in result.bands if band.kind != "offline"]
    assert len(bands) == result.faults > 5
    if seed == 8:
        told = [line.text for line in story(result)]
        assert len(told) == result.faults + 2
        assert "the disk of n4 was copied: n5 was started from that copy, and both run" in told
        assert {"the clock of n4 jumped: 6 min 16 s ahead", "the clock of n4 jumped: 6 min 16 s back"} <= {*told}
        assert sum(text.startswith("a bit rotted on the disk of n2: ") for text in told) == 1
        assert sum("n0 went down for 50 s: its process was killed in the middle of a" in text for text in told) == 1


def test_every_kind_of_fault_has_a_phrase() -> None:
    assert set(PHRASES) == set(PARAMETERS) - WORKLOAD - {"partition"} | {"down", "nothing"}


def made() -> Result:
    result = Result(Scenario(0, (Place("a"), Place("b"))), "0", "0", ["a", "b"], ended_at=600.0, healed_at=500.0)
    result.bands = [Band("a", "nothing", 5.0, 5.0, "off of a (it was down already)")]
    return result


def test_what_had_no_effect_and_what_never_came_are_told() -> None:
    assert "without effect: off of a (it was down already)" in [line.text for line in story(made())]
    several = replace(made(), bands=[Band("a", "nothing", n, n, f"{n:g}th of a") for n in (5.0, 6.0, 7.0, 8.0)])
    assert {f"without effect: {n}th of a" for n in (5, 6, 7, 8)} < {line.text for line in story(several)}
    failed = replace(made(), violation=Violation("I2", 9.0, "a", "gone"), scenario=draw(8))
    failed.counts["faults"] = 4
    assert story(failed)[-1].text.endswith(": gone; 7 faults never came")


def test_a_long_wait_for_a_clock_is_told() -> None:
    result = replace(made(), lines=[Line(400.0, "", "holiday", "")], equal_at=550.0)
    assert "all machines were switched off for 1 min 40 s, until the last wrong clock was right" in [
        line.text for line in story(result)
    ]

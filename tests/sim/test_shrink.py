"""Shrinking, with a toy in place of the world, and once with the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from replica.errors import UsageError
from replica.store.store import Store
from sim.draw import draw
from sim.result import Result, Violation
from sim.scenario import Event, Place, Scenario
from sim.shrink import Run, broken, once, parting, shrink, tidy, without_nodes


def _toy(causes: Callable[[Scenario], bool], seen: list[Scenario] | None = None) -> Callable[[Scenario], Run]:
    def run(scenario: Scenario) -> Run:
        if seen is not None:
            seen.append(scenario)
        result = Result(scenario, "0", "", scenario.names, equal_at=0.0)
        if causes(scenario):
            result.violation = Violation("I4", 500.0, "", "toy")
        return Run(result, [f"{e.node} {e.kind}" for e in scenario.events], 60.0)

    return run


def _world() -> Scenario:
    places = tuple(Place(f"n{n}", (f"n{n - 1}",) if n else (), skew_ms=n) for n in range(6))
    writes = [Event(float(n), "write", f"n{n % 6}", {"sql": ["a", "b"], "rows": []}) for n in range(60)]
    faults = [Event(70.0 + n, "off", f"n{n % 6}", {"for_s": 90.0}) for n in range(12)]
    return Scenario(1, places, (*writes, *faults))


def _needs(scenario: Scenario) -> bool:
    """Two certain writes and a fault of n5."""
    kinds = [(e.at, e.node) for e in scenario.events]
    return (
        (17.0, "n5") in kinds
        and (22.0, "n4") in kinds
        and any(e.kind == "off" and e.node == "n5" for e in scenario.events)
    )


def test_only_what_breaks_it_is_left() -> None:
    done = shrink(_world(), run=_toy(_needs))
    assert broken(done.result) == "I4"
    assert done.finished
    assert done.scenario.names == ["n4", "n5"]
    assert len(done.scenario.events) == 3
    assert all(e.with_.get("for_s", 1.0) == 1.0 and len(e.with_.get("sql", "x")) == 1 for e in done.scenario.events)
    assert not done.scenario.shuffle
    assert {p.skew_ms for p in done.scenario.places} == {0}
    assert Scenario.from_toml(done.scenario.to_toml()) == done.scenario


def test_another_invariant_is_no_success() -> None:
    def run(scenario: Scenario) -> Run:
        done = _toy(lambda _: True)(scenario)
        if len(scenario.events) < 30:
            done.result.violation = Violation("crash", 1.0, "", "another")
        return done

    assert len(shrink(_world(), run=run).scenario.events) == 30


def test_the_same_shrinks_to_the_same() -> None:
    one, two = list[Scenario](), list[Scenario]()
    assert shrink(_world(), run=_toy(_needs, one)) == shrink(_world(), run=_toy(_needs, two))
    assert one == two


def test_what_is_left_can_be_replayed_from_a_file() -> None:
    hostile = draw(0, faults=("hostile:3",))
    done = shrink(hostile, run=_toy(lambda world: any(e.kind == "hostile" for e in world.events)))
    assert len(done.scenario.places) == 2  # It needs somebody to attack.
    assert Scenario.from_toml(done.scenario.to_toml()) == done.scenario


def test_a_node_takes_its_events_and_clones_with_it() -> None:
    events = (
        Event(1.0, "clone", "n1", {"to": "n6"}),
        Event(2.0, "write", "n6", {"sql": ["a"], "rows": []}),
        Event(3.0, "block", "", {"links": [["n1", "n2"]], "for_s": 1.0}),
        Event(4.0, "cut", "", {"links": [["n1", "n2"], ["n2", "n3"]]}),
        Event(5.0, "partition", "", {"groups": [["n1"], ["n2", "n3"]], "for_s": 1.0}),
        Event(6.0, "write", "n2", {"sql": ["a"], "rows": []}),
    )
    left = without_nodes(replace(_world(), events=events), ["n1"])
    assert [(e.at, e.with_.get("links")) for e in left.events] == [(4.0, [["n2", "n3"]]), (5.0, None), (6.0, None)]
    assert {p.name: p.peers for p in left.places}["n2"] == ("n0",)
    assert tidy(left) == left
    star = Scenario(0, (Place("hq"), Place("a", ("hq",)), Place("b", ("hq",)), Place("c", ("hq",))))
    assert [p.peers for p in without_nodes(star, ["hq"]).places] == [(), ("a",), ("a",)]


def test_the_last_that_passed_is_told() -> None:
    done = shrink(_world(), run=_toy(_needs))
    assert done.last_passing is not None
    assert done.last_passing.ok
    assert done.parts
    assert parting(["a", "b"], ["a", "c"]).startswith("event 2: 'b' here, 'c'")
    assert parting(["a"], ["a", "c"]) == "event 2: only the run that passed goes on, with 'c'"
    assert parting(["a"], ["a"]) == "none of their 1 events"


def test_the_best_so_far_is_given_back() -> None:
    ticks = iter(range(1_000))
    done = shrink(_world(), 20.0, clock=lambda: float(next(ticks)), run=_toy(_needs))
    assert not done.finished
    assert done.tries < 21
    assert len(done.scenario.events) < 72
    assert _needs(done.scenario)

    seen: list[Scenario] = []
    toy = _toy(_needs, seen)

    def interrupted(scenario: Scenario) -> Run:
        if len(seen) > 20:
            raise KeyboardInterrupt
        return toy(scenario)

    assert shrink(_world(), run=interrupted).interrupted


def test_nothing_broken_is_nothing_to_shrink() -> None:
    with pytest.raises(UsageError, match="nothing broke"):
        shrink(_world(), run=_toy(lambda _: False))


def test_an_odd_candidate_stops_nothing() -> None:
    said: list[str] = []

    def run(scenario: Scenario) -> Run:
        if len(scenario.places) < 4:
            raise KeyError("odd")
        return _toy(_needs)(scenario)

    assert len(shrink(_world(), log=said.append, run=run).scenario.places) == 4
    assert any("odd" in line for line in said)


def test_a_real_world_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "verify", lambda _: ["planted"])
    ticks = iter(range(1_000))
    done = shrink(draw(1, nodes=3, duration_s=60.0, faults=[]), 40.0, clock=lambda: float(next(ticks)))
    assert done.result.violation is not None
    assert "planted" in done.result.violation.text
    assert (done.nodes, len(done.scenario.events)) == (1, 0)
    assert once(done.scenario).result.digest == done.result.digest

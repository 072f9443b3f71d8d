"""Small worlds for tests: three nodes, a table, two writes."""

from __future__ import annotations

from dataclasses import replace

from sim.result import Result
from sim.scenario import Event, Place, Scenario
from sim.world import World

SCHEMA = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b); INSERT INTO t VALUES ('k0', 1, 2);"


def write(at: float, node: str, sql: str, key: str) -> Event:
    return Event(at, "write", node, {"sql": [sql], "rows": [["t", [key]]]})


def small(*events: Event, seed: int = 1, **more: object) -> Scenario:
    places = (Place("a", ("b",), 20.0), Place("b", (), 20.0), Place("c", ("a",), 20.0, skew_ms=-700))
    work = (write(3, "a", "UPDATE t SET a = 5", "k0"), write(4, "c", "INSERT INTO t VALUES ('k1', 0, 0)", "k1"))
    scenario = Scenario(seed, places, tuple(sorted(work + events, key=lambda e: e.at)), 90.0, SCHEMA)
    return replace(scenario, **more)  # type: ignore[arg-type]


def run(scenario: Scenario) -> Result:
    return World(scenario).run()

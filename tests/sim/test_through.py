"""Statements through the node keep the promises of the header."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.scenario import Event, Place, Scenario
from sim.world import World

SCHEMA = "CREATE TABLE t(id TEXT PRIMARY KEY, a, b); INSERT INTO t VALUES ('k', 1, 2);"


def scenario(*sql: str) -> Scenario:
    events = tuple(Event(5 + n, "write", "n0", {"sql": [s], "rows": [["t", ["k"]]]}) for n, s in enumerate(sql))
    return Scenario(5, (Place("n0"),), events, 40.0, SCHEMA, through="node")


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.machine.ASKED", 1.0)


@pytest.mark.usefixtures("everything")
def test_it_is_acknowledged_before_it_is_stamped_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[list[str]] = []
    worked = World.worked

    def told(world: World, *given: object) -> None:
        machine = world.machines["n0"]
        with machine.disk.unharmed():
            (entries,) = machine.store._db.execute("SELECT count(*) FROM _replica_outbox").fetchone()
        waiting.append([*world.oracle.pending("n0"), str(entries)])
        worked(world, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(World, "worked", told)
    world = World(scenario("UPDATE t SET a = 7", "INSERT INTO t VALUES ('k', 1, 1)"))
    result = world.run()
    assert result.ok, result.violation
    assert [work.ok for work in result.work] == [True, False]
    assert waiting == [["t ['k']", "1"], ["0"]]
    assert result.counts["statements through the node"] == 1


@pytest.mark.usefixtures("everything")
def test_what_is_acknowledged_and_not_there_is_told() -> None:
    world = replace(scenario("UPDATE t SET a = 7"), bug="acknowledged-uncommitted")
    violation = World(world).run().violation
    assert violation is not None
    assert (violation.invariant, violation.node) == ("I2", "n0")
    assert "acknowledged, and then" in violation.text

"""A drawn scenario in words. One test each:

1. A scenario is told in some lines.
"""

from __future__ import annotations

from collections import Counter

from sim.draw import GROUPS
from sim.minors import versions
from sim.scenario import Scenario


def describe(scenario: Scenario) -> str:
    """Nodes, work and faults in some lines for people."""
    roles = Counter(p.role for p in scenario.places)
    nodes = ", ".join(f"{n} {role}" for role, n in sorted(roles.items()))
    dials = "; ".join(f"{p.name} dials {' '.join(p.peers)}" for p in scenario.places[:6] if p.peers)
    kinds = Counter(e.kind for e in scenario.events)
    rows = sum(len(e.with_.get("rows", ())) for e in scenario.events if e.kind == "put")
    bad = [
        f"{group}: " + ", ".join(f"{kind} {kinds[kind]}" for kind in names if kinds[kind])
        for group, names in GROUPS.items()
        if any(kinds[kind] for kind in names)
    ]
    hints = f"; hints {scenario.hints}" if scenario.hints != "on" else ""
    spoken = versions(scenario.places)
    hints += f"; sizes {scenario.sizes}" if scenario.sizes != "usual" else ""
    hints += f"; statements through the {scenario.through}" if scenario.through != "file" else ""
    hints += f"; versions: {spoken}" if spoken else ""
    return (
        f"seed {scenario.seed}: {nodes}; {scenario.duration_s:g} s; {scenario.db or 'small CRM'}{hints}\n"
        f"{dials or 'nobody dials'}{' …' if len(scenario.places) > 6 else ''}\n"
        f"work: {kinds['write']} writes, {kinds['put']} puts of {rows} rows\n"
        f"faults: {'; '.join(bad) or 'none'}"
    )

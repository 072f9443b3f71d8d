"""What two strangers with a million records say until both know what to send is below its floor, in the mean."""

from __future__ import annotations

from statistics import mean

import pytest

from tests.protocol.meetings import FLOORS, finding, meeting, round_trips, widened


@pytest.mark.parametrize(
    ("differ", "runs", "mean_bytes"), [(10, 150, 445), (100, 40, 2_150), (1_000, 12, 16_500), (10_000, 3, 165_000)]
)
def test_what_it_takes_to_find_what_differs_is_below_the_floor_and_one_round_trip(
    differ: int, runs: int, mean_bytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the mean over so many meetings: the estimate, and with it a single one, errs by 18 %."""
    talks = [meeting(differ, seed) for seed in range(runs)]
    cost = mean(sum(finding(talk).values()) for talk in talks)
    with capsys.disabled():
        print(f"\n{differ} of a million differ: {cost:,.0f} bytes to find them, in the mean of {runs} meetings; ", end="")
        print(f"{sum(map(widened, talks))} of them widened")
    assert cost < mean_bytes < FLOORS[differ]
    assert mean(map(round_trips, talks)) < 1.1
    assert [talk.outcomes[0].rounds for talk in talks].count(0) >= runs - 1


def test_who_widens_takes_one_round_trip_more_and_the_new_cells_alone() -> None:
    talk = next(talk for talk in (meeting(100, seed) for seed in range(1_000)) if widened(talk))
    assert round_trips(talk) == 2
    cells, more = (size for kind, size in finding(talk).items() if kind.startswith(("Cells", "More")))
    assert more < 10
    assert cells < 3_500

"""The wall clock of a machine, against a time that the test moves."""

from __future__ import annotations

from sim.clock import WallClock

START = 1_800_000_000_000


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_runs_with_its_skew_and_its_drift() -> None:
    time = Time()
    clock = WallClock(time, START, skew_ms=-250)
    assert clock.now_ms() == START - 250
    time.now = 10.0
    assert clock.true_ms() == START + 10_000
    assert clock.now_ms() == START + 9_750
    clock.drift(200)
    assert clock.now_ms() == START + 9_750
    time.now = 1_010.0
    assert clock.now_ms() == START + 1_009_750 + 200
    clock.drift(-200)
    time.now = 2_010.0
    assert clock.now_ms() == START + 2_009_750
    clock.step(-60_000)
    assert clock.now_ms() == START + 1_949_750


def test_frozen_it_stands_still_and_then_is_right() -> None:
    time = Time()
    clock = WallClock(time, START, skew_ms=1_000)
    clock.freeze(True)
    time.now = 3_600.0
    clock.step(5)
    assert clock.now_ms() == START + 1_000
    clock.freeze(False)
    assert clock.now_ms() == START + 3_601_005
    clock.drift(500)
    clock.freeze(True)
    clock.set_right()
    assert clock.now_ms() == clock.true_ms()


def test_a_clock_never_shows_less_than_nothing() -> None:
    clock = WallClock(lambda: 0.0, START, skew_ms=-START - 1)
    assert clock.now_ms() == 0

"""One measured figure beside its floor, and how it is printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import median as _median


@dataclass(frozen=True, slots=True)
class Figure:
    """`floor` is what must be reached, `aim` what we would like; `more` says that more is better. No floor: only told."""

    name: str
    value: float
    unit: str
    how: str
    floor: float | None = None
    aim: float | None = None
    more: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better than the floor: 1 just meets it."""
        if self.floor is None:
            return None
        if self.more:
            return round(self.value / self.floor, 3)
        return round(self.floor / self.value, 3) if self.value else None

    @property
    def ok(self) -> bool:
        """Whether the floor is met."""
        return self.floor is None or (self.value >= self.floor if self.more else self.value <= self.floor)

    def as_json(self) -> dict[str, object]:
        """For latest.json."""
        return {
            "name": self.name, "value": round(self.value, 4), "unit": self.unit, "floor": self.floor,
            "ratio": self.ratio, "aim": self.aim, "ok": self.ok, "how": self.how,
        }  # fmt: skip

    def line(self) -> str:
        """For people."""
        mark = "    " if self.floor is None else "ok  " if self.ok else "FAIL"
        bound = ""
        if self.floor is not None:
            bound = f"{'>=' if self.more else '<='} {number(self.floor)}"
        if self.aim is not None:
            bound += f" (aim {number(self.aim)})"
        return f"{mark} {self.name:29} {number(self.value):>8} {self.unit:10} {bound:22} {self.how}".rstrip()


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def median(values: list[float]) -> float:
    """The middle one."""
    return float(_median(values))


def tell(text: str) -> None:
    """What goes on, on standard error."""
    print(f"     {text}", file=sys.stderr, flush=True)

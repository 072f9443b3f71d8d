"""Progress bars for long work, on standard error, only where a person looks at it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm


class Bar:
    """A bar that appears with the first news and goes away with the work."""

    def __init__(self, quiet: bool, unit: str = " records") -> None:
        """`unit`: of what is counted; "B" for bytes."""
        self._quiet, self._unit = quiet or not sys.stderr.isatty(), unit
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def at(self, what: str, done: int, of: int) -> None:
        """So much is done of one piece of work."""
        self.count(what, done, of)

    def count(self, what: str, done: int, of: int) -> None:
        """The same, for work whose size may still grow."""
        if self._quiet:
            return
        if self._bar is None:
            scaled = self._unit == "B"
            self._bar = tqdm(
                total=of, unit=self._unit, unit_scale=scaled, leave=False, file=sys.stderr, dynamic_ncols=True
            )
        self._bar.set_description_str(what, refresh=False)
        self._bar.total, self._bar.n = of, done
        self._bar.update(0)  # Draws at most ten times a second.

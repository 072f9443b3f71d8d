"""Planted bugs: safeguards of the engine that can be switched off by name, in a simulated world only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """While a world runs, this safeguard is gone."""
    assert not name
    yield

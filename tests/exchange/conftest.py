"""Machines for tests of files in and out, and a collector that leaves other tests alone."""

import gc
from collections.abc import Iterator

import pytest

from tests.store.conftest import machine

__all__ = ["machine"]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """What other tests of this process left behind is no matter of these: the collector does not look at it again and
    again, which made a second of a command six of a test."""
    gc.freeze()
    yield
    gc.unfreeze()

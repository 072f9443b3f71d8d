"""Machines for tests of files in and out, and a collector that leaves other tests alone."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from replica.exchange.importing.batches import Batching
from tests.store.conftest import machine

__all__ = ["machine"]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """What other tests of this process left behind is no matter of these: the collector does not look at it again and
    again, which made a second of a command six of a test."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the rows that are mapped and matched."""
    numbers: list[int] = []
    write_one = Batching._write

    def counted(self: Batching, core: Any, file: Any, work: Any) -> Callable[[], None]:
        numbers.extend(work.batch.numbers)
        return write_one(self, core, file, work)

    monkeypatch.setattr(Batching, "_write", counted)
    return numbers

"""Keep Python's garbage collector out of the work on a batch.

It would look at thousands of tuples again and again, and none of them is part of a cycle.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection until this ends, unless another thread has it switched on. Also a decorator."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()

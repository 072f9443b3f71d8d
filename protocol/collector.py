"""Keep Python's garbage collector out of the work on a batch.

It would look at thousands of tuples again and again, and none of them is part of a cycle.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Uncollected:
    """Written out: as a generator it would cost a small message 3 us each time."""

    __slots__ = ("_on",)

    def __enter__(self) -> None:
        self._on = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._on:
            gc.enable()

    def __call__(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def alone(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with _Uncollected():
                return function(*args, **kwargs)

        return alone


def uncollected() -> _Uncollected:
    """No collection until this ends, unless another thread has it switched on. Also a decorator."""
    return _Uncollected()

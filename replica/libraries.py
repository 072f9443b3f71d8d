"""Libraries that only files in and out need: they come with the extra `exchange`, and each is imported on use.

1. A library that is not installed is an error that says how to install it, wherever it is needed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from replica.errors import UsageError


class library(AbstractContextManager[None]):  # noqa: N801 - it is used as the function that it would be
    """`with library("lxml"): from lxml import etree`. Raises UsageError if it is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ImportError):
            raise UsageError(
                f'this needs the library {self._name}: pip install "replica[exchange]" ({error})'
            ) from error

"""Machines for tests of files in and out."""

from tests.store.conftest import machine

__all__ = ["machine"]

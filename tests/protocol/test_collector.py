"""No garbage is looked for inside; outside all is as it was."""

from __future__ import annotations

import gc

import pytest

from protocol.collector import uncollected


@uncollected()
def inside(error: bool = False) -> bool:
    """Whether the collector is on in here."""
    with uncollected():
        assert not gc.isenabled()
    if error:
        raise LookupError
    return gc.isenabled()


@pytest.mark.parametrize("on", [True, False])
def test_it_is_off_inside_and_as_it_was_outside(on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        assert inside() is False
        assert gc.isenabled() is on
        with pytest.raises(LookupError):
            inside(error=True)
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()

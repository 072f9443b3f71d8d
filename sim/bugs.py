"""Planted bugs: safeguards of the engine that can be switched off by name, in a simulated world only.

A simulator that never fails proves nothing. Each bug here takes out one safeguard, as a careless change of the engine
would, and the simulator must then find a world in which that breaks a promise.

    with planted("oldest-edit-wins"): ...

The engine has no hooks for this. A bug is a change of a few words in the source of a function, whose code is then
compiled anew and swapped: so whoever imported the function has the bug too, and nothing else moves. Words that are no
more in the source are an error, so a bug cannot silently become none. The bugs stand in the modules `planted_*`, by
theme. One test each:

1. Every bug can be planted, and is undone exactly, also if the world fails.
2. Every bug has a name in kebab-case, says what is lost, and names faults and invariants that there are.
3. The simulator catches a bug in the world where it was first seen, and the same world without it is sound.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from replica.errors import UsageError
from sim import planted_clock, planted_hints, planted_merge, planted_put, planted_session, planted_store

Patch = tuple[object, str, object]
"""An object, the name of an attribute, and what that becomes."""

_FUTURE = importlib.import_module("__future__").annotations.compiler_flag


class Bug(NamedTuple):
    """A safeguard that can be gone. `faults`: kinds or groups of sim.draw under which it shows best, () if it needs none
    in particular. `invariants`: those that may report it; "crash" is an exception that nobody expected."""

    name: str
    text: str
    faults: tuple[str, ...]
    invariants: tuple[str, ...]
    plant: Callable[[], list[Patch]]


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """While this is held, the safeguard of this name is gone; all are there if it is empty. Raises UsageError."""
    if not name:
        yield
        return
    if name not in BUGS:
        raise UsageError(f"{name!r} is no planted bug; there are {', '.join(BUGS)}")
    patches = BUGS[name].plant()
    saved = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    try:
        for owner, attribute, value in patches:
            setattr(owner, attribute, value)
        yield
    finally:
        for owner, attribute, value in reversed(saved):
            setattr(owner, attribute, value)


def _patches(changes: tuple[tuple[str, str, object], ...]) -> list[Patch]:
    """(place, old words, new words) -> what is to be swapped. Without old words the place is a setting: its value."""
    edits: dict[str, list[tuple[str, str]]] = {}
    found: list[Patch] = []
    for place, old, new in changes:
        if old:
            edits.setdefault(place, []).append((old, str(new)))
        else:
            owner, attribute = _find(place)
            found.append((owner, attribute, new))
    for place, some in edits.items():
        owner, attribute = _find(place)
        function = inspect.unwrap(getattr(owner, attribute))
        assert isinstance(function, FunctionType), place
        found.append((function, "__code__", _rewritten(function, some)))
    return found


def _find(place: str) -> tuple[Any, str]:
    """`module:Class.function` -> what holds it, and its name."""
    module, _, path = place.partition(":")
    *owners, attribute = path.split(".")
    owner: Any = importlib.import_module(module)
    for name in owners:
        owner = getattr(owner, name)
    return owner, attribute


def _rewritten(function: FunctionType, edits: list[tuple[str, str]]) -> CodeType:
    old = function.__code__
    source = textwrap.dedent(inspect.getsource(function))
    for words, others in edits:
        assert source.count(words) == 1, f"{words!r} stands {source.count(words)} times in {function.__qualname__}"
        source = source.replace(words, others)
    above = "\n" * (old.co_firstlineno - 1)  # So that a traceback shows the right lines.
    module = compile(above + source, old.co_filename, "exec", flags=_FUTURE, dont_inherit=True)
    (code,) = [c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == old.co_name]
    return code.replace(co_qualname=old.co_qualname)


BUGS: dict[str, Bug] = {
    name: Bug(name, text, faults, invariants, partial(_patches, changes))
    for planted_here in (
        planted_clock.BUGS,
        planted_merge.BUGS,
        planted_store.BUGS,
        planted_session.BUGS,
        planted_hints.BUGS,
        planted_put.BUGS,
    )
    for name, text, faults, invariants, changes in planted_here
}
"""All of them, by name."""

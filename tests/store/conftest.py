"""How Hypothesis searches here, and machines that close their files when a test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.store.harness import Machine

settings.register_profile("gate", deadline=None, derandomize=True, max_examples=60, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=1_000, print_blob=True)
if settings.get_current_profile_name() in {"default", "ci"}:
    settings.load_profile("gate")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """`machine("a", schema)`: a machine of this name, which may be in a folder, closed at the end of the test."""
    made: list[Machine] = []

    def make(name: str = "a", schema: str = "", *, adopt: bool = True) -> Machine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        made.append(Machine(tmp_path / f"{name}.db", schema=schema, adopt=adopt))
        return made[-1]

    yield make
    for one in made:
        one.close()

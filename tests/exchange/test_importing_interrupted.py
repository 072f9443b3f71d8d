"""An import that is killed anywhere and resumed, or stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replica.exchange.importing import run as importing
from replica.exchange.importing.batches import Batching
from tests.exchange.imports import CONTACTS, counts, cut, take, write
from tests.store.harness import Machine

Make = Callable[..., Machine]


class _Killed(BaseException):
    pass


def _big(folder: Path) -> Path:
    random = Random(1)
    lines = ["id,name,mail,parent"]
    for i in range(60):
        name = random.choice(["Ana", "陈思源", "José"])
        lines.append(f"{i % 50},{name},{i % 45}@x,{random.choice(['', str(random.randrange(60))])}")
    lines.insert(20, "5,too,many,cells,here")
    return write(folder / "big.csv", "\n".join(lines) + "\n")


BIG = """version = 1
source = "erp"
[[collection]]
name = "contacts"
key = ["nr"]
[collection.fields]
nr = {from = "id"}
name = {from = "name"}
mail = {from = "mail", unique = true}
parent = {from = "parent", refers = "contacts", exists = true}
"""


@pytest.mark.parametrize("seed", range(50))
def test_killed_anywhere_and_resumed_it_ends_as_it_would_have(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(importing, "_rows", lambda _: 7)
    monkeypatch.setattr("replica.exchange.importing.run._joined", cut)
    file, random = _big(tmp_path), Random(seed)
    whole, a = machine("whole/a"), machine("killed/a")  # The same chance and the same standing clock: the same node.
    expected = take(whole.store, file, map=BIG)
    assert expected.counts["rejected"] > 0
    left = random.randrange(1, 10)
    take_one = Batching._take

    def killed(self: Batching, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and random.random() < 0.5:
            raise _Killed
        take_one(self, *args, **kwargs)
        if left == 0:
            raise _Killed

    monkeypatch.setattr(Batching, "_take", killed)
    with pytest.raises(_Killed):
        take(a.store, file, map=BIG)
    monkeypatch.setattr(Batching, "_take", take_one)
    a.reopen()
    outcome = take(a.store, file, map=BIG, resume=True)
    assert (outcome.read, outcome.counts) == (expected.read, expected.counts)
    assert a.store.verify() == []
    assert a.dump("contacts") == whole.dump("contacts")
    if not outcome.notes:  # Else it was killed before its first batch, and this is another run.
        assert a.dump() == whole.dump()
        assert a.store.root() == whole.store.root()
    registers = [{n: stamp[:8] for n, (stamp, _) in r.registers.items()} for r in a.records("contacts")]
    assert len({stamp for some in registers for stamp in some.values()}) == 1


def test_a_run_that_was_interrupted_is_told(machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", CONTACTS)
    monkeypatch.setattr(importing._Import, "_end", lambda *_: (_ for _ in ()).throw(_Killed()))
    with pytest.raises(_Killed):
        take(a.store, file)
    monkeypatch.undo()
    outcome = take(a.store, file)
    assert counts(outcome) == (0, 0, 3, 0, 0)
    assert "--resume" in outcome.notes[0]
    assert counts(take(a.store, file, resume=True)) == (3, 0, 0, 0, 0)
    assert "nothing to resume" in take(a.store, file, resume=True).notes[0]


def test_too_many_rejected_rows_stop_the_run(machine: Make, tmp_path: Path) -> None:
    a = machine()
    file = write(tmp_path / "1.csv", "id,name\n1,Ana\n,x\n,y\n,z\n")
    outcome = take(a.store, file, max_errors=2)
    assert "--max-errors 2" in outcome.stopped
    assert take(a.store, file, max_errors=3).stopped == ""

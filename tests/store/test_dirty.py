"""What a savepoint takes back, the trie does not know of, whenever it was brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import pytest

from replica.store import index, put
from replica.store.core import Core
from replica.store.dirty import Dirty
from replica.store.statement import statement
from replica.store.together import Rows
from tests.store.harness import Machine

Make = Callable[..., Machine]

T = "CREATE TABLE t(k TEXT PRIMARY KEY, v UNIQUE);"


class Undone(Exception):
    """Ends a savepoint."""


def act(core: Core, random: Random, depth: int) -> None:
    """Put, edit, bring the trie up to date, and the same in savepoints that end in one way or another."""
    for _ in range(random.randrange(1, 5)):
        match random.randrange(4 if depth else 3):
            case 0:
                put.put_many(core, "t", [(f"k{random.randrange(40)}", None) for _ in range(random.randrange(1, 9))])
            case 1:
                put.put_many(core, "t", [(f"k{random.randrange(40)}", random.random())])
            case 2:
                index.catch_up(core)
            case _:
                with suppress(Undone), core.savepoint(keep=random.random() < 0.6):
                    act(core, random, depth - 1)
                    if random.random() < 0.4:
                        raise Undone


@pytest.mark.parametrize("seed", range(25))
def test_after_any_nest_of_savepoints_the_trie_is_right(machine: Make, seed: int) -> None:
    random, m = Random(seed), machine("m", T)
    for _ in range(6):
        with m.store.transaction() as core:
            act(core, random, 4)
        with m.core.reading():
            assert m.store.root() == index.build(m.core)[:2]
        assert m.store.verify() == []


def test_what_is_taken_back_is_told_to_nobody_and_is_no_line_of_the_history(machine: Make) -> None:
    m, heard = machine("m", T), list[object]()
    m.store.listen(heard.extend)
    history = m.value("SELECT max(seq) FROM _replica_history")
    with m.store.transaction() as core, core.savepoint(keep=False):
        put.put_many(core, "t", [("a", 1)])
        index.catch_up(core)
    assert heard == []
    assert m.value("SELECT max(seq) FROM _replica_history") == history


def test_a_write_of_a_group_brings_the_trie_up_to_date_within_itself(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(put, "FLUSH_AT", 50)
    monkeypatch.setattr(put, "ROWS", 40)
    m = machine("m", T)
    whole = Rows("t", [(f"a{i}", None) for i in range(200)])
    refused = Rows("t", [*((f"b{i}", i) for i in range(200)), ("c", 7)])
    done = m.store.together([statement("INSERT INTO t VALUES ('x', 'x')"), whole, refused, Rows("t", [("y", None)])])
    assert [one.error is None for one in done] == [True, True, False, True]
    assert m.store.root()[1] == len(m.store.entries("", b"", -1))
    assert len(m.records("t")) == 202
    assert m.store.verify() == []


def added(layers: Sequence[dict[bytes, int]]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for layer in layers:
        for key, more in layer.items():
            found[key] = found.get(key, 0) + more
    return found


class Model:
    """The same without any art: what each layer says."""

    def __init__(self) -> None:
        self.layers: list[dict[bytes, int]] = [{}]

    def whole(self) -> dict[bytes, int]:
        return added(self.layers)


def play(random: Random, dirty: Dirty, model: Model, depth: int) -> None:
    for _ in range(random.randrange(1, 7)):
        key, top = bytes([random.randrange(6)]), model.layers[-1]
        match random.randrange(6 if depth else 5):
            case 0 | 1:
                keys = sorted({bytes([random.randrange(6)]) for _ in range(random.randrange(4))})
                dirty.born(keys)
                top.update(dict.fromkeys(keys, 1))
            case 2:
                more = random.choice([-1, 0, 1])
                dirty.touch(key, more)
                top[key] = top.get(key, 0) + more
            case 3:
                assert dirty.whole() == model.whole()
            case 4:
                if random.random() < 0.3:
                    dirty.clear()
                    model.layers = [{}]
            case _:
                mark, before = dirty.mark(), [dict(layer) for layer in model.layers]
                model.layers = [*before, {}]
                play(random, dirty, model, depth - 1)
                if random.random() < 0.5:
                    dirty.back(mark)
                    model.layers = before
                else:
                    dirty.keep(mark)
                    if len(model.layers) > len(before):
                        model.layers = [*before[:-1], added(model.layers[-2:])]
        assert bool(dirty) == bool(model.whole())
        assert len(dirty) >= len(model.whole())


def test_what_changed_is_known_in_every_nest_of_savepoints() -> None:
    for seed in range(2_000):
        random, dirty, model = Random(seed), Dirty(), Model()
        play(random, dirty, model, 4)
        assert dirty.whole() == model.whole(), f"seed {seed}"


def test_nothing_new_is_nothing_to_remember() -> None:
    dirty = Dirty()
    for _ in range(3):
        dirty.born([])
    assert not dirty
    assert not dirty._born

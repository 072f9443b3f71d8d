"""A sketch that is made in parts before anybody asks for it: the fourth promise of `sketched`."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from protocol.prints import ITEM_BYTES
from replica.errors import StoreError
from replica.store import history, sketched
from replica.store.sketched import Sketched
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]
T = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b);"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketched, "AHEAD_FROM", 20)
    monkeypatch.setattr(sketched, "AHEAD_BYTES", 10 * ITEM_BYTES)
    monkeypatch.setattr(sketched, "KEEP_AFTER", 20)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 2)


def filled(machine: Make, count: int = 100) -> Machine:
    a = machine("a", T)
    a.store.put_many("t", [(f"k{n}", n, n) for n in range(count)])
    return a


def anew(m: Machine) -> bytes:
    m.store.absorb()
    return Sketched(m.core)._build().to_bytes()


def now(m: Machine) -> bytes:
    m.store.absorb()
    return m.store._sketched.now().to_bytes()


def test_4_it_is_made_in_parts_and_kept_and_then_not_made_again(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a = filled(machine)
    parts = 1
    while a.store.make_sketch():
        assert a.store.sketch_due()
        parts += 1
    assert 9 <= parts <= 12, "ten items or a few more each"
    assert (a.store.sketch_due(), a.store.make_sketch()) == (False, False)
    assert a.value("SELECT count(*) FROM _replica_sketch") == 1
    a.reopen()
    monkeypatch.setattr(Sketched, "_build", None)
    assert not a.store.sketch_due()
    told = now(a)
    monkeypatch.undo()
    assert told == anew(a)
    assert a.store.verify() == []


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_4_whatever_is_written_between_the_parts_it_is_the_same(machine: Make, seed: int, asked: bool) -> None:
    """A session may ask for it before it is whole: then the rest is made at once."""
    random = Random(seed)
    a = filled(machine, 60)
    stop = random.randrange(6) if asked else 1_000
    while a.store.make_sketch() and stop:
        stop -= 1
        for _ in range(random.randrange(3)):
            some = tuple(f"k{random.randrange(80)}" for _ in range(4))
            a.clock.ms += 5
            match random.randrange(4):
                case 0:
                    a.sql(f"UPDATE t SET a = 'new' WHERE id IN {some}")
                case 1:
                    a.sql(f"DELETE FROM t WHERE id IN {some}")
                case 2:
                    a.store.put_many("t", [(id_, 7, 7) for id_ in set(some)])
                case _:
                    a.sql("DELETE FROM _replica_history WHERE seq < (SELECT max(seq) FROM _replica_history)")
    assert now(a) == anew(a)
    assert a.store._sketched._making is None


def test_4_a_small_store_needs_none_before_it_is_asked(machine: Make) -> None:
    a = filled(machine, 5)
    assert (a.store.sketch_due(), a.store.make_sketch()) == (False, False)
    assert a.value("SELECT count(*) FROM _replica_sketch") == 0


def test_4_it_is_due_again_when_the_history_does_not_reach_back(machine: Make) -> None:
    a, b = filled(machine), machine("b", T)
    while a.store.make_sketch():
        pass
    a.sql("DELETE FROM _replica_history", "UPDATE t SET a = 'new'")
    a.store.absorb()
    assert a.store.sketch_due()
    a.store.make_sketch()
    assert meet(b, a)[0].in_sync
    assert now(a) == anew(a)


def test_4_much_that_came_since_is_folded_in_in_parts_before_it_is_asked(machine: Make) -> None:
    a = filled(machine)
    while a.store.make_sketch():
        pass
    for n in range(1, 9):
        a.sql(f"UPDATE t SET a = 'new' WHERE id LIKE 'k{n}_'")
        a.store.absorb()
        assert not (n == 1 and a.store.sketch_due()), "so few may wait"
    parts, before = 0, list[int]()
    while a.store.sketch_due():
        before.append(a.store._sketched._seq)
        a.store.make_sketch()
        parts += 1
    assert parts == 7
    assert before == sorted(set(before)), "each goes on from the last"
    assert history.size_since(a.core, a.store._sketched._seq) <= 10 * ITEM_BYTES
    assert now(a) == anew(a)
    assert a.store.verify() == []


def test_4_with_a_hole_in_the_history_it_is_made_anew_in_parts(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a = filled(machine)
    while a.store.make_sketch():
        pass
    a.sql("UPDATE t SET a = 'new'")
    a.store.absorb()
    a.sql("UPDATE _replica_history SET came = 'text' WHERE seq = (SELECT max(seq) FROM _replica_history)")
    parts = 0
    while a.store.sketch_due():
        a.store.make_sketch()
        parts += 1
    assert parts > 9
    expected = anew(a)
    monkeypatch.setattr(Sketched, "_build", None)
    assert now(a) == expected, "a stranger does not wait"


def test_4_one_that_is_forgotten_is_not_continued(machine: Make) -> None:
    a = filled(machine)
    assert a.store.make_sketch()
    a.store._sketched.forget()
    assert a.store._sketched._making is None
    assert now(a) == anew(a)


def test_4_a_rest_that_cannot_be_read_leaves_nothing_half_made(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PART_BYTES", 10 * ITEM_BYTES)
    a = filled(machine)
    assert a.store.make_sketch()
    last = "(SELECT max(key) FROM _replica_record)"
    ((stamps,),) = a.rows(f"SELECT stamps FROM _replica_record WHERE key = {last}")
    a.sql(f"UPDATE _replica_record SET stamps = 'x' WHERE key = {last}")
    with pytest.raises(StoreError):
        now(a)
    a.sql(f"UPDATE _replica_record SET stamps = ? WHERE key = {last}", values=(stamps,))
    a.store.make_sketch()
    assert now(a) == anew(a)
    assert a.store.verify() == []

"""The sample of adopted rows, found by a search and by what the sketch saw."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from replica.store import sample, sketched
from replica.store.sample import Adopted
from replica.store.sketched import Sketched
from tests.store.harness import Machine, meet

Make = Callable[..., Machine]
T = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b);"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketched, "KEEP_AFTER", 20)


def with_rows(machine: Make, name: str, count: int) -> Machine:
    return machine(name, T + "".join([f"INSERT INTO t VALUES ('k{n}', {n}, {n});" for n in range(count)]))


def known(m: Machine) -> Adopted | None:
    """What the sketch saw."""
    m.store.counters()
    return m.store._sketched.adopted()


@pytest.mark.parametrize("seed", range(12))
def test_1_the_keys_of_adopted_rows_tell_the_sample_that_a_search_finds(
    machine: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(seed)
    monkeypatch.setattr(sample, "KEYS_MAX", random.choice([0, 25, 512]))
    a, b = with_rows(machine, "a", random.choice([0, 40])), with_rows(machine, "b", 20)
    for _ in range(10):
        some = tuple(f"k{random.randrange(60)}" for _ in range(4))
        a.clock.ms += 5
        match random.randrange(6):
            case 0:
                a.sql(f"UPDATE t SET a = 'new' WHERE id IN {some}")
            case 1:
                a.sql(f"DELETE FROM t WHERE id IN {some}")
            case 2:
                a.store.put_many("t", [(id_, 7, 7) for id_ in set(some)])
            case 3:
                assert meet(b, a)[0].in_sync
            case 4:
                a.store.make_sketch()
                a.store.remember(meet(b, a)[0], "ws://b")
                a.reopen()
            case _:
                a.sql("DELETE FROM _replica_history WHERE seq < (SELECT max(seq) FROM _replica_history)")
        a.store.absorb()
        for limit in (3, 64):
            adopted = known(a)
            assert adopted is not None
            assert adopted.first(a.core, limit) == sample.first(a.core, limit) == a.store.sample(limit)


@pytest.mark.parametrize(("limit", "many"), [(512, False), (10, True)])
def test_1_what_the_sketch_saw_is_kept_with_it(
    machine: Make, monkeypatch: pytest.MonkeyPatch, limit: int, many: bool
) -> None:
    monkeypatch.setattr(sample, "KEYS_MAX", limit)
    a = with_rows(machine, "a", 40)
    adopted = known(a)
    assert adopted is not None
    with a.store.transaction():
        a.store._sketched.keep()
    a.reopen()
    monkeypatch.setattr(Sketched, "_build", None)
    again = known(a)
    assert again is not None
    assert (again._keys is None) == (adopted._keys is None) == many
    assert again._keys == adopted._keys


def test_1_keys_among_other_bytes_are_found_and_nothing_else() -> None:
    adopted, key, stamp = Adopted(), bytes(7) + b"\1" + bytes(8), sample.ADOPTED + bytes(8)
    adopted.note(key + b"x" * 16 + b"y" * 16 + stamp + b"z" * 16 + b"\1" + stamp[:15])
    assert adopted._keys == {b"y" * 16}
    for kept in (b"", b"\2", b"\0x", b"\1x", b"\0" + bytes(17)):
        assert Adopted.from_bytes(kept) is None

"""What a store takes of memory: a small cache for all days, a large one for large transactions, and no library in vain."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from replica.errors import RowRefused
from replica.store.connection import BULK_KB, CACHE_KB
from tests.store.harness import Machine

Make = Callable[..., Machine]


def test_a_large_transaction_gives_its_cache_back(machine: Make) -> None:
    m = machine("m", "CREATE TABLE t(k INTEGER PRIMARY KEY, v CHECK(v < 5));")
    sizes: list[int] = []

    def size() -> int:
        return int(m.core.db.execute("PRAGMA cache_size").fetchone()[0])

    def rows(value: int) -> Iterator[tuple[int, int]]:
        sizes.append(size())
        yield len(sizes), value

    m.store.put_many("t", rows(1))
    assert size() == -CACHE_KB
    with pytest.raises(RowRefused):
        m.store.put_many("t", rows(9))
    assert size() == -CACHE_KB
    assert sizes == [-BULK_KB] * 2


def test_a_node_loads_no_library_of_the_imports() -> None:
    """Each of them takes more memory than a sync."""
    heavy = "'numpy', 'pandas', 'pyarrow', 'duckdb', 'lxml', 'phonenumbers', 'cryptography', 'msgspec', 'ijson'"
    code = f"import sys, replica.node; print([n for n in ({heavy}) if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

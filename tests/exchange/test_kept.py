"""A file that is parsed once though its rows are wanted twice."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replica.exchange import kept
from replica.exchange.formats.delimited import DelimitedReader
from replica.exchange.kept import Kept
from replica.exchange.rows import MISSING, Batch, Broken, Finding
from tests.exchange.imports import counts, take, write
from tests.store.harness import Machine

ROWS: list[tuple[Any, ...]] = [("1", None), ("陈\ud800", 2.5), (b"\0", True), (7, "")]


class _Reader:
    """Gives these rows, and counts how often."""

    format = "list"

    def __init__(self, rows: list[tuple[Any, ...]], trees: list[dict[str, Any]] | None = None) -> None:
        self.fields, self.findings = ["a", "b"], list[Finding]()
        self._rows, self._trees, self.read, self.closed = rows, trees, 0, False

    def batches(self, size: int = 2) -> Iterator[Batch]:
        self.read += 1
        for at in range(0, len(self._rows), 2):
            trees = self._trees[at : at + 2] if self._trees else None
            broken = [Broken(9, 9, "x,y,z", "too many")] if at else []
            yield Batch(range(at + 1, at + 3), [at + 2, at + 3], self._rows[at : at + 2], broken, trees)

    def progress(self) -> tuple[int, int]:
        return 100, 100

    def close(self) -> None:
        self.closed = True


def _plain(batches: Iterator[Batch]) -> list[tuple[Any, ...]]:
    return [(list(b.numbers), list(b.lines), b.rows, b.broken, b.trees) for b in batches]


def test_the_second_time_gives_the_same_batches_without_a_look_at_the_file() -> None:
    trees = [{"a": {"b": [n, None, "é"]}} for n in range(4)]
    reader = _Reader(ROWS, trees)
    twice, expected = Kept(reader), _plain(_Reader(ROWS, trees).batches())
    assert _plain(twice.batches()) == expected
    assert twice.whole
    assert _plain(twice.batches()) == _plain(twice.batches()) == expected
    assert reader.read == 1
    walk = twice.batches()
    next(walk)
    assert 0 < twice.progress()[0] < 100
    assert _plain(walk) == expected[1:]
    assert twice.progress() == (100, 100)
    twice.close()
    assert reader.closed


class _Full(io.BytesIO):
    def write(self, data: Any) -> int:
        raise OSError(28, "no space left on device")


class _FullAtTheEnd(io.BytesIO):
    def flush(self) -> None:
        raise OSError(28, "no space left on device")


@pytest.mark.parametrize("why", ["a cell", "too much", "full", "full at the end", "left in the middle"])
def test_what_cannot_be_kept_is_read_again(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    rows = [*ROWS, (MISSING, 1), ("x", "y")] if why == "a cell" else ROWS
    if why.startswith("full"):
        monkeypatch.setattr("tempfile.TemporaryFile", _Full if why == "full" else _FullAtTheEnd)
    reader, expected = _Reader(rows), _plain(_Reader(rows).batches())
    twice = Kept(reader, 60 if why == "too much" else kept.BYTES_MAX)
    if why == "left in the middle":
        next(twice.batches())
    else:
        assert _plain(twice.batches()) == expected
    assert not twice.whole
    assert _plain(twice.batches()) == expected
    assert reader.read == 2
    twice.close()


def test_an_import_with_an_open_question_parses_its_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    map = """version = 1
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = "id"
born = {from = "born", type = "date"}
"""
    parsed: list[int] = []
    batches = DelimitedReader.batches

    def counted(self: DelimitedReader, *size: int) -> Iterator[Batch]:
        parsed.append(1)
        return batches(self, *size)

    monkeypatch.setattr(DelimitedReader, "batches", counted)
    a = Machine(tmp_path / "a.db")
    file = write(tmp_path / "1.csv", "id,born\n1,31/01/1980\n2,02/03/1981\n")
    assert counts(take(a.store, file, map=map)) == (2, 0, 0, 0, 0)
    assert len(parsed) == 1
    assert a.rows("SELECT born FROM contacts ORDER BY id") == [("1980-01-31",), ("1981-03-02",)]
    a.close()

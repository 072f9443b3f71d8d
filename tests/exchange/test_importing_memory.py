"""What is in memory at once is bounded by characters, not only by rows: of the readers' batches, of an import's, and of
those that `verify` looks at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from replica.exchange.formats.files import open_input
from replica.exchange.formats.jsonfile import JsonLinesReader
from replica.exchange.formats.xmlfile import XmlReader
from replica.exchange.importing import run
from replica.exchange.importing.seen import First, Seen
from replica.exchange.rows import BATCH_CHARS, MISSING, Batch, Broken, Reader, ReadOptions, chars
from replica.store import verify
from tests.store.harness import Machine

LONG = "x" * 20_000
ROWS = 1_000


def jsonl(path: Path) -> Reader:
    path.write_text("".join(json.dumps({"id": i, "note": LONG}) + "\n" for i in range(ROWS)))
    return JsonLinesReader(open_input(path), ReadOptions())


def xml(path: Path) -> Reader:
    rows = "".join(f"<row><id>{i}</id><note>{LONG}</note></row>" for i in range(ROWS))
    path.write_text(f"<rows>{rows}</rows>")
    return XmlReader(open_input(path), ReadOptions())


@pytest.mark.parametrize("opened", [jsonl, xml])
def test_batches_of_long_rows_are_small(opened: Callable[[Path], Reader], tmp_path: Path) -> None:
    reader = opened(tmp_path / "file")
    sizes: list[int] = []
    numbers: list[int] = []
    for batch in reader.batches():
        sizes.append(chars(batch.rows))
        numbers += batch.numbers
    reader.close()
    assert max(sizes) <= BATCH_CHARS + 2 * len(LONG)
    assert len(sizes) > 5
    assert numbers == list(range(1, ROWS + 1))


def test_an_import_joins_batches_up_to_so_many_characters() -> None:
    def batches(count: int, text: str) -> list[Batch]:
        return [Batch([i], [i], [(i, text, MISSING)]) for i in range(count)]

    long = list(run._joined(iter(batches(1_000, LONG)), 10_000))
    assert max(chars(batch.rows) for batch in long) <= run.CHARS + len(LONG)
    assert [n for batch in long for n in batch.numbers] == list(range(1_000))
    assert len(list(run._joined(iter(batches(1_000, "short")), 10_000))) == 1
    broken = [Batch([], [], [], [Broken(i, i, LONG, "why")]) for i in range(1_000)]
    assert len(list(run._joined(iter(broken), 10_000))) > 1


def test_characters_are_those_of_text_and_bytes() -> None:
    assert chars([("ab", "c"), ("", "de")]) == 5
    assert chars([("ab", 1, None, MISSING, b"xyz", 2.5)]) == 5


def test_keys_are_known_with_line_and_hash_in_memory_and_beyond() -> None:
    seen = Seen(limit=3)
    keys = [f"k{i}" for i in range(10)]
    for i, key in enumerate(keys):
        assert seen.look([key, ""]) == [None, None]
        seen.keep([key, ""], [i, 0], [-i, 0])
    assert seen.look(keys) == [First(i, -i) for i in range(10)]
    seen.close()


@pytest.mark.parametrize(("size", "most"), [(10, verify.ROWS), (30_000, 2 * verify.BYTES // 30_000)])
def test_verify_looks_at_few_records_at_a_time_where_they_are_long(
    size: int, most: int, machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    m = machine("m", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    m.store.put_many("t", [(f"{i}", "x" * size) for i in range(600)])
    taken: list[int] = []
    looked = verify._records

    def counted(core: object, keys: list[bytes], sizes: object) -> object:
        taken.append(len(keys))
        return looked(core, keys, sizes)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "_records", counted)
    assert m.store.verify() == []
    assert sum(taken) == m.store.root()[1]
    assert max(taken) <= most
    assert (len(taken) > 4) == (size > 10)

"""A library that is not installed is an error that says how to install it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from replica.errors import UsageError
from replica.exchange.formats.opening import open_reader, open_writer
from replica.exchange.maps import contact_types
from replica.exchange.maps.mapfile import parse
from replica.exchange.rows import ReadOptions, WriteOptions

MAP = 'version = 1\n[[collection]]\nname = "c"\nkey = "id"\n[collection.fields]\nid = "id"\n'


def reads(name: str, data: bytes, folder: Path) -> None:
    (folder / name).write_bytes(data)
    with closing(open_reader(str(folder / name), ReadOptions())) as reader:
        list(reader.batches())


def writes(name: str, folder: Path) -> None:
    with open_writer(str(folder / name), ["id"], None, WriteOptions()) as writer:
        writer.write([("1",)])


def workbook(folder: Path) -> None:
    writes("made.xlsx", folder)
    reads("read.xlsx", (folder / "made.xlsx").read_bytes(), folder)


LEGACY = "id,Straße\r\n1,Grüße aus Köln\r\n2,schöne Bücher für Jörg\r\n".encode("cp1252")
USES: list[tuple[str, str, Callable[[Path], object]]] = [
    ("lxml", "lxml", lambda folder: reads("a.xml", b"<a><r><id>1</id></r><r><id>2</id></r></a>", folder)),
    ("lxml", "lxml", lambda folder: writes("a.xml", folder)),
    ("duckdb", "duckdb", lambda folder: reads("a.parquet", b"PAR1....PAR1", folder)),
    ("duckdb", "duckdb", lambda folder: writes("a.parquet", folder)),
    ("lxml", "lxml", workbook),
    ("python_calamine", "python-calamine", lambda folder: reads("a.xls", b"\xd0\xcf\x11\xe0" + bytes(508), folder)),
    ("phonenumbers", "phonenumbers", lambda _: contact_types.phone.__wrapped__("DE")),
    ("phonenumbers", "phonenumbers", lambda _: contact_types.countries.__wrapped__()),
    ("email_validator", "email-validator", lambda _: contact_types._special.__wrapped__()),
    ("jsonschema_rs", "jsonschema-rs", lambda _: parse(MAP, "m.toml", None)),
    ("charset_normalizer", "charset-normalizer", lambda folder: reads("a.csv", LEGACY, folder)),
    ("msgspec", "msgspec", lambda folder: reads("a.json", b'[{"id": 1}]', folder)),
    ("msgspec", "msgspec", lambda folder: writes("a.jsonl", folder)),
]


@pytest.mark.parametrize(("module", "library", "use"), USES, ids=[f"{i}-{use[1]}" for i, use in enumerate(USES)])
def test_a_missing_library_is_named_with_how_to_install_it(
    module: str, library: str, use: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n == module or n.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    if module == "msgspec":
        monkeypatch.delitem(sys.modules, "replica.exchange.formats.jsonfile", raising=False)
    with pytest.raises(UsageError, match=rf'needs the library {library}: pip install "replica\[exchange\]"'):
        use(tmp_path)

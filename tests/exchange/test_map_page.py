"""MAP.md is held to the code: every word documented, no other, and every example loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replica.exchange.maps import mapwords
from replica.exchange.maps.dates import TOKENS
from replica.exchange.maps.mapfile import parse, ready
from replica.exchange.maps.mapmodel import DECLARED
from replica.exchange.maps.mapping import load

PAGE = (Path(mapwords.__file__).with_name("MAP.md")).read_text(encoding="utf-8")


def test_every_word_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    words = (
        mapwords.TOP, mapwords.READ, mapwords.COLLECTION, mapwords.WHEN, mapwords.SPLIT, mapwords.LOOKUP, mapwords.FIELD,
    )  # fmt: skip
    known = [word for table in words for word in table] + [name for name in DECLARED if name]
    assert sorted(documented) == sorted(known)


def test_the_tokens_of_dates_are_documented() -> None:
    assert f"`{' '.join(TOKENS)}`" in PAGE


@pytest.mark.parametrize("example", re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_every_example_loads(example: str) -> None:
    assert parse(example, "MAP.md", None).collections


@pytest.mark.parametrize("name", ready())
def test_every_ready_map_loads_and_maps_a_file_with_its_first_names(name: str) -> None:
    mapping = load(name)
    assert mapping.source == name.split("-", maxsplit=1)[0]
    for spec in mapping.collections:
        firsts = list(dict.fromkeys(f.sources[0] for f in spec.fields))
        others = list(dict.fromkeys(f.sources[-1] for f in spec.fields))
        for fields in (firsts, others):
            (target,) = mapping.mapper(fields).targets
            assert len(target.fields) == len(spec.fields)


def test_there_are_ready_maps_for_what_people_use() -> None:
    assert {name.split("-", maxsplit=1)[0] for name in ready()} >= {"salesforce", "hubspot", "odoo", "espocrm"}

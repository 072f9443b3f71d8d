"""The specification says what the code does: its examples are vectors, its tables are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blake3 import blake3

from protocol import errors, limits, messages
from protocol.errors import PeerFault
from protocol.keys import content_hash
from protocol.outcome import ENDINGS
from protocol.states import TRANSITIONS, State
from tests.vectors import HERE, make, vectors

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "protocol" / "SPEC.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The first table below a heading, without its head."""
    section = re.split(r"\n##+ ", SPEC.split(f"\n{heading}", 1)[1], maxsplit=1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def by_name(file: str) -> dict[str, str]:
    """All vectors of a file that have a name: name -> hex. A refused one never stands for a good one."""
    lists = [cases for cases in vectors(file).values() if isinstance(cases, list)]
    return {case["name"]: case["bytes"] for cases in reversed(lists) for case in cases if "name" in case}


def examples() -> list[tuple[str, str, str]]:
    """(file, vector, hex) of every example."""
    found = []
    for block in re.findall(r"^```vectors\n(.*?)^```$", SPEC, re.MULTILINE | re.DOTALL):
        for example in re.split(r"\n(?! )", block.rstrip("\n")):
            name, _, digits = example.partition(":")
            file, _, vector = name.partition("/")
            found.append((file, vector, re.sub(r"#.*|\s", "", digits)))
    return found


@pytest.mark.parametrize(("file", "vector", "digits"), examples())
def test_every_example_is_a_vector(file: str, vector: str, digits: str) -> None:
    assert by_name(file)[vector] == digits


def test_no_example_hides_elsewhere() -> None:
    assert len(examples()) > 15
    assert set(re.findall(r"^```(\w*)$", SPEC, re.MULTILINE)) == {"", "vectors", "text"}
    prose = re.sub(r"^```vectors\n.*?^```$", "", SPEC, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b", prose) == []


@pytest.mark.parametrize("file", ["hlc", "values", "records", "keys", "trie", "sketch", "messages"])
def test_the_vectors_are_what_their_generator_writes(file: str) -> None:
    assert (HERE / f"{file}.json").read_text(encoding="utf-8") == make.text(make.build()[file])


def test_the_subkeys_are_derived_as_section_2_says() -> None:
    cases = vectors("keys")
    for case in cases["subkeys"]:
        assert f"`{case['context']}`" in SPEC
        secret = bytes.fromhex(cases[case["secret"]])
        assert blake3(secret, derive_key_context=case["context"]).hexdigest() == case["bytes"]


def test_the_base_stamp_is_made_as_section_8_says() -> None:
    (case,) = vectors("records")["adopted"]
    adopted = next(row for row in vectors("records")["records"] if row["name"] == "adopted row")
    city, name = (value for _, value in adopted["registers"].values())
    content = b"\xa8contacts" + b"\x92\xa4city\xa4name" + b"\xc4\x02" + bytes.fromhex(adopted["id"] + city + name)
    assert bytes(7) + b"\1" + content_hash(content) == bytes.fromhex(case["bytes"]) == bytes.fromhex(adopted["born"])


def test_the_states_of_section_10_are_the_sessions() -> None:
    written = {row[0]: set(re.findall(r"[A-Z]+", row[1])) for row in table("### 10.1")}
    assert written == {state.value: {kind.__name__.upper() for kind in TRANSITIONS[state]} for state in State}


def test_the_limits_of_section_11_are_the_limits() -> None:
    written = {row[0]: int(row[1]) for row in table("## 11.")}
    assert written == {name: value for name, value in vars(limits).items() if name.isupper()}


def test_the_minor_versions_of_section_10_6_are_those_that_are_spoken() -> None:
    assert [row[0] for row in table("### 10.6")] == [str(minor) for minor in range(limits.MINOR + 1)]


def test_the_codes_of_section_12_are_those_that_are_sent() -> None:
    faults = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PeerFault)}
    sent = {kind.code for kind in faults - {PeerFault, errors.PeerRefused}}
    assert {row[0] for row in table("## 12.")} == ENDINGS | sent | {"failed"}


def test_the_grammar_of_section_9_numbers_the_messages_as_the_code_does() -> None:
    written = dict(re.findall(r"^([A-Z]+) +\[(\d+),", SPEC, re.MULTILINE))
    spoken = {case["kind"].upper(): bytes.fromhex(case["bytes"])[1] for case in vectors("messages")["messages"]}
    assert {name: int(number) for name, number in written.items()} == spoken
    assert set(spoken) == {kind.__name__.upper() for kind in messages.Message.__args__}


def test_every_section_that_the_code_cites_is_there() -> None:
    headings = re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", SPEC, re.MULTILINE)
    cited: set[str] = set()
    for file in [*ROOT.glob("protocol/*.py"), *ROOT.glob("replica/**/*.py")]:
        cited |= set(re.findall(r"SPEC,? sections? (\d+(?:\.\d+)?)", file.read_text(encoding="utf-8")))
    assert {"2", "3", "4.1", "7", "8", "9", "10"} <= cited <= set(headings)
    assert [number for number in headings if "." not in number] == [str(n) for n in range(1, 16)]


def test_a_line_can_be_read_without_scrolling() -> None:
    assert [line for line in SPEC.splitlines() if len(line) > 120 and not line.startswith("|")] == []

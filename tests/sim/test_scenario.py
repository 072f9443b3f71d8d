"""Scenarios as files: what is written is read, and what is wrong is named."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from replica.errors import UsageError
from sim.allowed import WORDS
from sim.draw import draw
from sim.scenario import EVERYWHERE, PARAMETERS, SHAPES, Event, Place, Scenario

NODES = '[[node]]\nname = "a"\npeers = ["b"]\n\n[[node]]\nname = "b"\n'

TEXT = 'say "…"\n\t\x7f\\ 陈'
EXAMPLES: dict[object, object] = {
    int: 3, float: 0.5, bool: True, str: TEXT, "sql": [TEXT], "rows": [["contacts", ["c1", 2]]], "to": "new ü",
    "json": json.dumps([{"id": TEXT}]), "links": [["a", "b"]], "groups": [["a"], ["b"]], "bytes_per_s": 1.5,
}  # fmt: skip


def example(kind: str, name: str) -> object:
    """A value that this parameter can have."""
    words = WORDS.get((kind, name))
    return words[-1] if words else EXAMPLES.get(name, EXAMPLES.get(SHAPES[name][-1]))


ODD = ["5", "[5]", '"x"', "{a = 1}", "[[]]", "nan", "-1", "1" + "0" * 400, '["x"]', '[["x"]]', "false"]


def test_what_is_written_is_read() -> None:
    events = [
        Event(float(n), kind, "" if kind in EVERYWHERE else "a", {k: example(kind, k) for k in sorted(parameters)})
        for n, (kind, parameters) in enumerate(sorted(PARAMETERS.items()))
    ]
    places = (
        Place("a", ("b", "ü"), 30, -5, ((0.0, 5.5), (7, 1e9))),
        Place("b"),
        Place('ü"', role="hq"),
        Place("ü"),
    )
    scenario = Scenario(
        2**63, places, tuple(events), 86_400.1, "CREATE TABLE t(id);\n-- \"x\" 'y'", latency_s=1e-7, shuffle=False
    )
    assert Scenario.from_toml(scenario.to_toml()) == scenario


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_is_read(seed: int, tmp_path: Path) -> None:
    scenario = draw(seed)
    (tmp_path / "s.toml").write_text(scenario.to_toml(), encoding="utf-8")
    assert Scenario.load(tmp_path / "s.toml") == scenario


WRONG = {
    "seed =": "no TOML",
    "": "it needs [[node]] tables",
    NODES + '[[node]]\nname = "a"': "each with a name of its own",
    '[[node]]\nname = "a"\npeers = ["z"]': "node a dials z, which is no node",
    '[[node]]\nnome = "a"': "node 1: 'nome' is no setting of a node",
    "[[node]]\nevery_s = 5": "node 1: it has no name",
    NODES + "every_s = 0": "node 2: every_s is 0",
    NODES + 'role = "king"': "node 2: role can be node, hq, branch, seller",
    NODES + 'peers = ["b"]': "node 2: b dials itself",
    NODES + "online = [[5.0, 1.0]]": "node 2: online from 5 to 1 s is no time",
    NODES + "skew_ms = 999999999999999": "node 2: skew_ms must be a number from -4,294,967,296,000",
    "start_ms = 99999999999999999\n" + NODES: "start_ms is 99999999999999999",
    NODES + '[[event]]\nat = 1\nkind = "rot"\nnode = "a"\nwhat = "zz"': "event 1: what of rot can be row, digest",
    NODES + "every_s = true": "node 2: every_s is True",
    NODES + 'skew_ms = "5"': "node 2: skew_ms is '5'",
    NODES + 'peers = "a"': "node 2: peers is 'a'",
    NODES + "online = [1, 2]": "node 2: online: 1 is no pair",
    "speed = 3\n" + NODES: "'speed' is no setting; there are",
    'seed = "x"\n' + NODES: "seed is 'x', not int",
    "seed = true\n" + NODES: "seed is True, not int",
    "duration_s = nan\n" + NODES: "duration_s is nan, not float",
    NODES + '[[event]]\nkind = "backup"\nnode = "a"': "event 1: `at` must be seconds",
    NODES + '[[event]]\nat = -1\nkind = "backup"\nnode = "a"': "event 1: `at` must be seconds",
    NODES + '[[event]]\nat = nan\nkind = "backup"\nnode = "a"': "event 1: `at` must be seconds",
    NODES + "[[event]]\nat = 1": "event 1: None is no kind of event; there are",
    NODES + '[[event]]\nat = 1\nkind = "flood"': "event 1: 'flood' is no kind of event; there are",
    NODES + '[[event]]\nat = 1\nkind = "step"\nnode = "a"\nms = 1\nfor_s = 2': "event 1: step has no parameter 'for_s'",
    NODES + '[[event]]\nat = 1\nkind = "step"\nnode = "a"': "event 1: step needs 'ms'",
    NODES + '[[event]]\nat = 1\nkind = "clone"\nnode = "a"': "event 1: clone needs 'to'",
    NODES + '[[event]]\nat = 1\nkind = "step"\nnode = "a"\nms = 1.5': "event 1: ms is 1.5, not int",
    NODES + '[[event]]\nat = 1\nkind = "backup"\nnode = "z"': "event 1: backup at node 'z'",
    NODES + '[[event]]\nat = 1\nkind = "backup"': "event 1: backup at node ''",
    NODES + '[[event]]\nat = 1\nkind = "cut"\nnode = "a"\nlinks = []': "event 1: cut at node 'a'",
    NODES + '[[event]]\nat = 1\nkind = "cut"\nlinks = ["a"]': "event 1: links: 'a' is no pair",
    NODES + '[[event]]\nat = 1\nkind = "cut"\nlinks = [["a", "z"]]': "event 1: 'z' is no node",
    NODES + '[[event]]\nat = 1\nkind = "partition"\nfor_s = 1\ngroups = ["ab"]': "event 1: groups are lists",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_named_with_its_place(text: str) -> None:
    with pytest.raises(UsageError) as told:
        Scenario.from_toml(text, "mine.toml")
    assert str(told.value).startswith("mine.toml: ")
    assert WRONG[text] in str(told.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    for name, said in (("none.toml", "cannot be read"), ("bytes.toml", "not even text"), ("", "cannot be read")):
        with pytest.raises(UsageError, match=f"{name}: .*{said}"):
            Scenario.load(tmp_path / name)
    with pytest.raises(UsageError, match=r"/dev/zero: .* more than"):
        Scenario.load("/dev/zero")


def test_spoiled_files_are_read_or_refused_and_nothing_else() -> None:
    chance, text = random.Random(5), draw(3).to_toml()
    lines = text.splitlines()
    for _ in range(150):
        some = [chance.choice(lines) if chance.random() < 0.02 else line for line in lines if chance.random() > 0.01]
        for n in chance.sample(range(len(some)), 2):
            key, equals, _ = some[n].partition(" = ")
            some[n] = f"{key} = {chance.choice(ODD)}" if equals else some[n]
        try:
            Scenario.from_toml("\n".join(some))
        except UsageError:
            continue
    for text in ("event = 5", 'event = ["a"]', "[node]", "node = [5]", "a = " + "[" * 5_000, "seed = 1" + "0" * 5_000):
        with pytest.raises(UsageError):
            Scenario.from_toml(text)


def test_events_come_in_order_and_can_be_left_out() -> None:
    text = NODES + "".join(f'[[event]]\nat = {at}\nkind = "backup"\nnode = "a"\n' for at in (5, 1, 3))
    scenario = Scenario.from_toml(text)
    assert [event.at for event in scenario.events] == [1, 3, 5]
    assert [event.at for event in scenario.without({1}).events] == [1, 5]
    assert scenario.names == ["a", "b"]
    assert not scenario.events[0].work

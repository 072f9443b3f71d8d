"""The fixture, as a user of the product meets it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sim.hand import Hand
from sim.pytest_plugin import seed_of
from tests.sim.test_hand import SCHEMA

if not any(point.value == "sim.pytest_plugin" for point in entry_points(group="pytest11")):
    pytest_plugins = ["sim.pytest_plugin"]

ROOT = Path(__file__).parents[2]
INSTALLED = "pytest_plugins" not in globals()
OPTION = ["-o", "world_seed=17"] if INSTALLED else ["-p", "sim.pytest_plugin", "--world-seed", "17"]

USE = f"""
import pytest
{{plugins}}
SCHEMA = {SCHEMA!r}
def test_fails(world):
    world.node("hq", SCHEMA)
    world.run_for(10)
    {{failing}}
@pytest.mark.parametrize("text", ["it's"])
def test_quoted(world, text):
    test_fails(world)
"""


# --- the examples of the README ---------------------------------------------------------------------------------------


def test_two_people_edit_one_contact(world: Hand) -> None:
    hq, laptop = world.node("hq", SCHEMA), world.node("laptop", every=30)
    world.assert_converged()
    world.partition([["hq"], ["laptop"]])
    hq.sql("UPDATE contacts SET phone = ? WHERE id = 'c1'", "+43 1 777")
    world.run_for(60)
    laptop.sql("UPDATE contacts SET name = 'Ana Novak', phone = '+43 1 888' WHERE id = 'c1'")
    world.run_for(3600)
    world.heal()
    world.assert_converged(within=120)
    assert hq.rows("contacts") == [{"id": "c1", "name": "Ana Novak", "phone": "+43 1 888"}]


def test_a_laptop_is_cloned(world: Hand) -> None:
    hq, laptop = world.node("hq", SCHEMA), world.node("laptop")
    world.assert_converged()
    twin = world.clone("laptop", "twin")  # A disk image, put on a second machine: both run.
    laptop.sql("INSERT INTO contacts VALUES ('c2', '陈思源', NULL)")
    world.run_for(60)
    twin.sql("INSERT INTO contacts VALUES ('c3', 'José', NULL)")
    world.crash("laptop", how="power")
    world.start("laptop")
    world.assert_converged()
    assert {row["id"] for row in hq.rows("contacts")} == {"c1", "c2", "c3"}
    assert laptop.status()["node"] != twin.status()["node"]


# --- the promises -----------------------------------------------------------------------------------------------------


def run_pytest(folder: Path, failing: str, *arguments: str) -> str:
    plugins = "" if INSTALLED else 'pytest_plugins = ["sim.pytest_plugin"]'
    (folder / "test_use.py").write_text(USE.format(plugins=plugins, failing=failing))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        *arguments,
        "test_use.py",
    ]
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONWARNINGS": "error::ResourceWarning"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_the_test_is_named_as_it_can_be_typed_where_pytest_was_called(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "deep").mkdir()
    said = run_pytest(tmp_path / "deep", 'world.world.fail("I2", "hq", "gone")', "-k", "it")
    (again,) = {line.partition("again: ")[2] for line in said.splitlines() if "again: pytest" in line}
    assert shlex.split(again)[:2] == ["pytest", "test_use.py::test_quoted[it's]"]


def test_what_the_oracle_objects_to_fails_the_test(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, 'print("folder", world.world.folder); world.world.fail("I2", "hq", "a write is gone")')
    assert "I2 was broken (no acknowledged write is lost) on hq, 10.000 s after the start: a write is gone" in said
    assert "hq         up" in said
    assert "again: pytest test_use.py::test_fails --world-seed " in said
    assert not Path(said.split("folder ")[-1].split()[0]).exists()


def test_a_test_that_fails_otherwise_says_what_happened(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "assert world.seed != 17", "-p", "no:asyncio", *OPTION)
    assert "simulated world" in said
    assert "again: pytest test_use.py::test_fails --world-seed 17" in said


def test_the_last_events_are_said_once(tmp_path: Path) -> None:
    failing = 'world.partition([["hq"]]); world.node("b"); world.crash("b"); world.assert_converged(within=5)'
    said = run_pytest(tmp_path, failing, "-k", "test_fails")
    assert "the nodes are not equal" in said
    assert said.count("the last events:") == 1
    assert "its process was killed (until it is ended)" in said
    assert "its process is to be killed now, until it is ended" in said
    assert "1000000000" not in said


def test_the_same_test_has_the_same_world(request: pytest.FixtureRequest, world: Hand) -> None:
    assert world.seed == seed_of(request.config, request.node.nodeid)
    assert seed_of(request.config, "tests/test_a.py::test_b") == (
        request.config.getoption("--world-seed", None) or 3515662003
    )


def test_a_run_that_does_not_use_it_imports_nothing() -> None:
    ours = ("replica", "protocol", "sim.", "websockets", "aiosqlite", "sqlite3")
    script = f"import sys, sim.pytest_plugin; print([m for m in sys.modules if m.startswith({ours!r})])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['sim.pytest_plugin']"

"""The house keeps its own rules: arrows point down, time and chance come in as arguments, documents say what is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from replica.cli import _parser

ROOT = Path(__file__).parent.parent
MODULES = sorted(p for folder in ("protocol", "replica") for p in (ROOT / folder).rglob("*.py"))
NAMES = [str(p.relative_to(ROOT)) for p in MODULES]

LAYERS = {"protocol": {"protocol"}, "replica": {"protocol", "replica"}}

STORE = (
    "toggled", "dirty", "changes", "schema", "catalog", "damage", "core", "capture", "history", "grow", "index",
    "nursery", "young", "shadow", "state", "encoder", "fresh", "leap", "rivals", "show", "outbox", "retouch", "inserted",
    "absorb", "source", "put", "refit", "ddl", "adopt", "mend", "edits", "apply", "insert", "fit", "identify", "upsert",
    "report", "verify", "repair", "sample", "sketched", "statement", "together", "port", "store",
)  # fmt: skip
"""The rooms of the store, from the ground up: each imports only what stands before it."""

EXCHANGE = ("rows", "formats", "maps", "importing", "exporting", "quality")
"""The rooms and folders of files in and out, from the ground up."""

LINES_MAX = 400
TOO_LONG: set[str] = set()
"""Rooms that are known to be longer, and are to be cut."""


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_arrows_point_down(name: str) -> None:
    own = {i for i in imports(ROOT / name) if i.split(".")[0] in {"protocol", "replica", "sim", "tests"}}
    assert {i.split(".")[0] for i in own} <= LAYERS[name.split("/", maxsplit=1)[0]]
    if name.startswith("replica/store/") and (room := Path(name).stem) in STORE:
        above = set(STORE[STORE.index(room) :])
        assert not {i.split(".")[2] for i in own if i.startswith("replica.store.") and i.count(".") >= 2} & above


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("replica/exchange/")])
def test_arrows_point_down_in_the_exchange(name: str) -> None:
    folder = name.split("/")[2].removesuffix(".py")
    if folder in EXCHANGE:
        above = set(EXCHANGE[EXCHANGE.index(folder) + 1 :])
        found = {i.split(".")[2] for i in imports(ROOT / name) if i.startswith("replica.exchange.")}
        assert not {f for f in found if f in above or f.startswith("commands")}


def test_the_protocol_does_no_io() -> None:
    banned = {
        "asyncio",
        "socket",
        "time",
        "datetime",
        "random",
        "secrets",
        "uuid",
        "os",
        "sqlite3",
        "threading",
        "pathlib",
    }
    for path in MODULES:
        if path.parts[-2] == "protocol":
            assert not {i.split(".")[0] for i in imports(path)} & banned, path


@pytest.mark.parametrize("name", NAMES)
def test_time_and_chance_come_from_one_room(name: str) -> None:
    if name == "replica/system.py" or name.startswith("replica/demo/"):
        return
    text = (ROOT / name).read_text()
    for banned in (
        r"\btime\.time",
        r"\btime_ns\b",
        r"datetime\.now",
        r"\brandom\.\w+\(",
        r"\buuid4\b",
        r"secrets\.token",
    ):
        assert not re.search(banned, text), f"{name}: {banned}"


@pytest.mark.parametrize("path", sorted((ROOT / "sim").glob("*.py")), ids=lambda p: p.name)
def test_a_world_takes_no_time_or_chance_from_outside(path: Path) -> None:
    assert {i.split(".")[0] for i in imports(path)} & {"protocol", "replica", "sim", "tests"} <= {
        "protocol",
        "replica",
        "sim",
    }
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), path.name
    for banned in (
        r"\btime\.time\(",
        r"\btime_ns\b",
        r"datetime\.now",
        r"\buuid4\b",
        r"^import secrets",
        r"^from secrets",
    ):
        assert not re.search(banned, text, re.MULTILINE), banned


@pytest.mark.parametrize("name", NAMES)
def test_every_room_says_what_it_is(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not text or ast.get_docstring(ast.parse(text)), name


@pytest.mark.parametrize("name", [*NAMES, *sorted(f"sim/{path.name}" for path in (ROOT / "sim").glob("*.py"))])
def test_no_room_is_too_long(name: str) -> None:
    lines = (ROOT / name).read_text().count("\n")
    if name in TOO_LONG:
        assert lines > LINES_MAX, f"{name} is short enough now: take it from the list"
    else:
        assert lines <= LINES_MAX, f"{name} has {lines} lines: which idea hides in it?"


def test_the_readme_names_every_command_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text()
    documented = set(re.findall(r"^\| `([\w-]+)", readme, re.MULTILINE))
    actions = [a for a in _parser()._actions if a.choices]
    assert documented == set(actions[0].choices or ())


def test_the_documents_name_no_machine_and_no_registry() -> None:
    for path in [ROOT / "README.md", ROOT / "constraints.txt", ROOT / "pyproject.toml", ROOT / "Makefile"]:
        text = path.read_text()
        assert "/simple" not in text
        assert not re.search(r"/(?:home|root|work|Users)/", text)

"""Where the files of a world lie: nothing is left of the dead, and nothing is taken from the living."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sim.ground as module
from sim.ground import Ground, sweep


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_home", lambda: tmp_path)
    return tmp_path


def test_the_folder_is_gone_when_its_world_ends(home: Path) -> None:
    ground = Ground()
    (ground.folder / "0").mkdir()
    assert [path.name for path in home.iterdir()] == [ground.folder.name]
    ground.clear()
    assert list(home.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_lives_is_not(home: Path) -> None:
    alive, making = Ground(), home / "replica-sim-making"
    making.mkdir()
    killed = (
        "import os, pathlib, sim.ground as g\n"
        f"g._home = lambda: pathlib.Path({str(home)!r})\n"
        "ground = g.Ground()\n"
        "(ground.folder / 'crm.db').write_text('x')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert len(list(home.iterdir())) == 3
    assert sweep() == 1
    assert {path.name for path in home.iterdir()} == {alive.folder.name, making.name}
    alive.clear()

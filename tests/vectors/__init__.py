"""Test vectors: the bytes of the protocol, pinned. `make.py` writes them; every test module reads its own."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def vectors(name: str) -> Any:
    """The vectors of one module, as parsed JSON."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))

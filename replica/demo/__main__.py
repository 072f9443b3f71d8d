"""python -m replica.demo: exit code 0 only if three files, edited apart, end equal and verified."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from pathlib import Path
from types import FrameType

from replica.demo.stage import DemoError
from replica.demo.tale import tell


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 if the tale ended well, 1 if not, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m replica.demo", description=__doc__)
    parser.add_argument("--db", type=Path, metavar="PATH", help="tell it with a copy of this SQLite database")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", default=Path("demo-output"),
        help="where the three files are left; emptied first if it is ours (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N", default=1, help="of the made-up CRM (default: %(default)s)")
    parser.add_argument(
        "--contacts", type=_size, metavar="N", default=10_000, help="in the made-up CRM (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names from two continents, whatever the terminal can show
    signal.signal(signal.SIGTERM, _leave)
    try:
        return 0 if tell(options.keep, options.db, options.seed, options.contacts) else 1
    except DemoError as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the servers are stopped", file=sys.stderr)
        return 130


def _size(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _leave(number: int, frame: FrameType | None) -> None:
    """Being terminated unwinds the stack, so that the servers are stopped."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m sim`."""

import sys

if __name__ == "__main__":
    from replica.start import importing

    with importing():
        from sim.cli import main
    sys.exit(main())

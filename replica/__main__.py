"""`python -m replica`: the command line."""

import sys

from replica.start import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m sim`."""

import signal
import sys

if __name__ == "__main__":
    from replica.start import end_unbegun

    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Else somebody wants it ignored.
    if heard:
        signal.signal(signal.SIGINT, end_unbegun)
    from sim.cli import main

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())

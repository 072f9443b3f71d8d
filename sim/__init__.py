"""A world in a seed: the real nodes under virtual time, a hostile network, failing disks and wrong clocks.

    python -m sim run --nodes 5 --seed 7 --report out.html

In a test, the fixture `world` (sim/pytest_plugin.py) does the same by hand.
"""

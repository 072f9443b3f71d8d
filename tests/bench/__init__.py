"""Measurements: `make bench`; see `__main__`. Pytest runs only the tests of the counters."""

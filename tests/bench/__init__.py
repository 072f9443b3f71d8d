"""Measurements: `make bench`. Not collected by pytest; see `__main__`."""

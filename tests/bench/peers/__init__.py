"""Public engines and ours on one workload, in one run: `make bench-peers`; see `__main__`."""

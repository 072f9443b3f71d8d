"""A demonstration with real processes and real files: `python -m replica.demo`."""

"""Imports: `run` is one, from files to records; `batches` writes a batch, `places` finds its tables, `resolve` its records.

`runs` is what every node knows of them, `undo` takes one back, `ledger` and `rejects` keep the rows that are not in.
"""

"""Exports: `export` is one; `plan` says which columns and rows, `snapshot` reads them as of one moment, `since` what
changed.
"""

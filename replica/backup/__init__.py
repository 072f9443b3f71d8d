"""Backup and migration: a whole database into one file, and back.

A *backup* (`backup`, `restore`) is the same database: exact pages, the group's secrets, for the same group. A *dump*
(`dump`, `load`) is what a person would carry to another installation: schema and rows, readable, no secrets, for a new
group. `sealed` is the container of a backup, `archive` that of a dump.
"""

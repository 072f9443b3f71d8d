"""Files in and out: what a sales team gets from other systems, and gives to them.

`files`, `encoding` and `sniff` find out what a file is; one room a format reads and writes it; `mapping` and its rooms turn
what a file says into what a table holds, and back; `importing` and `exporting` are the two ways through. MAP.md is the
reference of map files.
"""

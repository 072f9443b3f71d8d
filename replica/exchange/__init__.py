"""Files in and out: what a sales team gets from other systems, and gives to them.

`rows` is what all formats have in common. `formats` reads and writes files, `maps` turns what a file says into what a table
holds and back, `importing` and `exporting` are the two ways through, `quality` measures what is there; the `commands_…`
rooms are their command lines. Each imports only what stands before it.
"""

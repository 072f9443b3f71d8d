"""Maps: what the columns of a file mean, in one small file without code. MAP.md is the reference.

`mapfile` reads a map, `mapmodel` is what it says, `mapping` carries it out a batch at a time; `steps`, `types`, `rules` are
what happens to a value; `columns` decides over a whole file what single values leave open, `suggest` drafts a map,
`inverse` reads one backwards. `ready/` has the maps that come with the program.
"""

"""Files of all formats as fields and rows, and back.

`opening` finds out which format a file is. Beneath it: `files` and `output` (packing, standard input, files that appear
whole); `encoding`, `sniff`, `records`, `delimited` (CSV and its damage); `jsonfile`, `xmlfile`, `sheet`, `parquet`, `vcard`.
"""

"""One SQLite file: user tables as they are, and beside them the state, digests and trie of every record."""

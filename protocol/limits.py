"""Every bound of the protocol, with its reason. Absorption uses the same constants as the wire, so that whatever a
node takes into its state, it can also send.
"""

VERSION = 2
"""Nodes of another one do not understand each other at all."""

MINOR = 3
"""The newest minor version that this node speaks; with a peer it speaks the lower of both (SPEC section 10.6)."""

DRIFT_MS_MAX = 600_000
"""A stamp further ahead of our wall clock is put off. Ten minutes: ordinary clocks err by seconds, and one node that
is a year ahead must not drag the whole group's clock with it."""

FRAME_BYTES_MAX = 4 * 1024 * 1024 + 65_536
"""One websocket message: the largest record, uncompressible, and its framing."""

SAID_BYTES = 16_384
"""Frames of a turn that are made together, until they are so large: each call costs the caller a change of threads."""
SAID_BATCHES = 2
"""Batches of records among them, which may be large and travel small: what one call reads is bounded, and so is how long
the store waits for it. Two, so that a short turn is one call."""

HELLO_BYTES_MAX = 4_096
"""The only frame that a peer may send before it has proved membership."""

RECORD_BYTES_MAX = 4 * 1024 * 1024
"""The canonical encoding of one record. Anything larger stays local (SPEC section 4)."""

BATCH_BYTES_MAX = RECORD_BYTES_MAX + 16_384
"""A RECORDS payload after decompression, and again its records in canonical form: refused before memory is taken for
more. The largest record, and up to 6 bytes for each of its columns and stamps."""

BATCH_BYTES_AIM = 2 * 1024 * 1024
"""A sender closes a batch at this size: each batch is one durable commit, and 2 MiB bounds memory per frame."""

BATCH_BYTES_FIRST = 128 * 1024
"""The same of a session's first batch; each later one may be half as large again. So a line that is cut again and again
delivers some whole, and what the cut wastes is the first, or half as much as came. A thousand edits are one batch."""

BATCH_RECORDS_MAX = 8_192
"""Records in one batch: bounds the objects that one frame can make."""

FIELDS_MAX = 2_000
"""Registers of one record: SQLite's own default limit of columns."""

NAME_BYTES_MAX = 1_024
"""A collection's or field's name."""

ID_BYTES_MAX = 64 * 1024
"""The canonical bytes of a record id: a key may be long text, but it is hashed and listed often."""

NODE_NAME_CHARS_MAX = 64
"""A node's own name, shown to people."""

LEAF_MAX = 16
"""A prefix of the trie with at most this many records is a leaf. Measured: 8 or 16 costs the fewest bytes."""

DEPTH_MAX = 32
"""Nibbles in a record key: below this no two different keys exist."""

SLICE_BYTES = 3
"""Of each digest, this much travels. The end compares whole roots, so a collision costs a round and never data; at a
million records and a thousand differences one sync in 1,200 needs that round, and 3 saves a quarter of 4."""

SLICES = 5
"""Attempts that use another slice of the digest (5 x 3 <= 16 bytes); later attempts send whole digests."""

NODES_PER_TURN = 2_048
"""Trie nodes that one side describes in a turn: about 100 kB; the rest waits for its next turn."""

NODES_HEARD_MAX = 4_096
"""Trie nodes that we take from one frame, and from one turn: each may make us note up to COMPARED_MAX keys. And leaves
that a peer may want in one turn, of those that we described."""

COMPARED_MAX = 64
"""Up to so many records of ours, a peer's leaf is compared record by record; beyond, most of ours is news to it."""

QUESTIONS_PER_FRAME = 1_024
"""A sender closes a HAVE at so many questions: up to 800 kB if every record has seen 255 stamps."""

STAMPS_PER_TURN = 1_000_000
"""Stamp slices that one side says in a turn, 3 MB; a question beyond them carries none and so asks for everything."""

ITEMS_PER_FRAME_MAX = 16_384
"""Entries of HAVE and WANT in one frame."""

HEARD_PER_TURN_MAX = 3_500_000
"""What a peer may have us note in one turn: 1 for a slice, 8 for the question or leaf around it, and 8 for a fingerprint
of PICK. 90 MB at worst."""

BACKLOG_MAX = 500_000
"""Prefixes that wait to be described. Deepest first, two tries of 100 million records need fewer than 250,000."""

REFUSED_MAX = 100_000
"""Refused records that we remember, so as not to ask again; what a peer offers beyond them may be asked for twice."""

TURNS_MAX = 100_000
"""Turns in one session: a legitimate first sync of 100 million records needs fewer."""

ROUNDS_MAX = 8
"""Descents from the root in one session. If both sides keep writing, more would not end either."""

SAMPLE_MAX = 64
"""Adopted records whose digests are compared before a first sync applies anything."""

SKETCH_WIDTH = 12_288
"""Cells in each of the 4 sub-tables of a whole sketch: 344 kB."""

SKETCH_WIDTH_MIN = 7
"""The narrowest fold, and the client's first: 196 bytes. It fails one time in 34 at 10 items, 8 in 52 and 6 in 23."""

SKETCH_DIFFERENCE_MAX = 33_000
"""Items that a whole sketch can tell apart: 1.46 cells an item, where peeling never failed. Beyond, the trie is cheaper
than a failure."""

SKETCH_COUNTERS = 64
"""Of the estimator, a byte each: they err by 18 %, and 128 would still err by 12."""

LISTED_MAX = 262_144
"""Fingerprints in a list of all of them, 1.3 MB: in larger stores that differ in a quarter the trie is as good."""

LISTED_FREELY = 64
"""If neither side has more records, the items are listed, since the smallest sketch is as large. Records, of which both
say how many they have: the items of the other side nobody knows."""

PICKED_PER_FRAME_MAX = 262_144
"""Fingerprints that one frame asks for: all that a peer listed."""

NEWS_FACTOR, NEWS_FREELY = 2, 64
"""News are sent unasked if they are no more than this times the estimated difference, or if one side has no more than so
many: what both got by another way, and would be sent in vain, is among the news of each."""

ARRAYS_PER_RECORD_MAX = 3
"""The record itself and its two lists: a deeper nest is a bomb."""

REASONS_MAX = 16
"""Reasons for records put off that travel in words; the rest is a count."""

TEXT_CHARS_MAX = 500
"""One such sentence."""

assert RECORD_BYTES_MAX <= BATCH_BYTES_MAX <= FRAME_BYTES_MAX
assert BATCH_BYTES_FIRST <= BATCH_BYTES_AIM <= BATCH_BYTES_MAX
assert SLICE_BYTES * SLICES <= 16
assert NODES_PER_TURN <= NODES_HEARD_MAX
assert QUESTIONS_PER_FRAME <= ITEMS_PER_FRAME_MAX
assert STAMPS_PER_TURN + NODES_PER_TURN * (2 * 8 * COMPARED_MAX + 8 + LEAF_MAX) <= HEARD_PER_TURN_MAX
assert LISTED_MAX <= PICKED_PER_FRAME_MAX
assert 8 * PICKED_PER_FRAME_MAX <= HEARD_PER_TURN_MAX

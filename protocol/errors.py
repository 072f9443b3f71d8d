"""What can go wrong in the protocol, and whose fault it is.

    ReplicaError
    ├── OurFault            a caller of this library asked for something that cannot be
    │   └── ValueRefused    a value that has no place in a record (NaN, an integer over 64 bits, a Python object)
    └── PeerFault           the other side broke the contract; the session ends, nothing of the frame is applied
        ├── Malformed       bytes that are no frame, or a frame that says something impossible
        ├── LimitExceeded   a frame, a record or a conversation over one of `limits`
        ├── NotMember       the peer could not prove that it holds the group's access key
        ├── WrongVersion    the peer speaks another version of the protocol
        ├── PeerRefused     the peer ended the session and said why
        ├── Busy            two nodes dialled each other at once; the other session goes on
        └── DifferentRows   both adopted unrelated rows under the same keys (SPEC section 8)

Every error carries one sentence that names the cause and what to do. `code` is the word that travels in BYE.
"""


class ReplicaError(Exception):
    """Root of every error that this project raises on purpose."""

    code = "error"
    report: object = None
    """What was done before it, if who raised it says so: a `SyncReport`."""


class OurFault(ReplicaError):
    """The local side asked for something impossible."""

    code = "local"


class ValueRefused(OurFault):
    """A value that cannot be part of a record."""

    code = "value"


class PeerFault(ReplicaError):
    """The peer broke the contract."""

    code = "peer"


class Malformed(PeerFault):
    """Bytes that are no frame, or a frame that cannot be."""

    code = "malformed"


class LimitExceeded(PeerFault):
    """More than `limits` allows."""

    code = "limit"


class NotMember(PeerFault):
    """The peer did not prove that it holds the access key of this group."""

    code = "not-member"


class WrongVersion(PeerFault):
    """The peer speaks another version of the protocol."""

    code = "version"


class PeerRefused(PeerFault):
    """The peer ended the session; `code` and text are its own words."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"the peer ended the session ({code}): {text}")
        self.code = code


class Busy(PeerFault):
    """Two nodes dialled each other at once; one of the two sessions ends so, and nothing is wrong."""

    code = "busy"


class DifferentRows(PeerFault):
    """Same keys, different rows: two databases that were never copies of each other."""

    code = "different-rows"

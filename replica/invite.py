"""An invite: the one string that another machine needs to join a group. Whoever has it is a member: keep it secret.

`replica1:` + base64url of msgpack [1, group, digest secret, access key, url, name] and 4 bytes of its BLAKE3, so that a
string cut short in a mail is told from a wrong one. SPEC section 14.
"""

import base64
import binascii
from typing import NamedTuple

from protocol.errors import PeerFault
from protocol.keys import Secrets, content_hash
from protocol.values import pack_any, unpack
from replica.errors import UsageError

PREFIX = "replica1:"


class Invite(NamedTuple):
    """Secrets, where to sync first (or empty), and the name of the inviting node."""

    secrets: Secrets
    url: str
    name: str


def must_be_address(url: str) -> None:
    """Raise UsageError if this is no address of a node."""
    if not url.startswith(("ws://", "wss://")):
        raise UsageError(f"{url!r} is no address of a node: it looks like ws://host:port or wss://host:port")


def encode(invite: Invite) -> str:
    """The string. Raises UsageError if its address is none: who joined by it could not sync."""
    if invite.url:
        must_be_address(invite.url)
    body = pack_any([1, *invite.secrets, invite.url, invite.name])
    return PREFIX + base64.urlsafe_b64encode(body + content_hash(body)[:4]).decode().rstrip("=")


def decode(text: str) -> Invite:
    """Inverse of `encode`. Raises UsageError that says what is wrong with the string."""
    text = "".join(text.split())
    if not text.startswith(PREFIX):
        raise UsageError(f"an invite begins with {PREFIX!r}: run `replica invite FILE` on a node of the group")
    encoded = text.removeprefix(PREFIX)
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise UsageError("the invite is damaged or cut short: copy it again, whole") from None
    body, check = data[:-4], data[-4:]
    if content_hash(body)[:4] != check:
        raise UsageError("the invite is damaged or cut short: copy it again, whole")
    try:
        parts = unpack(body, arrays_max=1, array_max=8)
    except PeerFault:
        parts = None
    match parts:
        case (1, bytes(group), bytes(digest), bytes(access), str(url), str(name)):
            if (len(group), len(digest), len(access)) == (16, 32, 32):
                return Invite(Secrets(group, digest, access), url, name)
    raise UsageError("the invite was made by a newer version: update this one")

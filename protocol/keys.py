"""The secrets of a replication group, and the keyed hashes made with them.

A group has a permanent digest secret (all digests depend on it: changing it would change every digest on every node)
and a replaceable access key (who holds it is a member). Every use has its own subkey, so that no hash of one kind can
stand for another. Hashes are BLAKE3; keyed, because nobody outside the group may choose data that collides or that
crowds one branch of the trie. SPEC section 2; vectors: tests/vectors/keys.json.
"""

import hmac
from collections.abc import Iterable
from typing import NamedTuple

from blake3 import blake3

from protocol import limits
from protocol.errors import OurFault
from protocol.values import pack_any

DIGEST_BYTES = 16
KEY_BYTES = 16
NONCE_BYTES = 16
INSTANCE_BYTES = 8
"""A nonce begins with them: random, the same in all connections of one process."""
PROOF_BYTES = 32
SECRET_BYTES = 32
SKETCH_BYTES = 96
CLIENT, SERVER = "client", "server"
SYSTEM_PREFIX = b"_replica."
SYSTEM_HEAD = b"\0\0"


class Secrets(NamedTuple):
    """What makes a node a member. `group` is 16 bytes and public inside the group; the others are 32 bytes, secret."""

    group: bytes
    digest_secret: bytes
    access_key: bytes

    def check(self) -> bytes:
        """8 bytes to keep beside them, by which a copy is known to be whole."""
        return blake3(b"".join(self), derive_key_context="replica 1 check").digest(8)


class Handshake(NamedTuple):
    """What is known of a session before its first frame: the nonces of both, and the minor versions that they speak, as they
    said them when they connected (`next`: in later sessions). The proofs cover all of it, so that nobody in the middle can
    change any of it unnoticed."""

    client_nonce: bytes
    server_nonce: bytes
    client_minor: int
    server_minor: int

    @property
    def minor(self) -> int:
        """The minor version that both speak."""
        return min(self.client_minor, self.server_minor)

    def next(self) -> "Handshake":
        """That of the next session on the same connection: nobody says it, and no proof of this one is one of that."""
        client, server = (n[:INSTANCE_BYTES] + content_hash(n) for n in (self.client_nonce, self.server_nonce))
        return self._replace(client_nonce=client, server_nonce=server)


def content_hash(data: bytes) -> bytes:
    """8 bytes of unkeyed BLAKE3, equal in every group: of base stamps, and of the nonces of later sessions."""
    return blake3(data).digest(8)


class Keys:
    """The subkeys of a group. Raises OurFault unless every secret has its length."""

    __slots__ = ("_digest", "_proof", "_record", "_sketch", "_trie", "group")

    def __init__(self, secrets: Secrets) -> None:
        if (len(secrets.group), len(secrets.digest_secret), len(secrets.access_key)) != (16, 32, 32):
            raise OurFault("a group has an id of 16 bytes and two secrets of 32 bytes")
        self.group = secrets.group
        self._record = _subkey(secrets.digest_secret, "record key")
        self._digest = _subkey(secrets.digest_secret, "digest")
        self._trie = _subkey(secrets.digest_secret, "trie")
        self._sketch = _subkey(secrets.digest_secret, "sketch")
        self._proof = _subkey(secrets.access_key, "proof")

    def record_key(self, collection: bytes, id_: bytes) -> bytes:
        """Place of a record in the trie: 16 bytes. `collection` is the packed name, `id_` the canonical id.

        The system's own collections begin with two zero bytes: a first sync streams in key order, so the schema arrives
        before the rows that need it."""
        key = blake3(b"\x92" + collection + id_, key=self._record).digest(KEY_BYTES)
        return SYSTEM_HEAD + key[2:] if collection[1:10] == SYSTEM_PREFIX else key

    def record_keys(self, collection: bytes, ids: Iterable[bytes]) -> list[bytes]:
        """`record_key` of many ids of one collection."""
        if collection[1:10] == SYSTEM_PREFIX:
            return [self.record_key(collection, id_) for id_ in ids]
        head = b"\x92" + collection
        return _hashes(self._record, [head + id_ for id_ in ids], KEY_BYTES)

    def digest(self, record: bytes) -> bytes:
        """Digest of the canonical encoding of one record: 16 bytes."""
        return blake3(record, key=self._digest).digest(DIGEST_BYTES)

    def digests(self, records: Iterable[bytes]) -> list[bytes]:
        """`digest` of many."""
        return _hashes(self._digest, records, DIGEST_BYTES)

    def trie(self, tagged: bytes) -> bytes:
        """Hash of a trie node or of a leaf's entry; the first byte of `tagged` says which: 16 bytes."""
        return blake3(tagged, key=self._trie).digest(DIGEST_BYTES)

    def sketch(self) -> bytes:
        """What the hashes of a sketch are made of (prints.ItemHash): 96 bytes."""
        return blake3(b"", key=self._sketch).digest(SKETCH_BYTES)

    def tries(self, tagged: Iterable[bytes]) -> list[bytes]:
        """`trie` of many."""
        return _hashes(self._trie, tagged, DIGEST_BYTES)

    def proof(self, role: str, handshake: Handshake, said: bytes | None = None) -> bytes:
        """What `role` shows to prove that it holds the access key: 32 bytes, worthless in another session. `said`: what
        it says with it, if the proof covers that (`proofs`)."""
        covered = [role, self.group, limits.VERSION, *handshake]
        return blake3(pack_any(covered if said is None else [*covered, said]), key=self._proof).digest(PROOF_BYTES)

    def proves(self, proof: bytes, role: str, handshake: Handshake, said: bytes | None = None) -> bool:
        """Whether `proof` is the one of `role`, in constant time."""
        return hmac.compare_digest(proof, self.proof(role, handshake, said))


def _hashes(key: bytes, many: Iterable[bytes], size: int) -> list[bytes]:
    """Keyed hash of each. To make a hasher costs more than to hash a short record: one serves them all."""
    hasher = blake3(key=key)
    update, digest, reset = hasher.update, hasher.digest, hasher.reset
    found = []
    for data in many:
        update(data)
        found.append(digest(size))
        reset()
    return found


def _subkey(secret: bytes, use: str) -> bytes:
    return blake3(secret, derive_key_context=f"replica 1 {use}").digest(SECRET_BYTES)

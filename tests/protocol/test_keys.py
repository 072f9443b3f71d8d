"""Who holds the secrets can make the hashes, and no hash of one kind stands for another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import OurFault
from protocol.keys import CLIENT, SERVER, Handshake, Keys, Secrets, content_hash
from protocol.record import pack_id
from protocol.values import pack_plain
from tests.protocol.memory_store import GROUP, KEYS
from tests.vectors import vectors


def hashes(keys: Keys, data: bytes) -> list[bytes]:
    """One hash of each kind, over the same bytes where that can be."""
    return [
        keys.record_key(data, b""),
        keys.digest(b"\x92" + data),
        keys.trie(b"\x92" + data),
        keys.sketch()[:16],
        keys.proof(CLIENT, Handshake(data, data, 0, 0))[:16],
        content_hash(b"\x92" + data) * 2,
    ]


def test_every_use_has_its_own_key() -> None:
    assert len(set(hashes(KEYS, b"x"))) == 6


def test_digests_depend_on_the_digest_secret_alone_and_proofs_on_the_access_key_alone() -> None:
    other_digest = hashes(Keys(GROUP._replace(digest_secret=b"d" * 32)), b"x")
    other_access = hashes(Keys(GROUP._replace(access_key=b"a" * 32)), b"x")
    mine = hashes(KEYS, b"x")
    assert [a == b for a, b in zip(mine, other_digest, strict=True)] == [False, False, False, False, True, True]
    assert [a == b for a, b in zip(mine, other_access, strict=True)] == [True, True, True, True, False, True]


def test_a_proof_is_worth_nothing_elsewhere() -> None:
    """Not for the other role, not in another group, not of anything else that is said, and not in a handshake that was
    other in anything: another nonce, the nonces swapped, another minor version of either side, those swapped."""
    said = Handshake(b"c" * 16, b"s" * 16, 1, 2)
    proof = KEYS.proof(CLIENT, said)
    assert KEYS.proves(proof, CLIENT, said)
    assert not KEYS.proves(proof, SERVER, said)
    for other in (
        said._replace(client_nonce=b"s" * 16, server_nonce=b"c" * 16),
        said._replace(server_nonce=b"t" * 16),
        said._replace(client_nonce=b"t" * 16),
        said._replace(client_minor=0),
        said._replace(server_minor=1),
        said._replace(client_minor=2, server_minor=1),
    ):
        assert not KEYS.proves(proof, CLIENT, other)
        assert not KEYS.proves(KEYS.proof(CLIENT, said, b"x"), CLIENT, other, b"x")
    assert not KEYS.proves(proof, CLIENT, said, b"x")
    assert KEYS.proves(KEYS.proof(CLIENT, said, b"x"), CLIENT, said, b"x")
    assert not KEYS.proves(KEYS.proof(CLIENT, said, b"x"), CLIENT, said, b"y")
    assert not KEYS.proves(KEYS.proof(CLIENT, said, b"x"), SERVER, said, b"x")
    assert not Keys(GROUP._replace(group=b"another group...")).proves(proof, CLIENT, said)
    assert not KEYS.proves(proof[:31], CLIENT, said)
    assert not KEYS.proves(b"", CLIENT, said)


@given(st.text(max_size=3), st.text(max_size=3))
def test_records_of_two_collections_never_share_a_key(a: str, b: str) -> None:
    """The collection is packed, so that its end and the id's beginning cannot be confused."""
    names = [bytes([0xA0 + len(name.encode())]) + name.encode() for name in (a, b)]
    assert (KEYS.record_key(names[0], b"\x91\x07") == KEYS.record_key(names[1], b"\x91\x07")) == (a == b)


@pytest.mark.parametrize("collection", ["contacts", "_replica.column"])
def test_many_hashes_at_once_are_those_that_come_one_by_one(collection: str) -> None:
    ids, name = [pack_id([i]) for i in range(9)], pack_plain(collection)
    assert KEYS.record_keys(name, ids) == [KEYS.record_key(name, id_) for id_ in ids]
    assert KEYS.digests(ids) == [KEYS.digest(id_) for id_ in ids]
    assert KEYS.tries(ids) == [KEYS.trie(id_) for id_ in ids]


def test_the_systems_own_records_come_first_in_key_order() -> None:
    """So that a first sync brings the schema before the rows that need it; the rest of the key is hashed as ever."""
    ids = [pack_id([i]) for i in range(50)]
    system = [KEYS.record_key(pack_plain("_replica.column"), id_) for id_ in ids]
    others = [KEYS.record_key(pack_plain(name), id_) for name in ("_replica", "_replicas", "contacts") for id_ in ids]
    assert {key[:2] for key in system} == {b"\0\0"}
    assert len({key[2:] for key in system}) == 50
    assert max(system) < min(others)


@pytest.mark.parametrize(
    "secrets",
    [
        Secrets(b"", bytes(32), bytes(32)),
        Secrets(bytes(16), bytes(31), bytes(32)),
        Secrets(bytes(16), bytes(32), bytes(33)),
    ],
)
def test_secrets_of_another_length_are_refused(secrets: Secrets) -> None:
    with pytest.raises(OurFault, match="an id of 16 bytes and two secrets of 32 bytes"):
        Keys(secrets)


def test_vectors() -> None:
    cases = vectors("keys")
    keys = Keys(Secrets(*(bytes.fromhex(cases[part]) for part in ("group", "digest_secret", "access_key"))))
    for case in cases["hashes"]:
        args = [bytes.fromhex(a) for a in case["of"]]
        made = {
            "record key": lambda a: keys.record_key(*a),
            "digest": lambda a: keys.digest(*a),
            "trie": lambda a: keys.trie(*a),
            "client proof": lambda a: keys.proof(CLIENT, Handshake(a[0], a[1], 1, 2)),
            "server proof": lambda a: keys.proof(SERVER, Handshake(a[0], a[1], 1, 2)),
            "server root": lambda a: keys.proof(SERVER, Handshake(a[0], a[1], 2, 3), a[2])[:16],
            "next": lambda a: b"".join(Handshake(a[0], a[1], 3, 3).next()[:2]),
            "content hash": lambda a: content_hash(*a),
        }[case["use"]](args)
        assert made.hex() == case["bytes"], case["name"]

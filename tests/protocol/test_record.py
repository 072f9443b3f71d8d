"""All copies of a record become equal, whatever reaches them, in whatever order and pieces."""

from __future__ import annotations

from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits, record
from protocol.errors import LimitExceeded, Malformed, PeerFault, ValueRefused
from protocol.hlc import Clock, pack
from protocol.record import Record, array_header, decode, encode, fold, gather, pack_id, pack_ids, spread, unpack_id
from protocol.values import IllFormedText, Value, pack_value
from tests.protocol.strategies import few_stamps, key_parts, keys, records
from tests.vectors import vectors

ID = pack_id([7])
ONE, TWO, THREE = (pack(ms, 0, b"node-one") for ms in (1, 2, 3))

fragments = records(few_stamps).map(lambda r: Record("contacts", ID, r.floor, r.born, r.registers))


def joined(encoded: list[bytes]) -> Record:
    """What a node holds after these fragments."""
    state = Record("contacts", ID)
    for one in encoded:
        state.join(decode(one))
    return state


# --- 1. the join --------------------------------------------------------------------------------------------------


@given(st.lists(fragments, min_size=1, max_size=6), st.data())
def test_1_any_order_any_batching_any_number_of_times(parts: list[Record], data: st.DataObject) -> None:
    encoded = [part.encode() for part in parts]
    expected = joined(encoded)
    shuffled = data.draw(st.permutations([*encoded, *data.draw(st.lists(st.sampled_from(encoded), max_size=3))]))
    assert joined(shuffled) == expected
    cut = data.draw(st.integers(0, len(shuffled)))
    batches = [joined(batch).encode() for batch in (shuffled[:cut], shuffled[cut:]) if batch]
    assert joined(batches) == expected


@given(fragments, fragments, fragments)
def test_1_join_is_commutative_associative_and_idempotent(a: Record, b: Record, c: Record) -> None:
    x, y, z = a.encode(), b.encode(), c.encode()
    assert joined([x, y]) == joined([y, x])
    assert joined([joined([x, y]).encode(), z]) == joined([x, joined([y, z]).encode()])
    assert joined([x, x]) == joined([x])
    assert not joined([x]).join(decode(x)), "nothing changes the second time"


@given(records(few_stamps), st.data())
def test_1_a_record_in_pieces_is_the_record(whole: Record, data: st.DataObject) -> None:
    stamps = sorted(whole.stamps())
    groups = [set(data.draw(st.lists(st.sampled_from(stamps), min_size=1))) for _ in range(2)]
    groups.append(set(stamps) - set().union(*groups))
    pieces = [whole.encode(group) for group in groups if group]
    assert (
        joined(data.draw(st.permutations(pieces))).encode()
        == Record("contacts", ID, whole.floor, whole.born, whole.registers).encode()
    )


@given(fragments, fragments)
def test_1_join_reports_whether_anything_changed(a: Record, b: Record) -> None:
    state = joined([a.encode()])
    before = state.encode()
    assert state.join(decode(b.encode())) == (state.encode() != before)


def test_1_equal_stamps_are_settled_by_the_value() -> None:
    """Two clones of one node issue the same stamp: both copies keep the same one of the two values."""
    low, high = (Record("contacts", ID, b"", b"", {"name": (ONE, pack_value(v))}).encode() for v in ("Ann", "Bob"))
    assert joined([low, high]) == joined([high, low])
    assert joined([low, high]).registers["name"] == (ONE, pack_value("Bob"))


def test_a_delete_erases_what_is_at_or_below_it_and_hides_the_rest() -> None:
    row = Record("contacts", ID, b"", ONE, {"name": (ONE, b"\x01"), "city": (THREE, b"\x02")}).encode()
    delete, again = Record("contacts", ID, floor=TWO).encode(), Record("contacts", ID, born=THREE).encode()
    assert [joined(x).live for x in ([row], [row, delete], [row, delete, again])] == [True, False, True]
    assert joined([row, delete]).registers == {"city": (THREE, b"\x02")}, "an edit after the delete stays, hidden"


# --- 2. the encoding ----------------------------------------------------------------------------------------------


def of(delta: record.Delta) -> Record:
    """The record that a fragment is."""
    return Record(delta.collection, delta.id, delta.floor, delta.born, delta.registers())


@given(records())
def test_2_what_is_encoded_decodes_to_the_same_record(r: Record) -> None:
    assert of(decode(r.encode())) == r
    assert decode(r.encode()).greatest() == max(r.stamps())


@given(records(few_stamps), records(few_stamps))
def test_2_different_records_have_different_encodings(a: Record, b: Record) -> None:
    assert (a == b) == (a.encode() == b.encode())


@settings(max_examples=300)
@given(records(), st.data())
def test_2_what_decodes_has_one_canonical_encoding_no_longer_than_itself(r: Record, data: st.DataObject) -> None:
    mutated = bytearray(r.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        delta = decode(bytes(mutated))
    except PeerFault:
        return
    canonical = of(delta).encode()
    assert len(canonical) <= len(mutated)
    assert of(decode(canonical)) == of(delta)
    assert of(decode(canonical)).encode() == canonical


@given(st.binary(max_size=80))
def test_2_random_bytes_raise_nothing_but_peer_fault(data: bytes) -> None:
    with pytest.raises(PeerFault):
        decode(b"\x98" + data)


def test_2_a_longer_form_of_a_number_changes_nothing() -> None:
    """A receiver hashes what it decoded, encoded anew, so that a longer form gains a peer nothing."""
    canonical = Record("contacts", ID, b"", ONE, {"n": (ONE, pack_value(5))}).encode()
    assert canonical.endswith(b"\x91\x05")
    assert of(decode(canonical[:-1] + b"\xcc\x05")).encode() == canonical


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 600])
def test_2_stamps_are_listed_once_and_named_by_one_byte_up_to_256_else_by_two(count: int) -> None:
    registers = {f"f{i:03}": (pack(i + 1, 0, b"node-one"), pack_value(i)) for i in range(count)}
    r = Record("contacts", ID, b"", b"", registers)
    delta = decode(r.encode())
    assert of(delta) == r
    assert len(delta.stamps) == 16 * count
    assert len(delta.which) == (0 if count == 1 else count if count <= 256 else 2 * count)


def test_2_a_tombstone_is_a_record_of_nothing_but_a_floor() -> None:
    delta = decode(Record("contacts", ID, floor=ONE).encode())
    assert (delta.floor, delta.born, delta.names, delta.stamps, delta.which) == (ONE, b"", (), b"", b"")


@given(st.lists(few_stamps, max_size=8))
def test_2_spread_is_the_inverse_of_gather(stamps: list[bytes]) -> None:
    assert spread(*gather(stamps), len(stamps)) == stamps


def parts(**changed: object) -> bytes:
    """A record with two registers, some parts of it replaced."""
    whole: dict[str, object] = {
        "collection": "contacts", "id": ID, "floor": None, "born": TWO, "names": ["a", "b"],
        "stamps": TWO + THREE, "which": b"\0\1", "values": [1, 2],
    }  # fmt: skip
    return bytes(msgpack.packb([*(whole | changed).values()]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x97" + b"\xc0" * 7, "array of 8"),
        (b"\xa1x", "array of 8"),
        (parts(collection=""), "collection with a name"),
        (parts(collection=b"contacts"), "collection with a name"),
        (parts(collection="é" * 513), "collection with a name"),
        (parts(id=b""), "an id in bytes"),
        (parts(id="7"), "an id in bytes"),
        (parts(id=b"x" * (limits.ID_BYTES_MAX + 1)), "an id in bytes"),
        (parts(floor=b"x" * 15), "a stamp has 16 bytes"),
        (parts(born=b""), "a stamp has 16 bytes"),
        (parts(born=5), "a stamp has 16 bytes"),
        (parts(values=[1]), "as many values as names"),
        (parts(names="ab"), "as many values as names"),
        (parts(stamps="x"), "stamps travel as bytes"),
        (parts(which=None), "stamps travel as bytes"),
        (parts(names=["b", "a"]), "sorted by name and distinct"),
        (parts(names=["a", "a"]), "sorted by name and distinct"),
        (parts(names=["", "a"]), "1 to 1024 bytes"),
        (parts(names=["a", "b" * 1025]), "1 to 1024 bytes"),
        (parts(names=["a", 5]), "1 to 1024 bytes"),
        (parts(names=["a", {}]), "a map"),
        (parts(names=["a", []]), "nested too deep"),
        (parts(values=[1, [2]]), "nested too deep"),
        (parts(values=[1, True]), "cannot hold bool"),
        (parts(values=[1, msgpack.Timestamp(1)]), "cannot hold Timestamp"),
        (parts(values=[1, 1 << 63]), "64 bits"),
        (parts(values=[1, -0.0]), "not canonical"),
        (parts(values=[1, float("nan")]), "not canonical"),
        (parts(values=[1, msgpack.ExtType(1, b"ok")]), "well-formed"),
        (parts(values=[1, msgpack.ExtType(2, ONE)]), "unknown extension type 2"),
        (parts(stamps=TWO), "do not fit together"),
        (parts(stamps=TWO + THREE + b"x"), "do not fit together"),
        (parts(stamps=THREE + TWO), "distinct and ascending"),
        (parts(stamps=TWO + TWO), "distinct and ascending"),
        (parts(which=b"\0\0"), "do not fit together"),
        (parts(which=b"\0\1\0"), "do not fit together"),
        (parts(which=b"\0\2"), "do not fit together"),
        (parts(stamps=TWO, which=b"\0\0"), "distinct and ascending"),
        (parts(which=b""), "one stamp serves all"),
        (parts(names=[], values=[], stamps=TWO, which=b""), "one stamp serves all"),
        (parts(names=[], values=[], stamps=b"", which=b"\0"), "do not fit together"),
        (parts(names=[], values=[], stamps=b"", which=b"", born=None), "does not exist"),
        (parts(floor=TWO), "at or below the floor"),
        (parts() + b"\0", "ExtraData"),
        (parts()[:-1], "incomplete"),
        (b"\x91" * 64 + parts(), "nested|ExtraData"),
        (b"\x98\xdb\x40\0\0\0", "exceeds|incomplete"),
        (b"\xdd\x40\0\0\0", "exceeds"),
        (b"", "incomplete"),
    ],
)
def test_2_what_is_no_record_is_refused_in_words(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(data)


def test_2_a_record_over_the_limit_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="a record of 4194305 bytes: at most 4194304"):
        decode(b"x" * (limits.RECORD_BYTES_MAX + 1))
    names = [f"{i:05}" for i in range(limits.FIELDS_MAX + 1)]
    with pytest.raises(Malformed, match="exceeds max_array_len"):
        decode(encode("contacts", ID, b"", b"", names, ONE, b"", [b"\x01"] * len(names)))


def test_2_remembering_good_names_is_bounded() -> None:
    for i in range(1_500):
        decode(Record("contacts", ID, b"", b"", {f"column {i}": (ONE, b"\x01")}).encode())
    decode(Record("contacts", ID, b"", b"", {f"{i:04}" * 250: (ONE, b"\x01") for i in range(100)}).encode())
    assert len(record._names_seen) <= 1_024
    assert max(sum(len(str(name)) for name in names) for names in record._names_seen) <= 16_384


@pytest.mark.parametrize("count", [0, 15, 16, 65_535, 65_536])
def test_array_headers_are_the_shortest(count: int) -> None:
    assert msgpack.packb([None] * count).startswith(array_header(count) + b"\xc0" * min(count, 1))


# --- 3. deltas ----------------------------------------------------------------------------------------------------


def event(random: Random, stamp: bytes) -> Record:
    """One row event, as a node makes it: all fields share its stamp."""
    match random.randrange(4):
        case 0:
            return Record("contacts", ID, floor=stamp)
        case 1:
            return Record("contacts", ID, born=stamp, registers={n: (stamp, pack_value(None)) for n in "abcd"})
        case _:
            names = random.sample("abcde", random.randrange(1, 4))
            return Record("contacts", ID, registers={n: (stamp, pack_value(random.random())) for n in names})


def test_3_a_delta_for_what_the_peer_knows_does_what_the_whole_record_does() -> None:
    """Three nodes write and exchange deltas at random, each made for the other's stamps at that moment."""
    for seed in range(150):
        random = Random(seed)
        clocks = [Clock(bytes([i]) * 8) for i in range(3)]
        copies = [Record("contacts", ID) for _ in clocks]
        for now in range(1, 40):
            a, b = random.sample(range(3), 2)
            if random.random() < 0.4 or not copies[a].stamps():
                copies[a].join(decode(event(random, clocks[a].tick(now // 3)).encode()))
                continue
            missing = copies[a].stamps() - copies[b].stamps()
            expected = joined([x.encode() for x in (copies[a], copies[b]) if x.stamps()])
            if missing:
                copies[b].join(decode(copies[a].encode(missing)))
            assert copies[b] == expected, f"seed {seed}, step {now}"


def test_3_a_delta_with_the_birth_is_whole() -> None:
    """No peer ever shows a row with half of its fields."""
    whole = Record("contacts", ID, ONE, TWO, {"a": (TWO, b"\x01"), "b": (THREE, b"\x02")})
    assert decode(whole.encode({TWO})) == decode(whole.encode())
    assert of(decode(whole.encode({THREE}))) == Record("contacts", ID, b"", b"", {"b": (THREE, b"\x02")})
    assert of(decode(whole.encode({ONE}))) == Record("contacts", ID, ONE)


# --- ids and names ------------------------------------------------------------------------------------------------


def whole_numbers(key: list[Value]) -> tuple[Value, ...]:
    """A key as SQLite compares it: 1.0 is 1."""
    return tuple(
        int(v) if type(v) is float and v.is_integer() and -(2.0**63) <= v < 2.0**63 else v for v in key
    )  # fmt: skip


@given(keys, st.one_of(st.just(b""), few_stamps))
def test_ids_lose_nothing_but_the_difference_of_1_and_1_point_0(key: list[Value], birth: bytes) -> None:
    parts, stamp = unpack_id(pack_id(key, birth))
    assert (parts, stamp) == (whole_numbers(key), birth)
    assert [type(a) for a in parts] == [type(b) for b in whole_numbers(key)]


def test_ids_tell_types_apart() -> None:
    assert len({pack_id([k]) for k in (1, "1", b"1", 1.5, IllFormedText(b"1\xff"))}) == 5
    assert pack_id([1]) == pack_id([1.0]) == pack_id([True])
    assert pack_id([2.0**63]) != pack_id([2**63 - 1])
    assert pack_id([1]) != pack_id([1], ONE)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ([None], "NULL in a key"),
        ([1, None], "NULL in a key"),
        ([], "without a key"),
        (["x" * 70_000], "at most 65536"),
        (["\ud800"], "half of a surrogate pair"),
    ],
)
def test_no_id_for_what_cannot_be_told_apart(key: list[Value], why: str) -> None:
    with pytest.raises(ValueRefused, match=why):
        pack_id(key)
    if key:
        with pytest.raises(ValueRefused, match=why):
            pack_ids([[part] for part in key])


@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(key_parts, min_size=width, max_size=width))))
def test_many_ids_at_once_are_those_that_come_one_by_one(rows: list[list[Value]]) -> None:
    assert pack_ids(list(zip(*rows, strict=True))) == [pack_id(row) for row in rows]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("90", "array of key values"),
        ("07", "array of key values"),
        ("91c0", "NULL in a key"),
        ("91cc07", "canonical"),
        ("91cb3ff0000000000000", "canonical"),  # 1.0 instead of 1
        ("9191 07", "nested"),
        ("91c3", "canonical"),
        ("9180", "a map"),
        ("92 d802 00000000000000010000000000000001 07", "canonical"),  # a birth that is not last
        ("92 07 d402 00", "unknown extension type 2"),
        ("91d6ff00000000", "cannot hold a Timestamp"),
        ("", "incomplete"),
    ],
)
def test_what_is_no_id_is_refused_in_words(data: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        unpack_id(bytes.fromhex(data))


@given(st.binary(max_size=20))
def test_an_id_decodes_only_from_its_one_encoding(data: bytes) -> None:
    try:
        key, birth = unpack_id(data)
    except Malformed:
        return
    assert pack_id(key, birth) == data


def test_names_fold_by_ascii_letters_only() -> None:
    assert fold("Größe_ÄB") == "größe_Äb"
    assert fold("CONTACTS") == "contacts"
    assert fold("İstanbul") == "İstanbul"


# --- vectors ------------------------------------------------------------------------------------------------------


def from_vector(case: dict[str, object]) -> Record:
    """A record as the vectors spell it."""
    registers = {n: (bytes.fromhex(s), bytes.fromhex(v)) for n, (s, v) in case["registers"].items()}  # type: ignore[attr-defined]
    id_, floor, born = (bytes.fromhex(str(case[part])) for part in ("id", "floor", "born"))
    return Record(str(case["collection"]), id_, floor, born, registers)


def test_vectors() -> None:
    cases = vectors("records")
    for case in cases["ids"]:
        key: list[Value] = [bytes.fromhex(k["hex"]) if isinstance(k, dict) else k for k in case["key"]]
        assert pack_id(key, bytes.fromhex(case["birth"])).hex() == case["bytes"], case["name"]
    for case in cases["records"]:
        assert from_vector(case).encode().hex() == case["bytes"], case["name"]
        assert of(decode(bytes.fromhex(case["bytes"]))) == from_vector(case), case["name"]
    for case in cases["deltas"]:
        missing = {bytes.fromhex(s) for s in case["missing"]}
        assert from_vector(case).encode(missing).hex() == case["bytes"], case["name"]
    for case in cases["joins"]:
        fragments_ = [bytes.fromhex(fragment) for fragment in case["fragments"]]
        assert joined(fragments_).encode().hex() == case["bytes"], case["name"]
        assert joined(fragments_[::-1]).encode().hex() == case["bytes"], case["name"]
    for case in cases["refused"]:
        with pytest.raises(PeerFault):
            decode(bytes.fromhex(case["bytes"]))

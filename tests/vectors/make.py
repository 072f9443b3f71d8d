"""Writes the test vectors: `python -m tests.vectors.make`. A change of any byte in them is another protocol version,
but for what a minor version adds (SPEC section 10.6).

Inputs are chosen so that a swap, a sign, an off-by-one or a missing tag shows: no two parts of one input are equal.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from blake3 import blake3

from protocol import limits, trie
from protocol.frames import decode as decode_message
from protocol.frames import encode
from protocol.hlc import Clock, base_stamp, pack
from protocol.keys import CLIENT, SERVER, Handshake, Keys, Secrets, content_hash
from protocol.messages import (
    Bye,
    Cells,
    Described,
    End,
    Have,
    Hello,
    Listing,
    Message,
    More,
    Nodes,
    Pick,
    Probe,
    Question,
    Records,
    Same,
    Want,
)
from protocol.messages import question as question_about
from protocol.prints import ItemHash
from protocol.proofs import Proofs
from protocol.record import Record, decode, pack_id
from protocol.sketch import Sketch, wider
from protocol.values import IllFormedText, Value, pack_any, pack_plain, pack_value, unpack
from tests.vectors import HERE
from tests.vectors.batches import batch_frames

Case = dict[str, Any]

SECRETS = Secrets(bytes(range(16)), bytes(range(32)), bytes(range(32, 64)))
KEYS = Keys(SECRETS)
NODE = b"laptop-7"
BORN = pack(1_800_000_000_000, 0, NODE)
EDIT = pack(1_800_000_000_500, 2, b"branch-3")
GONE = pack(1_800_000_001_000, 0, b"hq-main.")


def hlc() -> Case:
    """Stamps in ascending order, and a clock through an ordinary day."""
    stamps = [
        ("least", 0, 0, bytes(8)),
        ("base", 0, 1, content_hash(b"a row")),
        ("after base", 1, 0, bytes(8)),
        ("a node decides", 1_800_000_000_000, 0, b"branch-3"),
        ("written", 1_800_000_000_000, 0, NODE),
        ("same millisecond", 1_800_000_000_000, 1, bytes(8)),
        ("full counter", 1_800_000_000_000, 65_535, NODE),
        ("borrowed millisecond", 1_800_000_000_001, 0, NODE),
        ("greatest", (1 << 48) - 1, 65_535, b"\xff" * 8),
    ]
    clock = Clock(NODE)
    steps = [{"now": now, "bytes": clock.tick(now).hex()} for now in (1_000, 1_000, 999, 1_001)]
    seen = pack(5_000, 65_535, b"branch-3")
    clock.observe(seen)
    steps.append({"observe": seen.hex()})
    steps.extend({"now": now, "bytes": clock.tick(now).hex()} for now in (2_000, 6_000))
    return {
        "stamps": [
            {"name": name, "millis": ms, "counter": counter, "node": node.hex(), "bytes": pack(ms, counter, node).hex()}
            for name, ms, counter, node in stamps
        ],
        "node": NODE.hex(),
        "steps": steps,
    }


def values() -> Case:
    """Every kind of value at its edges, and encodings that no value has."""
    kinds: dict[type, tuple[str, Callable[[Any], str]]] = {
        type(None): ("null", lambda _: ""),
        int: ("integer", str),
        float: ("real", repr),
        str: ("text", str),
        bytes: ("blob", bytes.hex),
        IllFormedText: ("ill-formed text", bytes.hex),
    }
    accepted: list[tuple[str, Value]] = [
        ("null", None), ("zero", 0), ("five", 5), ("127", 127), ("128", 128), ("255", 255), ("256", 256),
        ("65536", 65_536), ("2 to the 32", 1 << 32), ("greatest integer", (1 << 63) - 1), ("minus one", -1),
        ("minus 32", -32), ("minus 33", -33), ("minus 129", -129), ("minus 32769", -32_769),
        ("least integer", -(1 << 63)), ("one and a half", 1.5), ("real one", 1.0), ("real zero", 0.0),
        ("least real", 5e-324), ("infinity", math.inf), ("minus infinity", -math.inf), ("empty text", ""),
        ("café", "café"), ("smile", "🙂"), ("31 letters", "x" * 31), ("32 letters", "x" * 32), ("text of nul", "\0"),
        ("empty blob", b""), ("blob", b"caf\xe9"), ("ill-formed", IllFormedText(b"caf\xe9")),
        ("ill-formed of 3", IllFormedText(b"a\xffb")), ("a surrogate", IllFormedText(b"\xed\xa0\x80")),
    ]  # fmt: skip
    refused = [
        ("five in two bytes", "cc05"), ("five in nine bytes", "d30000000000000005"), ("real in 32 bits", "ca3f800000"),
        ("minus zero", "cb8000000000000000"), ("not a number", "cb7ff8000000000000"), ("unsigned", "cfffffffffffffffff"),
        ("true", "c3"), ("empty map", "80"), ("empty array", "90"), ("timestamp", "d6ff00000000"),
        ("ill-formed text that is not", "d40161"), ("unknown extension", "d40561"), ("text that is not", "a1ff"),
        ("two values", "0102"), ("nothing", ""), ("one gibibyte", "c640000000"),
    ]  # fmt: skip
    return {
        "accepted": [
            {"name": name, "type": kinds[type(v)][0], "value": kinds[type(v)][1](v), "bytes": pack_value(v).hex()}
            for name, v in accepted
        ],
        "refused": [{"name": name, "bytes": encoded} for name, encoded in refused],
    }


def _spelled(record: Record) -> Case:
    return {
        "collection": record.collection,
        "id": record.id.hex(),
        "floor": record.floor.hex(),
        "born": record.born.hex(),
        "registers": {name: [stamp.hex(), value.hex()] for name, (stamp, value) in record.registers.items()},
    }


def _registers(stamp: bytes, **fields: Value) -> dict[str, tuple[bytes, bytes]]:
    return {name: (stamp, pack_value(value)) for name, value in fields.items()}


def records() -> Case:
    """Ids; records and their deltas; fragments and what they join to; what is no record."""
    ids: list[tuple[str, list[Value], bytes]] = [
        ("seven", [7], b""), ("text seven", ["7"], b""), ("blob seven", [b"7"], b""), ("seven and a half", [7.5], b""),
        ("real seven", [7.0], b""), ("two parts", ["DE", 42], b""), ("made up", [101], BORN),
        ("great real", [2.0**63], b""),
    ]  # fmt: skip
    contact = pack_id([7])
    row = Record("contacts", contact, b"", BORN, _registers(BORN, name="Ada", city=None))
    edited = Record("contacts", contact, b"", BORN, row.registers | _registers(EDIT, city="Köln"))
    deleted = Record("contacts", contact, GONE, BORN)
    hidden = Record("contacts", contact, EDIT, BORN, _registers(GONE, city="Bonn"))
    fields: dict[str, Value] = {"city": None, "name": "Ada"}
    content = [*map(pack_plain, ("contacts", list(fields), contact)), *map(pack_value, fields.values())]
    base = base_stamp(content_hash(b"".join(content)))
    adopted = Record("contacts", contact, b"", base, _registers(base, **fields))
    wide = Record("wide", pack_id([1]))
    for i in range(257):
        wide.registers |= _registers(pack(i + 1, 0, NODE), **{f"f{i:03}": i})
    whole = [("row", row), ("edited", edited), ("deleted", deleted), ("hidden edit", hidden), ("adopted row", adopted)]
    ann, bob = (Record("contacts", contact, registers=_registers(EDIT, name=who)) for who in ("Ann", "Bob"))
    joins = [
        ("edit joins row", [row, Record("contacts", contact, registers=_registers(EDIT, city="Köln"))]),
        ("delete joins row", [row, Record("contacts", contact, floor=GONE)]),
        ("edit after delete", [row, Record("contacts", contact, EDIT), hidden]),
        ("tie", [ann, bob]),
    ]
    good = row.encode()
    refused = [
        ("seven parts", b"\x97" + good[1:-1]), ("trailing byte", good + b"\0"), ("cut short", good[:-1]),
        ("no state", b"\x98\xa1t" + pack_plain(contact) + b"\xc0\xc0\x90\xc4\x00\xc4\x00\x90"),
        ("names descending", good.replace(b"\xa4city\xa4name", b"\xa4name\xa4city")),
        ("register below floor", Record("contacts", contact, GONE, b"", _registers(EDIT, a=1)).encode()),
        ("map for a name", good.replace(b"\xa4city", b"\x80")),
        ("minus zero", good[:-4] + bytes.fromhex("cb8000000000000000")),
    ]  # fmt: skip
    for name, fragments in joins:
        state = Record("contacts", contact)
        for fragment in fragments:
            state.join(decode(fragment.encode()))
        whole.append((name, state))
    return {
        "adopted": [{"name": "base stamp of the row", "bytes": base.hex()}],
        "ids": [
            {"name": name, "key": [{"hex": k.hex()} if isinstance(k, bytes) else k for k in key], "birth": birth.hex(),
             "bytes": pack_id(key, birth).hex()}
            for name, key, birth in ids
        ],
        "records": [
            {"name": name, **_spelled(r), "bytes": r.encode().hex()} for name, r in [*whole, ("257 stamps", wide)]
        ],
        "deltas": [
            {"name": name, **_spelled(r), "missing": [s.hex() for s in missing], "bytes": r.encode(set(missing)).hex()}
            for name, r, missing in [
                ("delta of the edit", edited, [EDIT]),
                ("delta with the birth is whole", edited, [BORN]),
                ("delta of the delete", deleted, [GONE]),
            ]
        ],
        "joins": [
            {"name": f"{name}, joined", "fragments": [f.encode().hex() for f in fragments],
             "bytes": dict(whole)[name].encode().hex()}
            for name, fragments in joins
        ],
        "refused": [{"name": name, "bytes": encoded.hex()} for name, encoded in refused],
    }  # fmt: skip


def keys() -> Case:
    """Hashes of each kind, and an invite."""
    row = bytes.fromhex(records()["records"][0]["bytes"])
    nonces = b"client's nonce..", b"server's nonce.."
    hashes: list[tuple[str, str, Sequence[bytes]]] = [
        ("record key of contact 7", "record key", (b"\xa8contacts", pack_id([7]))),
        ("record key of a schema record", "record key", (b"\xae_replica.table", pack_id(["contacts"]))),
        ("digest of the row", "digest", (row,)),
        ("hash in the trie", "trie", (b"\x00",)),
        ("client's proof", "client proof", nonces),
        ("server's proof", "server proof", nonces),
        ("server's root", "server root", (*nonces, bytes(range(16)))),
        ("both nonces of the next session", "next", nonces),
        ("content hash", "content hash", (b"a row",)),
    ]
    make: dict[str, Callable[..., bytes]] = {
        "record key": KEYS.record_key,
        "digest": KEYS.digest,
        "trie": KEYS.trie,
        "client proof": lambda *n: KEYS.proof(CLIENT, Handshake(n[0], n[1], 1, 2)),
        "server proof": lambda *n: KEYS.proof(SERVER, Handshake(n[0], n[1], 1, 2)),
        "server root": lambda *n: Proofs(KEYS, SERVER, Handshake(n[0], n[1], 2, 3)).ours(n[2]),
        "next": lambda *n: b"".join(Handshake(n[0], n[1], 3, 3).next()[:2]),
        "content hash": content_hash,
    }
    body = pack_any([1, *SECRETS, "wss://hq.example:7373", "hq"])
    return {
        **{part: getattr(SECRETS, part).hex() for part in SECRETS._fields},
        "subkeys": [
            {"name": f"subkey {use}", "secret": secret, "context": f"replica 1 {use}",
             "bytes": blake3(getattr(SECRETS, secret), derive_key_context=f"replica 1 {use}").hexdigest()}
            for secret, use in [("digest_secret", "record key"), ("digest_secret", "digest"), ("digest_secret", "trie"),
                                ("digest_secret", "sketch"), ("access_key", "proof")]
        ],
        "hashes": [
            {"name": name, "use": use, "of": [a.hex() for a in args], "bytes": make[use](*args).hex()}
            for name, use, args in hashes
        ],
        "invites": [
            {"name": "invite", "url": "wss://hq.example:7373", "node": "hq", "bytes": body.hex(),
             "text": "replica1:" + base64.urlsafe_b64encode(body + content_hash(body)[:4]).decode().rstrip("=")}
        ],
    }  # fmt: skip


def _entries(count: int) -> list[trie.Entry]:
    hashes = [blake3(i.to_bytes(4, "big")).digest(32) for i in range(count)]
    return sorted((h[:16], h[16:]) for h in hashes)


def tries() -> Case:
    """Roots of sets: entry i is the 32 bytes of unkeyed BLAKE3 of i in 4 bytes, cut in two. Crowded sets share a head."""
    crowded = [(b"\xab\xcd" + bytes([i]) * 14, bytes([i]) * 16) for i in range(17)]
    deep = [(bytes(15) + bytes([i]), bytes([i]) * 16) for i in range(17)]
    sets = [(f"{n} entries", _entries(n)) for n in (0, 1, 2, 16, 17, 18, 300)]
    sets += [("17 below abcd", crowded), ("17 below 30 zeros", deep)]
    entry = _entries(1)[0]
    return {
        "sets": [
            {"name": name, "entries": [[k.hex(), d.hex()] for k, d in some], "bytes": trie.digest(KEYS.trie, some).hex()}
            for name, some in sets
        ],
        "fingerprints": [
            {"name": "fingerprint", "entry": [entry[0].hex(), entry[1].hex()],
             "bytes": trie.fingerprint(KEYS.trie, entry).hex()}
        ],
    }  # fmt: skip


def sketches() -> Case:
    """Fingerprints and sketches of sets: item i is the 32 bytes of unkeyed BLAKE3 of i in 4 bytes: key, stamp. Wide
    cells stand as their content hash."""
    family = ItemHash(KEYS.sketch())

    def item(i: int) -> bytes:
        return blake3(i.to_bytes(4, "big")).digest(32)

    def sketch(first: int, last: int) -> Sketch:
        made = Sketch(family)
        made.add(family.prints(b"".join(map(item, range(first, last + 1)))))
        return made

    schema = KEYS.record_key(b"\xae_replica.table", pack_id(["contacts"]))
    items = [("item 0", item(0)), ("item 1", item(1)), ("a stamp of a schema record", schema + BORN),
             ("another stamp of it", schema + EDIT), ("zeros", bytes(32)), ("ones", b"\xff" * 32)]  # fmt: skip
    three, many = sketch(0, 2), sketch(0, 16)
    apart = [sketch(0, 11), sketch(5, 16)]
    return {
        "hashes": [{"name": "what the hashes are made of", "bytes": KEYS.sketch().hex()}],
        "prints": [
            {"name": f"fingerprint of {name}", "item": of.hex(), "positions": list(family.positions(made)),
             "bytes": made.to_bytes(7, "big").hex()}
            for name, of in items for made in family.prints(of)
        ],
        "cells": [
            {"name": f"cells of items 0 to {last}, {width} wide", "items": [0, last], "width": width,
             "bytes": made.cells(width).hex()}
            for made, last, width in [(three, 2, 7), (many, 16, 7), (many, 16, 11), (many, 16, 12), (many, 16, 17)]
        ],
        "wide": [
            {"name": f"hash of the cells of items 0 to 16, {width} wide", "items": [0, 16], "width": width,
             "bytes": content_hash(many.cells(width)).hex()}
            for width in (1_000, 4_097, 6_144, 12_288)
        ],
        "extensions": [
            {"name": f"from {width} to {wider(width)} cells", "items": [0, 16], "width": width,
             "bytes": many.extension(width).hex()}
            for width in (7, 11)
        ],
        "estimators": [{"name": "counters of items 0 to 16", "items": [0, 16], "bytes": many.counters().hex()}],
        "differences": [
            {"name": "items 0 to 11 and 5 to 16", "width": 12, "mine": apart[0].cells(12).hex(),
             "theirs": apart[1].cells(12).hex(), "counters": [one.counters().hex() for one in apart],
             "estimate": sum((a - b) ** 2 for a, b in zip(*(map(_signed, one.counters()) for one in apart), strict=True)),
             "bytes": "".join(sorted(f"{f:014x}" for i in (*range(5), *range(12, 17)) for f in family.prints(item(i))))}
        ],
    }  # fmt: skip


def _signed(counter: int) -> int:
    return counter - 256 if counter > 127 else counter


def message_from(case: Case) -> Message:
    """A message as the vectors spell it."""

    def parts(value: Any) -> Any:
        match value:
            case {"hex": str(digits)}:
                return bytes.fromhex(digits)
            case list():
                return tuple(map(parts, value))
        return value

    fields = [parts(value) for value in case["fields"]]
    match case["kind"]:
        case "Nodes":
            return Nodes(fields[0], tuple(Described(*node) for node in fields[1]))
        case "Records":
            return Records(tuple(map(decode, fields[0])))
        case "Have":
            return Have(fields[0], fields[1], tuple(Question(*asked) for asked in fields[2]))
    kinds: dict[str, Callable[..., Message]] = {
        "Hello": Hello, "Probe": Probe, "Same": Same, "Cells": Cells, "More": More, "Listing": Listing, "Pick": Pick,
        "Want": Want, "End": End, "Bye": Bye,
    }  # fmt: skip
    return kinds[case["kind"]](*fields)


def _fields(value: Any) -> Any:
    match value:
        case bytes():
            return {"hex": value.hex()}
        case tuple():
            return list(map(_fields, value))
    return value


def messages() -> Case:
    """Each kind of message, and frames that are none."""
    handshake, wall = Handshake(b"client's nonce..", b"server's nonce..", 2, 3), 1_800_000_000_000
    root = trie.digest(KEYS.trie, _entries(300))
    other = trie.digest(KEYS.trie, _entries(18))
    client, server = (Proofs(KEYS, role, handshake) for role in (CLIENT, SERVER))
    proof, sample = KEYS.proof(CLIENT, handshake), tuple((key, BORN) for key, _ in _entries(2))
    family = ItemHash(KEYS.sketch())
    sketch = Sketch(family)
    sketch.add(family.prints(b"".join(key + digest for key, digest in _entries(3))))
    prints = tuple(sorted(f.to_bytes(7, "big") for f in family.prints(b"".join(map(b"".join, _entries(3))))))
    counters, small = sketch.counters(), sketch.cells(limits.SKETCH_WIDTH_MIN)
    version, me = limits.VERSION, (NODE, "laptop 7", wall, 300)
    first, *rest = _entries(300)
    leaf = tuple(trie.slice_of(trie.fingerprint(KEYS.trie, entry), 0) for entry in (first, rest[0]))
    children = trie.split([first, *rest], 0)
    inner = tuple(
        trie.slice_of(trie.digest(KEYS.trie, part, 1), 0) if i % 3 else b"" for i, part in enumerate(children)
    )
    late = tuple(trie.fingerprint(KEYS.trie, entry) for entry in (first,))
    asked = question_about(first[0], [BORN, EDIT], 0, KEYS.trie)
    said: list[tuple[str, Message]] = [
        ("client's hello", client.proved(Hello(version, b"", *me, root, other, 3))),
        ("hello of much news", client.proved(Hello(version, b"", *me, root, other, 65, counters))),
        ("hello to a stranger", client.proved(Hello(version, b"", *me, root, b"", 0, counters, small))),
        ("hello with a sample", client.proved(Hello(version, b"", *me, root, sample=sample))),
        ("server's hello", Hello(version, b"", *me)),
        ("server's hello that remembers", Hello(version, b"", *me, b"", other, 2)),
        ("server's hello to a stranger", Hello(version, b"", *me, b"", b"", 0, counters, small)),
        ("probe", client.proved(Probe(b"", NODE, wall, root))),
        ("same", Same(NODE, wall + 1, server.same(root))),
        ("same before 2.2", Same(NODE, wall + 1)),
        ("cells", Cells(7, False, small)),
        ("cells that widen", Cells(7, True, sketch.extension(7))),
        ("cells that widen 12", Cells(12, True, sketch.extension(12))),
        ("more", More(24)),
        ("listing", Listing(tuple(f[:5] for f in prints))),
        ("pick", Pick(tuple(f[:4] for f in prints[:2]))),
        ("inner node", Nodes(0, (Described("", True, inner),))),
        ("leaf", Nodes(0, (Described("a7f", False, leaf),))),
        ("empty leaf", Nodes(4, (Described("00", False, ()),))),
        ("leaf of the last attempts", Nodes(5, (Described("ab", False, late),))),
        ("question", Have(0, False, (asked,))),
        ("answer that asks for all", Have(0, True, (Question(b"abcdef", b""),))),
        ("question of the last attempts", Have(6, False, (Question(first[0], b""),))),
        ("want", Want(0, (("a7f", leaf), ("b", leaf[:1])))),
        ("end", End(server.ours(root), 300, False, 12, 0)),
        ("idle end", End(server.ours(root), 300, True, 0, 1, ("laptop 7 is 61 min ahead",))),
        ("bye in sync", Bye("in sync", "", client.ours(root), 0, ())),
        ("bye with reasons", Bye("differ", "1 record differs", client.ours(root), 1, ("laptop 7 is 61 min ahead",))),
        ("bye of an error", Bye("malformed", "a prefix of 33 nibbles: at most 32", bytes(16), 0, ())),
    ]
    made = {case["name"]: bytes.fromhex(case["bytes"]) for part in ("records", "deltas") for case in records()[part]}
    batches, no_batches = batch_frames(made)
    refused = [
        ("hello of a short root", pack_plain([1, 2, proof, *me, root[1:], b"", 0, b"", b"", b""])),
        ("hello of 63 counters", pack_plain([1, 2, proof, *me, root, b"", 0, counters[1:], b"", b""])),
        ("hello of too few cells", pack_plain([1, 2, proof, *me, root, b"", 0, b"", small[8:], b""])),
        ("hello of half a sample", pack_plain([1, 2, proof, *me, root, b"", 0, b"", b"", bytes(48)])),
        ("probe without proof", pack_plain([2, b"", NODE, wall, root])),
        ("same of a short proof", pack_plain([9, NODE, wall, bytes(15)])),
        ("cells 9 wide", pack_plain([10, 9, False, bytes(288)])),
        ("cells that are too few", pack_plain([10, 12, False, small])),
        ("cells beyond the full width", pack_plain([10, 12_288, True, small])),
        ("more than the full width", pack_plain([11, 12_288])),
        ("listing cut short", pack_plain([12, b"abcdef"])),
        ("pick cut short", pack_plain([13, b"abc"])),
        ("end of a later version", pack_plain([7, root, 300, False, 12, 0, [], 0])),
        ("hello of 17", pack_plain([1, 2, proof, *me, root, b"", 0, b"", b"", b"", 0, 0, 0, 0])),
        ("not an array", b"\x01"), ("empty array", b"\x90"), ("unknown message", b"\x91\x63"), ("no shape", b"\x91\x07"),
        ("prefix of 33 nibbles", pack_plain([3, 0, b"\x21" + bytes(17) + b"\0"])),
        ("odd prefix not padded", pack_plain([3, 0, b"\x01\xab\x00"])),
        ("leaf of 17", pack_plain([3, 0, b"\x00\x11" + bytes(51)])),
        ("cut short", pack_plain([4, 0, False, b"abcdef\x02abc"])),
        *no_batches,
    ]  # fmt: skip
    cases = [
        {"name": name, "kind": type(m).__name__, "fields": [_fields(getattr(m, f)) for f in m.__dataclass_fields__],
         "bytes": encode(m).hex()}
        for name, m in said
    ]  # fmt: skip
    for name, frame in batches:
        message = decode_message(frame)
        assert isinstance(message, Records)
        told = [_fields(tuple(delta.encode() for delta in message.records))]
        cases.append({"name": name, "kind": "Records", "fields": told, "bytes": frame.hex()})
    # What a later minor version might say: each is taken for the message of this name above.
    more = ["in a later version", True, NODE]
    grown = []
    for name, greeting in said:
        if isinstance(greeting, Hello | Probe | Same):
            parts = unpack(encode(greeting), arrays_max=1, array_max=13)
            assert isinstance(parts, tuple)
            longer = pack_plain([*parts, *more]).hex()
            grown.append({"name": f"{name} of a later version", "as": name, "bytes": longer})
    shorter = pack_plain([9, NODE, wall + 1]).hex()
    grown.append({"name": "same of version 2.1", "as": "same before 2.2", "bytes": shorter})
    return {
        "messages": cases,
        "grown": grown,
        "refused": [{"name": name, "bytes": frame.hex()} for name, frame in refused],
    }


def build() -> dict[str, Case]:
    """All vectors, by file."""
    return {
        "hlc": hlc(),
        "values": values(),
        "records": records(),
        "keys": keys(),
        "trie": tries(),
        "sketch": sketches(),
        "messages": messages(),
    }


def text(cases: Case) -> str:
    """A vector file: one case a line, so that a change shows as one line."""
    lines = []
    for part, content in cases.items():
        if isinstance(content, list):
            items = ",\n".join("  " + json.dumps(item, ensure_ascii=False) for item in content)
            lines.append(f" {json.dumps(part)}: [\n{items}\n ]")
        else:
            lines.append(f" {json.dumps(part)}: {json.dumps(content)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    assert limits.VERSION == 2
    for file, cases in build().items():
        (HERE / f"{file}.json").write_text(text(cases), encoding="utf-8")

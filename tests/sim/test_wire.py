"""The wire between two websocket protocols without any I/O: what one sends and the tap makes of it, the other reads."""

from __future__ import annotations

from random import Random

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from replica.errors import UsageError
from sim.wire import ARCHIVE_BYTES, ARCHIVE_FRAMES, HOWS, Tap, masked


class Line:
    """A client and a server, a tap each way; bytes travel in pieces of random size."""

    def __init__(self, how: str | None, share: float, seed: int = 0, archive: list[bytes] | None = None) -> None:
        self.client, self.server = ClientProtocol(parse_uri("ws://here/")), ServerProtocol()
        self.archive: list[bytes] = [] if archive is None else archive
        self.out, self.back = (Tap(Random(seed + n), how, share, self.archive) for n in range(2))
        self.cuts = Random(seed + 9)
        request = self.client.connect()
        self.client.send_request(request)
        self.move()
        (event,) = self.server.events_received()
        self.server.send_response(self.server.accept(event))  # type: ignore[arg-type]
        self.move()
        assert self.client.events_received()

    def move(self) -> None:
        for ours, theirs, tap in ((self.client, self.server, self.out), (self.server, self.client, self.back)):
            for data in ours.data_to_send():
                at = 0
                while at < len(data):
                    step = self.cuts.randrange(1, max(2, len(data)))
                    for chunk in tap.feed(data[at : at + step]):
                        theirs.receive_data(chunk)
                    at += step

    def say(self, messages: list[bytes], *, back: bool = False) -> list[bytes]:
        """What the other end reads."""
        ours, theirs = (self.server, self.client) if back else (self.client, self.server)
        for message in messages:
            ours.send_binary(message)
            self.move()
        return self.read(theirs)

    @staticmethod
    def read(end: ClientProtocol | ServerProtocol) -> list[bytes]:
        events = end.events_received()
        assert end.parser_exc is None
        return [bytes(e.data) for e in events if isinstance(e, Frame) and e.opcode is Opcode.BINARY]

    def flush(self) -> None:
        for chunk in self.out.flush():
            self.server.receive_data(chunk)
        for chunk in self.back.flush():
            self.client.receive_data(chunk)


MESSAGES = [bytes([n]) * size for n, size in enumerate((1, 125, 126, 127, 4_000, 65_535, 65_536, 70_000, 3, 0, 9, 500))]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_switched_off_every_byte_passes_as_it_came(seed: int, back: bool) -> None:
    line = Line(None, 1.0, seed)
    assert line.say(MESSAGES, back=back) == MESSAGES
    assert line.archive == []
    tap = line.back if back else line.out
    assert tap.feed(b"\x82") == [b"\x82"]
    assert tap.spoiled == {}


def test_a_refused_upgrade_passes_for_good() -> None:
    tap = Tap(Random(1), "drop", 1.0, [])
    parts = [b"HTTP/1.1 503 Full\r\nLength: 3\r", b"\n\r\n\x82\x01x", b"\x82\x01y"]
    assert [chunk for part in parts for chunk in tap.feed(part)] == parts


def test_an_upgrade_without_end_passes_for_good() -> None:
    tap = Tap(Random(1), "drop", 1.0, [])
    noise = b"x" * 50_000
    assert [tap.feed(noise) for _ in range(4)] == [[noise]] * 4


def test_an_upgrade_passes_and_the_frame_that_came_with_it_is_spoilt() -> None:
    tap = Tap(Random(1), "drop", 1.0, [])
    assert b"".join(tap.feed(b"GET / HTTP/1.1\r\n\r\n\x82\x01x\x89\x00")) == b"GET / HTTP/1.1\r\n\r\n\x89\x00"
    assert tap.spoiled == {"drop": 1}


def expect(how: str, heard: list[bytes], archive: list[bytes]) -> None:
    """What a tap that spoils every frame makes of MESSAGES."""
    full = [m for m in MESSAGES if m]
    match how:
        case "drop":
            assert heard == []
        case "duplicate":
            assert heard == [m for m in MESSAGES for _ in range(2)]
        case "swap":
            assert heard == [m for a, b in zip(MESSAGES[::2], MESSAGES[1::2], strict=True) for m in (b, a)]
        case "flip":
            bits = [(int.from_bytes(a) ^ int.from_bytes(b)).bit_count() for a, b in zip(MESSAGES, heard, strict=True)]
            assert bits == [int(bool(m)) for m in MESSAGES]
        case "truncate":
            pairs = list(zip(MESSAGES, heard, strict=True))
            assert all(a.startswith(b) and (len(b) < len(a) or not a) for a, b in pairs)
        case "replay":
            assert len(heard) == 2 * len(MESSAGES) - 1
            assert set(heard) == set(MESSAGES)
        case "splice":
            assert all(b.startswith(a[: len(a) // 2]) for a, b in zip(MESSAGES, heard, strict=True))
            assert list(map(len, heard)) == list(map(len, MESSAGES))
            assert sum(a != b for a, b in zip(MESSAGES, heard, strict=True)) == len(full)
    assert archive == [b"\x82" + m for m in MESSAGES]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("how", HOWS)
def test_what_it_makes_is_well_formed(how: str, back: bool) -> None:
    for seed in range(3):
        like = [b"\x82" + b"z" * len(m) for m in MESSAGES] if how == "splice" else []
        line = Line(how, 1.0, seed, list(like))
        expect(how, line.say(MESSAGES, back=back), line.archive[len(like) :])
        tap = line.back if back else line.out
        assert tap.spoiled[how] >= len(MESSAGES) // 2
        tap.how = None
        assert line.say([b"after"], back=back) == [b"after"]


def test_frames_of_another_connection_are_replayed_in_the_mask_of_this_one() -> None:
    archive: list[bytes] = []
    Line("flip", 0.0, 1, archive).say([b"from the client"])
    Line("flip", 0.0, 2, archive).say([b"from the server"], back=True)
    heard = {m for seed in range(8) for m in Line("replay", 1.0, seed, list(archive)).say([b"now"])}
    assert heard == {b"from the client", b"from the server", b"now"}


def test_a_frame_is_spliced_with_one_of_its_size_or_not_at_all() -> None:
    archive: list[bytes] = []
    Line("flip", 0.0, 1, archive).say([b"abcdef", b"longer than this"])
    line = Line("splice", 1.0, 2, archive)
    assert line.say([b"ABCDEF", b"none is as long as this one"]) == [b"ABCdef", b"none is as long as this one"]
    assert line.out.spoiled == {"splice": 1}


def test_nothing_that_is_held_back_is_lost() -> None:
    line = Line("swap", 1.0)
    assert line.say([b"one"]) == []
    line.flush()
    assert Line.read(line.server) == [b"one"]
    assert line.say([b"two"]) == []
    line.out.how = None
    assert line.say([b"three"]) == [b"two", b"three"]
    line.out.how = "swap"
    assert line.say([b"four"]) == []
    line.client.send_ping(b"")
    line.move()
    assert Line.read(line.server) == [b"four"]


@pytest.mark.parametrize("at", range(12))
def test_it_may_be_switched_in_the_middle_of_a_frame(at: int) -> None:
    frames = [Frame(Opcode.BINARY, bytes([n]) * 200).serialize(mask=True) for n in range(3)]
    tap = Tap(Random(1), None, 1.0, [])
    tap.feed(b"GET / HTTP/1.1\r\n\r\n")
    heard = [tap.feed(frames[0][:at])]
    tap.how = "drop"
    heard += [tap.feed(frames[0][at : at + 1]), tap.feed(frames[0][at + 1 :] + frames[1] + frames[2][:at])]
    tap.how = None
    heard += [tap.feed(frames[2][at:]), tap.flush()]
    passed = b"".join(chunk for chunks in heard for chunk in chunks)
    assert passed == ((frames[0] if at else b"") + frames[2])
    assert tap.spoiled == {"drop": 1 if at else 2}


@pytest.mark.parametrize("how", HOWS)
def test_the_same_is_spoilt_however_the_bytes_are_cut(how: str) -> None:
    stream = b"".join(Frame(Opcode.BINARY, bytes([n]) * (50 * (n % 5))).serialize(mask=False) for n in range(40))
    results = []
    for size in (1, 7, 1_000, len(stream)):
        tap = Tap(Random(5), how, 0.5, [])
        tap.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        parts = [c for i in range(0, len(stream), size) for c in tap.feed(stream[i : i + size])]
        results.append((b"".join(parts + tap.flush()), tap.spoiled))
    assert all(result == results[0] for result in results)
    assert 5 < results[0][1][how] < 35


def test_an_archive_is_bounded() -> None:
    archive: list[bytes] = []
    line = Line("flip", 0.0, 0, archive)
    line.say([bytes(10)] * 100)
    assert len(archive) == ARCHIVE_FRAMES
    line.say([bytes(300_000)] * 5 + [bytes(ARCHIVE_BYTES)])
    assert [len(a) for a in archive] == [300_001] * 3


def test_masks_are_undone_by_themselves() -> None:
    for size in range(9):
        payload = Random(size).randbytes(size)
        assert masked(masked(payload, b"abcd"), b"abcd") == payload
    assert masked(b"12345", b"\x01\x02\x03\x04") == b"0000" + bytes([0x35 ^ 1])


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UsageError, match="there are drop"):
        Tap(Random(1), "burn", 1.0, [])

"""What one call says of a turn: enough that a short turn is one call, never so much that the store is kept for long."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from protocol import frames, limits
from protocol.descent import MUCH
from protocol.errors import PeerRefused
from protocol.hlc import pack
from protocol.keys import CLIENT, SERVER
from protocol.messages import End, Have, Hello, Pick, Records
from protocol.outcome import IN_SYNC
from protocol.record import Delta
from protocol.session import Session
from tests.protocol.memory_store import HANDSHAKE, NOW_MS, MemoryStore
from tests.protocol.memory_store import session as side
from tests.protocol.test_descent import ANN, BOB, twins
from tests.protocol.test_reconcile import edited


class Broken(Exception):
    """Of the store, in the middle of a turn."""


class Rotten(MemoryStore):
    """Of whose records only the first that are read can be read."""

    looks = 0

    def deltas(self, keys: Sequence[bytes]) -> list[Delta]:
        self.looks += 1
        if self.looks > 1:
            raise Broken("damaged")
        return super().deltas(keys)


def crowded(store: MemoryStore) -> MemoryStore:
    """With records of many batches, each of which travels in some hundred bytes."""
    for number in range(80):
        store.insert(number, pack(NOW_MS - 1000, number, b"srv....."), {"notes": "x" * 400_000})
    return store


def test_the_frames_of_a_turn_are_said_in_one_call_until_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = side(CLIENT, MemoryStore()), side(SERVER, twins(20)[0])
    first = client.open(NOW_MS)
    said = server.say(NOW_MS, first)
    assert [type(frames.decode(frame)) for frame in said] == [Hello, Records, End]
    assert (server.speaking, server.say(NOW_MS)) == (False, [])
    monkeypatch.setattr(limits, "SAID_BYTES", len(said[0]) + 1)
    again = side(SERVER, twins(20)[0])
    assert again.say(NOW_MS, first) == said[:2]
    assert again.speaking
    assert again.say(NOW_MS) == said[2:]


def test_one_call_reads_few_batches_however_small_they_travel() -> None:
    first, server = side(CLIENT, MemoryStore()).open(NOW_MS), side(SERVER, crowded(MemoryStore()))
    calls = [server.say(NOW_MS, first)]
    while server.speaking:
        calls.append(server.say(NOW_MS))
    batches = [[type(frames.decode(frame)) for frame in said].count(Records) for said in calls]
    assert batches[0] == max(batches) == limits.SAID_BATCHES
    assert len(calls) > 4
    assert sum(len(frame) for said in calls for frame in said) < limits.SAID_BYTES, "else that would be the bound"


def kinds_of_calls(client: Session, server: Session) -> list[list[type]]:
    """A whole session: what went in each call."""
    calls = [server.say(NOW_MS, client.open(NOW_MS))]
    speaker, hearer = server, client
    while calls[-1]:
        said = [hearer.say(NOW_MS, frame) for frame in calls[-1]]
        assert not any(said[:-1]), "a turn ends with its last frame"
        calls.append(said[-1] or speaker.say(NOW_MS))
        if said[-1]:
            speaker, hearer = hearer, speaker
    assert client.outcome.code == server.outcome.code == IN_SYNC
    return [[type(frames.decode(frame)) for frame in said] for said in calls]


@pytest.mark.parametrize("minor", [0, limits.MINOR])
@pytest.mark.parametrize(("differ", "apart"), [(MUCH, True), (MUCH // 2, False)])
def test_questions_go_before_many_records_are_read(minor: int, differ: int, apart: bool) -> None:
    here, there = twins(2_000)
    for number in range(differ):
        here.update(number, ANN.tick(NOW_MS), {"name": f"Ann's {number}"})
        there.update(1_000 + number, BOB.tick(NOW_MS), {"name": f"Bob's {number}"})
    handshake = HANDSHAKE._replace(client_minor=minor, server_minor=minor)
    calls = kinds_of_calls(side(CLIENT, here, handshake=handshake), side(SERVER, there, handshake=handshake))
    asks = {Have, Pick}
    assert any(Records in said and asks & {*said} for said in calls) != apart
    assert any(said and {*said} <= asks for said in calls) == apart


def test_the_greeting_goes_before_many_records_are_read() -> None:
    for count in (MUCH, MUCH // 2):
        here, there, agreed = edited(1_000, count, count)
        calls = kinds_of_calls(side(CLIENT, here, agreed=agreed), side(SERVER, there))
        assert calls[0] == ([Hello] if count == MUCH else [Hello, Records, End])


def test_what_was_made_before_an_error_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAID_BATCHES", 10)
    client, server = side(CLIENT, MemoryStore()), side(SERVER, crowded(Rotten()))
    said = server.say(NOW_MS, client.open(NOW_MS))
    assert 2 < len(said) < 10
    assert (server.speaking, server.closed) == (True, False)
    for frame in said:
        client.receive(frame, NOW_MS)
    with pytest.raises(Broken, match="damaged") as raised:
        server.say(NOW_MS)
    assert client.outcome.peer is not None
    assert 0 < server.outcome.sent == sum(len(m.records) for f in said if isinstance(m := frames.decode(f), Records))
    farewell = server.farewell(raised.value)
    assert (server.speaking, server.closed) == (False, True)
    assert farewell is not None
    with pytest.raises(PeerRefused):
        client.receive(farewell, NOW_MS)

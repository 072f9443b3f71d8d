"""Promises of replica.sessions, by number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from protocol.errors import Busy
from protocol.keys import CLIENT, SERVER
from replica import sessions
from replica.sessions import Sessions

US = b"m" * 8


def session(peer: bytes) -> Any:
    class One:
        outcome = SimpleNamespace(peer=SimpleNamespace(instance=peer))

    return One()


@pytest.mark.parametrize("peer", [b"a" * 8, b"z" * 8])
@pytest.mark.parametrize("first", [CLIENT, SERVER])
def test_1_of_two_that_dial_each_other_the_smaller_instances_call_lives(peer: bytes, first: str) -> None:
    under_way = Sessions(US)
    mine, other = session(peer), session(peer)
    second = SERVER if first == CLIENT else CLIENT
    under_way.begin(mine, first)
    under_way.greeted(mine)
    under_way.begin(other, second)
    if (second == CLIENT) == (peer > US):
        under_way.greeted(other)
    else:
        with pytest.raises(Busy, match="the other way round"):
            under_way.greeted(other)
    under_way.end(mine)
    under_way.greeted(other)


def test_2_who_ended_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    monkeypatch.setattr(sessions, "STRANGERS_MAX", 3)
    under_way = Sessions(US)
    known = [session(bytes([n]) * 8) for n in range(2)]
    for one in known:
        assert not under_way.full()
        under_way.begin(one, SERVER)
        under_way.greeted(one)
    assert under_way.full()
    for role in (SERVER, CLIENT):  # One that came in before, and one that we began.
        another = session(b"another!")
        under_way.begin(another, role)
        if role == SERVER:
            with pytest.raises(Busy, match="too many sessions"):
                under_way.greeted(another)
        else:
            under_way.greeted(another)
        under_way.end(another)
    under_way.end(known.pop())
    strangers = [session(b"") for _ in range(3)]
    for one in strangers:
        assert not under_way.full()
        under_way.begin(one, SERVER)
    assert under_way.full()
    assert under_way.busy()
    for one in strangers:
        under_way.end(one)
    assert not under_way.full()
    under_way.end(known.pop())
    assert not under_way.busy()
    mine = session(b"")
    under_way.begin(mine, CLIENT)
    assert under_way.busy()
    assert not under_way.strangers
    under_way.end(mine)
    assert not under_way.all

"""How one that lies converses: the promises of the header, against a real node on loopback."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from protocol import frames
from protocol.errors import PeerRefused
from protocol.messages import End, Hello, More, Same
from replica import system
from replica.store.store import Store
from sim.liar import Liar, say, turn
from tests.nodes import make_pair, serving


async def test_it_is_known_for_a_member_and_hears_a_turn_to_its_end(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, 40)
    with Store(laptop) as store:
        async with serving(hq) as (server, url):
            liar = Liar(url, store, Random(1), system.now_ms, b"instance")
            socket = await liar.meet(count=40)
            hello = liar.heard[0]
            assert isinstance(hello, Hello)
            assert hello.node == server.store.node_id
            assert isinstance(liar.heard[-1], End)
            (known,) = server._sessions.known.values()
            assert known[0] == b"instance"
            await say(socket, frames.encode(More(8)))
            with pytest.raises(PeerRefused, match="that was not sent"):
                await turn(socket)
            socket.transport.abort()
            socket = await liar.meet(probed=await server.call(lambda: server.store.root()[0]))
            assert [type(message) for message in liar.heard] == [Same]
            socket.transport.abort()

"""TLS by passing the files of a certificate: encrypted, and nobody without one is let in when an authority is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import PeerFault
from replica import Node
from replica.errors import UsageError
from replica.tls import client_tls, server_tls
from tests.nodes import make_pair, rows_of

FILES = Path(__file__).parent / "certificates"
CA, CERT, KEY = (str(FILES / name) for name in ("ca.pem", "node.pem", "node.key"))


async def test_two_nodes_meet_over_tls(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=50)
    async with Node(hq) as server, Node(laptop) as node:
        listener = await server.serve("127.0.0.1", 0, tls=server_tls(None, CERT, KEY))
        assert listener.url.startswith("wss://")
        assert (await node.sync(listener.url, tls=client_tls(CA, None, None))).in_sync
    assert rows_of(hq) == rows_of(laptop)


async def test_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path)
    async with Node(hq) as server, Node(laptop) as node:
        listener = await server.serve("127.0.0.1", 0, tls=server_tls(None, CERT, KEY))
        with pytest.raises(PeerFault, match="the encrypted connection failed"):
            await node.sync(listener.url)


async def test_with_an_authority_only_its_clients_get_in(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path)
    async with Node(hq) as server, Node(laptop) as node:
        listener = await server.serve("127.0.0.1", 0, tls=server_tls(CA, CERT, KEY))
        with pytest.raises(PeerFault):
            await node.sync(listener.url, tls=client_tls(CA, None, None))
        assert (await node.sync(listener.url, tls=client_tls(CA, CERT, KEY))).in_sync


async def test_plain_and_encrypted_are_not_mixed_up(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path)
    async with Node(hq) as server, Node(laptop) as node:
        listener = await server.serve("127.0.0.1", 0)
        with pytest.raises(UsageError, match="use wss://"):
            await node.sync(listener.url, tls=client_tls(CA, None, None))
        with pytest.raises(PeerFault):
            await node.sync(listener.url.replace("ws://", "wss://"), tls=client_tls(CA, None, None))

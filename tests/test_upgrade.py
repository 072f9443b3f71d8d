"""What is said in the upgrade: versions, nonces, proofs, redirects. Loopback only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from protocol import limits
from protocol.errors import NotMember, PeerFault, PeerRefused, WrongVersion
from replica import Node, transport
from tests.nodes import make_pair, rows_of, serving


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 400, b"use `replica sync`"),
        ({"X-Replica-Version": "1"}, 426, b"protocol version 2.3, you speak 1: update yours"),
        ({"X-Replica-Version": "3.1"}, 426, b"protocol version 2.3, you speak 3.1: update the program of this node"),
        ({"X-Replica-Version": "2"}, 426, b"protocol version 2.3, you speak 2: update yours"),
        ({"X-Replica-Version": "2.x"}, 426, b"protocol version 2.3, you speak 2.x"),
        ({"X-Replica-Version": "2.12345"}, 426, b"protocol version 2.3, you speak 2.12345"),
        ({"X-Replica-Version": "2.1"}, 400, b"no nonce"),
        ({"X-Replica-Version": "2.1", "X-Replica-Nonce": "short"}, 400, b"no nonce"),
    ],
)
async def test_a_wrong_upgrade_is_answered_in_words(
    tmp_path: Path, headers: dict[str, str], status: int, words: bytes
) -> None:
    hq, _ = make_pair(tmp_path)
    async with serving(hq) as (_, url):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers=headers, proxy=None)
    assert refused.value.response.status_code == status
    assert words in (refused.value.response.body or b"")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        # What a node of before minor versions says.
        (426, PeerRefused, "this node speaks protocol version 2, you speak 2.3: update the older one. If that is an older "
         "version than 2.3, update the program at ws://127.0.0.1:{port}, else this one"),
        ("2", WrongVersion, "speaks version '2', this node 2.3: update the program there"),
        ("3.0", WrongVersion, "speaks version '3.0', this node 2.3: update this program"),
    ],
)  # fmt: skip
async def test_who_meets_another_version_hears_which_program_to_update(
    tmp_path: Path, answer: int | str, error: type[PeerFault], words: str
) -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response | None:
        theirs = request.headers["X-Replica-Version"]
        text = f"this node speaks protocol version 2, you speak {theirs}: update the older one\n"
        return socket.respond(http.HTTPStatus.UPGRADE_REQUIRED, text) if answer == 426 else None

    def say(_: ServerConnection, __: Request, response: Response) -> None:
        said = base64.b64encode(bytes(16)).decode(), base64.b64encode(bytes(32)).decode()
        response.headers["X-Replica-Version"] = str(answer)
        response.headers["X-Replica-Nonce"], response.headers["X-Replica-Proof"] = said

    async def idle(socket: ServerConnection) -> None:
        await socket.wait_closed()

    _, laptop = make_pair(tmp_path)
    async with (
        serve(idle, "127.0.0.1", 0, process_request=refuse, process_response=say) as other,
        Node(laptop) as node,
    ):
        port = next(iter(other.sockets)).getsockname()[1]
        with pytest.raises(error) as told:
            await node.sync(f"ws://127.0.0.1:{port}")
    assert words.format(port=port) in str(told.value)


@pytest.mark.parametrize("where", ["http://portal.example/login", "ws://127.0.0.1:99999/", "ws://[::bad/", "ws://127.0.0.1:1/"])
async def test_a_redirect_is_not_followed_and_is_no_error_of_the_user(tmp_path: Path, where: str) -> None:
    def elsewhere(socket: ServerConnection, _: Request) -> Response:
        answer = socket.respond(http.HTTPStatus.FOUND, "")
        answer.headers["Location"] = where
        return answer

    async def idle(socket: ServerConnection) -> None:
        await socket.wait_closed()

    _, laptop = make_pair(tmp_path)
    async with serve(idle, "127.0.0.1", 0, process_request=elsewhere) as other, Node(laptop) as node:
        port = next(iter(other.sockets)).getsockname()[1]
        with pytest.raises(transport.Unreachable, match=f"127.0.0.1:{port} is not a replica node: it answered 302"):
            await node.sync(f"ws://127.0.0.1:{port}")


@asynccontextmanager
async def lowering_proxy(port: int, requests: bool, answers: bool, lowered: bytes) -> AsyncIterator[str]:
    """A man in the middle who says that one side or both speak an older minor version."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lower: bool) -> None:
        while data := await reader.read(65_536):
            spoken = f"X-Replica-Version: {limits.VERSION}.{limits.MINOR}".encode()
            writer.write(data.replace(spoken, b"X-Replica-Version: " + lowered) if lower else data)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(pump(reader, far_writer, requests), pump(far_reader, writer, answers))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("lowered", [b"2.0", b"2.1", b"2.2"])
@pytest.mark.parametrize(("requests", "answers"), [(True, False), (False, True), (True, True)])
async def test_nobody_in_the_middle_lowers_the_minor_version_unnoticed(
    tmp_path: Path, requests: bool, answers: bool, lowered: bytes
) -> None:
    hq, laptop = make_pair(tmp_path, rows=3)
    async with (
        serving(hq) as (_, url),
        lowering_proxy(int(url.rpartition(":")[2]), requests, answers, lowered) as between,
        Node(laptop) as node,
    ):
        with pytest.raises(NotMember):
            await node.sync(between)
        assert rows_of(laptop, "SELECT name FROM sqlite_master WHERE name = 'contacts'") == []
        assert (await node.sync(url)).in_sync


@pytest.mark.parametrize("mine", range(limits.MINOR + 2))
@pytest.mark.parametrize("theirs", range(limits.MINOR + 2))
async def test_nodes_of_two_minor_versions_speak_the_lower_one(tmp_path: Path, mine: int, theirs: int) -> None:
    hq, laptop = make_pair(tmp_path, rows=60)
    async with Node(hq, minor=theirs) as server, Node(laptop, minor=mine) as node:
        url = (await server.serve()).url
        first = await node.sync(url)
        await node.execute("UPDATE contacts SET phone = '1' WHERE id = 'c000007'")
        second = await node.sync(url)
    assert (first.outcome, second.outcome, first.version) == ("in sync", "in sync", f"2.{theirs}")
    assert rows_of(hq) == rows_of(laptop)
    assert (second.found_by == "trie") == (0 in {mine, theirs})

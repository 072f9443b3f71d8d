"""One session over a websocket, on either side.

Nonces and minor versions ride in the upgrade: the client's in its request, the server's in the 101 answer with its proof, so
that proving membership costs no round trip. The client says HELLO (with its own proof) only to a server that proved
itself. Every send and receive has a time limit, of which a slow line gets more while bytes move (`alive`). One test each:

1. A cut at any byte, an error or a cancellation keeps what came whole; the next session just goes on.
2. A stranger gets neither names nor digests, on either side.
3. No peer stops another: one that hangs, floods or lies ends its own session alone.
4. Both speak the lower of their minor versions, and nobody in the middle can lower it unnoticed.

SPEC section 13.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import http
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.http11 import Request, Response

from protocol import limits
from protocol.errors import Malformed, NotMember, PeerFault, PeerRefused, ReplicaError, WrongVersion
from protocol.frames import NEWS
from protocol.keys import NONCE_BYTES, PROOF_BYTES, SERVER, Handshake, Keys
from protocol.session import Session
from replica.alive import PIECE, Dialled, pieces, received
from replica.errors import UsageError
from replica.invite import must_be_address
from replica.parting import Callers
from replica.words import log

Call = Callable[..., Awaitable[Any]]
"""Runs a function where the store lives."""


OPEN_SECONDS = 10
HELLO_SECONDS = 15
SEND_SECONDS = 120
AT_ONCE = 8_192  # Bytes under way, up to which a transport takes more without a wait: websockets' low-water mark.
RECEIVE_SECONDS = 120
"""A peer may be applying a batch, or hashing a million rows that were written since it last looked."""

_VERSION, _NONCE, _PROOF = "X-Replica-Version", "X-Replica-Nonce", "X-Replica-Proof"
# A proxy between a node and its peer must be named on purpose, so `connect` is told to use none. Frames are compressed
# by the session itself, with a cap on what they may grow to.
_OPTIONS: dict[str, Any] = {
    "compression": None,
    "max_size": limits.FRAME_BYTES_MAX,
    "max_queue": 4,
    "open_timeout": OPEN_SECONDS,
    "close_timeout": 5,
    "ping_interval": 20,
    "ping_timeout": 40,
}


class Unreachable(PeerFault):
    """The peer could not be reached, or went away."""

    code = "unreachable"


class Gone(Unreachable):
    """A connection that served a session before serves no other."""


@dataclass(slots=True)
class Traffic:
    """Payload bytes of one session, websocket framing not counted."""

    sent: int = 0
    received: int = 0


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _header(headers: Headers, name: str) -> str:
    """What a header says, if it stands there once."""
    said = headers.get_all(name)
    return said[0] if len(said) == 1 else ""


def _decode(headers: Headers, name: str, size: int) -> bytes:
    try:
        data = base64.b64decode(_header(headers, name), validate=True)
    except binascii.Error:
        data = b""
    return data if len(data) == size else b""


def _spoken(minor: int) -> str:
    return f"{limits.VERSION}.{minor}"


def _minor(version: str) -> int | None:
    """The minor version of a peer's "2.1", or None if it is no version 2."""
    major, _, minor = version.partition(".")
    if major != str(limits.VERSION) or not (minor.isascii() and minor.isdigit() and len(minor) <= 4):
        return None
    return int(minor)


def _is_newer(version: str) -> bool:
    """Whether a version that we do not speak came after ours; a bare "2" was before there were minor ones."""
    major = version.partition(".")[0]
    return major.isascii() and major.isdigit() and int(major[:4]) > limits.VERSION


@dataclass(slots=True, eq=False)
class Listener:
    """A running server: where it listens, and how to stop it."""

    server: Server
    callers: Callers
    scheme: str
    sockets: list[tuple[str, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Address to sync with."""
        host, port = self.sockets[0]
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    async def close(self) -> None:
        """Stop listening and end the sessions: what they applied stays."""
        await self.callers.part(self.server)


# --- either side ------------------------------------------------------------------------------------------------------


async def converse(
    socket: ClientConnection | ServerConnection,
    session: Session,
    call: Call,
    now_ms: Callable[[], int],
    traffic: Traffic,
    greeted: Callable[[Session], None],
    *,
    first: bytes | None = None,
    heard: bytes | None = None,
    again: bool = False,
) -> None:
    """Run a session to its end. `first`: the client's first frame; `heard`: of the server, what it has heard of it already;
    `again`: it is not the first session on this connection. `greeted` is called once the peer is known, and may raise
    PeerFault. Raises PeerFault, or what the store raised; the peer is told. Raises Gone, if nothing came of it."""
    try:
        answer = await _first(socket, first, traffic, again=again) if heard is None else heard
        traffic.received += len(heard or b"")
        await call(session.receive, answer, now_ms())
        if session.outcome.peer is not None:
            greeted(session)
        said: list[bytes] = []
        while True:
            for frame in said:
                await _send(socket, frame, traffic)
            if session.closed:
                break
            heard = None if session.speaking else await _receive(socket, RECEIVE_SECONDS, traffic, slow=True)
            said = await call(session.say, now_ms(), heard)
    except (Exception, asyncio.CancelledError) as error:
        farewell = session.farewell(error) if isinstance(error, Exception) else None
        with suppress(ReplicaError):  # What ended the session matters more than the records that wait.
            await call(session.settle, now_ms())
        if farewell is not None and not isinstance(error, Unreachable):
            try:
                await _send(socket, farewell, traffic)
            except Unreachable:
                log.debug("the peer was gone before it could be told: %s", error)
        raise


async def _first(
    socket: ClientConnection | ServerConnection, mine: bytes | None, traffic: Traffic, *, again: bool
) -> bytes:
    """The peer's first frame; the client says its own before."""
    try:
        if mine is not None:
            await _send(socket, mine, traffic)
        answer = await _receive(socket, HELLO_SECONDS, traffic)
        if again and answer == NEWS:  # It was said when ours was under way.
            answer = await _receive(socket, HELLO_SECONDS, traffic)
    except Unreachable as error:
        if again:
            raise Gone(str(error)) from None
        raise
    return answer


async def _send(socket: ClientConnection | ServerConnection, frame: bytes, traffic: Traffic) -> None:
    try:
        if socket.transport.get_write_buffer_size() + len(frame) <= AT_ONCE:
            await socket.send(frame)
        else:
            async with asyncio.timeout(SEND_SECONDS) as limit:
                await socket.send(pieces(frame, limit, SEND_SECONDS) if len(frame) > PIECE else frame)
    except TimeoutError:
        socket.transport.abort()
        raise Unreachable(f"the peer did not read for {SEND_SECONDS} s: dropped") from None
    except ConnectionClosed as error:
        raise Unreachable(f"the connection was cut ({_words(error)})") from None
    except OSError as error:
        raise Unreachable(f"the connection was cut ({error})") from None
    traffic.sent += len(frame)


async def _receive(
    socket: ClientConnection | ServerConnection, seconds: float, traffic: Traffic, *, slow: bool = False
) -> bytes:
    """The next frame. `slow`: it may come slowly; a stranger's may not."""
    try:
        frame = await received(socket, seconds, slow=slow)
    except TimeoutError:
        raise Unreachable(f"the peer said nothing for {seconds:.0f} s: dropped") from None
    except ConnectionClosed as error:
        raise Unreachable(f"the connection was cut ({_words(error)})") from None
    if not isinstance(frame, bytes):
        raise Malformed("frames are binary messages")
    traffic.received += len(frame)
    return frame


def _words(error: ConnectionClosed) -> str:
    close = error.rcvd or error.sent
    return f"{close.code} {close.reason}".strip() if close else "without a word"


# --- client -----------------------------------------------------------------------------------------------------------


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """None is followed: whoever answers at an address does not say where else a node is."""
        return exc


async def dial(
    url: str,
    keys: Keys,
    random: Callable[[int], bytes],
    tls: ssl.SSLContext | None,
    minor: int = limits.MINOR,
) -> tuple[ClientConnection, Handshake]:
    """Connect, say that we speak `minor`, and check the server's proof. Raises PeerFault or UsageError."""
    must_be_address(url)
    if tls is not None and url.startswith("ws://"):
        raise UsageError("a certificate was given for an unencrypted address: use wss://")
    mine = random(NONCE_BYTES)
    headers = {_VERSION: _spoken(minor), _NONCE: _encode(mine)}
    extra: dict[str, Any] = {"ssl": tls} if tls is not None else {}
    try:
        own: dict[str, Any] = {"user_agent_header": None, "proxy": None, "logger": _quiet, "create_connection": Dialled}
        socket = await _Connect(url, additional_headers=headers, **own, **_OPTIONS, **extra)
    except InvalidURI:
        raise UsageError(f"{url!r} is no address of a node: it looks like ws://host:port") from None
    except InvalidStatus as error:
        body = (error.response.body or b"")[:200].decode(errors="replace").strip()
        if error.response.status_code not in {400, 426, 503}:
            raise Unreachable(f"{url} is not a replica node: it answered {error.response.status_code}") from None
        if error.response.status_code == http.HTTPStatus.UPGRADE_REQUIRED:
            body += f". If that is an older version than {_spoken(minor)}, update the program at {url}, else this one"
        raise PeerRefused(str(error.response.status_code), body or "no reason given") from None
    except TimeoutError:
        raise Unreachable(f"{url} did not answer within {OPEN_SECONDS} s") from None
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or error
        raise Unreachable(
            f"{url}: the encrypted connection failed: {why} (an own authority is named by --ca)"
        ) from None
    except ValueError as error:  # A port that cannot be.
        raise UsageError(f"{url!r} is no address of a node: {error}") from None
    except OSError as error:
        raise Unreachable(f"{url} cannot be reached: {error.strerror or str(error) or type(error).__name__}") from None
    except (InvalidHandshake, EOFError) as error:
        raise Unreachable(
            f"{url} is not a replica node, or it wants wss:// or a client certificate (--cert, --key): {error}"
        ) from None
    try:
        assert socket.response is not None
        answer = socket.response.headers
        theirs, proof = _decode(answer, _NONCE, NONCE_BYTES), _decode(answer, _PROOF, PROOF_BYTES)
        if not theirs or not proof:
            raise Malformed(f"{url} is not a replica node: it answered without a proof")
        version = _header(answer, _VERSION)
        their_minor = _minor(version)
        if their_minor is None:
            where = "this program" if _is_newer(version) else "the program there"
            raise WrongVersion(f"{url} speaks version {version[:8]!r}, this node {_spoken(minor)}: update {where}")
        handshake = Handshake(mine, theirs, minor, their_minor)
        if not keys.proves(proof, SERVER, handshake):
            raise NotMember(
                f"{url} belongs to another replication group, or the access key was changed: ask for an invite"
            )
    except BaseException:
        await socket.close()
        raise
    return socket, handshake


# --- server -----------------------------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Handler = Callable[[ServerConnection, Handshake], Awaitable[None]]


async def listen(
    host: str,
    port: int,
    keys: Keys,
    random: Callable[[int], bytes],
    handler: Handler,
    *,
    full: Callable[[], bool],
    tls: ssl.SSLContext | None = None,
    minor: int = limits.MINOR,
) -> tuple[Server, Callers]:
    """Accept peers; each gets `handler`. `full`: turn newcomers away for now; `minor`: what we speak. Raises UsageError."""
    callers = Callers()
    handshakes: WeakKeyDictionary[ServerConnection, Handshake] = WeakKeyDictionary()

    def check(socket: ServerConnection, request: Request) -> Response | None:
        version = _header(request.headers, _VERSION)
        if not version:
            return socket.respond(http.HTTPStatus.BAD_REQUEST, "this is a replica node: use `replica sync`\n")
        their_minor = _minor(version)
        if their_minor is None:
            whose = "the program of this node" if _is_newer(version) else "yours"
            text = f"this node speaks protocol version {_spoken(minor)}, you speak {version[:8]}: update {whose}\n"
            return socket.respond(http.HTTPStatus.UPGRADE_REQUIRED, text)
        if full():
            return socket.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many sessions at once: try again later\n")
        theirs = _decode(request.headers, _NONCE, NONCE_BYTES)
        if not theirs:
            return socket.respond(http.HTTPStatus.BAD_REQUEST, "no nonce in the request\n")
        handshakes[socket] = Handshake(theirs, random(NONCE_BYTES), their_minor, minor)
        return None

    def prove(socket: ServerConnection, request: Request, response: Response) -> Response:  # noqa: ARG001
        if socket in handshakes and response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            handshake = handshakes[socket]
            response.headers[_VERSION] = _spoken(minor)
            response.headers[_NONCE] = _encode(handshake.server_nonce)
            response.headers[_PROOF] = _encode(keys.proof(SERVER, handshake))
        return response

    async def handle(socket: ServerConnection) -> None:
        task = asyncio.current_task()
        assert task is not None
        callers.handlers.add(task)
        task.add_done_callback(callers.handlers.discard)
        await handler(socket, handshakes.pop(socket))

    try:
        server = await serve(
            handle,
            host,
            port,
            process_request=check,
            process_response=prove,
            create_connection=callers.kind,
            server_header=None,
            ssl=tls,
            logger=_quiet,
            **_OPTIONS,
        )
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return server, callers


_quiet = logging.getLogger("replica.websockets")
_quiet.setLevel(logging.CRITICAL)

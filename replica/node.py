"""A node: a store in its own thread, its peers, and the one sync path.

    async with replica.open("sales.db") as node:
        await node.put_many("contacts", rows)
        report = await node.sync("ws://hq:8470")

One test each:

1. The event loop is never blocked: every store call is one hop to the store's thread, reads have their own connection.
2. A failing peer ends its own session and no other.
3. A connection that stayed serves the next session too; if it is gone, another is made, and nobody hears of it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection

from protocol import limits
from protocol.errors import PeerFault, ReplicaError
from protocol.keys import CLIENT, INSTANCE_BYTES, SERVER, Handshake
from protocol.session import Self, Session
from replica import transport
from replica.ahead import Ahead
from replica.bell import Bell, Socket, Subscriber, or_left
from replica.errors import UsageError
from replica.feed import Feed, RecordChange
from replica.host import Host
from replica.invite import Invite
from replica.parting import part
from replica.sessions import Sessions
from replica.soon import Soon
from replica.store.adopt import Adopted, Progress
from replica.store.careful import Row
from replica.store.changes import Change
from replica.store.statement import refuse, statement
from replica.store.store import Store
from replica.store.together import Rows
from replica.store_thread import StoreThread
from replica.sync_report import SyncReport
from replica.transport import Gone, Listener
from replica.waiting import Waiting
from replica.words import Telling, log

_T = TypeVar("_T")

POLL_SECONDS = 0.5
"""How often a serving node looks for writes of other programs."""

FEW_ROWS = 512
"""So few rows share a transaction with other writes; more have one of their own."""


class Node:
    """An open node. Made by `replica.open`."""

    _speaks: type[Session] = Session

    def __init__(
        self,
        path: str | Path,
        *,
        durable: bool = True,
        host: Host | None = None,
        poll_seconds: float = POLL_SECONDS,
        minor: int = limits.MINOR,
    ) -> None:
        """`durable`: see Store. `host`: the machine, if it is not this one. `poll_seconds`: how often a node that serves, or
        that somebody listens to, looks for writes of other programs; a session always looks. `minor`: the newest minor
        version of the protocol that it speaks."""
        self.path = str(path)
        self.host = host or Host()
        self._durable = durable
        self._poll_seconds, self._minor = poll_seconds, minor
        self._thread: StoreThread | None = None
        self._reader: StoreThread | None = None
        self._opening = asyncio.Lock()
        self._store: Store | None = None
        self._waiting = Waiting(self._post, lambda writes: self.store.together(writes))  # noqa: PLW0108
        self._soon = Soon(lambda: self._post(self.store.absorb))
        self._instance = self.host.random_bytes(INSTANCE_BYTES)
        self._sessions = Sessions(self._instance)
        self._bell = Bell()
        self._listeners: list[Listener] = []
        self._feed = Feed()
        self._poller: asyncio.Task[None] | None = None
        self._ahead = Ahead(lambda: self._post(self.store.tidy), self._sessions.busy)
        self._listen: Callable[[list[Change]], None] | None = None
        self.on_session: Callable[[SyncReport], None] | None = None
        """Called after each session that a peer began."""

    async def start(self) -> Node:
        """Open the file. Raises StoreError."""
        thread = self._thread = StoreThread(lambda: self.host.connect(self.path, durable=self._durable))
        try:
            await thread
        except BaseException:
            # aiosqlite leaves its thread to itself when opening fails: it must not outlive the loop that it reports to.
            await asyncio.to_thread(thread.join)
            raise
        try:
            self._store = await thread.call(self._open, thread)
        except BaseException:
            await thread.close()
            raise
        loop = asyncio.get_running_loop()

        def publish(changes: list[Change]) -> None:
            loop.call_soon_threadsafe(self._feed.tell, changes)

        self._listen = publish
        self._ahead.begin()
        return self

    def _open(self, thread: StoreThread) -> Store:
        host = self.host
        return Store(self.path, now_ms=host.now_ms, random=host.random_bytes, db=thread._conn)

    def _look(self) -> bool:
        self.store.absorb()
        return self.store.sketch_due()

    async def close(self) -> None:
        """Stop serving and close the file. Who is cancelled in it leaves it closed, or about to be."""
        async with AsyncExitStack() as steps:  # The last pushed comes first, and each, whatever becomes of the others.
            for thread in (self._thread, self._reader):
                if thread is not None:
                    steps.push_async_callback(thread.close)
            for close in (self._soon.close, self._ahead.close, self._bell.close):
                steps.push_async_callback(close)
            for listener in self._listeners:
                steps.push_async_callback(listener.close)
            if self._poller is not None:
                self._poller.cancel()
                await asyncio.gather(self._poller, return_exceptions=True)

    async def __aenter__(self) -> Node:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def sessions(self) -> Collection[Session]:
        """Those under way, of strangers too."""
        return self._sessions.all

    @property
    def store(self) -> Store:
        """The synchronous store; call it through `call` only."""
        if self._store is None:
            raise UsageError("the node is not open: use `async with replica.open(…)`")
        return self._store

    async def call(self, function: Callable[..., _T], *args: Any) -> _T:
        """Run a function in the store's thread."""
        self._waiting.stand_back()
        return await self._post(partial(function, *args))

    def _post(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        return self._open_thread.post(function)

    @property
    def _open_thread(self) -> StoreThread:
        if self._thread is None:
            raise UsageError("the node is not open: use `async with replica.open(…)`")
        return self._thread

    # --- data ---------------------------------------------------------------------------------------------------------

    async def execute(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[Any]:
        """Run one SQL statement that may write; returns its rows when it is on the disk. Its changes are told soon after."""
        try:
            _, rows = await self._waiting.write(statement(sql, parameters))
        finally:  # Who gives up may have written all the same.
            self._soon.wrote()
        return rows

    async def query(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """Rows of a SELECT, on a connection of its own: a sync in progress does not delay it. Cancelled, it ends."""
        refuse(sql)
        async with self._opening:
            self._open_thread.check_open()
            if self._reader is None:
                reader = StoreThread(lambda: self.host.connect(self.path, readonly=True))
                await reader
                self._reader = reader
        return await self._reader.rows(sql, parameters)

    async def put_many(self, table: str, rows: Iterable[Row]) -> int:
        """Insert or update many rows, all or nothing; cancelled, it may be either. Raises RowRefused."""
        if isinstance(rows, list | tuple) and len(rows) <= FEW_ROWS:
            return await self._waiting.write(Rows(table, rows))
        return await self.call(self.store.put_many, table, rows)

    async def adopt(
        self, tables: Sequence[str] = (), *, natural: Sequence[str] = (), progress: Progress | None = None
    ) -> list[Adopted]:
        """Replicate existing tables: these, or all."""
        return await self.call(lambda: self.store.adopt(tables, natural=natural, progress=progress))

    async def status(self) -> dict[str, Any]:
        """What `replica status` shows."""
        return await self.call(self.store.status)

    async def verify(self) -> list[str]:
        """Every difference between the tables and what is stored about them."""
        return await self.call(self.store.verify)

    async def invite(self, url: str = "") -> Invite:
        """What another machine needs to join. `replica.invite.encode` makes the string."""
        return await self.call(lambda: Invite(self.store.secrets(), url, self.store.name))

    async def changes(self) -> AsyncIterator[RecordChange]:
        """Changes of records soon after they are committed, by this process, other programs and peers."""
        queue = self._feed.add()
        self.store.listen(self._listen)
        self._watch()
        try:
            while True:
                yield await queue.get()
        finally:
            self._feed.remove(queue)
            if not self._feed:
                self.store.listen(None)

    def _watch(self) -> None:
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        telling = Telling("looking for writes of other programs failed; it goes on")
        while True:
            await asyncio.sleep(self._poll_seconds)
            with telling:
                if await self.call(self._look):
                    self._ahead.begin()

    # --- peers --------------------------------------------------------------------------------------------------------

    async def sync(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        accept_different: bool = False,
        watch: Callable[[Session], None] | None = None,
        stay: Callable[[Subscriber], None] | None = None,
        over: Subscriber | None = None,
    ) -> SyncReport:
        """Meet one peer: both directions, until both roots are equal or the reason why not is known.

        `watch` is called now and then with the session, for progress. `stay` takes the connection over, when the session has
        ended well; `over`: one of the same address that was taken so. Raises PeerFault; what was applied stays."""
        began = asyncio.get_running_loop().time()
        meet = partial(self._sync, url, sample=not accept_different, watch=watch, stay=stay, began=began)
        if over is not None:
            self._bell.subscribers.pop(over, None)
            if over.lasts:
                with suppress(Gone):
                    return await meet(over.socket, over.handshake, again=True)
            else:
                await over.leave()
        return await meet(*await transport.dial(url, self.store.group_keys, self._nonce, tls, self._minor))

    async def _sync(
        self, url: str, socket: Socket, handshake: Handshake, *, sample: bool, watch: Callable[[Session], None] | None,
        stay: Callable[[Subscriber], None] | None, began: float, again: bool = False,
    ) -> SyncReport:  # fmt: skip
        try:
            session, first = await self._session(CLIENT, handshake, url, sample=sample)
        except BaseException:
            await part(socket)
            raise
        traffic, ended, kept = transport.Traffic(), False, None
        call = self.call if watch is None else self._watched(session, watch)
        greeted = self._sessions.greeted
        try:
            await transport.converse(socket, session, call, self.host.now_ms, traffic, greeted, first=first, again=again)
            ended = True
            kept = self._bell.listen(socket, session) if stay is not None else None
        except (asyncio.CancelledError, Gone):
            await part(socket)
            raise
        except PeerFault as error:
            error.report = SyncReport.of(url, session.outcome, traffic, asyncio.get_running_loop().time() - began)
            raise
        finally:
            self._ended(session)
            if kept is None:
                await socket.close()
            async with or_left(kept):
                await self._note(session, url, tell=ended)
        if kept is not None and stay is not None:
            stay(kept)
        return SyncReport.of(url, session.outcome, traffic, asyncio.get_running_loop().time() - began)

    async def _note(self, session: Session, url: str | None, *, tell: bool) -> None:
        if await self.call(partial(self.store.note, session.outcome, url, tell=tell)):
            self._ahead.begin()

    def _watched(self, session: Session, watch: Callable[[Session], None]) -> transport.Call:
        async def call(function: Callable[..., Any], *args: Any) -> Any:
            result = await self.call(function, *args)
            watch(session)
            return result

        return call

    async def _session(
        self, role: str, handshake: Handshake, url: str = "", *, sample: bool = False
    ) -> tuple[Session, bytes | None]:
        """A session, and what it says first."""

        def make() -> tuple[Session, bytes | None]:
            me = Self(*self.store.me)
            agreed, resumes = (self.store.agreed(url), self.store.broken_off(url)) if url else (b"", False)
            keys, store = self.store.group_keys, self.store
            session = self._speaks(role, keys, store, me, handshake, sample=sample, agreed=agreed, resumes=resumes)
            return session, session.open(self.host.now_ms()) if role == CLIENT else None

        session, first = await self.call(make)
        self._sessions.begin(session, role)
        return session, first

    def _nonce(self, size: int) -> bytes:
        return self._instance + self.host.random_bytes(size - INSTANCE_BYTES)

    def _ended(self, session: Session) -> None:
        self._sessions.end(session)
        self._bell.ring(session)

    async def serve(
        self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None, plaintext: bool = False
    ) -> Listener:
        """Listen for peers until the node is closed. Off loopback it takes TLS, or `plaintext=True` on purpose."""
        if tls is None and not plaintext and not transport.is_loopback(host):
            raise UsageError(
                f"{host} is reachable from other machines: give --cert and --key, or --plaintext if the network is "
                "private (a VPN, say)"
            )
        server, callers = await transport.listen(
            host, port, self.store.group_keys, self._nonce, self._meet,
            full=self._sessions.full, tls=tls, minor=self._minor,
        )  # fmt: skip
        sockets = [s.getsockname()[:2] for s in server.sockets]
        listener = Listener(server, callers, "wss" if tls else "ws", sockets)
        self._listeners.append(listener)
        self._watch()
        return listener

    async def _meet(self, socket: ServerConnection, handshake: Handshake) -> None:
        subscriber, heard = await self._serve(socket, handshake), None
        while subscriber is not None and (heard := await subscriber.serve()) is not None:
            subscriber = await self._serve(socket, subscriber.handshake, heard)

    async def _serve(
        self, socket: ServerConnection, handshake: Handshake, heard: bytes | None = None
    ) -> Subscriber | None:
        """One session that a peer began; who listens then, if it ended well."""
        began = asyncio.get_running_loop().time()
        traffic = transport.Traffic()
        session, _ = await self._session(SERVER, handshake)
        kept: Subscriber | None = None
        address = ":".join(map(str, (socket.remote_address or ("?",))[:2]))
        try:
            greeted = self._sessions.greeted
            await transport.converse(socket, session, self.call, self.host.now_ms, traffic, greeted, heard=heard)
            kept = self._bell.listen(socket, session)
        except ReplicaError as error:
            log.warning("session with %s: %s", _who(session, address), error)
        except Exception:
            log.exception("session with %s failed", _who(session, address))
        finally:
            self._ended(session)
            async with or_left(kept):
                await self._note(session, None, tell=False)
                if self.on_session is not None:
                    took = asyncio.get_running_loop().time() - began
                    self.on_session(SyncReport.of(address, session.outcome, traffic, took))
        return kept


def _who(session: Session, address: str) -> str:
    peer = session.outcome.peer
    return f"{peer.name} ({address})" if peer is not None else address

"""A TCP proxy on loopback that counts what passes: the bytes of a sync, told by something that is not the session.

    with Proxy(server_url) as proxy:
        client.sync(proxy.url)
        talk = proxy.talk()

It runs in threads of its own, and reads what it passes on only when it has been passed on.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.bench.wire import Stream, Talk

CHUNK = 1 << 18
WAIT_SECONDS = 60


class Proxy:
    """Between a node that serves at `url` (ws://host:port, without TLS) and whoever dials the proxy's own `url`."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("ws://").rpartition(":")
        self._target = host, int(port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listening.getsockname()[1]}"
        self._talks: queue.Queue[Talk] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # Closing alone does not wake who waits in accept.
        self._threads[0].join(WAIT_SECONDS)
        self._listening.close()

    def talk(self) -> Talk:
        """What passed over the oldest connection that was not asked for yet, once both ends have closed it. Raises
        RuntimeError if that does not happen in time."""
        try:
            return self._talks.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            raise RuntimeError(f"no connection over the proxy ended within {WAIT_SECONDS} s") from None

    def _start(self, function: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # The proxy was closed.
                return
            self._start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        talk = Talk()
        with client, socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = self._start(_pump, server, client, talk.back)
            _pump(client, server, talk.out)
            answers.join()
        self._talks.put(talk)


def _pump(source: socket.socket, sink: socket.socket, stream: Stream) -> None:
    try:
        while data := source.recv(CHUNK):
            stream.feed(data)  # Before it goes on: else the answer may be noted first.
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # One end is gone, and so is the talk: the other direction must not wait for it.
        for end in (source, sink):
            with contextlib.suppress(OSError):  # It may be gone already.
                end.shutdown(socket.SHUT_RDWR)

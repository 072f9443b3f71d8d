"""One sync conversation, without any I/O: frames in, frames out.

The two sides take turns. A turn is any number of frames closed by END, so that reading never waits for writing, no
matter how much is to be said. The listener applies records as they come, the last ones perhaps when it has sent its own
(`intake`), and collects what it will say. First the short ways of `reconcile` are tried, from the server's first turn on;
then, as long as the roots differ, the trie is descended: each side describes the nodes that differ, asks for what it
lacks, and sends what the peer lacks. A round ends when both have nothing to say; the session ends when both roots are
equal, or with the reason why they are not.

The frames of a turn carry no memory of earlier ones: each trie node names its prefix, each question its record. A node
that changed meanwhile is a miss, never an error; the next round finds it. One test each:

1. Cut anywhere, even inside a frame: what was applied stays, and a new session goes on.
2. Whatever a peer sends, `receive`, `pull` and `settle` raise only PeerFault, and a frame that is refused changes nothing
   in the store.
3. Nothing of ours leaves before the peer has proved membership, and nothing that a stranger says is believed.
4. Every session ends: rounds, turns and backlog are bounded.
5. Both sides hear the other's reasons for what it put off or refused.
6. Who speaks minor version 0 hears the trie alone, and no hint; what a later one adds is ignored.
7. One call of `say` reads few batches, asks before it reads many that are asked for, and says what was made before an error.

The caller does this:   frame -> receive(frame, now_ms); while speaking: pull(now_ms) -> frame or None. `say` is a receive,
if anything was heard, and several pulls. When the connection is gone, or anything else ends it early: settle(now_ms).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from protocol import frames, limits
from protocol.compare import compare
from protocol.descent import Agenda, Port
from protocol.errors import DifferentRows, LimitExceeded, Malformed, NotMember, PeerFault, PeerRefused, WrongVersion
from protocol.intake import Intake
from protocol.keys import CLIENT, INSTANCE_BYTES, SERVER, Handshake, Keys
from protocol.messages import (
    Bye,
    Cells,
    End,
    Have,
    Hello,
    Listing,
    Message,
    More,
    Nodes,
    Pick,
    Probe,
    Records,
    Same,
    Want,
    hints,
)
from protocol.outcome import CHANGING, ENDINGS, IN_SYNC, REFUSED, UNEXPLAINED, Outcome, Peer
from protocol.proofs import Proofs
from protocol.reconcile import Reconciler
from protocol.states import TRANSITIONS, State

HINTED = 1
"""The minor version from which there are hints: PROBE, what HELLO says of them, and the short ways."""
_NO_HINTS = b"", 0, b"", b""


class Self(NamedTuple):
    """What we say about ourselves in HELLO."""

    node: bytes
    name: str


class Session:
    """One side of one conversation. Not thread-safe: the caller runs it where the store lives."""

    def __init__(
        self, role: str, keys: Keys, store: Port, me: Self, handshake: Handshake, *,
        sample: bool = False, agreed: bytes = b"", resumes: bool = False,
    ) -> None:  # fmt: skip
        """`sample`: compare adopted rows before the first record is applied, and stop if they are strangers' (SPEC 8).
        `agreed`: where this client and the peer were equal last, if ever. `resumes`: their last session was `broken_off`."""
        self._role, self._store, self._me, self.handshake = role, store, me, handshake
        self._proofs = Proofs(keys, role, handshake)
        self._hinted = handshake.minor >= HINTED
        self._sample, self._agreed = sample and not agreed, agreed
        self.state = State.GREETING
        self.outcome = Outcome()
        self._agenda = Agenda(store, keys)
        self._short = Reconciler(store, self._agenda, keys, resumes=resumes)
        self._speech: Iterator[Message] = iter(())
        self._now_ms = self._turns = 0
        self._last: deque[Message] = deque()
        self._failure: Exception | None = None
        self._round = -1
        self._intake = Intake(store, self._agenda, self.outcome)
        self._proved = role == CLIENT  # The server proves itself in its 101 response, before there is a session.
        self._asked = self._parted = False
        self._peer_refused, self._peer_reasons = 0, tuple[str, ...]()

    # --- the caller's side ------------------------------------------------------------------------------------------

    def open(self, now_ms: int) -> bytes:
        """The client's first frame. Call it only after the server has proved membership."""
        root, count = self.outcome.root, self.outcome.count = self._store.root()
        me = self._me
        if self._hinted and root == self._agreed:
            return frames.encode(self._proofs.proved(Probe(b"", me.node, now_ms, root)))
        short = self._short.introduction(count, self._agreed) if self._hinted else _NO_HINTS
        sample = tuple(self._store.sample(limits.SAMPLE_MAX)) if self._sample else ()
        hello = Hello(limits.VERSION, b"", me.node, me.name, now_ms, count, root, *short, sample)
        return frames.encode(self._proofs.proved(hello))

    @property
    def speaking(self) -> bool:
        """Whether `pull` may have a frame."""
        return bool(self._last) or self.state is State.SPEAKING or self._failure is not None

    @property
    def closed(self) -> bool:
        """Nothing more will be said or heard."""
        return self.state is State.CLOSED and not self._last and self._failure is None

    def receive(self, frame: bytes, now_ms: int) -> None:
        """Take in a peer's frame. Raises PeerFault; the frame then changed nothing, and `farewell` says goodbye."""
        if self.state is State.GREETING and len(frame) > limits.HELLO_BYTES_MAX:
            raise LimitExceeded(f"a first frame of {len(frame)} bytes: at most {limits.HELLO_BYTES_MAX}")
        message = frames.decode(frame)
        if type(message) not in TRANSITIONS[self.state]:
            raise Malformed(f"{type(message).__name__} while {self.state.value}")
        if not self._hinted and hints(message):
            raise Malformed(f"a hint at minor version 0: there is none before {limits.VERSION}.{HINTED}")
        if not isinstance(message, Records | End):
            self.settle(now_ms)
        match message:
            case Hello():
                self._on_hello(message, now_ms)
            case Probe():
                self._on_probe(message, now_ms)
            case Same():
                self._on_same(message, now_ms)
            case Cells() | More() | Listing() | Pick():
                if self._round >= 0:
                    raise Malformed(f"{type(message).__name__} after the trie was asked")
                self._short.hear(message)
            case Nodes():
                self._on_nodes(message)
            case Have():
                self._in_round(message.attempt)
                self._agenda.answer(message)
            case Want():
                self._in_round(message.attempt)
                self._agenda.wanted(message)
            case Records():
                self._on_records(message, now_ms)
            case End():
                self._on_end(message, now_ms)
            case Bye():
                self._on_bye(message)

    def say(self, now_ms: int, heard: bytes | None = None) -> list[bytes]:
        """`receive` what was heard, if anything; then `pull`, up to SAID_BYTES, SAID_BATCHES or a question after which much
        is read. While `speaking` there is more. An error after the first frame comes with the next call."""
        if heard is not None:
            self.receive(heard, now_ms)
        said: list[bytes] = []
        batches = 0
        while self.speaking and batches < limits.SAID_BATCHES and sum(map(len, said)) < limits.SAID_BYTES:
            sent = self.outcome.sent
            try:
                frame = self.pull(now_ms)
            except Exception as error:
                if not said:
                    raise
                self._failure = error
                break
            if frame is None:
                break
            said.append(frame)
            batches += self.outcome.sent > sent
            if self._asked and self._agenda.much:
                break
        return said

    def pull(self, now_ms: int) -> bytes | None:
        """The next frame to send, or None: now it is the peer's turn. Bulk is read from the store as it is pulled."""
        self._now_ms = now_ms
        if self._failure is not None:
            raise self._failure
        if self._last:
            return frames.encode(self._last.popleft())
        if self.state is not State.SPEAKING:
            return None
        message = next(self._speech)
        self._asked = not isinstance(message, Records)
        if isinstance(message, Records):
            self.outcome.sent += len(message.records)
        elif isinstance(message, End):
            self.state = State.LISTENING
        return frames.encode(message)

    def settle(self, now_ms: int) -> None:
        """Join what was heard and waits. For the caller: when nothing more will come. Raises Malformed."""
        self.outcome.way = self._short.way
        self._intake.settle(now_ms)

    def farewell(self, error: Exception) -> bytes | None:
        """What to tell the peer about an error that ends the session here, or None: a stranger is told nothing but that
        it is none of us, and a peer that has said goodbye hears nothing more. The session is closed."""
        code = error.code if isinstance(error, PeerFault) else "failed"
        text = str(error) if isinstance(error, PeerFault) else "the other side had a failure of its own; see its log"
        self.outcome.code, self.outcome.text = code, str(error)
        self.state = State.CLOSED
        self._failure = None
        self._last.clear()
        if self._parted or not (self._proved or isinstance(error, WrongVersion | NotMember)):
            return None
        return frames.encode(Bye(code, text[: limits.TEXT_CHARS_MAX], bytes(16), 0, ()))

    # --- greeting ---------------------------------------------------------------------------------------------------

    def _on_hello(self, hello: Hello, now_ms: int) -> None:
        if hello.version != limits.VERSION:
            raise WrongVersion(f"the peer speaks version {hello.version}, this node {limits.VERSION}: update the older")
        self._meet(hello, hello.name, hello.count, now_ms)
        if self._role == SERVER:
            if not hello.root:
                raise Malformed("a client says its root")
            self._compare_sample(hello)
            if not self._same(hello.root, now_ms):
                self._greet(self._short.welcome(hello, self.outcome.count) if self._hinted else _NO_HINTS, now_ms)
        else:
            if self._hinted:
                self._short.welcomed(hello, self.outcome.count)
            self.state = State.LISTENING

    def _on_probe(self, probe: Probe, now_ms: int) -> None:
        if self._role == CLIENT:
            raise Malformed("a server does not probe")
        self._meet(probe, "", 0, now_ms)
        if not self._same(probe.root, now_ms):
            self._greet(self._short.probed(probe.root), now_ms)

    def _on_same(self, same: Same, now_ms: int) -> None:
        if self._role == SERVER:
            raise Malformed("a client does not answer")
        self._meet(same, "", self.outcome.count, now_ms)
        if not self._proofs.is_same(same.proof, self.outcome.root):
            raise Malformed("the peer says that our root is its own, but did not say so of this root in this session")
        self._close(IN_SYNC, "", self.outcome.root)

    def _meet(self, said: Hello | Probe | Same, name: str, count: int, now_ms: int) -> None:
        """Believe who the peer is, if it has proved membership."""
        if not self._proved and (isinstance(said, Same) or not self._proofs.proves(said)):
            raise NotMember(
                "this node could not verify that you are a member of its group: join with a fresh invite. Or else "
                "what you said was changed on its way"
            )
        self._proved = True
        both = self.handshake
        client, server = both.client_nonce[:INSTANCE_BYTES], both.server_nonce[:INSTANCE_BYTES]
        if client == server:
            raise Malformed("this address leads back to this very node")
        theirs, minor = (server, both.server_minor) if self._role == CLIENT else (client, both.client_minor)
        self.outcome.peer = Peer(said.node, theirs, name or self._store.node_name(said.node), count, minor)
        self.outcome.offset_ms, self.outcome.round_trips = said.wall_ms - now_ms, 1

    def _same(self, theirs: bytes, now_ms: int) -> bool:
        """Whether nothing differs from the client's copy: then that is all that is said."""
        root, _ = self.outcome.root, self.outcome.count = self._store.root()
        if theirs == root:
            self._last.append(Same(self._me.node, now_ms, self._proofs.same(root)))
            self._close(IN_SYNC, "", root)
        return theirs == root

    def _greet(self, said: tuple[bytes, int, bytes, bytes], now_ms: int) -> None:
        """Greet the client, in whose copy something differs, and take the first turn."""
        me, count = self._me, self.outcome.count
        self._last.append(Hello(limits.VERSION, b"", me.node, me.name, now_ms, count, b"", *said))
        self._speak()

    def _compare_sample(self, hello: Hello) -> None:
        common, differ = self._store.compare_sample(hello.sample) if hello.sample else (0, 0)
        if differ * 5 > common:
            raise DifferentRows(
                f"same keys, different rows: of {common} adopted rows compared, {differ} differ. These databases were "
                "not copies of each other. If they are to be merged all the same (one whole row wins for each key), "
                "sync with --accept-different"
            )

    # --- turns ------------------------------------------------------------------------------------------------------

    def _speak(self) -> None:
        self.state, self._asked = State.SPEAKING, bool(self._last)  # By the greeting the client knows what to read.
        self._turns += 1
        if self._turns > limits.TURNS_MAX:
            raise LimitExceeded(f"more than {limits.TURNS_MAX} turns in one session")
        if self._role == CLIENT:
            self.outcome.round_trips += 1
        self._speech = self._speeches()

    def _speeches(self) -> Iterator[Message]:
        yield from self._short.speech()
        yield from self._agenda.speech(self._round)
        self.settle(self._now_ms)
        yield from self._agenda.contested()
        root, count = self.outcome.root, self.outcome.count = self._store.root()
        idle, heard = self._agenda.empty, self._intake
        yield End(self._proofs.ours(root), count, idle, heard.changed, heard.refused, tuple(heard.reasons) if idle else ())

    def _next_round(self) -> None:
        self._begin_round(self._round + 1)
        self._agenda.describe("")

    def _begin_round(self, number: int) -> None:
        self._round = number
        self._intake.changed = 0
        self.outcome.rounds = number + 1

    def _on_nodes(self, message: Nodes) -> None:
        if self._role == SERVER and message.attempt == self._round + 1 < limits.ROUNDS_MAX:
            self._begin_round(message.attempt)
        self._in_round(message.attempt)
        self._agenda.hear_nodes(len(message.nodes))
        compare(message.nodes, message.attempt, self._agenda)

    def _in_round(self, attempt: int) -> None:
        if attempt != self._round:
            raise Malformed(f"a frame of round {attempt} in round {self._round}")

    def _on_records(self, message: Records, now_ms: int) -> None:
        if self._round < 0:
            self._short.on_settled()
        self._agenda.leave_out(message.records)
        certain = self._agenda.certain or not self._short.empty
        self._intake.take(message, now_ms, later=self._round < 0 and self._short.apart and certain)

    @property
    def _done(self) -> bool:
        """Whether there is nothing to say, as far as is known."""
        return self._agenda.empty and self._short.empty

    def _on_end(self, end: End, now_ms: int) -> None:
        self._agenda.end_of_turn()
        self._peer_refused, self._peer_reasons = end.refused, end.reasons
        if not self._intake.empty and not self._done:
            self._speak()
            return
        self.settle(now_ms)
        root, self.outcome.count = self._store.root()
        if self._proofs.is_theirs(end.root, root):
            self._say_bye(IN_SYNC, "", root)
        elif end.idle and self._done and self._role == CLIENT:
            self._end_of_round(end, root)
        else:
            self._speak()

    def _end_of_round(self, end: End, root: bytes) -> None:
        if self._round < 0:
            self._next_round()
            self._speak()
            return
        progress = self._intake.changed + end.applied > 0
        refused = self._intake.refused + end.refused
        if progress and self._round + 1 == limits.ROUNDS_MAX:
            self._say_bye(CHANGING, "both sides kept writing", root)
        elif not progress and refused:
            self._say_bye(REFUSED, f"the copies differ in {refused} records that were put off or refused", root)
        elif self._round + 1 == limits.ROUNDS_MAX:
            text = "the digests differ and no record accounts for it: run `replica verify` on both"
            self._say_bye(UNEXPLAINED, text, root)
        else:
            self._next_round()
            self._speak()

    # --- the end ----------------------------------------------------------------------------------------------------

    def _say_bye(self, code: str, text: str, root: bytes) -> None:
        self._last.append(Bye(code, text, self._proofs.ours(root), self._intake.refused, tuple(self._intake.reasons)))
        self._close(code, text, root)

    def _close(self, code: str, text: str, root: bytes) -> None:
        self.state = State.CLOSED
        self.outcome.code, self.outcome.text, self.outcome.root = code, text, root
        self.outcome.refused = self._intake.refused + self._peer_refused
        self.outcome.reasons = [*self._intake.reasons, *(f"the peer says: {reason}" for reason in self._peer_reasons)]

    def _on_bye(self, bye: Bye) -> None:
        if bye.code in ENDINGS and self.state is State.GREETING:
            raise Malformed("the peer says how a session ended that never began")
        if bye.code not in ENDINGS:
            self._parted = True
            self._close(bye.code, bye.text, bytes(16))
            raise PeerRefused(bye.code, bye.text)
        said, (root, self.outcome.count) = self.outcome.root, self._store.root()
        if bye.code == IN_SYNC and not self._proofs.is_theirs(bye.root, root, said):
            raise Malformed("the peer says that we are in sync, but at a root that was never ours")
        self._peer_refused, self._peer_reasons = bye.refused, bye.reasons
        if bye.code == IN_SYNC and not self._proofs.is_theirs(bye.root, root):
            self._close(CHANGING, "this side wrote after the roots were compared", root)
        else:
            self._close(bye.code, bye.text, root)

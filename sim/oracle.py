"""The judge of a simulated world: it hears of each write and each commit, and says when a promise is broken.

It never changes what it watches: it reads past the engine's absorption, and puts off what cannot be judged yet. The
numbers are those of the research notes; one test each:

1. I1, I3: at the end every copy is the join of all updates, by a model that shares no code with the engine's merge.
2. I2: what a user saw after COMMIT is what the record says once it is absorbed; nothing remote gets in before.
3. I4: no record goes backwards on a node, no delete is undone.
4. I5: two roots are equal if and only if the contents are.
5. I6: a node's clock and stamps only rise, over restarts too; no stamp is issued twice.
6. I8: no clock and no stamp is further ahead than honest clocks and the bound allow; see also sim.stamps.
7. What the world did to a disk is forgiven, and nothing else.
8. What was put waits, and is known when it is a record; it does not wait for ever. A peer may hear of it before.
9. A fault of the judge is reported as one; it never raises into the engine.
"""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from protocol import limits
from protocol.hlc import is_base, millis
from protocol.record import Record
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.ddl import SYSTEM
from replica.store.store import Store
from sim.compare import Machine, differing
from sim.diary import Row
from sim.stamps import held, hurried, surfaced, unasked, unknown_own
from sim.truth import Item, Look, Rid, Truth, alive, backwards, items, look, quiet, words, wrong_inside
from sim.waiting import waiting
from sim.watched import Watched
from sim.whole import Whole

SLACK_MS = 1_000
"""What full counters may borrow."""

Fail = Callable[[str, str, str], None]


class Oracle:
    """See above. The world calls it from its one thread."""

    def __init__(self, fail: Fail, now_s: Callable[[], float], share: float = 1.0) -> None:
        """`share` of the records is watched when they change by a peer's data; all of them at the end."""
        self._fail, self._now_s, self._share = fail, now_s, int(share * (1 << 32))
        self.truth = Truth()
        self._known: dict[bytes, Record] = {}
        """Every record that was ever read, by its digest."""
        self._told: dict[int, Record] = {}
        """Of these objects, by identity, those of which the truth knows all."""
        self._reader = Whole()
        self._nodes: dict[str, Watched] = {}
        self._twins: set[bytes] = set()
        self._early: set[str] = set()
        """Nodes that were copied, or are copies, before any of them had begun: who they are is seen when they do."""
        self._hostile: set[str] = set()
        self._wall_ms = self._clock_ms = 0
        self.walls: Callable[[], int] = lambda: 0
        """The largest wall clock of any machine now, Unix milliseconds."""
        self.peek: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
        """Held while another machine's file is read."""

    # --- what the world does to disks -----------------------------------------------------------------------------------

    def restored(self, name: str) -> None:
        """Its disk became an older one. What nobody else has is no more; it may issue a stamp twice."""
        self.lost(name, 0.0)

    def replaced(self, name: str) -> None:
        """It begins anew, with nothing."""
        self.lost(name, 0.0)

    def lost(self, name: str, since_s: float) -> None:
        """What it was told since then may be gone."""
        node = self._node(name)
        node.forgiven = min(since_s, node.forgiven if node.forgiven is not None else since_s)
        node.diary.clear()
        self._twins.update(node.ids)

    def cloned(self, of: str, to: str) -> None:
        """`to` began with a copy of the disk: both may issue one stamp, until one of them is another."""
        old, new = self._node(of), self._node(to)
        new.begin_as(old)
        self._twins.update(old.ids)
        self._early.update(() if old.ids else (of, to))

    def clock_moved(self, now_ms: int) -> None:
        """The world itself set a stored clock."""
        self._clock_ms = max(self._clock_ms, now_ms)

    def hostile(self, name: str) -> None:
        """What it writes from here on is not honest, and it may write in anybody's name."""
        self._hostile.add(name)

    # --- what happens ---------------------------------------------------------------------------------------------------

    def opened(self, name: str, store: Store) -> None:
        """A store was opened, or written without a report (adoption, edits of held records): look at all of it."""
        self._guard(name, lambda: self._opened(name, store))

    scan = opened

    def user_wrote(self, name: str, rows: Sequence[Row]) -> None:
        """What a user saw in these rows after COMMIT."""
        node = self._node(name)
        self._guard(name, lambda: node.diary.wrote(self._core(node), rows))

    def user_unsure(self, name: str, keys: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """Users were writing these rows when the machine died."""
        self._node(name).diary.unsure(keys)

    def user_asks(self, name: str, count: int) -> None:
        """So many writes of users are under way in this node."""
        self._node(name).diary.under_way = count

    def committed(self, name: str, store: Store, changes: Sequence[Change]) -> None:
        """The engine committed."""
        self._guard(name, lambda: self._committed(name, store, changes))

    def pending(self, name: str) -> list[str]:
        """The writes that nobody has absorbed yet, in words."""
        return self._node(name).diary.pending()

    def _guard(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            self._fail("oracle", name, traceback.format_exc())

    def _node(self, name: str) -> Watched:
        if name not in self._nodes:
            self._nodes[name] = Watched()
        return self._nodes[name]

    def _core(self, node: Watched) -> Core | None:
        return node.store._core if node.store is not None and alive(node.store._core) else None

    def _meet(self, name: str, core: Core) -> tuple[Watched, bool]:
        """The node, and whether its definitions changed since it was last looked at. Judges its clock."""
        node = self._node(name)
        own = core.meta("node")
        if own not in node.ids:
            if node.ids and name not in self._hostile and not self._twins.intersection(node.ids):
                self._fail("I6", name, f"it became {own.hex()}, though nobody has a copy of its file")
            node.ids.append(own)
            self._twins.update({own} if name in self._early else ())
        self._wall_ms = max(self._wall_ms, self.walls())
        clock = core.meta("clock")
        node.limit_ms = max(self._clock_ms, core.now_ms()) + SLACK_MS
        self._clock_ms = max(self._clock_ms, millis(clock) if clock else 0)
        if name not in self._hostile:
            self._wall_ms = max(self._wall_ms, core.now_ms())
            if clock < node.clock and node.forgiven is None:
                self._fail("I6", name, f"its clock fell from {node.clock.hex()} to {clock.hex()}")
            if clock and millis(clock) > self._wall_ms + limits.DRIFT_MS_MAX + SLACK_MS:
                self._fail("I8", name, f"its clock is {millis(clock) - self._wall_ms} ms ahead of every honest clock")
            node.clock = clock
        version = core.began[0]
        moved, node.schema = version != node.schema, version
        return node, moved

    def _opened(self, name: str, store: Store) -> None:
        node = self._node(name)
        first, node.store = not node.seen, store
        core = store._core
        with core.reading():
            _, moved = self._meet(name, core)
            found = self._all(name, core)
            odd = found.odd if not quiet(core) else {}
            if quiet(core):
                self._damaged(name, found.odd)
            since, node.forgiven = node.forgiven, None
            for rid, (at, before) in node.seen.items():
                now = found.records.get(rid)
                if now is not before and rid not in odd and (since is None or at < since) and not moved:
                    self._forward(name, rid, before, now)
            strange = self._strange(name, found.records.items(), node, first)
            gone = [rid for rid in node.seen if rid not in found.records and (since is not None or moved)]
            for rid in gone:
                del node.seen[rid]
            self._learn(node, found.records)
            if since is not None:
                self.truth.doubt([{r: c for r, (_, c) in n.seen.items()} for n in self._nodes.values()])
            self.truth.waits(waiting(core))
            node.diary.opened(core)
            node.held = held(core)
        for text in strange:
            self._fail("I3", name, text)

    def _strange(self, name: str, found: Iterable[tuple[Rid, Record]], node: Watched, first: bool) -> list[str]:
        """What stands here though nobody is known to have written it."""
        if first or self._hostile:
            return []
        return [
            f"{words(rid)}: {item.part!r} of {item.stamp.hex()}, which nobody wrote"
            for rid, record in found
            if node.learnt.get(rid) != record
            for item in items(record)
            if not self._explained(name, rid, item, node)
        ]

    def _explained(self, name: str, rid: Rid, item: Item, node: Watched | None = None) -> bool:
        """Whether an update is known, or was made where nobody reports it: adoption, definitions, edits of what is
        held. Then it stands at its writer's."""
        own = node is not None and item.stamp[8:] in node.ids
        if self.truth.knows(rid, item) or rid[0] in SYSTEM or is_base(item.stamp) or own or self._hostile:
            return True
        if self.truth.was_put(rid, item) or self.truth.shown_by_default(rid, item):
            return True
        for other_name, other in self._nodes.items():
            if other_name == name or item.stamp[8:] not in other.ids:
                continue
            with self.peek(other_name):
                core = self._core(other)
                record = look(core, [rid], self._known).records.get(rid) if core is not None else None
                if record is not None and item in items(record):
                    return True
        return False

    # --- a commit -------------------------------------------------------------------------------------------------------

    def _committed(self, name: str, store: Store, changes: Sequence[Change]) -> None:
        core = store._core
        with core.reading():
            node, moved = self._meet(name, core)
            node.store, seen = store, node.seen
            if moved:
                self._look_again(node, core)
            mine = dict.fromkeys((c.collection, c.id) for c in changes if not c.remote)
            remote = dict.fromkeys((c.collection, c.id) for c in changes if c.remote)
            theirs = dict.fromkeys(rid for rid in remote if self._watches(rid))
            late, node.late = node.late, {}
            found = look(core, list({**mine, **theirs, **late}), self._known)
            if quiet(core):
                self._damaged(name, found.odd)
            else:
                missed = [rid for rid in {**mine, **late} if rid not in found.records]  # Also of what was put.
                node.late = dict.fromkeys((*found.odd, *missed))
                self.truth.waits(waiting(core))
            issued = dict(node.issued)
            same = {rid for rid in mine if rid in seen and seen[rid][1] == found.records.get(rid)}
            for rid, record in found.records.items():
                before = node.seen.get(rid)
                if before is not None and not moved:
                    self._forward(name, rid, before[1], record)
                if name not in self._hostile:
                    local, was_late = rid in mine and rid not in same, rid in late
                    own = self._judge_new(name, node, core, record, issued, local=local, late=was_late)
                    known = not was_late and not moved and self._watches(rid)
                    if known and before is not None and (text := unasked(core, before[1], record, own, node.held)):
                        self._fail("I3", name, f"{words(rid)}: {text}")
            if name not in self._hostile and (text := unknown_own(core, found.records.items())):
                self._fail("I6", name, text)
            node.held = held(core)
            self._learn(node, found.records)
            for rid in {**mine, **theirs}:
                if rid not in found.records and rid not in found.odd and rid in node.seen and not moved:
                    self._forward(name, rid, node.seen[rid][1], None)
            wrong = node.diary.committed(core, remote, mine, node.ids)
        for text in wrong:
            self._fail("I2", name, text)

    def _watches(self, rid: Rid) -> bool:
        return zlib.crc32(rid[1]) < self._share

    def _look_again(self, node: Watched, core: Core) -> None:
        """Definitions changed: what a dropped column held is no more here, and nowhere if nobody else has it."""
        found = self._reader.look(core, self._known)
        node.seen = {rid: (self._now_s(), record) for rid, record in found.records.items()}
        self.truth.doubt([{r: c for r, (_, c) in n.seen.items()} for n in self._nodes.values()])

    def _arrived(self, node: Watched, rid: Rid, record: Record) -> list[Item]:
        """What this disk did not say of a record before; others may have."""
        before = set(items(node.seen[rid][1])) if rid in node.seen else set()
        return [item for item in items(record) if item not in before]

    def _damaged(self, name: str, odd: dict[Rid, str]) -> None:
        for rid, text in odd.items():
            self._fail("I5", name, f"{words(rid)}: {text}")

    def _judge_new(
        self, name: str, node: Watched, core: Core, record: Record, issued: dict[bytes, bytes], *, local: bool, late: bool
    ) -> list[Item]:
        """What this commit brought into a record: updates of its own must be new, all others known. Returns its own."""
        rid = record.collection, record.id
        fresh = [] if id(record) in self._told else [i for i in items(record) if not self.truth.knows(rid, i)]
        own = [i for i in fresh if i.stamp[8:] in node.ids and (local or late)]
        for item in fresh:
            if item not in own and not self._explained(name, rid, item):
                self._fail("I3", name, f"{words(rid)}: {item.part!r} of {item.stamp.hex()}, which nobody wrote")
        # What surfaces shows its columns' defaults; of others, it may have been changed by a peer before.
        judged = local and not own and self._watches(rid) and not self._twins.intersection(node.ids)
        if judged and not surfaced(core, record, self._arrived(node, rid, record)):
            self._fail("I6", name, f"{words(rid)} was written without a new stamp")
        for item in own:
            whose = self.truth.stamps.get(item.stamp)
            if whose is not None and item.stamp[8:] not in self._twins and not late:
                self._fail(
                    "I6", name, f"{words(rid)}: the stamp {item.stamp.hex()} was issued before, for {words(whose)}"
                )
        newest = max((i.stamp for i in own), default=b"")
        if newest and not late and newest[8:] not in self._twins and newest[:8] <= issued.get(newest[8:], b""):
            self._fail("I6", name, f"{words(rid)}: {newest.hex()} is not above {issued[newest[8:]].hex()}")
        if not late and (text := hurried(own, node.limit_ms)):
            self._fail("I8", name, f"{words(rid)}: {text}")
        return own

    def _forward(self, name: str, rid: Rid, before: Record, now: Record | None) -> None:
        """A record never goes backwards on a disk."""
        for invariant, text in backwards(before, now or Record(*rid)):
            self._fail(invariant, name, f"{words(rid)}: {text}")

    def _learn(self, node: Watched, found: Mapping[Rid, Record]) -> None:
        now_s, horizon = self._now_s(), self._wall_ms + limits.DRIFT_MS_MAX + SLACK_MS
        for rid, record in found.items():
            node.seen[rid] = now_s, record
            if node.learnt.get(rid) is record:
                continue
            node.learnt[rid] = record
            for item in items(record):
                if not self.truth.knows(rid, item):
                    self.truth.learn(rid, item)
                    if millis(item.stamp) > horizon:
                        ahead = millis(item.stamp) - self._wall_ms
                        text = f"{words(rid)}: {item.part!r} is {ahead} ms ahead of every honest clock"
                        self._fail("I8", next(n for n, v in self._nodes.items() if v is node), text)
                at = item.stamp
                if at[8:] in node.ids:
                    node.issued[at[8:]] = max(node.issued.get(at[8:], b""), at[:8])
            self._told[id(record)] = record

    def _all(self, name: str, core: Core) -> Look:
        """All records of a node, in the caller's snapshot."""
        node = self._node(name)
        if node.whole is None or node.whole[0] is not core or node.whole[1] != core.began:
            node.whole = core, core.began, self._reader.look(core, self._known)
        return node.whole[2]

    # --- comparisons ----------------------------------------------------------------------------------------------------

    def equal_check(self, machines: Sequence[Machine]) -> None:
        """Equal roots, equal contents; now, between any of these with nothing to absorb."""
        self._guard("", lambda: self._equal(machines))

    def _equal(self, machines: Sequence[Machine]) -> None:
        for broken in differing(machines, self._all):
            self._fail(*broken)

    def final(self, machines: Sequence[Machine], looked_at: Sequence[Machine] = ()) -> None:
        """The end: everybody had the time to meet everybody. Each must be in order and have the root of all; of those that
        are `looked_at` (all, if none is named), each record is judged."""
        self._guard("", lambda: self._final(machines, looked_at or machines))

    def _final(self, machines: Sequence[Machine], looked_at: Sequence[Machine]) -> None:
        for machine in machines:
            machine.store.absorb()
            self._committed(machine.name, machine.store, ())
        for machine in looked_at:
            self._opened(machine.name, machine.store)
        there = [m.name for m in machines]
        if any(name not in there for name in self._nodes):
            self.truth.doubt([{r: c for r, (_, c) in self._node(name).seen.items()} for name in there])
        honest = [m for m in machines if m.name not in self._hostile]
        roots = [(machine.name, machine.store.root()[0]) for machine in honest]
        for name, root in roots[1:]:
            if root != roots[0][1]:
                self._fail("I1", name, f"its root is {root.hex()}, that of {roots[0][0]} {roots[0][1].hex()}")
        for machine in honest:
            wrong = machine.store.verify()
            with machine.store._core.reading():
                wrong += wrong_inside(machine.store._core)
            for text in wrong:
                self._fail("I5", machine.name, text)
            for text in self.pending(machine.name):
                self._fail("I2", machine.name, f"{text}: never absorbed")
        honest = [m for m in looked_at if m.name not in self._hostile]
        judged: dict[tuple[Rid, int], list[tuple[str, str]]] = {}  # Copies are one object, where they are equal.
        for machine in honest:
            with machine.store._core.reading():
                found = self._all(machine.name, machine.store._core).records
            for rid in self.truth.known:
                record = found.get(rid)
                if (rid, id(record)) not in judged:
                    judged[rid, id(record)] = self.truth.judge(rid, record)
                for invariant, text in judged[rid, id(record)]:
                    self._fail(invariant, machine.name, text)
        self._equal(honest)

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random

import pytest

from sim.chance import Line
from sim.report import page, write_report
from sim.report_cuts import cuts
from sim.report_page import SCRIPT
from sim.result import DAY, Band, Result, Sample, Sync, Violation, Work, span
from sim.scenario import Event, Place, Scenario
from sim.story import story

EVIL = "<script>alert('x')</script><!--&\"]]>"
VOID = {"meta", "br", "hr", "img", "link", "input"}


def world(nodes: int = 10, days: float = 7, syncs: int = 2000, writes: int = 2000, seed: int = 1) -> Result:
    """A made-up run with three partitions and some crashes."""
    chance = Random(seed)
    end = days * DAY
    names = [f"n{n}" for n in range(nodes)]
    scenario = Scenario(
        seed,
        tuple(Place(name, (names[0],) if name != names[0] else ()) for name in names),
        (Event(1.0, "cut", "", {"links": [[names[0], names[1]]]}),),
        duration_s=end,
    )
    result = Result(scenario, "0.1.0", "ab" * 16, names, ended_at=end, replay=f"python -m sim run --seed {seed}")
    cuts = [(0.15, 0.03, 2), (0.4, 0.1, 5), (0.7, 0.05, 3)]
    for at, long, few in cuts:
        sides = (tuple(names[:few]), tuple(names[few:]))
        result.bands.append(Band("", "partition", at * end, (at + long) * end, groups=sides))
    for n, kind in enumerate(["crash", "off", "full", "step", "crash", "frames", "rot", "hostile", "suspend"]):
        at = (n + 1) / 12 * end
        node = "" if kind == "frames" else names[n % nodes]
        result.bands.append(Band(node, kind, at, at if kind in {"step", "rot"} else at + 0.02 * end, f"{kind} {n}"))
    for at in sorted(chance.uniform(0, end) for _ in range(writes)):
        result.work.append(
            Work(round(at, 3), chance.choice(names), chance.choice(["write", "put"]), chance.random() > 0.02)
        )
    total = 0
    for at in sorted(chance.uniform(0, end * 0.99) for _ in range(syncs)):
        client, server = chance.sample(names, 2)
        cut = any(
            a * end <= at < (a + s) * end and (names.index(client) < k) != (names.index(server) < k) for a, s, k in cuts
        )
        outcome = "unreachable" if cut else chance.choices(["in sync", "differ"], [30, 1])[0]
        moved = 0 if cut else chance.randrange(40)
        out = 0 if cut else 171 + 90 * moved
        total += 2 * out
        text = "no route" if cut else ""
        took = round(chance.uniform(0.1, 4), 3)
        result.syncs.append(
            Sync(round(at, 3), round(at + took, 3), client, server, outcome, moved, moved, out, out, text)
        )
        cut_now = any(a * end <= at < (a + s) * end for a, s, _ in cuts)
        result.samples.append(
            Sample(round(at, 3), 2 if cut_now else chance.choice([1, 1, 1, 3]), 3 if cut_now else 0, total)
        )
    result.healed_at, result.equal_at = end * 0.8, end * 0.8 + 540
    result.samples.append(Sample(end, 1, 0, total))
    result.reach = {"partition": {"greeting": 12, "listening": 3}, "crash": {"speaking": 7}}
    result.counts = {"commits": 12345}
    return result


AWAY_S = 1000 * DAY


def away() -> Result:
    """Ten minutes, a thousand days in which nothing happens, and ten minutes more."""
    result, later = world(5, 600 / DAY, 100, 60), world(5, 600 / DAY, 100, 60, seed=2)
    cut = 600.0 + AWAY_S
    result.scenario = replace(result.scenario, start_ms=0)
    result.syncs = [s for s in result.syncs if s.end <= 600]
    result.syncs += [replace(s, start=s.start + cut, end=s.end + cut) for s in later.syncs]
    result.samples += [replace(s, at=s.at + cut) for s in later.samples]
    result.lines = [Line(600.0, "", "holiday", ""), Line(cut, "n1", "up", "")]
    result.healed_at, result.equal_at, result.ended_at = cut, cut + 540, cut + 600
    return result


class Checker(HTMLParser):
    """Takes a page apart: tags must nest, and nothing may be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.count: dict[str, int] = {}
        self.scripts: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in {"src", "href", "srcset", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data


def read(result: Result) -> Checker:
    checker = Checker()
    checker.feed(page(result))
    checker.close()
    assert not checker.open
    return checker


def test_the_file_is_whole_in_itself(tmp_path: Path) -> None:
    write_report(world(), tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    checker = read(world())
    assert not checker.loads
    assert not re.search(r"https?://|@import|url\(|\bfetch\(|XMLHttpRequest|innerHTML", text)
    assert "default-src 'none'" in text
    assert len(checker.scripts) == 2


def test_nothing_from_data_is_markup() -> None:
    plain, result = read(world()), world()
    result.nodes[0] = EVIL
    result.scenario = replace(result.scenario, schema=EVIL, bug=EVIL)
    result.bands += [Band(EVIL, EVIL, 5, 10, EVIL), Band("", "partition", 5, 10, EVIL, ((EVIL,), ("n1",)))]
    result.syncs.append(Sync(1, 2, EVIL, "n1", EVIL, text=EVIL))
    result.work.append(Work(1, EVIL, EVIL, True))
    result.violation = Violation(EVIL, 5, EVIL, EVIL)
    result.lines = [Line(1, EVIL, EVIL, EVIL)]
    result.reach, result.counts, result.replay = {EVIL: {EVIL: 1}}, {EVIL: 1}, EVIL
    result.version = result.digest = EVIL
    checker = read(result)
    assert EVIL not in page(result)
    assert checker.count["script"] == plain.count["script"] == 2
    data = json.loads(checker.scripts[0])
    assert data["nodes"][0] == EVIL
    assert data["bands"][-2]["t"] == EVIL
    assert checker.text.count(EVIL) > 10


def test_the_story_counts_rightly() -> None:
    result = world()
    first = result.bands[0]
    done = [w for w in result.work if first.start <= w.at < first.end and w.ok]
    few = sum(w.node in {"n0", "n1"} for w in done)
    equal = min(s.at for s in result.samples if s.at >= first.end and s.roots == 1)
    assert few > 5
    told = [t.text for t in story(result)]
    assert (
        f"n0 and n1 were cut off from the others for {span(first.end - first.start)}; meanwhile {few} edits on the one "
        f"side, {len(done) - few} on the other; equal again {span(equal - first.end)} after the cut ended"
    ) in told
    assert sum("cut off" in text for text in told) == 3
    assert "the last fault ended; all were equal 9 min later" in told
    assert [t.start for t in story(result)] == sorted(t.start for t in story(result))


def test_flapping_is_told_once_and_a_long_story_is_cut() -> None:
    result = world()
    result.bands = [Band("n1", "crash", n * 10.0, n * 10.0 + 5) for n in range(30)]
    assert sum("(30 times in that while)" in t.text for t in story(result)) == 1
    result.bands = [Band(f"n{n % 10}", "step", n * 1000.0, n * 1000.0) for n in range(90)]
    told = [t.text for t in story(result)]
    assert "and 50 shorter faults: step 50" in told
    assert len(told) < 50
    result.bands += [Band("n1", "clone", 5.0, 5.0, "n9 was started from that copy"), Band("n2", "rot", 9.0, 9.0)]
    told = [t.text for t in story(result)]
    assert {"the disk of n1 was copied: n9 was started from that copy", "a bit rotted on the disk of n2"} <= {*told}
    assert "and 52 shorter faults: step 52" in told


def test_a_failure_shows_what_broke_and_the_last_events() -> None:
    result = world()
    result.violation = Violation("I5", 1000.0, "n3", "roots equal, contents differ")
    result.lines = [Line(float(n), "n3", "sync", f"line {n}") for n in range(80)]
    text = read(result).text
    assert "FAILED: I5 was broken (digests are equal exactly if the contents are) on n3, day 1, 08:16" in text
    assert "line 79" in text
    assert "line 30" in text
    assert "line 29" not in text


def test_the_same_result_gives_the_same_bytes() -> None:
    assert page(world(seed=5)) == page(world(seed=5))


def test_ten_thousand_of_each_stay_small() -> None:
    result = world(syncs=10_000, writes=10_000)
    assert len(page(result).encode()) < 3_000_000


def test_only_where_nothing_happens_is_time_cut() -> None:
    result = away()
    assert cuts(result) == [(600.0, 600.0 + AWAY_S)]
    assert json.loads(read(result).scripts[0])["cuts"] == [[600.0, 600.0 + AWAY_S]]
    half = 600.0 + AWAY_S / 2
    for more in (
        {"bands": [Band("n1", "off", 500, half)]},
        {"syncs": [Sync(half - 1, half, "n1", "n2", "in sync")]},
        {"work": [Work(half, "n1", "write")]},
        {"lines": [*result.lines, Line(half, "n1", "log", "")]},
        {"violation": Violation("I2", half, "n1", "lost")},
    ):
        assert half in {at for cut in cuts(replace(result, **more)) for at in cut}, more
    few = [Line(n * 600.0 + AWAY_S * n / 5.01, "", "log", "") for n in range(6)]
    assert not cuts(replace(result, lines=[*result.lines, *few]))
    assert cuts(world()) == []


def test_refused_writes_are_told_by_table() -> None:
    work = [Work(n, "n1", "write", n > 1, ("b", "a") if n % 2 else ("a",)) for n in range(6)]
    work += [Work(7, "n1", "write", False, tried=False)] * 2
    result = replace(world(), work=[*work, Work(9, "n1", "put", False, ("c",)), Work(9, "n1", "put", True, ("d",))])
    assert result.refused() == {"a": (2, 6), "b": (1, 3), "c": (1, 1)}
    assert "  refused by table: a 2 of 6, b 1 of 3, c 1 of 1\n" in result.summary()
    assert "  10 writes (3 refused, 2 not tried as the node was off), " in result.summary()
    assert result.as_json()["refused"] == {"a": [2, 6], "b": [1, 3], "c": [1, 1]}
    assert "by table" not in replace(result, work=[w for w in result.work if w.ok]).summary()


def test_passed_means_nothing_broke_and_all_were_seen_equal() -> None:
    result = world()
    assert result.ok
    assert result.summary().startswith("Passed: no invariant broke, and all nodes were equal 9 min after")
    assert not replace(result, equal_at=None).ok
    assert not replace(result, violation=Violation("I2", 1, "n1", "lost")).ok


def test_as_json_a_result_is_complete() -> None:
    result = world(3, 1, 20, 20)
    data = json.loads(json.dumps(result.as_json()))
    assert Scenario.from_toml(data["scenario"]) == result.scenario
    assert len(data["syncs"]) == len(data["work"]) == 20
    assert data["ok"] is True


def test_times_are_told_in_words() -> None:
    told = [span(s) for s in (0, 0.31, 45, 60, 200, 3599.8, 18_600, 90_000, 273_600)]
    assert told == ["0 s", "0.3 s", "45 s", "1 min", "3 min 20 s", "1 h", "5 h 10 min", "25 h", "3 d 4 h"]
    assert world().moment(DAY + 2 * 3600 + 900) == "day 2, 10:15"
    assert world(days=0.01).moment(200) == "after 3 min 20 s"


def test_syncs_are_classed_by_outcome() -> None:
    codes = ["in sync", "caught up, still changing", "differ", "differ, unexplained", "different-rows", "busy", ""]
    found = [Sync(0, 1, "a", "b", code).kind for code in codes]
    assert found == ["in sync", "in sync", "differ", "differ", "failed", "failed", "failed"]


def test_an_empty_run_has_a_page() -> None:
    checker = read(Result(Scenario(0, (Place("a"),)), "0", "0", ["a"]))
    assert "never seen equal" in checker.text


@pytest.mark.skipif(not shutil.which("node"), reason="no node.js")
def test_the_script_draws_without_an_error(tmp_path: Path) -> None:
    nobody = Result(Scenario(0, ()), "", "", [])
    for name, result in (
        ("week", world()),
        ("minutes", world(5, 600 / DAY, 100, 60)),
        ("none", nobody),
        ("long", away()),
    ):
        data = read(result).scripts[0]
        (tmp_path / f"{name}.js").write_text(STUB.replace("DATA", json.dumps(data)) + SCRIPT + AFTER, encoding="utf-8")
        done = subprocess.run(
            ["node", tmp_path / f"{name}.js"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        note, calls = done.stdout.splitlines()
        assert "NaN" not in note
        assert int(calls) > 50
        assert ("zoom in to see each" in note) == (name == "week")


def written(result: Result, tmp_path: Path, width: int) -> list[tuple[str, float]]:
    """What the script writes on the canvas, and how far to the right, if every text is so wide."""
    data = read(result).scripts[0]
    stub = STUB.replace("calls++;", "calls++; if (k === 'fillText') said.push([a[0], a[1]]);")
    stub = stub.replace("width: 30", f"width: {width}")
    after = "console.log(JSON.stringify(said.map(([text, x]) => [String(text), x])));"
    script = f"const said = [];{stub.replace('DATA', json.dumps(data))}{SCRIPT}{after}"
    (tmp_path / "away.js").write_text(script, encoding="utf-8")
    done = subprocess.run(["node", tmp_path / "away.js"], capture_output=True, text=True, timeout=60, check=True)
    return [(text, x) for text, x in json.loads(done.stdout)]


@pytest.mark.skipif(not shutil.which("node"), reason="no node.js")
def test_a_cut_axis_has_a_mark_with_the_time_on_both_sides(tmp_path: Path) -> None:
    said = written(away(), tmp_path, 30)
    places = dict(said)
    left, right = places["Day 1, 00:10:00"], places["Day 1001, 00:10:00"]
    assert 96 < left < right < 1300
    assert places["00:04"] < left, "what happened before it fills half of the axis, not a pixel"
    assert 96 + 0.3 * 1168 < right < 96 + 0.6 * 1168
    assert right < places["00:14"] < places["00:18"] < 1300
    assert places["faults end"] < right + 60
    assert [text for text, _ in said].count("00:14") == 1


@pytest.mark.skipif(not shutil.which("node"), reason="no node.js")
def test_the_times_at_a_cut_have_room_near_the_end(tmp_path: Path) -> None:
    result = away()
    last = 605.0 + AWAY_S
    result.syncs = [s for s in result.syncs if s.end < last]
    result.work = [w for w in result.work if w.at < last]
    result.bands = [b for b in result.bands if b.end < last]
    result.samples = [s for s in result.samples if s.at < last]
    result.equal_at = result.ended_at = last
    places = dict(written(result, tmp_path, 110))
    left, right = places["Day 1, 00:10:00"], places["Day 1001, 00:10:00"]
    assert left + 110 <= right <= 1250 - 110


STUB = """
let calls = 0; const heard = [];
const context = () => new Proxy({}, {
  get: (t, k) => k in t ? t[k] : (...a) => {
    calls++; if (a.some(x => typeof x === 'number' && !Number.isFinite(x))) throw Error('bad number in ' + String(k));
    return k === 'measureText' ? {width: 30} : {};
  },
  set: (t, k, v) => { t[k] = v; return true; },
});
const element = (id, dataset) => { const q = context(); return {
  id, style: {}, dataset: dataset || {}, textContent: id === 'data' ? DATA : '', offsetHeight: 20,
  classList: {add() {}, remove() {}}, getContext: () => q, parentElement: {clientWidth: 1300}, setPointerCapture() {},
  getBoundingClientRect: () => ({left: 0, top: 0}), setAttribute() {}, scrollIntoView() {},
  addEventListener: (t, f) => heard.push([t, f]),
}; };
const made = {}, buttons = ['+', '-', 'left', 'right', 'all'].map(d => element('', {do: d}));
globalThis.window = globalThis; globalThis.innerWidth = 1300; globalThis.innerHeight = 900;
globalThis.document = {
  documentElement: {}, getElementById: id => made[id] = made[id] || element(id), createElement: element,
  querySelectorAll: s => s.includes('data-do') ? buttons : [],
};
globalThis.getComputedStyle = () => ({getPropertyValue: () => '#123456'});
globalThis.requestAnimationFrame = f => f(); globalThis.matchMedia = () => ({addEventListener() {}});
globalThis.addEventListener = () => {};
"""
"""As much of a browser as the script needs; a number that is none, handed to the canvas, is an error."""

AFTER = """
const first = made.note.textContent;
for (const [type, f] of heard) for (let x = 100; x < 1250; x += 23) f({
  type, clientX: x, clientY: x / 2, deltaX: 0, deltaY: -50, key: '+', pointerId: 1, preventDefault() {},
});
console.log(first); console.log(calls);
"""

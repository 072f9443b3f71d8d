"""The looks of a report: style sheet and script, which draw what `sim.report` hands over as JSON.

The script only ever sets text, never markup, and asks nothing of any network. Dense times are thinned out: of several
syncs of one pair in one place the one that moved most stands for all, and the page says so. One test each:

1. Nothing is loaded from elsewhere.
2. The script has no syntax errors, and draws without one (if there is a node.js to try it).
3. Where the axis is cut there is a mark, with the time on both sides, and the times beyond it are right.
"""

from __future__ import annotations

CSS = """
:root{--bg:#fbfbf9;--card:#fff;--ink:#1d2430;--soft:#5c6675;--line:#dfe2e7;--lane:#c6ccd6;--good:#0072b2;--warn:#b97700;
--bad:#c8452b;--ok-bg:#e8f3ee;--ok-ink:#0b5d43;--bad-bg:#fdece7;--bad-ink:#8f2410;--tick:#2f3a4a;--heal:#008a67}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2028;--ink:#e7ebf0;--soft:#9aa6b5;--line:#303945;
--lane:#465262;--good:#56b4e9;--warn:#e69f00;--bad:#ff7f5c;--ok-bg:#12332a;--ok-ink:#8be0c2;--bad-bg:#3d1a13;
--bad-ink:#ffb4a0;--tick:#cdd6e2;--heal:#35c9a0}}
.draw{overflow-x:auto}
@media print{#view{width:100%!important;height:auto!important}
:root{--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--lane:#999;--good:#0072b2;--warn:#b97700;
--bad:#c8452b;--ok-bg:#fff;--ok-ink:#0b5d43;--bad-bg:#fff;--bad-ink:#8f2410;--tick:#222;--heal:#008a67}
.tools,.go,.copy,#tip{display:none!important}.card{break-inside:avoid;box-shadow:none}
.scroll,ol.story,pre{max-height:none;overflow:visible}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1400px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:22px;margin:0 0 12px;font-weight:650}h2{font-size:16px;margin:0 0 10px;font-weight:650}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;margin:0 0 16px}
.verdict{font-size:18px;font-weight:600;border-left:8px solid}
.passed{background:var(--ok-bg);color:var(--ok-ink);border-left-color:var(--heal)}
.broken{background:var(--bad-bg);color:var(--bad-ink);border-left-color:var(--bad)}
.top{display:grid;grid-template-columns:minmax(280px,1fr) 2fr;gap:16px}
@media(max-width:900px){.top{grid-template-columns:1fr}}
dl{display:grid;grid-template-columns:auto 1fr;gap:3px 14px;margin:0}dt{color:var(--soft)}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
code,pre{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{overflow:auto;margin:8px 0 0;max-height:480px}
ol.story{list-style:none;margin:0;padding:0;max-height:430px;overflow:auto}
ol.story li{display:grid;grid-template-columns:118px 1fr auto;gap:10px;padding:5px 0;border-bottom:1px solid var(--line)}
ol.story li:last-child{border:0}ol.story time{color:var(--soft);font-variant-numeric:tabular-nums}
li.bad{color:var(--bad);font-weight:600}li.good{color:var(--heal);font-weight:600}
button{font:inherit;font-size:13px;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:6px;
padding:2px 9px;cursor:pointer}button:hover{border-color:var(--soft)}
:focus-visible{outline:2px solid var(--good);outline-offset:2px}
button[aria-pressed=false]{opacity:.45;text-decoration:line-through}
.tools{display:flex;flex-wrap:wrap;gap:6px;align-items:center;margin:0 0 8px}.tools .gap{flex:1}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:10px 0 0;color:var(--soft);font-size:13px}
.legend span{display:inline-flex;align-items:center;gap:6px}.legend canvas{width:30px;height:15px}
#view{display:block;width:100%;touch-action:pan-y;cursor:grab;border-radius:6px}#view.drag{cursor:grabbing}
#tip{position:fixed;z-index:9;max-width:380px;background:var(--ink);color:var(--bg);padding:6px 10px;border-radius:6px;
font-size:13px;white-space:pre-line;pointer-events:none;display:none;overflow-wrap:anywhere}
#note{color:var(--soft);font-size:13px;min-height:20px}
.scroll{overflow:auto;max-height:460px}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:3px 10px;border-bottom:1px solid var(--line);text-align:right}th{color:var(--soft);font-weight:600}
thead th{position:sticky;top:0;background:var(--card)}th:first-child,td:first-child{text-align:left}
td.zero{color:var(--bad)}td.log{text-align:left;font:12px/1.4 ui-monospace,Menlo,Consolas,monospace}
summary{cursor:pointer;font-weight:650}
"""

SCRIPT = r"""
(() => {
'use strict';
const D = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id), N = D.nodes.length, cv = $('view'), g = cv.getContext('2d'),
  tip = $('tip');
const LEFT = 96, RIGHT = 14, AXIS = 26, ROW = 15, CHART = 78, GAP = 26;
const LANE = Math.max(18, Math.min(46, Math.floor(560 / Math.max(1, N))));
// Times are places on the axis from here on: a stretch that is cut takes HOLE of it. `real` gives the time back.
const CUTS = D.cuts, HOLE = Math.max(1e-3, .04 * CUTS.reduce((rest, [a, b]) => rest - (b - a), D.end));
function fold(t) { return CUTS.reduce((u, [a, b]) => u - Math.max(0, Math.min(t, b) - a) * (1 - HOLE / (b - a)), t); }
function real(u) {
  const t = CUTS.reduce((sum, [a, b]) => sum + Math.max(0, Math.min(u - fold(a), HOLE)) * ((b - a) / HOLE - 1), u);
  return CUTS.length ? Math.round(t * 1000) / 1000 : t;
}
const END = D.end; D.end = fold(END);
for (const b of D.bands) { b.a = fold(b.a); b.b = fold(b.b); }
for (const s of D.syncs) { s[0] = fold(s[0]); s[1] = fold(s[1]); }
for (const w of [...D.work, ...D.samples]) w[0] = fold(w[0]);
for (const k of ['healed', 'equal']) if (D[k] !== null) D[k] = fold(D[k]);
if (D.violation) D.violation.at = fold(D.violation.at);
const full = [0, Math.max(D.end, 1e-3)], netRows = Math.min(5, stack()), laneTop = AXIS + netRows * ROW + 8;
const chartTop = laneTop + N * LANE + 60, HEIGHT = chartTop + 3 * (CHART + GAP);
const FAMILY = {network: '#cc79a7', clock: '#b8a400', machine: '#7f8794', disk: '#d55e00', copies: '#009e73',
  software: '#56b4e9', schedule: '#98a2b0', other: '#8a6fc0'};
const show = {'in sync': true, differ: true, failed: true, writes: true, faults: true};
const SIDES = ['#cc79a7', '#5b7fd4', '#009e73', '#b8a400', '#d55e00', '#56b4e9', '#8a6fc0', '#7f8794'];
let v0 = full[0], v1 = full[1], W = 900, hits = [], labels = [], C = {}, queued = false, drag = null;

function css(name) { return getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim(); }
function colours() {
  for (const n of ['ink', 'soft', 'line', 'lane', 'good', 'warn', 'bad', 'tick', 'heal', 'card']) C[n] = css(n);
  C.sync = [C.good, C.warn, C.bad];
}
// Bands of the network are put in as few rows as do not overlap.
function stack() {
  const ends = [];
  for (const b of D.bands) if (b.n < 0) {
    let row = ends.findIndex(e => e <= b.a);
    if (row < 0) row = ends.length < 5 ? ends.push(0) - 1 : 4;
    b.row = row; ends[row] = Math.max(ends[row], b.b);
  }
  return ends.length;
}
function X(t) { return LEFT + (t - v0) / (v1 - v0) * (W - LEFT - RIGHT); }
function T(x) { return v0 + (x - LEFT) / (W - LEFT - RIGHT) * (v1 - v0); }
function mid(n) { return laneTop + n * LANE + LANE / 2; }
function two(n) { return String(n).padStart(2, '0'); }
function clock(u, exact) {
  const t = real(u);
  if (D.short) {
    const s = exact ? (t % 60).toFixed(2).padStart(5, '0') : v1 - v0 < 20 ? (t % 60).toFixed(1).padStart(4, '0')
      : two(Math.round(t % 60));
    return Math.floor(t / 60) + ':' + s;
  }
  const w = D.day0 + t, day = 'Day ' + (Math.floor(w / 86400) + 1), s = Math.floor(w % 86400);
  const hm = two(Math.floor(s / 3600)) + ':' + two(Math.floor(s % 3600 / 60)), sec = ':' + two(s % 60);
  return exact ? day + ', ' + hm + sec : s === 0 ? day : v1 - v0 < 600 ? hm + sec : v1 - v0 > 86400 && s % 86400 === 0
    ? day : hm;
}
function size(n) { for (const u of ['B', 'kB', 'MB', 'GB']) { if (n < 1000 || u === 'GB') return (n < 10 && u !== 'B'
  ? n.toFixed(1)
  : Math.round(n)) + ' ' + u; n /= 1000; } }
function length(s) { return s < 1 ? Math.round(s * 1000) + ' ms' : s < 120 ? +s.toFixed(1) + ' s' : s < 7200
  ? Math.round(s / 60) + ' min'
  : s < 172800 ? +(s / 3600).toFixed(1) + ' h' : +(s / 86400).toFixed(1) + ' days'; }

// A hatch for each number, so that no meaning hangs on colour alone.
const cache = {};
function hatch(colour, number) {
  const key = colour + number; if (cache[key]) return cache[key];
  const c = document.createElement('canvas'), q = c.getContext('2d'); c.width = c.height = 8;
  q.globalAlpha = .28; q.fillStyle = colour; q.fillRect(0, 0, 8, 8); q.globalAlpha = .95;
  q.strokeStyle = q.fillStyle = colour; q.lineWidth = 1.4;
  const L = (...p) => { q.beginPath(); for (let i = 0; i < p.length; i += 4) { q.moveTo(p[i], p[i + 1]);
    q.lineTo(p[i + 2], p[i + 3]); } q.stroke(); };
  [() => L(-2, 2, 2, -2, 0, 8, 8, 0, 6, 10, 10, 6), () => L(-2, 6, 2, 10, 0, 0, 8, 8, 6, -2, 10, 2), () => {
    q.fillRect(1, 1, 2, 2); q.fillRect(5, 5, 2, 2); },
   () => L(4, 0, 4, 8), () => L(0, 4, 8, 4), () => L(0, 0, 8, 8, 8, 0, 0, 8), () => L(4, 0, 4, 8, 0, 4, 8, 4),
     () => q.fillRect(0, 0, 8, 8)][number % 8]();
  return cache[key] = g.createPattern(c, 'repeat');
}
function fillOf(kind) { const k = D.kinds[kind]; return hatch(FAMILY[k.family], k.hatch); }
function clip(x) { return Math.max(LEFT, Math.min(W - RIGHT, x)); }
function label(text, x, y, w, colour) { labels.push({text, x, y, end: x + w, colour}); }
// Above the lanes' lines; one that would cover another moves to its right, or is left out.
function write() {
  const placed = []; g.font = '600 11px system-ui,sans-serif';
  for (const l of labels.sort((a, b) => b.text.length - a.text.length || a.x - b.x)) {
    const need = g.measureText(l.text).width + 8;
    const under = () => placed.find(p => p.y === l.y && l.x < p.x + p.need && p.x < l.x + need);
    for (let p; (p = under());) l.x = p.x + p.need;
    if (l.x + need > l.end) continue;
    placed.push({...l, need}); g.fillStyle = C.card; g.globalAlpha = .85; g.fillRect(l.x + 2, l.y - 7, need - 2, 14);
    g.globalAlpha = 1; g.fillStyle = l.colour; g.fillText(l.text, l.x + 5, l.y + 4);
  }
  labels = [];
}
function box(b, y, h) {
  if (b.b < v0 || b.a > v1) return;
  const x = clip(X(b.a)), w = Math.max(3, clip(X(b.b)) - x); g.fillStyle = fillOf(b.k); g.fillRect(x, y, w, h);
  g.strokeStyle = FAMILY[D.kinds[b.k].family]; g.lineWidth = 1; g.strokeRect(x + .5, y + .5, Math.max(1, w - 1), h - 1);
  label(b.k, x, y + h / 2, w, C.ink);
  hits.push({x: x - 2, y, w: w + 4, h, text: (b.n < 0 ? 'network' : D.nodes[b.n]) + ': ' + b.k + (b.b > b.a ? ' for '
    + length(b.b - b.a) : '')
    + '\nfrom ' + clock(b.a, true) + (b.b > b.a ? ' to ' + clock(b.b, true) : '') + (b.t ? '\n' + b.t : '')
    + (b.g.length ? '\n' + b.g.map((ns, i) => 'side ' + 'ABCDEFGH'[i % 8] + ': '
      + ns.map(n => D.nodes[n]).join(' ')).join('\n') : '')});
}
function sides(b) {
  if (b.b < v0 || b.a > v1) return;
  const x = clip(X(b.a)), w = Math.max(2, clip(X(b.b)) - x);
  b.g.forEach((ns, i) => ns.forEach(n => {
    g.globalAlpha = .3; g.fillStyle = hatch(SIDES[i % 8], [0, 2, 1, 3, 4, 5, 6, 7][i % 8]);
    g.fillRect(x, mid(n) - LANE / 2 + 1, w, LANE - 2); g.globalAlpha = 1;
    label('ABCDEFGH'[i % 8], x, mid(n), w, C.soft);
  }));
}
function axis() {
  const steps = [.1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 172800, 604800];
  const step = steps.find(s => s / (v1 - v0) * (W - LEFT - RIGHT) >= 84) || 2592000, base = D.short ? 0 : D.day0;
  g.font = '12px system-ui,sans-serif'; g.textAlign = 'center';
  [[0, 0], ...CUTS].forEach(([, from], n) => {
    const to = Math.min(n < CUTS.length ? CUTS[n][0] : Infinity, real(v1));
    for (let k = Math.ceil((Math.max(from, real(v0)) + base) / step - 1e-9); k * step - base <= to + 1e-9; k++) {
      const t = fold(k * step - base), x = Math.round(X(t)) + .5; g.strokeStyle = C.line; g.lineWidth = 1;
      g.beginPath(); g.moveTo(x, AXIS - 6); g.lineTo(x, HEIGHT - GAP); g.stroke(); g.fillStyle = C.soft;
      if (x < W - 24) g.fillText(clock(t), x, 14);
    }
  });
  g.textAlign = 'left';
}
function breaks() {
  for (const [a, b] of CUTS) {
    if (fold(b) < v0 || fold(a) > v1) continue;
    const x0 = X(fold(a)), x1 = X(fold(b)), before = clock(fold(a), true), after = clock(fold(b), true);
    g.fillStyle = C.card; g.fillRect(x0, AXIS - 6, x1 - x0, HEIGHT); g.strokeStyle = C.soft; g.lineWidth = 1.4;
    for (const x of [x0, x1]) { g.beginPath();
      for (let y = AXIS - 6; y <= HEIGHT - GAP; y += 6) g.lineTo(x + (y / 6 % 2 < 1 ? 2 : -2), y); g.stroke(); }
    g.font = '600 11px system-ui,sans-serif'; const [w0, w1] = [before, after].map(t => g.measureText(t).width + 4);
    const right = Math.min(x1, W - RIGHT - w1), left = Math.max(LEFT, Math.min(x0, right) - w0);
    g.fillStyle = C.card; g.fillRect(left, 0, right + w1 - left, 19);
    g.fillStyle = C.ink; g.fillText(before, left, 14); g.fillText(after, right, 14);
    hits.unshift({x: x0, y: 0, w: x1 - x0, h: HEIGHT, text: 'nothing happens for ' + length(b - a) + '\nfrom ' + before
      + ' to ' + after});
  }
}
function mark(t, text, colour, dash, row, left) {
  if (t === null || t < v0 || t > v1) return;
  const x = X(t); g.strokeStyle = colour; g.lineWidth = 2; g.setLineDash(dash); g.beginPath(); g.moveTo(x, AXIS - 4);
  g.lineTo(x, HEIGHT - GAP); g.stroke(); g.setLineDash([]);
  g.font = '600 11px system-ui,sans-serif'; const w = g.measureText(text).width + 8, y = laneTop + N * LANE + 4
    + row * 17;
  const at = Math.max(LEFT, Math.min(left ? x - w : x, W - RIGHT - w));
  g.fillStyle = colour; g.fillRect(at, y, w, 15); g.fillStyle = C.card; g.fillText(text, at + 4, y + 11);
}
// Of syncs that moved equally much, one anywhere in its bucket: the first ones would all stand at the left.
function spread(s) { return s[0] * 1000 * 7919 % 1009; }
function thin(list) {
  let best = list;
  for (const px of [2, 4, 8, 16, 32, 64, 128]) {
    if (best.length <= 700) break;
    const seen = new Map();
    for (const s of list) {
      const key = ((Math.floor(X(s[0]) / px) * (N + 1) + s[2]) * (N + 1) + s[3] + 1) * 3 + s[4], o = seen.get(key);
      if (!o || s[6] + s[7] - o[6] - o[7] > 0 || s[6] + s[7] === o[6] + o[7] && spread(s) > spread(o)) seen.set(key, s);
    }
    best = [...seen.values()];
  }
  return best;
}
function arrow(s) {
  const x0 = X(s[0]), x1 = Math.max(x0, X(s[1])), y0 = mid(s[2]), known = s[3] >= 0, y1 = known ? mid(s[3]) : y0
    + LANE * .38;
  g.strokeStyle = g.fillStyle = C.sync[s[4]]; g.setLineDash([[], [6, 3], [2, 3]][s[4]]); g.beginPath();
  g.moveTo(x0, y0); g.lineTo(x1, y1); g.stroke(); g.setLineDash([]);
  const a = Math.atan2(y1 - y0, x1 - x0), r = Math.min(7, LANE / 4); g.beginPath();
  if (s[4] === 2) { g.moveTo(x1 - 3, y1 - 3); g.lineTo(x1 + 3, y1 + 3); g.moveTo(x1 + 3, y1 - 3);
    g.lineTo(x1 - 3, y1 + 3); g.stroke(); }
  else { g.moveTo(x1, y1); g.lineTo(x1 - r * Math.cos(a - .4), y1 - r * Math.sin(a - .4));
    g.lineTo(x1 - r * Math.cos(a + .4), y1 - r * Math.sin(a + .4)); g.fill(); }
  hits.push({x0, y0, x1, y1, s});
}
function ticks() {
  const bins = new Map(); // One tick a pixel and lane, the taller the more writes it stands for.
  for (const w of D.work) if (w[0] >= v0 && w[0] <= v1) {
    const key = Math.round(X(w[0]) / 2) * N + w[1], b = bins.get(key) || bins.set(key, [0, 0, {}]).get(key);
    b[w[3] ? 0 : 1]++; b[2][D.words[w[2]]] = (b[2][D.words[w[2]]] || 0) + 1;
  }
  for (const [key, b] of bins) {
    const n = key % N, x = (key - n) / N * 2, h = Math.min(LANE * .4, LANE * .16 * (1 + Math.log2(b[0] + b[1]) / 2)),
      y = mid(n);
    g.fillStyle = b[0] ? C.tick : C.bad; g.fillRect(x - .7, y - h, 1.4, h); if (b[1]) { g.fillStyle = C.bad;
      g.fillRect(x - 1.5, y - h - 3, 3, 3); }
    hits.push({x: x - 2, y: y - LANE * .42, w: 4, h: LANE * .42, text: D.nodes[n] + ': ' + (b[0] + b[1]) + ' write'
      + (b[0] + b[1] > 1 ? 's' : '') + ' ('
      + Object.keys(b[2]).sort().map(k => b[2][k] + ' ' + k).join(', ') + (b[1] ? '; ' + b[1] + ' refused' : '')
        + ')\n' + clock(T(x), true)});
  }
}
function frame(i, title, top, text) {
  const y = chartTop + i * (CHART + GAP); g.font = '600 12px system-ui,sans-serif'; g.fillStyle = C.ink;
  g.fillText(title, LEFT, y - 7);
  g.font = '11px system-ui,sans-serif'; g.fillStyle = C.soft; g.textAlign = 'right';
  g.fillText(text(top), LEFT - 8, y + 9); g.fillText('0', LEFT - 8, y + CHART); g.textAlign = 'left';
  g.strokeStyle = C.lane; g.lineWidth = 1; g.strokeRect(LEFT + .5, y + .5, W - LEFT - RIGHT, CHART); return y;
}
function charts() {
  const px = 4, n = Math.max(1, Math.floor((W - LEFT - RIGHT) / px)), per = (v1 - v0) / n, S = D.samples;
  const at = i => v0 + i * per;
  const counts = Array.from({length: n}, () => [0, 0, 0]), bytes = [], roots = [], behind = [];
  for (const s of D.syncs) { const i = Math.floor((s[1] - v0) / per);
    if (i >= 0 && i < n && show[D.classes[s[4]]]) counts[i][s[4]]++; }
  let j = 0; // All bytes up to a time, between two samples as if they flowed evenly.
  const total = t => { while (j + 1 < S.length && S[j + 1][0] <= t) j++;
    if (!S.length || t < S[0][0]) return S.length ? S[0][3] : 0; const a = S[j], b = S[j + 1];
    return b ? a[3] + (b[3] - a[3]) * (t - a[0]) / Math.max(1e-9, b[0] - a[0]) : a[3]; };
  let last = total(v0);
  for (let i = 0; i < n; i++) { const now = total(at(i + 1)); bytes.push(Math.max(0, now - last)); last = now; }
  let k = 0, r = 0, m = 0;
  while (k < S.length && S[k][0] < v0) { r = S[k][1]; m = S[k][2]; k++; }
  for (let i = 0; i < n; i++) { let R = r, M = m; if (k < S.length && S[k][0] <= at(i + 1)) R = M = 0;
    while (k < S.length && S[k][0] <= at(i + 1)) { R = Math.max(R, r = S[k][1]); M = Math.max(M, m = S[k][2]); k++;
      } roots.push(R); behind.push(M); }
  const top1 = Math.max(1, ...counts.map(c => c[0] + c[1] + c[2])), top2 = Math.max(1, ...bytes), top3 = Math.max(1,
    ...roots, ...behind);
  const bar = (i, y, h, from) => g.fillRect(LEFT + i * (W - LEFT - RIGHT) / n, y + CHART - from - h, px - .6, h);
  let y = frame(0, 'syncs ended, per ' + length(per), top1, String);
  counts.forEach((c, i) => { let from = 0; for (const q of [0, 1, 2]) if (c[q]) {
    g.fillStyle = q ? hatch(C.sync[q], q) : C.sync[0]; const h = c[q] / top1 * (CHART - 4); bar(i, y, h, from);
    from += h; } });
  y = frame(1, 'bytes on the network, per ' + length(per), top2, size); g.fillStyle = C.good;
  bytes.forEach((b, i) => b && bar(i, y, b / top2 * (CHART - 4), 0));
  y = frame(2, 'different states among the running nodes (line; 1: all equal), nodes not in the commonest (hatched)',
    top3, String);
  g.fillStyle = hatch(C.warn, 0); behind.forEach((b, i) => b && bar(i, y, b / top3 * (CHART - 4), 0));
  g.strokeStyle = C.ink; g.lineWidth = 1.6; g.beginPath();
  roots.forEach((b, i) => { const yy = y + CHART - b / top3 * (CHART - 4), x = LEFT + i * (W - LEFT - RIGHT) / n;
    g.lineTo(x, yy); g.lineTo(x + px, yy); }); g.stroke();
  const bin = x => Math.max(0, Math.min(n - 1, Math.floor((x - LEFT) / (W - LEFT - RIGHT) * n)));
  hits.push({x: LEFT, y: chartTop, w: W - LEFT - RIGHT, h: 3 * (CHART + GAP), say: x => {
    const i = bin(x), c = counts[i];
    return clock(at(i), true) + ', for ' + length(per) + '\nsyncs: ' + c[0] + ' in sync, ' + c[1] + ' differ, ' + c[2]
      + ' failed\nbytes: ' + size(bytes[i]) + '\ndifferent states: ' + roots[i] + ', nodes behind: ' + behind[i]; }});
}
function draw() {
  queued = false; const ratio = window.devicePixelRatio || 1; W = Math.max(480, cv.parentElement.clientWidth - 36);
  hits = [];
  cv.width = W * ratio; cv.height = HEIGHT * ratio; cv.style.height = HEIGHT + 'px'; cv.style.width = W + 'px';
  g.setTransform(ratio, 0, 0, ratio, 0, 0); g.clearRect(0, 0, W, HEIGHT);
  axis(); charts(); g.save(); g.beginPath(); g.rect(LEFT, 0, W - LEFT - RIGHT, HEIGHT); g.clip();
  if (show.faults) for (const b of D.bands) if (b.n < 0) { sides(b); box(b, AXIS + b.row * ROW, ROW - 2);
    } else box(b, mid(b.n) - LANE / 2 + 3, LANE - 6);
  D.nodes.forEach((_, n) => { g.strokeStyle = C.lane; g.lineWidth = 1.5; g.beginPath(); g.moveTo(LEFT, mid(n));
    g.lineTo(W - RIGHT, mid(n)); g.stroke(); });
  write();
  if (show.writes) ticks();
  const seen = D.syncs.filter(s => s[1] >= v0 && s[0] <= v1 && show[D.classes[s[4]]]), few = thin(seen);
  g.globalAlpha = few.length > 300 ? .55 : .9; g.lineWidth = few.length > 300 ? 1 : 1.5; few.forEach(arrow);
  g.globalAlpha = 1;
  mark(D.healed, 'faults end', C.soft, [4, 3], 0, true); mark(D.equal, 'all equal', C.heal, [], 1, false);
  if (D.violation) mark(D.violation.at, D.violation.invariant + ' broken', C.bad, [], 1, false);
  breaks(); g.restore(); g.font = '600 13px system-ui,sans-serif'; g.textAlign = 'right'; g.fillStyle = C.ink;
  D.nodes.forEach((name, n) => g.fillText(name.length > 11 ? name.slice(0, 10) + '…' : name, LEFT - 10, mid(n) + 4));
  g.font = '12px system-ui,sans-serif'; g.fillStyle = C.soft;
  if (netRows) g.fillText('network', LEFT - 10, AXIS + 10); g.textAlign = 'left';
  $('note').textContent = clock(Math.max(0, v0), true) + ' to ' + clock(v1, true) + ': ' + (few.length < seen.length
    ? few.length + ' of ' + seen.length + ' syncs are drawn; zoom in to see each.' : seen.length + ' syncs.');
}
function later() { if (!queued) { queued = true; requestAnimationFrame(draw); } }
function look(a, b) {
  const least = Math.max(.2, D.end / 2e5), all = full[1] - full[0];
  let wide = Math.min(all, Math.max(least, b - a)), m = (a + b) / 2;
  v0 = Math.max(full[0], Math.min(full[1] - wide, m - wide / 2)); v1 = v0 + wide; later();
}
function zoom(f, t) { const c = t === undefined ? (v0 + v1) / 2 : t;
  const wide = (v1 - v0) * f, share = (c - v0) / (v1 - v0); look(c - wide * share, c + wide * (1 - share)); }
function pan(share) { const d = (v1 - v0) * share; look(v0 + d, v1 + d); }
function tell(e) {
  const r = cv.getBoundingClientRect(), x = e.clientX - r.left, y = e.clientY - r.top; let best = null, near = 6;
  const others = [];
  for (const h of hits) {
    if (h.s) { const dx = h.x1 - h.x0, dy = h.y1 - h.y0, q = Math.max(0, Math.min(1, ((x - h.x0) * dx
      + (y - h.y0) * dy) / (dx * dx + dy * dy || 1)));
      const d = Math.hypot(x - h.x0 - q * dx, y - h.y0 - q * dy); if (d < near) { near = d; best = h.s; } }
    else if (x >= h.x && x <= h.x + h.w && y >= h.y && y <= h.y + h.h
      && others.length < 3) others.push(h.text || h.say(x));
  }
  if (best) { const s = best; others.unshift(D.nodes[s[2]] + ' → ' + (s[3] < 0 ? 'nobody' : D.nodes[s[3]]) + ': '
    + D.words[s[5]] + '\n' + clock(s[0], true) + ', took ' + length(s[1] - s[0])
    + '\nrecords: ' + s[6] + ' sent, ' + s[7] + ' received; ' + size(s[8]) + ' out, ' + size(s[9]) + ' in'
      + (D.words[s[10]] ? '\n' + D.words[s[10]] : '')); }
  tip.style.display = others.length && x >= LEFT ? 'block' : 'none'; tip.textContent = others.join('\n\n');
  tip.style.left = Math.min(e.clientX + 14, Math.max(0, innerWidth - 400)) + 'px';
  tip.style.top = Math.max(4, Math.min(e.clientY + 14, innerHeight - tip.offsetHeight - 8)) + 'px';
}
cv.addEventListener('wheel', e => {
  if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) { e.preventDefault(); return pan(e.deltaX / W); }
  if (e.deltaY > 0 && v1 - v0 >= full[1] - full[0] - 1e-9) return; // All is in view: let the page scroll.
  e.preventDefault(); zoom(Math.exp(Math.max(-60, Math.min(60, e.deltaY)) / 250),
    T(e.clientX - cv.getBoundingClientRect().left));
}, {passive: false});
cv.addEventListener('pointerdown', e => { drag = {x: e.clientX, a: v0, b: v1}; cv.setPointerCapture(e.pointerId);
  cv.classList.add('drag'); tip.style.display = 'none'; });
cv.addEventListener('pointermove', e => { if (!drag) return tell(e);
  const d = (drag.x - e.clientX) / (W - LEFT - RIGHT) * (drag.b - drag.a); look(drag.a + d, drag.b + d); });
for (const type of ['pointerup', 'pointercancel']) cv.addEventListener(type, () => { drag = null;
  cv.classList.remove('drag'); });
cv.addEventListener('pointerleave', () => { tip.style.display = 'none'; });
cv.addEventListener('dblclick', e => zoom(.4, T(e.clientX - cv.getBoundingClientRect().left)));
const doing = {'+': () => zoom(.6), '-': () => zoom(1 / .6), left: () => pan(-.3), right: () => pan(.3),
  all: () => look(full[0], full[1])};
cv.addEventListener('keydown', e => {
  const f = doing[{'+': '+', '=': '+', '-': '-', ArrowLeft: 'left', ArrowRight: 'right', '0': 'all',
  Home: 'all'}[e.key]]; if (f) { e.preventDefault(); f(); } });
for (const b of document.querySelectorAll('[data-do]')) b.addEventListener('click', () => doing[b.dataset.do]());
for (const b of document.querySelectorAll('[data-show]')) b.addEventListener('click', () => {
  const k = b.dataset.show; show[k] = !show[k]; b.setAttribute('aria-pressed', show[k]); later(); });
for (const b of document.querySelectorAll('.go')) b.addEventListener('click', () => {
  const a = fold(+b.dataset.a), z = fold(+b.dataset.z), pad = Math.max((z - a) * .25, D.end / 200); look(a - pad, z + pad);
  cv.scrollIntoView({block: 'center'}); });
for (const b of document.querySelectorAll('.copy')) b.addEventListener('click', () => {
  const s = getSelection(), r = document.createRange(); r.selectNodeContents($('replay')); s.removeAllRanges();
  s.addRange(r); document.execCommand('copy'); b.textContent = 'copied'; });
function swatches() {
  for (const c of document.querySelectorAll('canvas[data-kind],canvas[data-sync]')) {
    const q = c.getContext('2d'); c.width = 60; c.height = 30; q.setTransform(2, 0, 0, 2, 0, 0); q.lineWidth = 2;
    if (c.dataset.kind) { q.fillStyle = fillOf(c.dataset.kind); q.fillRect(0, 0, 30, 15); }
    else if (c.dataset.sync === 'write') { q.fillStyle = C.tick; q.fillRect(14, 3, 2, 10); }
    else { const i = +c.dataset.sync; q.strokeStyle = C.sync[i]; q.setLineDash([[], [6, 3], [2, 3]][i]);
      q.beginPath(); q.moveTo(1, 8); q.lineTo(29, 8); q.stroke(); }
  }
}
function restyle() { colours(); swatches(); draw(); }
for (const m of ['(prefers-color-scheme:dark)', 'print']) matchMedia(m).addEventListener('change', restyle);
addEventListener('beforeprint', restyle); addEventListener('afterprint', restyle); addEventListener('resize', later);
restyle();
})();
"""

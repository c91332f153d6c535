"use strict";
// The page of a run. Data comes in one piece; everything is drawn from it into two pictures: the map (the whole run)
// and the lanes (the part in view). A picture is drawn anew for each view: what is out of view is not in it.

const run = JSON.parse(document.getElementById("run").textContent);
const $ = (id) => document.getElementById(id);
const esc = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const seconds = (ns, digits = 6) => (ns / 1e9).toFixed(digits) + " s";
const lasted = (ns) => (ns < 1e6 ? (ns / 1e3).toFixed(0) + " µs" : ns < 1e9 ? (ns / 1e6).toFixed(1) + " ms" : (ns / 1e9).toFixed(2) + " s");
const plural = (n, word) => n.toLocaleString("en") + " " + word + (n === 1 ? "" : "s");
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// Hues of terms, in an order in which neighbours differ.
const HUES = [215, 25, 330, 185, 50, 245, 95, 350];
const hue = (term) => "--hue:" + HUES[term % HUES.length];

const ops = run.operations;
const moments = new Map(run.order.places.map(([op, at], nth) => [op, { at, nth }]));
const wrongOps = ops.map((op, i) => i).filter((i) => ops[i].wrong);
const LABELS = 74, AXIS = 26, EDGE = 16, SHORTEST = 2000;

// ---- lanes: what stands where

const lanes = [];
let height = AXIS;
const addLane = (kind, name, tall, more) => { lanes.push({ kind, name, y: height, tall, ...more }); height += tall; };

// Partitions that overlap lie on rows of their own.
const rows = [];
for (const band of run.bands) {
  band.row = rows.findIndex((end) => end <= band.from);
  if (band.row < 0) band.row = rows.push(0) - 1;
  rows[band.row] = band.to;
}
if (rows.length) addLane("network", "network", rows.length * 18 + 8, {});
run.members.forEach((member, m) => addLane("member", member.name, 40, { m }));
addLane("log", "log", 26, {});
// Few clients get tall lanes: the picture is to fill a screen.
const clientTall = clamp(Math.floor((500 - height) / run.clients.length), 28, 46);
run.clients.forEach((name, c) => addLane("client", name, clientTall, { c }));
height += 10;
const memberLanes = lanes.filter((lane) => lane.kind === "member");
const clientLanes = lanes.filter((lane) => lane.kind === "client");
const opsOf = run.clients.map((_, c) => ops.map((_, i) => i).filter((i) => ops[i].client === c).sort((a, b) => ops[a].from - ops[b].from));

// ---- the view

const view = { from: 0, to: run.end };
let chosen = null; // what details show, pinned: {what, i, j}
let width = 800;
const x = (ns) => LABELS + ((ns - view.from) / (view.to - view.from)) * (width - LABELS - EDGE);
const ns = (px) => view.from + ((px - LABELS) / (width - LABELS - EDGE)) * (view.to - view.from);

function look(from, to) {
  const span = clamp(to - from, SHORTEST, run.end);
  view.from = clamp(from, 0, run.end - span);
  view.to = view.from + span;
  redraw();
}
const zoom = (factor, at = (view.from + view.to) / 2) => look(at - (at - view.from) * factor, at + (view.to - at) * factor);
const pan = (part) => look(view.from + (view.to - view.from) * part, view.to + (view.to - view.from) * part);

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

// ---- drawing

const isIn = (from, to) => to >= view.from && from <= view.to;
const clipped = (from, to, least = 0) => {
  const left = Math.max(x(from), LABELS), right = Math.min(x(to), width - EDGE);
  return [left, Math.max(right - left, least)];
};
const box = (cls, left, y, w, h, more = "") => `<rect class="${cls}" x="${left.toFixed(1)}" y="${y}" width="${w.toFixed(1)}" height="${h}" ${more}/>`;
const of = (what, i, j = "") => `data-w="${what}" data-i="${i}" data-j="${j}"`;
const fits = (text, px, each = 6.3) => { const n = Math.floor((px - 8) / each); return text.length <= n ? text : n >= 5 ? text.slice(0, n - 1) + "…" : ""; };
const isChosen = (what, i, j) => chosen && chosen.what === what && chosen.i === i && (j === undefined || chosen.j === j);

const DEFS = `<defs>
<clipPath id="plot"><rect x="${LABELS - 8}" y="0" width="100%" height="100%"/></clipPath>
<pattern id="candidate" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="var(--stand)"/><rect width="3" height="7" fill="var(--refused)" fill-opacity=".32"/></pattern>
<pattern id="boot" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2" height="6" fill="var(--down)"/></pattern>
<pattern id="paused" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="var(--card)" fill-opacity=".6"/><rect width="2.5" height="6" fill="var(--soft)" fill-opacity=".75"/></pattern>
<pattern id="cutting" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><rect width="8" height="8" fill="var(--band)" fill-opacity=".13"/><rect width="2" height="8" fill="var(--band)" fill-opacity=".3"/></pattern>
<pattern id="opening" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="var(--open)"/><rect width="2" height="6" fill="var(--card)" fill-opacity=".28"/></pattern>
</defs>`;

const MOMENTS = {
  boot: (px, y) => `<path class="moment" d="M${px - 4} ${y + 4}h8l-4 -8z"/>`,
  stop: (px, y) => `<rect class="moment" x="${px - 3.5}" y="${y - 3.5}" width="7" height="7"/>`,
  kill: (px, y) => `<path class="moment kill" d="M${px - 4} ${y - 4}l8 8m0 -8l-8 8"/>`,
  power: (px, y) => `<path class="moment power" d="M${px + 2} ${y - 7}l-6 8h4l-2 6l6 -8h-4z"/>`,
};

function axis() {
  const span = view.to - view.from;
  const rough = span / Math.max((width - LABELS) / 110, 2);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const digits = clamp(9 - Math.floor(Math.log10(step)), 0, 9);
  let told = "";
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    const px = x(at).toFixed(1);
    told += `<path class="grid" d="M${px} ${AXIS - 5}V${height}"/><text x="${px}" y="15" text-anchor="${px - LABELS < 20 ? "start" : "middle"}">${(at / 1e9).toFixed(digits)} s</text>`;
  }
  return told;
}

// Behind the members: whom a partition is about more strongly than the others.
function drawShades() {
  let told = "";
  for (const band of run.bands) {
    if (!isIn(band.from, band.to)) continue;
    const [left, w] = clipped(band.from, band.to, 1.5);
    for (const member of memberLanes) told += box(band.about.includes(member.name) ? "cut about" : "cut", left, member.y + 1, w, member.tall - 1);
  }
  return told;
}

function drawBands() {
  const lane = lanes.find((lane) => lane.kind === "network");
  let told = "";
  run.bands.forEach((band, i) => {
    if (!isIn(band.from, band.to)) return;
    const [left, w] = clipped(band.from, band.to, 1.5);
    const y = lane.y + 4 + band.row * 18;
    told += box("cutbar" + (isChosen("band", i) ? " hov" : ""), left, y, w, 16, of("band", i) + ' rx="3"');
    const label = fits(band.words, w);
    if (label) told += `<text class="band" x="${left + 5}" y="${y + 12}">${esc(label)}</text>`;
  });
  return told;
}

function drawMember(lane) {
  const member = run.members[lane.m], y = lane.y + 9, tall = lane.tall - 16;
  let told = "";
  member.spans.forEach((span, j) => {
    if (!isIn(span.from, span.to)) return;
    const [left, w] = clipped(span.from, span.to, span.stand === "down" ? 0 : 1);
    const on = of("span", lane.m, j) + ` style="${hue(span.term)}" rx="3"`;
    if (span.stand === "down") {
      told += `<path class="down" d="M${left + 4} ${y + tall / 2}H${Math.max(left + w - 4, left + 4)}"/>` + box("hit", left, y, w, tall, on);
      return;
    }
    told += box(span.stand + (isChosen("span", lane.m, j) ? " hov" : ""), left, y, w, tall, on);
    const words = { follows: span.term ? `term ${span.term}` : "", leads: `leads, term ${span.term}`, stands: `stands, term ${span.term}`, boots: "" }[span.stand];
    const label = fits(words, w) || (span.term && fits(`t${span.term}`, w + 6));
    if (label) told += `<text class="in${span.stand === "leads" ? " lead" : ""}" x="${left + 6}" y="${y + tall / 2 + 4}">${label}</text>`;
  });
  member.over.forEach((over, j) => {
    if (!isIn(over.from, over.to)) return;
    const [left, w] = clipped(over.from, over.to, 2);
    if (over.what === "pause") told += box("pause", left, y - 2, w, tall + 4, of("over", lane.m, j));
    else told += box("stall", left, y + tall + 1.5, w, 4, of("over", lane.m, j) + ' rx="2"');
  });
  member.moments.forEach((moment, j) => {
    if (!isIn(moment.at, moment.at)) return;
    // A life often begins in the moment the one before ended.
    const px = x(moment.at) + (moment.what === "boot" ? 5 : -4);
    told += MOMENTS[moment.what](+px.toFixed(1), y - 1) + box("hit", px - 7, y - 9, 14, 16, of("moment", lane.m, j));
  });
  return told;
}

function drawLog(lane) {
  let told = "";
  const middle = lane.y + lane.tall / 2;
  run.entries.forEach((entry, i) => {
    if (!isIn(entry.at, entry.at)) return;
    const px = x(entry.at).toFixed(1), reach = entry.wrong || isChosen("entry", i) ? 11 : 7;
    told += `<path class="entry${entry.wrong ? " wrong" : ""}" style="${hue(entry.term)}" d="M${px} ${middle - reach}v${2 * reach}" ${of("entry", i)}/>`;
  });
  run.order.expiries.forEach(([lease, at], i) => {
    if (!isIn(at, at)) return;
    told += `<path class="expiry" d="M${x(at).toFixed(1)} ${middle - 5}l5 5l-5 5l-5 -5z" ${of("expiry", i)}/>`;
  });
  return told;
}

const opBox = (lane) => [lane.y + 5, lane.tall - 10];

function drawClient(lane) {
  let told = "", over = "";
  const [y, tall] = opBox(lane);
  for (const i of opsOf[lane.c]) {
    const op = ops[i];
    if (!isIn(op.from, op.to)) continue;
    const [left, w] = clipped(op.from, op.to, 2);
    const cls = `o ${op.outcome}${op.writes ? "" : " read"}${op.wrong ? " bad" : ""}${isChosen("op", i) ? " chosen" : ""}`;
    const rect = box(cls, left, y, w, tall, of("op", i) + ` rx="${Math.min(3, w / 2)}"`);
    if (op.wrong) over += rect + `<circle class="halo" cx="${(left + w / 2).toFixed(1)}" cy="${y + tall / 2}" r="${Math.max(w / 2 + 7, 15).toFixed(1)}" ${w > 60 ? 'visibility="hidden"' : ""}/>`;
    else told += rect;
    const label = w > 40 && fits(op.ask.split("\n")[0], w, 5.7);
    if (label) (op.wrong ? (over += text(label)) : (told += text(label)));
    function text(label) { return `<text class="op${op.writes ? "" : " pale"}" x="${(left + 5).toFixed(1)}" y="${y + tall / 2 + 3.8}">${esc(label)}</text>`; }
  }
  return told + over;
}

function drawOrder() {
  const places = run.order.places;
  const laneY = (op) => { const [y, tall] = opBox(clientLanes[ops[op].client]); return y + tall / 2; };
  // One place before the first in view and one behind the last, so that the line runs through.
  let first = places.findIndex(([, at]) => at >= view.from);
  let last = places.findLastIndex(([, at]) => at <= view.to);
  if (first < 0) first = places.length;
  first = Math.max(first - 1, 0);
  last = Math.min(last + 1, places.length - 1);
  const shown = places.slice(first, last + 1);
  const apart = (width - LABELS) / Math.max(shown.length, 1);
  const strong = clamp(Math.sqrt(apart / 14), 0.06, 1);
  let told = "";
  if (shown.length) {
    const points = shown.map(([op, at]) => `${clamp(x(at), -1e4, 1e5).toFixed(1)},${laneY(op)}`).join(" ");
    told += `<polyline class="order" points="${points}" stroke-width="${(0.6 + strong).toFixed(2)}" stroke-opacity="${(0.1 + 0.8 * strong).toFixed(2)}"/>`;
    if (apart > 5) for (const [op, at] of shown) if (isIn(at, at)) told += `<circle class="dot" cx="${x(at).toFixed(1)}" cy="${laneY(op)}" r="${apart > 12 ? 3.2 : 2}"/>`;
  }
  if (run.order.stuck.length) {
    // Where the order ends: a line from its last place to each of those none of which can be next.
    const end = places.length ? places[places.length - 1] : null;
    for (const op of end ? run.order.stuck : []) {
      const [left, w] = clipped(ops[op].from, ops[op].to);
      told += `<path class="ending" d="M${x(end[1]).toFixed(1)} ${laneY(end[0])}L${(left + w / 2).toFixed(1)} ${laneY(op)}"/>`;
    }
    if (end && isIn(end[1], end[1])) told += word(x(end[1]), height - 2, "the order ends here", true);
  }
  return told;
}

function word(px, y, words, line) {
  const right = px > width - 190;
  return (line ? `<path class="ending" d="M${px.toFixed(1)} ${AXIS}V${height}"/>` : "") +
    `<text class="endword" x="${(px + (right ? -6 : 6)).toFixed(1)}" y="${y}" text-anchor="${right ? "end" : "start"}">${esc(words)}</text>`;
}

function draw() {
  width = Math.max($("chart").clientWidth, 320);
  let told = DEFS;
  let names = "";
  for (const lane of lanes) {
    told += `<path class="rule" d="M0 ${lane.y}H${width}"/>`;
    names += `<text class="name" x="12" y="${lane.y + lane.tall / 2 + 4}" ${of("lane", lanes.indexOf(lane))}>${esc(lane.name)}</text>`;
  }
  told += `<g clip-path="url(#plot)">` + axis() + drawShades();
  for (const lane of lanes) {
    if (lane.kind === "member") told += drawMember(lane);
    if (lane.kind === "log") told += drawLog(lane);
    if (lane.kind === "client") told += drawClient(lane);
  }
  told += drawBands() + drawOrder();
  const at = run.wrong && run.wrong.at;
  if (at && isIn(at, at) && !run.order.stuck.length) told += word(x(at), height - 2, "seen broken here", true);
  told += `</g>` + names;
  const svg = $("lanes");
  svg.setAttribute("height", height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = told;
  drawMap();
}

// ---- the map: the whole run, small

const mapX = (at) => LABELS + (at / run.end) * (width - LABELS - EDGE);
let mapBack = { width: 0, told: "" };
function drawMap() {
  if (mapBack.width !== width) {
    let told = "";
    const each = Math.min(20 / run.members.length, 7);
    run.members.forEach((member, m) => member.spans.forEach((span) => {
      if (span.stand !== "down") told += box(span.stand, mapX(span.from), +(4 + m * each).toFixed(1), Math.max(mapX(span.to) - mapX(span.from), .5), each - 1, `style="${hue(span.term)}"`);
    }));
    const cells = Math.ceil((width - LABELS - EDGE) / 4), counts = new Array(cells + 1).fill(0);
    for (const op of ops) counts[Math.floor((op.from / run.end) * cells)]++;
    const most = Math.max(...counts, 1);
    counts.forEach((count, cell) => { if (count) { const h = 2 + 13 * Math.sqrt(count / most); told += box("hist", LABELS + cell * 4, +(44 - h).toFixed(1), 3, +h.toFixed(1)); } });
    run.bands.forEach((band) => { told += box("cut about", mapX(band.from), 2, Math.max(mapX(band.to) - mapX(band.from), 1), 24); });
    const at = run.wrong && run.wrong.at;
    if (at) told += `<path class="ending" d="M${mapX(at)} 0V46"/>`;
    mapBack = { width, told };
  }
  const left = mapX(view.from), w = Math.max(mapX(view.to) - left, 3);
  $("map").setAttribute("viewBox", `0 0 ${width} 46`);
  $("map").innerHTML = DEFS.replace(/id="/g, 'id="m-') + mapBack.told + `<text x="12" y="27">run</text>` + box("window", left, 1, w, 44, 'rx="3"');
}

// ---- details

const row = (name, value, cls = "") => (value === null || value === undefined || value === "" ? "" : `<dt>${name}</dt><dd class="${cls}">${esc(value)}</dd>`);
const code = (name, value) => `<dt>${name}</dt><dd class="code">${esc(value)}</dd>`;
const OUTCOMES = { done: "done", refused: "refused by the store", not: "surely not done", open: "open: it may have taken effect" };
const STANDS = { down: "is down", boots: "boots", follows: "follows", stands: "stands for election", leads: "leads" };
const GLYPHS = { kept: "✓", broken: "✗", undecided: "?", unfinished: "–" };

function tell({ what, i, j }) {
  if (what === "op") {
    const op = ops[i], place = moments.get(i);
    return `<h2>${op.kind} <small>by ${esc(run.clients[op.client])}${op.member === null ? "" : " at " + esc(run.members[op.member].name)}</small></h2><dl>` +
      row("wrong", op.wrong, "bad") + code("asked", op.ask) + code("heard", op.got) +
      row("outcome", OUTCOMES[op.outcome]) + row("revision", op.revision) + row("log index", op.index) +
      row("called", seconds(op.from)) + row("answered", seconds(op.to)) + row("took", lasted(op.to - op.from)) +
      row("in the order", place ? `number ${place.nth + 1}, at ${seconds(place.at)}` : placeless(op)) + "</dl>";
  }
  if (what === "span") {
    const span = run.members[i].spans[j];
    return `<h2>${esc(run.members[i].name)} ${STANDS[span.stand]}</h2><dl>` + (span.stand === "down" ? "" : row("term", span.term || null) + row("leader", span.leader)) +
      row("life", span.life || null) + row("from", seconds(span.from)) + row("to", seconds(span.to)) + row("for", lasted(span.to - span.from)) + "</dl>";
  }
  if (what === "over") {
    const over = run.members[i].over[j];
    return `<h2>${esc(run.members[i].name)}: ${over.what === "pause" ? "stands still" : "syncs of the disk wait"}</h2><dl>` +
      row("from", seconds(over.from)) + row("to", seconds(over.to)) + row("for", lasted(over.to - over.from)) + "</dl>";
  }
  if (what === "moment") {
    const moment = run.members[i].moments[j];
    return `<h2>${esc(run.members[i].name)}</h2><dl>${row("at", seconds(moment.at))}${row("what", moment.words)}</dl>`;
  }
  if (what === "lane") return tellLane(lanes[i]);
  if (what === "band") return tellBand(run.bands[i]);
  if (what === "entry") {
    const entry = run.entries[i];
    return `<h2>entry ${entry.index} <small>of term ${entry.term}</small></h2><dl>` + (entry.wrong ? row("wrong", "a judge objects to it", "bad") : "") +
      code("asks", entry.ask) + row("revision", entry.revision) + row("first applied", seconds(entry.at)) + "</dl>";
  }
  if (what === "expiry") {
    const [lease, at] = run.order.expiries[i];
    return `<h2>lease ${lease} expires</h2><dl>${row("in the order", "at " + seconds(at))}</dl>`;
  }
  if (what === "promise") {
    const promise = run.promises[i];
    return `<h2>${esc(promise.name)} <small>${esc(promise.subject.toLowerCase())}</small></h2><p>${esc(promise.sentence)}</p><p class="${promise.stands === "broken" ? "bad" : "hint"}">${GLYPHS[promise.stands]} ${esc(promise.why)}</p>`;
  }
  return "";
}

// A lane as a whole: how a member is set up and how long it stood how, what became of what a client asked.
function tellLane(lane) {
  if (lane.kind === "member") {
    const sums = {};
    for (const span of run.members[lane.m].spans) sums[span.stand] = (sums[span.stand] || 0) + span.to - span.from;
    return `<h2>${esc(lane.name)}</h2><dl>` + Object.entries(sums).map(([stand, ns]) => row(STANDS[stand], lasted(ns))).join("") +
      flat(run.plan.members[lane.m]).map(([name, value]) => row(esc(name), value)).join("") + "</dl>";
  }
  if (lane.kind === "client") {
    const sums = {};
    for (const i of opsOf[lane.c]) sums[ops[i].outcome] = (sums[ops[i].outcome] || 0) + 1;
    return `<h2>${esc(lane.name)} <small>${plural(opsOf[lane.c].length, "operation")}</small></h2><dl>` + Object.entries(sums).map(([outcome, n]) => row(OUTCOMES[outcome], n)).join("") + "</dl>";
  }
  const words = lane.kind === "log" ? `${plural(run.entries.length, "entry").replace("entrys", "entries")}, each when the first member applied it` : plural(run.bands.length, "partition");
  return `<h2>${lane.name}</h2><p>${words}</p>`;
}

function placeless(op) {
  if (op.outcome === "not") return "none, as it was not done";
  if (op.outcome === "open") return "none: it need not have taken effect";
  return op.kind === "old range" ? "none of its own: its answer may be old" : "none found";
}

// A partition with a picture of who reaches whom.
function tellBand(band) {
  const names = run.members.map((member) => member.name), n = names.length;
  const at = (m) => [110 + 78 * Math.sin((2 * Math.PI * m) / n), 100 - 78 * Math.cos((2 * Math.PI * m) / n)];
  const cut = new Set(band.ways.map(([from, to]) => from + ">" + to));
  let picture = "";
  for (let a = 0; a < n; a++) for (let b = a + 1; b < n; b++) {
    const there = !cut.has(names[a] + ">" + names[b]), back = !cut.has(names[b] + ">" + names[a]);
    const [[ax, ay], [bx, by]] = [at(a), at(b)];
    if (there && back) picture += `<path d="M${ax} ${ay}L${bx} ${by}" stroke="var(--done)" stroke-width="2.5"/>`;
    else if (!there && !back) picture += `<path d="M${ax} ${ay}L${bx} ${by}" stroke="var(--band)" stroke-width="1.5" stroke-dasharray="3 5"/>`;
    else {
      const [fx, fy, tx, ty] = there ? [ax, ay, bx, by] : [bx, by, ax, ay];
      const [mx, my] = [fx + (tx - fx) * .55, fy + (ty - fy) * .55], turn = (Math.atan2(ty - fy, tx - fx) * 180) / Math.PI;
      picture += `<path d="M${fx} ${fy}L${tx} ${ty}" stroke="var(--refused)" stroke-width="1.5"/><path transform="translate(${mx} ${my}) rotate(${turn})" d="M-5 -5L6 0L-5 5z" fill="var(--refused)"/>`;
    }
  }
  names.forEach((name, m) => { const [cx, cy] = at(m); picture += `<circle cx="${cx}" cy="${cy}" r="16" fill="var(--card)" stroke="var(--ink)" stroke-width="1.5"/><text x="${cx}" y="${cy + 4}" text-anchor="middle" font-size="12" fill="var(--ink)">${esc(name)}</text>`; });
  const clients = band.ways.filter(([from, to]) => !(names.includes(from) && names.includes(to)));
  const byClient = new Map();
  for (const [from, to] of clients) { const c = names.includes(from) ? to : from, m = names.includes(from) ? from : to; byClient.set(c, (byClient.get(c) || new Set()).add(m)); }
  const lost = [...byClient].map(([c, ms]) => `${c} from ${[...ms].join(", ")}`).join("\n");
  return `<h2>${esc(band.words)}</h2><dl>` + row("from", seconds(band.from)) + row("to", seconds(band.to)) + row("for", lasted(band.to - band.from)) + row("clients cut", lost) + "</dl>" +
    (n > 1 ? `<svg width="220" height="200" viewBox="0 0 220 200" role="img" aria-label="who reaches whom">${picture}</svg>` : "");
}

const HINT = `<p class="hint">Point at anything, or tap it.</p><p class="hint"><kbd>←</kbd> <kbd>→</kbd> walk through a client's operations, <kbd>↑</kbd> <kbd>↓</kbd> change the client, <kbd>n</kbd> <kbd>p</kbd> follow the order.<br><kbd>+</kbd> <kbd>−</kbd> zoom, <kbd>Shift</kbd> <kbd>←</kbd> <kbd>→</kbd> move, <kbd>0</kbd> whole run, <kbd>w</kbd> what went wrong, <kbd>Esc</kbd> let go.</p><p class="hint">Drag to move; pinch, or <kbd>Ctrl</kbd> and the wheel, to zoom.</p>`;
const narrow = matchMedia("(max-width: 900px)");
function show(item) {
  const told = item && tell(item);
  $("details").innerHTML = told || HINT;
  $("details").classList.toggle("empty", !told);
}
function choose(item) { chosen = item; show(item); redraw(); }

// Brings an operation into view and chooses it.
function visit(i) {
  const op = ops[i], span = view.to - view.from;
  if (op.from < view.from || op.to > view.to) {
    const wide = Math.max(span, (op.to - op.from) * 1.5);
    const middle = (op.from + op.to) / 2;
    look(middle - wide / 2, middle + wide / 2);
  }
  choose({ what: "op", i });
  const lane = clientLanes[op.client], top = chart.getBoundingClientRect().top + lane.y;
  if (top < 40 || top + lane.tall > innerHeight - 20) scrollBy(0, top - innerHeight / 2);
}

function visitWrong(alone = false) {
  const bad = wrongOps.length ? wrongOps : null;
  const at = run.wrong.at ?? run.end;
  let from = bad ? Math.min(...bad.map((i) => ops[i].from)) : at, to = bad ? Math.max(...bad.map((i) => ops[i].to)) : at;
  const end = run.order.stuck.length && run.order.places.at(-1);
  if (end) { from = Math.min(from, end[1]); to = Math.max(to, end[1]); }
  // Some operations around it, so that one sees where one is.
  const middle = (from + to) / 2;
  const near = ops.map((op) => Math.abs(op.from - middle)).sort((a, b) => a - b);
  const around = Math.max((to - from) * 0.8, near[Math.min(24, near.length - 1)] || 1e6, 1e6);
  look(middle - around, middle + around);
  // On a small screen details cover the lanes: they wait until they are asked for.
  if (alone && narrow.matches) return;
  const broken = run.promises.findIndex((promise) => promise.stands === "broken");
  if (bad) choose({ what: "op", i: bad.find((i) => ops[i].outcome === "done") ?? bad[0] });
  else if (broken >= 0) choose({ what: "promise", i: broken });
}

// ---- input: pointers, wheel, keys

const itemOf = (target) => {
  const on = target.closest && target.closest("[data-w]");
  return on ? { what: on.dataset.w, i: +on.dataset.i, j: on.dataset.j === "" ? undefined : +on.dataset.j } : null;
};
// The closest operation of a lane within a few pixels: what is two pixels wide is hard to hit.
function nearItem(event) {
  const item = itemOf(event.target);
  if (item) return item;
  const area = $("lanes").getBoundingClientRect();
  const px = event.clientX - area.left, py = event.clientY - area.top, reach = event.pointerType === "touch" ? 16 : 6;
  const lane = clientLanes.find((lane) => py >= lane.y && py < lane.y + lane.tall);
  if (!lane || px < LABELS) return null;
  let best = null, least = reach;
  for (const i of opsOf[lane.c]) {
    const far = Math.max(x(ops[i].from) - px, px - x(ops[i].to), 0);
    if (far < least) [best, least] = [{ what: "op", i }, far];
  }
  return best;
}

const chart = $("chart"), pointers = new Map();
let moved = 0, pinch = 0;
const spread = () => { const [a, b] = [...pointers.values()]; return [Math.abs(a.x - b.x) + 20, (a.x + b.x) / 2]; };
chart.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  pointers.set(event.pointerId, { x: event.clientX });
  moved = pointers.size > 1 ? 99 : 0;
  if (pointers.size === 2) pinch = spread()[0];
});
chart.addEventListener("pointermove", (event) => {
  const pointer = pointers.get(event.pointerId);
  const left = chart.getBoundingClientRect().left;
  if (!pointer) { show(nearItem(event) || chosen); return; }
  const by = event.clientX - pointer.x;
  pointer.x = event.clientX;
  moved += Math.abs(by);
  if (pointers.size === 2) {
    const [wide, middle] = spread();
    zoom(pinch / wide, ns(middle - left));
    pinch = wide;
  } else if (moved > 4) {
    if (!chart.classList.contains("drag")) { chart.classList.add("drag"); chart.setPointerCapture(event.pointerId); }
    pan(-by / (width - LABELS - EDGE));
  }
});
const release = (event) => {
  if (pointers.delete(event.pointerId) && event.type === "pointerup" && moved <= 4) choose(nearItem(event));
  chart.classList.remove("drag");
};
chart.addEventListener("pointerup", release);
chart.addEventListener("pointercancel", release);
chart.addEventListener("pointerleave", (event) => { if (!event.buttons) show(chosen); });
chart.addEventListener("dblclick", (event) => zoom(event.shiftKey ? 3 : 1 / 3, ns(event.clientX - chart.getBoundingClientRect().left)));
chart.addEventListener("wheel", (event) => {
  const at = ns(event.clientX - chart.getBoundingClientRect().left);
  if (event.ctrlKey || event.metaKey) zoom(Math.exp(clamp(event.deltaY, -80, 80) / 160), at);
  else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) / 1200);
  else return;
  event.preventDefault();
}, { passive: false });

const map = $("map");
const mapGo = (event) => {
  const px = event.clientX - map.getBoundingClientRect().left, span = view.to - view.from;
  const at = ((px - LABELS) / (width - LABELS - EDGE)) * run.end;
  look(at - span / 2, at + span / 2);
};
map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); map.classList.add("drag"); mapGo(event); });
map.addEventListener("pointermove", (event) => { if (map.hasPointerCapture(event.pointerId)) mapGo(event); });
map.addEventListener("pointerup", () => map.classList.remove("drag"));

// The operation from which keys walk on: the chosen one, else the first in view.
function here() {
  if (chosen && chosen.what === "op") return chosen.i;
  const first = ops.map((_, i) => i).filter((i) => ops[i].to >= view.from).sort((a, b) => ops[a].from - ops[b].from)[0];
  return first ?? 0;
}
function walk(by) {
  const i = here(), list = opsOf[ops[i].client];
  const next = chosen && chosen.what === "op" ? list[clamp(list.indexOf(i) + by, 0, list.length - 1)] : i;
  visit(next);
}
function change(by) {
  const i = here(), client = clamp(ops[i].client + by, 0, run.clients.length - 1), at = ops[i].from;
  visit(opsOf[client].reduce((best, j) => (Math.abs(ops[j].from - at) < Math.abs(ops[best].from - at) ? j : best), opsOf[client][0]));
}
function follow(by) {
  const places = run.order.places, i = here(), nth = moments.get(i)?.nth;
  if (places.length) visit(places[nth === undefined ? 0 : clamp(nth + by, 0, places.length - 1)][0]);
}
const KEYS = {
  ArrowRight: (event) => (event.shiftKey ? pan(0.2) : walk(1)), ArrowLeft: (event) => (event.shiftKey ? pan(-0.2) : walk(-1)),
  ArrowUp: () => change(-1), ArrowDown: () => change(1), n: () => follow(1), p: () => follow(-1),
  "+": () => zoom(1 / 1.6), "=": () => zoom(1 / 1.6), "-": () => zoom(1.6), "−": () => zoom(1.6), 0: () => look(0, run.end),
  Home: () => look(0, view.to - view.from), End: () => look(run.end - (view.to - view.from), run.end),
  w: () => run.wrong && visitWrong(), Escape: () => choose(null),
};
document.addEventListener("keydown", (event) => {
  const inChart = document.activeElement === chart || document.activeElement === document.body;
  const act = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
  if (!act || !inChart || !ops.length) return;
  if (document.activeElement === document.body && event.key.startsWith("Arrow") && (event.key === "ArrowUp" || event.key === "ArrowDown")) return;
  event.preventDefault();
  act(event);
});

// ---- what stands around the chart

function head() {
  const count = (name) => run.marks[name] || 0;
  const lost = (what) => run.members.reduce((sum, member) => sum + member.moments.filter((moment) => moment.what === what).length, 0);
  const over = (what) => run.members.reduce((sum, member) => sum + member.over.filter((over) => over.what === what).length, 0);
  const outcomes = (what) => ops.filter((op) => op.outcome === what).length;
  const facts = [
    [run.members.length, run.members.length === 1 ? "member" : "members"], [(run.end / 1e9).toFixed(1) + " s", "virtual time"],
    [ops.length.toLocaleString("en"), "operations"], [outcomes("refused") + outcomes("not"), "refused"], [outcomes("open"), "left open"],
    [run.entries.length.toLocaleString("en"), "log entries"], [count("leaders elected") || new Set(run.entries.map((entry) => entry.term)).size, "leaders"],
    [run.bands.length, "partitions"], [lost("kill"), "crashes"], [lost("power"), "power losses"], [lost("stop"), "stops"], [over("pause"), "pauses"], [over("stall"), "long stalls"],
  ];
  $("facts").innerHTML = facts.map(([n, name]) => `<div><dt>${name}</dt><dd>${n}</dd></div>`).join("");
  const broken = run.wrong;
  $("badge").textContent = broken ? "promise broken" : "every promise kept";
  $("badge").className = broken ? "broken" : "";
  if (broken) {
    $("wrong").hidden = $("find").hidden = false;
    $("wrong").innerHTML = `<h2>${esc(broken.words)}${broken.at === null ? "" : " · at " + seconds(broken.at)}</h2><pre>${esc(broken.story)}</pre>`;
  }
  const subjects = [...new Set(run.promises.map((promise) => promise.subject))];
  $("promises").innerHTML = subjects.map((subject) => `<div><h3>${subject.toLowerCase()}</h3>` + run.promises.map((promise, i) => promise.subject !== subject ? "" :
    `<button class="chip ${promise.stands}" data-i="${i}" title="${esc(promise.sentence)}"><i>${GLYPHS[promise.stands]}</i>${esc(promise.name)}</button>`).join("") + "</div>").join("");
  $("promises").addEventListener("click", (event) => { const chip = event.target.closest(".chip"); if (chip) choose({ what: "promise", i: +chip.dataset.i }); });
}

function legend() {
  const swatch = (inner, words, w = 18) => `<span><svg width="${w}" height="14" viewBox="0 0 ${w} 14">${inner}</svg>${words}</span>`;
  const filled = (cls) => `<rect class="${cls}" style="${hue(0)}" y="2" width="18" height="10" rx="2.5"/>`;
  $("legend").innerHTML = [
    swatch(filled("leads"), "leads"), swatch(filled("follows"), "follows (a colour for each term)"), swatch(filled("stands"), "stands for election"),
    swatch(filled("pause"), "paused"), swatch('<rect class="stall" y="5" width="18" height="4" rx="2"/>', "disk stall"), swatch(filled("cutbar"), "partition"),
    swatch(MOMENTS.boot(9, 7), "boot"), swatch(MOMENTS.kill(9, 7), "crash"), swatch(MOMENTS.power(9, 7), "power loss"), swatch(MOMENTS.stop(9, 7), "stop"),
    swatch(filled("done"), "done"), swatch(filled("done read"), "read"), swatch(filled("refused"), "refused"), swatch(filled("not"), "surely not"), swatch(filled("open"), "open"),
    swatch('<path class="order" stroke-width="1.6" d="M1 11L17 3"/><circle class="dot" cx="9" cy="7" r="3"/>', "the order found"),
    swatch('<path class="expiry" d="M9 2l5 5l-5 5l-5 -5z"/>', "lease expires"),
  ].join("");
}

// A part of the plan as pairs of a name and a value.
const inWords = (value) => value && typeof value === "object" && "secs" in value ? lasted(value.secs * 1e9 + value.nanos) : Array.isArray(value) ? value.join(" to ") : String(value);
const flat = (value, before = "") => Object.entries(value).flatMap(([name, value]) => value && typeof value === "object" && !("secs" in value) && !Array.isArray(value) ? flat(value, before + name + ", ") : [[(before + name).replaceAll("_", " "), inWords(value)]]);

function more() {
  const groups = new Map();
  for (const [name, n] of Object.entries(run.marks)) {
    const [, group, rest] = /^(disk|net|cut|honesty|leases?|watch\w*|a client|change|lane|clock)\b:?\s*(.*)$/.exec(name) || [null, "other", name];
    const key = group === "lease" ? "leases" : group.startsWith("watch") ? "watches" : group === "a client" || group === "change" ? "clients" : group;
    groups.set(key, [...(groups.get(key) || []), [["disk", "net", "cut", "honesty"].includes(key) ? rest : name, n]]);
  }
  const sorted = [...groups].sort(([a], [b]) => (a === "other") - (b === "other") || (a < b ? -1 : 1));
  $("marks").innerHTML = sorted.map(([group, list]) => `<div><h3>${group}</h3>` + list.map(([name, n]) => `<p class="${n ? "" : "never"}"><span>${esc(name)}</span><b>${n.toLocaleString("en")}</b></p>`).join("") + "</div>").join("");
  const table = (name, value) => `<div><h3>${name}</h3><table>` + flat(value).map(([name, value]) => `<tr><td>${esc(name)}</td><td>${esc(value)}</td></tr>`).join("") + "</table></div>";
  const { members, setting, keys, watching, steps, troubles } = run.plan;
  $("setting").innerHTML = table("run", { clients: run.clients.length, steps_planned: steps, keys, watching_clients: watching, troubles_planned: troubles, trace: run.trace }) +
    table("members share", setting) + members.map((member, m) => table(run.members[m].name, member)).join("");
}

head();
legend();
more();
$("in").onclick = () => zoom(1 / 1.8);
$("out").onclick = () => zoom(1.8);
$("fit").onclick = () => look(0, run.end);
$("find").onclick = () => visitWrong();
new ResizeObserver(redraw).observe(chart);
show(null);
if (location.hash.length > 1) { const [from, to] = location.hash.slice(1).split("-").map((part) => parseFloat(part) * 1e9); look(from, to || run.end); }
else if (run.wrong) visitWrong(true);
draw();

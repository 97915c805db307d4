// The page: signs in, asks the API every two seconds, and draws what it answers.
// It holds no truth of its own: every figure shown comes from an answer, with its age and quality,
// and when answers stop the banner says so. The state worth sharing (point, range, batch) is in the URL.

const API = "/api/v1";
const REFRESH_MS = 2000;
const STALE_AFTER_MS = 10000;
const RANGES = { "1 h": 3.6e6, "6 h": 2.16e7, "24 h": 8.64e7, "7 d": 6.048e8 };
const WORDS = {
  late_scan: "Late scan", gap: "Gap", fork: "Fork", overlap: "Overlap", conflict: "Conflict",
  unassigned: "Unassigned readings", unassigned_readings: "Unassigned readings",
  unknown_identity: "Unknown identity", no_sensor: "No sensor", coi_mix: "HARD STOP: chains of identity mixed",
  calibration_oot: "Instrument found out of tolerance", cal_expired: "Calibration expired", custody_unknown: "Nobody known to have it",
  clocks_disagree: "Received before given", overdue: "Hard time missed", wrong_place: "In the wrong place", due_soon: "Due soon, not there",
  unplaced: "Nowhere recorded", old_label: "Old label scanned", unreadable_label: "Unreadable label", changed_after_signing: "UNSIGNED: changed after signing",
};
const UNITS = { Cel: "°C", "[pH]": "pH", "/min": "rpm", 1: "" };

const $ = (id) => document.getElementById(id);
export const state = {
  zone: "UTC", skew: 0, points: [], rules: [], batches: [], heard: 0,
  rights: [], point: null, range: 8.64e7, window: null, batch: null, timer: 0,
};

// ---------------------------------------------------------------- small tools
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === "style") Object.assign(node.style, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
function svg(tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}
const unit = (code) => (code in UNITS ? UNITS[code] : code || "");
const now = () => Date.now() + state.skew;
const formats = {};
export function when(time, style = "full") {
  // Always year-month-day order, so that no reader takes the day for the month.
  formats[state.zone] ??= new Intl.DateTimeFormat("sv-SE", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
    hour12: false, timeZone: state.zone,
  });
  const text = formats[state.zone].format(new Date(time));
  return { full: text, short: text.slice(5, 16), hour: text.slice(11, 16), day: text.slice(5, 10) }[style];
}
export function span(seconds) {
  if (seconds < 0 || !Number.isFinite(seconds)) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} d`;
}
export function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toPrecision(5).replace(/\.?0+$/, "");
  return String(value);
}
export async function ask(path, options = {}) {
  const answer = await fetch(API + path, { credentials: "same-origin", ...options });
  if (answer.status === 401) throw Object.assign(new Error("sign in"), { signIn: true });
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(body?.detail || body?.title || `the collector answered ${answer.status}`);
  return body;
}
export const send = (path, body, method = "POST") =>
  ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// ---------------------------------------------------------------- address of what is shown
function readAddress() {
  const query = new URLSearchParams(location.search);
  state.point = query.get("point") || state.point;
  state.batch = query.get("batch") || state.batch;
  if (RANGES[query.get("range")]) state.range = RANGES[query.get("range")];
}
function writeAddress() {
  const query = new URLSearchParams();
  const label = Object.keys(RANGES).find((key) => RANGES[key] === state.range);
  if (state.point) query.set("point", state.point);
  if (label) query.set("range", label);
  if (state.batch) query.set("batch", state.batch);
  history.replaceState(null, "", `?${query}`);
}

// ---------------------------------------------------------------- points
function drawPoints() {
  const groups = new Map();
  for (const item of state.points) {
    const [group, node, device] = item.point.split("/");
    const key = `${group}/${node}/${device}`;
    groups.set(key, [...(groups.get(key) || []), item]);
  }
  const focused = document.activeElement?.dataset?.point;
  $("points").replaceChildren(...[...groups].map(([key, items]) => {
    const [, node, device] = key.split("/");
    return el("div", { class: "device" },
      el("h3", {}, device, el("span", {}, node)),
      ...items.map(pointRow));
  }));
  if (focused) document.querySelector(`[data-point="${CSS.escape(focused)}"]`)?.focus();
  if (!state.points.length) $("points").append(el("p", { class: "none" }, "No gateway has announced a point yet."));
  const late = state.points.filter((item) => look(item) !== "good").length;
  $("points-note").textContent = `${state.points.length} points${late ? `, ${late} not good` : ""}`;
}
function ageOf(item) {
  return item.last ? (now() - Date.parse(item.last.time)) / 1000 : Infinity;
}
function look(item) {
  if (!item.last || item.last.quality === "bad") return "bad";
  const patience = Math.max(10, (4 * (item.period_ms || 0)) / 1000);
  return item.last.quality === "stale" || ageOf(item) > patience ? "stale" : "good";
}
function pointRow(item) {
  const name = item.point.split("/").slice(3).join("/");
  const how = look(item);
  const nothing = item.last?.value === null || item.last?.value === undefined;
  const age = span(ageOf(item));
  const note = how === "good" ? age : how === "stale" ? `◆ stale ${age}` : `▲ ${item.last?.reason || "no value"}`;
  return el("button", {
    type: "button", class: `point ${how}`, "data-point": item.point, "aria-pressed": String(item.point === state.point),
    title: item.last ? `${when(item.last.time)} · ${item.last.quality} ${item.last.reason || ""}` : "no reading yet",
    on: { click: () => { state.point = item.point; state.window = null; writeAddress(); drawPoints(); loadTrend().catch(trouble); } },
  },
  el("span", {}, name.replaceAll("_", " ")),
  el("span", { class: "value" }, shown(item.last?.value), ...(nothing ? [] : [" ", el("small", {}, unit(item.unit))])),
  el("span", { class: "age" }, note));
}

// ---------------------------------------------------------------- trend
function drawRanges() {
  $("ranges").replaceChildren(...Object.entries(RANGES).map(([label, ms]) => el("button", {
    type: "button", "aria-pressed": String(state.range === ms && !state.window),
    on: { click: () => { state.range = ms; state.window = null; writeAddress(); drawRanges(); loadTrend().catch(trouble); } },
  }, label)));
}
let asked = 0;
async function loadTrend() {
  const item = state.points.find((candidate) => candidate.point === state.point);
  if (!item) return;
  const turn = ++asked;
  const to = state.window ? state.window[1] : now();
  const from = state.window ? state.window[0] : to - state.range;
  const path = item.point.split("/").map(encodeURIComponent).join("/");
  const query = `from=${encodeURIComponent(new Date(from).toISOString())}&to=${encodeURIComponent(new Date(to).toISOString())}`;
  const [readings, excursions] = await Promise.all([
    ask(`/points/${path}/readings?${query}&max_points=600`),
    ask(`/excursions?point=${encodeURIComponent(item.point)}&${query}`).catch((problem) => {
      if (problem.signIn) throw problem;
      return { items: [] };
    }),
  ]);
  if (turn !== asked) return;
  $("trend-csv").href = `${API}/points/${path}/readings.csv?${query}`;
  drawTrend(item, from, to, readings.items, excursions.items);
}
function limitsOf(item) {
  const newest = new Map();
  for (const rule of state.rules) {
    if (rule.point !== item.point) continue;
    if (!newest.has(rule.id) || newest.get(rule.id).version < rule.version) newest.set(rule.id, rule);
  }
  return [...newest.values()].flatMap((rule) => ["high", "low"].filter((side) => rule[side] !== null && rule[side] !== undefined)
    .map((side) => ({ side, value: rule[side], id: rule.id, version: rule.version })));
}
function buckets(items) {
  return items.map((row) => "n" in row
    ? { start: Date.parse(row.start), end: Date.parse(row.end), min: row.min, mean: row.mean, max: row.max, n: row.n, bad: row.bad }
    : { start: Date.parse(row.time), end: Date.parse(row.time), min: num(row), mean: num(row), max: num(row), n: 1, bad: row.quality === "good" ? 0 : 1 });
}
const num = (row) => (row.quality !== "good" || row.value === null ? null : Number(row.value));
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((s) => s >= rough);
  const out = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) out.push(Number(tick.toPrecision(10)));
  return out;
}
function timeTicks(from, to, count) {
  const steps = [6e4, 3e5, 6e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5, 864e5, 1728e5];
  const step = steps.find((s) => (to - from) / s <= count) || 6048e5;
  const out = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) out.push(tick);
  return [out, step];
}
function drawTrend(item, from, to, items, excursions) {
  const rows = buckets(items);
  const drawn = rows.filter((row) => row.mean !== null && row.mean !== undefined);
  const limits = limitsOf(item);
  const box = $("trend").getBoundingClientRect();
  const W = Math.max(280, box.width), H = Math.max(180, box.height), L = 48, R = 8, T = 8, B = 22;
  const values = [...drawn.flatMap((row) => [row.min, row.max]), ...limits.map((limit) => limit.value)];
  let low = Math.min(...values), high = Math.max(...values);
  if (!values.length) [low, high] = [0, 1];
  const pad = (high - low) * 0.07 || Math.abs(high) * 0.02 || 1;
  [low, high] = [low - pad, high + pad];
  const x = (time) => L + ((time - from) / (to - from)) * (W - L - R);
  const y = (value) => T + ((high - value) / (high - low)) * (H - T - B);
  const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${item.point} from ${when(from)} to ${when(to)}` });
  const add = (tag, attributes, text = null) => root.appendChild(svg(tag, attributes, text));
  for (const excursion of excursions) {
    const [a, b] = [Math.max(from, Date.parse(excursion.from)), Math.min(to, excursion.to ? Date.parse(excursion.to) : to)];
    if (b > a) add("rect", { class: "out", x: x(a), y: T, width: Math.max(1.5, x(b) - x(a)), height: H - T - B });
  }
  for (const tick of ticks(low, high, 5)) {
    add("line", { class: "axis", x1: L, x2: W - R, y1: y(tick), y2: y(tick) });
    add("text", { x: L - 6, y: y(tick) + 4, "text-anchor": "end" }, shown(tick));
  }
  const [times, step] = timeTicks(from, to, W / 90);
  for (const tick of times) {
    add("text", { x: x(tick), y: H - 6, "text-anchor": "middle" }, when(tick, step >= 864e5 ? "day" : "hour"));
  }
  for (const limit of limits) {
    const edge = y(limit.value);
    add("rect", limit.side === "high"
      ? { class: "beyond", x: L, y: T, width: W - L - R, height: Math.max(0, edge - T) }
      : { class: "beyond", x: L, y: edge, width: W - L - R, height: Math.max(0, H - B - edge) });
    add("line", { class: "limit", x1: L, x2: W - R, y1: edge, y2: edge });
    add("text", { class: "limit-text", x: L + 6, y: edge - 5 }, `${limit.side} ${shown(limit.value)} · ${limit.id.replace("rule:", "")} v${limit.version}`);
  }
  const patience = Math.max(3 * (item.period_ms || 1000), (3 * (to - from)) / 600);
  for (const piece of pieces(drawn, patience)) {
    const tops = piece.map((row) => `${x(row.start).toFixed(1)},${y(row.max).toFixed(1)}`);
    const bottoms = piece.map((row) => `${x(row.start).toFixed(1)},${y(row.min).toFixed(1)}`).reverse();
    add("polygon", { class: "span", points: [...tops, ...bottoms].join(" ") });
    add("polyline", { class: "mean", points: piece.map((row) => `${x(row.start).toFixed(1)},${y(row.mean).toFixed(1)}`).join(" ") });
  }
  $("trend").replaceChildren(root);
  const total = rows.reduce((sum, row) => sum + row.n, 0), bad = rows.reduce((sum, row) => sum + row.bad, 0);
  const form = rows.length && "n" in items[0] ? `, 1 bucket = ${span(Math.max(...rows.map((row) => row.end - row.start)) / 1000)}` : ", raw readings";
  $("trend-note").textContent = `${item.point} [${unit(item.unit) || "–"}] · ${when(from, "short")} to ${when(to, "short")} ${state.zone} · ` +
    (rows.length ? `${total.toLocaleString("en")} readings${bad ? `, ${bad.toLocaleString("en")} not good` : ""}${form}` : "no readings in this range");
  follow(root, { rows: drawn, x, from, to, L, R, T, W, H, B, item });
}
function pieces(rows, patience) {
  const out = [];
  for (const row of rows) {
    const last = out.at(-1);
    if (last && row.start - last.at(-1).end <= patience) last.push(row);
    else out.push([row]);
  }
  return out;
}
function follow(root, plot) {
  const { rows, x, from, to, L, R, T, W, H, B, item } = plot;
  const cursor = root.appendChild(svg("line", { class: "cursor", y1: T, y2: H - B, visibility: "hidden" }));
  const zoom = root.appendChild(svg("rect", { class: "zoom", y: T, height: H - T - B, width: 0 }));
  const place = (event) => {
    const box = root.getBoundingClientRect();
    return Math.min(W - R, Math.max(L, ((event.clientX - box.left) / box.width) * W));
  };
  const timeAt = (px) => from + ((px - L) / (W - L - R)) * (to - from);
  let start = null;
  root.addEventListener("pointermove", (event) => {
    const px = place(event);
    if (start !== null) { zoom.setAttribute("x", Math.min(px, start)); zoom.setAttribute("width", Math.abs(px - start)); }
    const near = rows.reduce((best, row) => (Math.abs(x(row.start) - px) < Math.abs(x(best.start) - px) ? row : best), rows[0]);
    if (!near) return;
    cursor.setAttribute("x1", x(near.start)); cursor.setAttribute("x2", x(near.start)); cursor.setAttribute("visibility", "visible");
    const worth = near.min === near.max ? shown(near.mean) : `${shown(near.min)} … ${shown(near.mean)} … ${shown(near.max)}`;
    $("trend-read").textContent = `${when(near.start)}   ${worth} ${unit(item.unit)}${near.bad ? ` (${near.bad} not good)` : ""}`;
  });
  root.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse") start = place(event); });
  root.addEventListener("pointerleave", () => { start = null; zoom.setAttribute("width", 0); cursor.setAttribute("visibility", "hidden"); $("trend-read").textContent = ""; });
  root.addEventListener("pointerup", (event) => {
    const end = place(event);
    if (start !== null && Math.abs(end - start) > 8) {
      state.window = [timeAt(Math.min(start, end)), timeAt(Math.max(start, end))];
      drawRanges(); loadTrend().catch(trouble);
    }
    start = null;
  });
}

// ---------------------------------------------------------------- batches
function drawBatches() {
  $("batches").replaceChildren(...state.batches.map((batch) => el("button", {
    type: "button", "aria-pressed": String(batch.id === state.batch),
    on: { click: () => { state.batch = batch.id; writeAddress(); drawBatches(); loadBatch().catch(trouble); } },
  }, batch.number)));
  if (!state.batches.length) $("batch").replaceChildren(el("p", { class: "none" }, "No batch is registered yet."));
}
export async function loadBatch() {
  if (!state.batch) return;
  const path = `/batches/${encodeURIComponent(state.batch)}`;
  const [history, gate] = await Promise.all([ask(`${path}/history`), ask(`${path}/readiness?for=release`)]);
  if (history.batch && history.batch.id !== state.batch) return;
  drawBatch(history, gate);
  document.dispatchEvent(new CustomEvent("batch", { detail: history }));
}
// What a person decides is sent with their reason; the collector checks who may, and that two did.
export function act(label, path, extra = {}) {
  return el("button", { type: "button", on: { click: async () => {
    const reason = window.prompt(`${label}: why?`);
    if (!reason) return;
    try { await send(path, { ...extra, reason }); await loadBatch(); } catch (problem) { trouble(problem); }
  } } }, label);
}
function acts(item) {
  return el("span", { class: "ranges" },
    act("Resolve", `/exceptions/${encodeURIComponent(item.id)}/resolution`, { disposition: "not_a_fault" }));
}
function waiting(legs) {
  // A leg or a point whose link is provisional waits for another person than the one who stated it.
  const rows = new Map();
  for (const leg of legs) {
    for (const one of [leg, ...leg.points]) {
      if (one.state !== "provisional") continue;
      for (const link of one.links) rows.set(link, [one.point || leg.equipment.replace("equipment:", ""), when(one.from, "short")]);
    }
  }
  const may = state.rights.includes("confirm");
  const drawn = (some) => table(["What", "From", "Link", ...(may ? ["Decide"] : [])], some.map(([link, [what, from]]) => [
    what, whole(from), link, ...(may ? [el("span", { class: "ranges" }, act("Confirm", `/links/${encodeURIComponent(link)}/confirmation`),
      act("Reject", `/links/${encodeURIComponent(link)}/rejection`))] : [])]), "Nothing waits for a second person.");
  // A site's first links are many; where the batch was comes first, what watched it is one click away.
  const stays = [...rows].filter(([, [what]]) => !what.includes("/")), points = [...rows].filter(([, [what]]) => what.includes("/"));
  if (rows.size <= 3) return [drawn([...rows])];
  return [...(stays.length ? [drawn(stays)] : []), ...(points.length ? [el("details", { "data-name": "points" }, el("summary", {},
    `${points.length} links of points`), drawn(points))] : [])];
}
function drawGate(gate) {
  const words = { pass: "pass", fail: "▲ fail", indeterminate: "◆ indeterminate" };
  return el("details", { "data-name": "gate" }, el("summary", {}, `Readiness for release: ${gate.verdict.replaceAll("_", " ")}`),
    table(["Check", "Result", "Evidence"], gate.checks.map((check) => [
      `${check.id} ${check.what}`, whole(words[check.result]), check.evidence.join("; ").replaceAll("_", " ") || "–"]), ""));
}
function drawBatch(history, gate) {
  const { legs, coverage, excursions, exceptions } = history;
  const batch = history.batch || state.batches.find((item) => item.id === state.batch) || {};
  const open = exceptions.filter((item) => item.state !== "resolved");
  const sign = state.rights.includes("sign");
  const kept = [...$("batch").querySelectorAll("details[open]")].map((one) => one.dataset.name);
  $("batch").replaceChildren(
    el("dl", { class: "strip" },
      entry("Batch", batch.issuer ?? "", " ", whole(batch.number ?? state.batch)),
      entry("Chain of identity", batch.coi ? `${batch.coi.scheme} ${batch.coi.value}` : "–"),
      entry("Release", gate.verdict.replaceAll("_", " ")),
      entry("Excursions · open exceptions", `${excursions.length} · ${open.length}`),
      entry("Known at", history.known?.time ? when(history.known.time) : "–", " ", history.known ? whole(`(${history.known.token})`) : "")),
    el("h3", {}, "Where it was"), lanes(legs, excursions, history.known?.time),
    el("h3", {}, "Coverage"), ...coverBars(legs, coverage),
    el("h3", {}, "To be confirmed"), ...waiting(legs),
    el("h3", {}, "Exceptions"), table(["Kind", "Subject", "What to do", "Opened", "Due", ...(sign ? ["Decide"] : [])], open.map((item) => [
      mark(WORDS[item.kind] || item.kind.replaceAll("_", " ")), item.subject, item.suggested || "–", whole(when(item.opened, "short")),
      item.due ? whole(when(item.due, "short")) : "–", ...(sign ? [acts(item)] : [])]), "Nothing is open."),
    drawGate(gate),
    el("h3", {}, "Excursions"), table(["Point", "Limit", "From", "To", "Duration", "Peak", "Who had it"], excursions.map((item) => [
      item.point.split("/").slice(2).join("/"), item.decides ? mark(`${item.side} ${item.rule.replace("rule:", "")}`) : `${item.side} ${item.rule.replace("rule:", "")} · air probe, the product probe decides`, whole(when(item.from, "short")),
      item.to ? whole(when(item.to, "short")) : "open", `${span(item.seconds)} (${item.policy})`, `${shown(item.peak)} ${unit(item.unit)}`,
      item.custodians.map((one) => `${one.holder || one.state} ${span(one.seconds)}`).join(", ") || "–"]), "None found by the rules in force."),
    ...history.budgets.map((one) => el("p", { class: "note" },
      `Budget ${one.id}: ${span(one.drawn_s)} drawn of ${span(one.max_total_s)}${one.kept ? "" : ` ▲ ${one.faults.join("; ")}`}`)),
    el("p", { class: "note" }, history.not_built?.length ? `Not built yet: ${history.not_built.join(", ")}.` : ""));
  for (const one of $("batch").querySelectorAll("details")) one.open = kept.includes(one.dataset.name);
}
const entry = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
export const whole = (text) => el("span", { class: "word" }, text);
// Rounded down: 100 % is said only of all.
const share = (part, whole) => `${(Math.floor((10000 * part) / whole) / 100).toFixed(2)} %`;
export const mark = (text) => el("span", { class: "mark bad" }, `▲ ${text}`);
function lanes(legs, excursions, known) {
  if (!legs.length) return el("p", { class: "none" }, "No scan or link has placed this batch anywhere yet.");
  const end = (leg) => Date.parse(leg.to || known || new Date(now()).toISOString());
  const first = Math.min(...legs.map((leg) => Date.parse(leg.from))), last = Math.max(...legs.map(end));
  const part = (a, b) => ({ left: `${(100 * (a - first)) / (last - first || 1)}%`, width: `${Math.max(0.3, (100 * (b - a)) / (last - first || 1))}%` });
  const names = [...new Set(legs.map((leg) => leg.equipment))];
  return el("div", { class: "lanes" }, ...names.map((name) => el("div", { class: "lane" },
    el("span", {}, name.replace("equipment:", "")),
    el("span", { class: "track" }, ...legs.filter((leg) => leg.equipment === name).flatMap((leg) => [
      el("span", { class: `leg ${leg.state}`, style: part(Date.parse(leg.from), end(leg)),
        title: `${when(leg.from)} to ${leg.to ? when(leg.to) : "now"} · ${leg.source}, ${leg.state}` }),
      ...excursions.filter((item) => leg.points.some((point) => point.point === item.point)).map((item) => {
        const [a, b] = [Math.max(Date.parse(item.from), Date.parse(leg.from)), Math.min(item.to ? Date.parse(item.to) : end(leg), end(leg))];
        return b > a ? el("span", { class: "hit", style: part(a, b), title: `${item.side} ${item.rule}: ${span(item.seconds)}` }) : null;
      })])))),
  el("p", { class: "note" }, `${when(first)} to ${when(last)} ${state.zone} · hatched: provisional · solid orange: excursion`));
}
const STATES = ["present", "late_pending", "missing", "faulty", "unassigned"];
function coverBars(legs, coverage) {
  const rows = legs.map((leg) => [leg.equipment.replace("equipment:", ""), sum(leg.points)]);
  if (coverage && rows.length > 1) rows.push(["all", coverage]);
  return rows.map(([name, count]) => {
    const slots = count.slots || 0;
    const words = STATES.filter((key) => count[key]).map((key) => `${key.replace("_", " ")} ${count[key].toLocaleString("en")}`).join(", ");
    return el("div", { class: "lane" }, el("span", {}, name), el("div", {},
      el("div", { class: "cover" }, ...STATES.map((key) => el("span", { class: key, style: { width: `${(100 * (count[key] || 0)) / (slots || 1)}%` } }))),
      el("span", { class: "note" }, slots ? `${share(count.present, slots)} of ${slots.toLocaleString("en")} slots: ${words}` : "no slots: no sensor is linked")));
  });
}
function sum(points) {
  const out = { slots: 0 };
  for (const point of points) for (const key of ["slots", ...STATES]) out[key] = (out[key] || 0) + (point[key] || 0);
  return out;
}
export function table(heads, rows, none) {
  if (!rows.length) return el("p", { class: "none" }, none);
  return el("div", { class: "table" }, el("table", { class: "stack" },
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, i) => el("td", { "data-name": heads[i] }, cell)))))));
}

// ---------------------------------------------------------------- gateways
function drawNodes(nodes) {
  $("nodes").replaceChildren(table(["Gateway", "State", "On disk up to", "Backlog", "Gaps · forks", "Clock", "Last seen"], nodes.map((node) => [
    `${node.group}/${node.node}`, node.online === false ? mark("offline") : "online", String(node.upto), String(node.backlog ?? "–"),
    `${node.gaps.length} · ${node.forks}`,
    node.clock ? (node.clock.synchronised ? `± ${node.clock.bound_s === null ? "?" : (1000 * node.clock.bound_s).toPrecision(2)} ms` : "not synchronised") : "–",
    node.last_seen ? `${span((now() - Date.parse(node.last_seen)) / 1000)} ago` : "–"]), "No gateway has been heard yet."));
}

// ---------------------------------------------------------------- the round
async function refresh(all) {
  const [points, nodes] = await Promise.all([ask("/points?limit=1000"), ask("/nodes")]);
  state.points = points.items;
  state.heard = Date.now();
  $("banner").hidden = true;
  state.point ??= (state.points.find((item) => item.point.endsWith("FRZ-01/temperature")) || state.points[0])?.point ?? null;
  drawPoints();
  drawNodes(nodes.items.filter((node) => node.group !== "import")); // a file is no gateway that could be offline
  if (!all) return;
  const [batches, rules] = await Promise.all([ask("/batches"), ask("/rules")]);
  [state.batches, state.rules] = [batches.items, rules.items];
  state.batch ??= state.batches[0]?.id ?? null;
  drawBatches();
  await Promise.all([state.window ? null : loadTrend(), loadBatch()]);
}
export function trouble(problem) {
  if (problem.signIn) { showSignIn(); return; }
  if (Date.now() - state.heard > STALE_AFTER_MS || problem instanceof TypeError) {
    const since = state.heard ? `since ${when(state.heard + state.skew)}` : "yet";
    $("banner").textContent = `▲ No answer from the collector ${since}: what you see is old. ${problem.message}`;
    $("banner").hidden = false;
  } else {
    $("banner").textContent = `▲ ${problem.message}`;
    $("banner").hidden = false;
  }
}
let round = 0;
async function tick() {
  try { await refresh(round % 5 === 0); } catch (problem) { trouble(problem); }
  round += 1;
  if (!$("site").hidden) state.timer = setTimeout(tick, REFRESH_MS);
}
function showSignIn() {
  clearTimeout(state.timer);
  $("site").hidden = true;
  $("sign-out").hidden = true;
  $("who").textContent = "";
  $("sign-in").hidden = false;
  $("sign-in").elements.user.focus();
}
async function enter() {
  const session = await ask("/session");
  state.zone = session.timezone || "UTC";
  state.rights = session.person ? session.rights : [];
  state.skew = Date.parse(session.now) - Date.now();
  $("who").textContent = `${session.user} (${session.role})`;
  $("sign-in").hidden = true;
  $("site").hidden = false;
  $("sign-out").hidden = false;
  drawRanges();
  round = 0;
  await tick();
}
$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target.elements;
  try {
    $("sign-in-problem").textContent = "";
    const answer = await fetch(`${API}/session`, {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: form.user.value, password: form.password.value }),
    });
    if (!answer.ok) { $("sign-in-problem").textContent = (await answer.json()).detail || "Name or password is wrong."; return; }
    form.password.value = "";
    await enter();
  } catch (problem) { $("sign-in-problem").textContent = `The collector did not answer: ${problem.message}`; }
});
$("sign-out").addEventListener("click", async () => { await send("/session", {}, "DELETE").catch(() => null); showSignIn(); });
let redraw = 0;
addEventListener("resize", () => { clearTimeout(redraw); redraw = setTimeout(() => loadTrend().catch(trouble), 200); });
setInterval(() => {
  $("clock").textContent = `${when(now())} ${state.zone}`;
  if (!$("site").hidden && state.heard && Date.now() - state.heard > STALE_AFTER_MS) trouble(new TypeError("Check the network, then the collector."));
}, 1000);
readAddress();
enter().catch((problem) => (problem.signIn ? showSignIn() : trouble(problem)));

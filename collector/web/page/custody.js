// Custody and instruments of the batch that is shown: who had it, what measured it, where it is due.
// Draws from the history that app.js has asked for; asks for certificates and expectations itself.
import { act, ask, el, loadBatch, mark, send, shown, span, state, table, trouble, when, whole } from "/app.js";

const $ = (id) => document.getElementById(id);
const STATES = {
  held: "held", passing: "between two hands", unknown: "nobody is known to have it",
  waiting: "waiting", due_soon: "due soon", overdue: "missed", met: "there in time", late: "came late", cancelled: "cancelled",
  in_calibration: "in calibration", expired: "calibration expired", uncalibrated: "not shown to be calibrated",
  out_of_tolerance: "left out of tolerance",
  confirmed: "out under every error", possible: "out under some error", cleared_by_margin: "cleared by margin",
};
const BAD = new Set(["unknown", "overdue", "late", "expired", "out_of_tolerance", "confirmed", "possible", "due_soon"]);
const word = (name) => (BAD.has(name) ? mark(STATES[name] || name) : STATES[name] || name);
const short = (id) => id.replace(/^[a-z-]+:/, "");
let shownBatch = null;

function chain(custody) {
  return table(["Who", "From", "To", "Why"], custody.chain.map((one) => [
    one.holder || word(one.state), one.from ? whole(when(one.from, "short")) : "the beginning",
    one.to ? whole(when(one.to, "short")) : "now", one.why || "–"]), "Nobody told of any hand-over.");
}
function instruments(legs, items) {
  const named = new Map(items.map((one) => [one.id, `${one.lab} ${one.number}`]));
  const rows = legs.flatMap((leg) => leg.points.filter((point) => point.calibration).map((point) => {
    const found = point.calibration, late = found.flags.CAL_EXPIRED;
    return [point.point.split("/").slice(2).join("/"), found.instruments.map(short).join(", "), word(found.state),
      found.certificates.map((id) => named.get(id) || id).join(", ") || "–",
      [late ? `${late} readings after the due date` : "", found.extrapolated ? `${found.extrapolated} outside the certificate's points` : "",
        found.corrected ? `raw ${shown(found.raw_min)} to ${shown(found.raw_max)}` : ""].filter(Boolean).join(", ") || "–"];
  }));
  return table(["Point", "Instrument", "State", "Certificates", "Readings"], rows, "No instrument is linked to a point of this batch.");
}
function doubts(items) {
  return items.length ? [el("h3", {}, "In doubt"), table(["Point", "In doubt", "Error", "Verdict", "Worst"], items.map((one) => [
    one.point.split("/").slice(2).join("/"), whole(`${when(one.from, "short")} to ${when(one.to, "short")}`),
    `${shown(one.error[0])} to ${shown(one.error[1])}`, word(one.impact),
    one.limits.map((limit) => `${shown(limit.worst)} (${short(limit.limit)})`).join(", ") || "no limit binds this point"]), "")] : [];
}
function certificates(items) {
  const may = state.rights.includes("confirm");
  const waiting = items.filter((one) => one.state === "provisional");
  return waiting.length ? [el("h3", {}, "Certificates to be compared"), table(["Certificate", "Instrument", "Calibrated", "Due", "By", ...(may ? ["Decide"] : [])],
    waiting.map((one) => [`${one.lab} ${one.number}${one.withdrawn ? " (withdrawal)" : ""}`, short(one.instrument), whole(when(one.calibrated).slice(0, 10)),
      whole(when(one.due).slice(0, 10)), one.actor, ...(may ? [el("span", { class: "ranges" },
        act("Confirm", `/certificates/${encodeURIComponent(one.id)}/confirmation`), act("Reject", `/certificates/${encodeURIComponent(one.id)}/rejection`))] : [])]), "")] : [];
}
function plan(items) {
  return items.length ? [el("h3", {}, "Where it is due"), table(["Place", "By", "State", "Said by"], items.map((one) => [
    short(one.place), whole(when(one.due, "short")), el("span", {}, word(one.state), one.hard ? " · hard" : "",
      one.wrong_place ? mark(` now in ${short(one.wrong_place)}`) : ""), one.actor]), "")] : [];
}
async function draw(history) {
  shownBatch = history.batch.id;
  const [kept, due] = await Promise.all([ask("/certificates"), ask(`/expectations?batch=${encodeURIComponent(shownBatch)}`)]);
  if (history.batch.id !== shownBatch) return;
  const path = `/api/v1/batches/${encodeURIComponent(shownBatch)}/manifest`;
  const counts = history.coverage;
  $("custody-note").textContent = history.batch.number || "";
  $("custody").replaceChildren(
    el("h3", {}, "Who had it"), chain(history.custody),
    ...plan(due.items),
    el("h3", {}, "What measured it"), instruments(history.legs, kept.items),
    ...doubts(history.calibration),
    ...certificates(kept.items),
    ...history.clocks.filter((one) => one.bound_s === null || one.bound_s > one.bound_s_max).map((one) => el("p", { class: "note" },
      `Clock of ${one.node}: ${one.bound_s === null ? "not synchronised, or nothing known of it" : `off by up to ${span(one.bound_s)}`}`)),
    el("p", { class: "note" }, `Slots: ${counts.slots} = ${counts.present} present + ${counts.late_pending} late + ${counts.missing} missing + ` +
      `${counts.faulty} faulty + ${counts.not_required} not required + ${counts.unassigned} without sensor${counts.not_kept ? ` + ${counts.not_kept} not kept` : ""} · `, el("a", { href: path }, "manifest")));
  $("certificate-form").hidden = !state.rights.includes("enter");
}
function pointsOf(text, adjusted) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
    const [reference, found, left, u] = line.split(/[,;\t]/).map((part) => Number(part.trim()));
    if ([reference, found, left, u].some(Number.isNaN)) throw new Error(`“${line}”: four numbers are needed, reference, as found, as left, U`);
    return { reference, as_found: found, as_left: adjusted ? left : null, u, k: 2 };
  });
}
$("certificate-form").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target.elements;
  try {
    const body = { adjusted: form.adjusted.checked, tolerance: Number(form.tolerance.value), points: pointsOf(form.points.value, form.adjusted.checked) };
    for (const name of ["number", "lab", "accreditation", "channel", "unit", "calibrated", "due"]) {
      if (form[name].value.trim()) body[name] = form[name].value.trim();
    }
    const made = await send(`/instruments/${encodeURIComponent(form.instrument.value.trim())}/certificates`, body);
    $("certificate-said").textContent = `Entered as ${made.id}; another person compares it with the paper.`;
    await loadBatch();
  } catch (problem) {
    $("certificate-said").textContent = problem.message;
  }
});
document.addEventListener("batch", (event) => draw(event.detail).catch(trouble));

// Alarms: what waits for somebody, worst first, with acknowledging and shelving. Draws its own panel.
import { ask, el, send, shown, span, state, table, trouble, when } from "/app.js";

const REFRESH_MS = 3000;
const $ = (id) => document.getElementById(id);
const WORDS = {
  unack: "▲ active, not acknowledged", acked: "active, acknowledged", rtn_unack: "◆ returned, not acknowledged",
  latch_unack: "◆ latched, not acknowledged", latch_ack: "latched, acknowledged", shelved: "shelved",
  suppressed_by_design: "suppressed by design", out_of_service: "out of service",
  retro_unack: "◆ was over before it was known", retro_ack: "taken up", normal: "normal",
};

function act(label, one, verb, more = () => ({})) {
  return el("button", { type: "button", "aria-label": `${label} ${one.id}`, on: { click: async () => {
    const reason = window.prompt(`${label}: why?`);
    if (!reason) return;
    try {
      await send(`/alarms/${one.id.split("/").map(encodeURIComponent).join("/")}/${verb}`, { reason, ...more() });
    } catch (problem) { trouble(problem); }
    await draw();
  } } }, label);
}
function acts(one) {
  if (!state.rights.includes("enter")) return "–";
  const hour = () => ({ for_s: Math.min(3600, one.shelve_max_s) });
  const can = [];
  if (["unack", "rtn_unack", "latch_unack", "retro_unack"].includes(one.state)) can.push(act("Acknowledge", one, "ack"));
  if (one.state === "latch_ack") can.push(act("Reset", one, "reset"));
  if (["unack", "acked", "rtn_unack"].includes(one.state)) can.push(act(`Shelve ${span(hour().for_s)}`, one, "shelve", hour));
  if (one.state === "shelved") can.push(act("Unshelve", one, "unshelve"));
  return can.length ? el("span", { class: "ranges" }, ...can) : "–";
}
function what(one) {
  const name = one.subject.replace(/^(point|device|node):/, "");
  return el("span", {}, el("strong", {}, name), el("span", { class: "note" }, ` ${one.side || one.class}${one.response ? `: ${one.response}` : ""}`));
}
function since(one) {
  const held = one.activation;
  if (!held) return "–";
  const end = held.to ? ` to ${when(held.to, "hour")}` : "";
  return `${when(held.from, "short")}${end}${held.peak === null ? "" : `, ${shown(held.peak)}`}`;
}
function how(one) {
  const notes = [one.shelf ? `until ${when(one.shelf.until, "short")}` : "", one.stale ? "stale" : "", one.work_order || "",
    one.retrospective && one.owner ? `by ${one.owner}` : ""].filter(Boolean).join(", ");
  return `${WORDS[one.state] || one.state}${notes ? ` (${notes})` : ""}`;
}
async function draw() {
  if ($("site").hidden) return;
  try {
    const { items } = await ask("/alarms?limit=1000");
    const raised = items.filter((one) => !["normal", "retro_ack"].includes(one.state));
    const waiting = raised.filter((one) => one.unacked).length;
    $("alarms-note").textContent = `${raised.length} of ${items.length}${waiting ? `, ${waiting} not acknowledged` : ""}`;
    $("alarms").replaceChildren(table(["Alarm", "Priority", "State", "Since", "Do"],
      raised.map((one) => [what(one), one.priority, how(one), since(one), acts(one)]), "No alarm is raised."));
  } catch {
    // app.js tells that answers stopped; the list stays as it was.
  }
}

new MutationObserver(draw).observe($("site"), { attributes: true, attributeFilter: ["hidden"] });
setInterval(draw, REFRESH_MS);

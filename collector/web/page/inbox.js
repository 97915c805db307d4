// Files: a logger's file is previewed, then imported; the inbox lists what belongs to nothing yet.
// Apart from app.js on purpose: it asks its own questions and draws its own panel.
const API = "/api/v1";
const REFRESH_MS = 10000;
const $ = (id) => document.getElementById(id);

function line(text, kind = "") {
  const item = document.createElement("li");
  item.textContent = text;
  item.className = kind;
  return item;
}

async function asked(path, options = {}) {
  const answer = await fetch(API + path, { credentials: "same-origin", ...options });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || body.title);
  return body;
}

async function given(path) {
  const file = $("file").files[0];
  if (!file) throw new Error("choose a file first");
  const said = new URLSearchParams({ name: file.name });
  for (const key of ["zone", "logger"]) if ($(`file-${key}`).value.trim()) said.set(key, $(`file-${key}`).value.trim());
  return asked(`${path}?${said}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
}

function drawFile(found, stored) {
  const lines = [];
  if (found.kind === "evidence") lines.push(line(`Evidence, no readings: ${found.problem}`));
  else lines.push(line(`${found.readings} readings (${found.bad} bad) in ${found.rows} rows of logger ${found.logger || "?"}`));
  if (found.first) lines.push(line(`${found.first} to ${found.last}, zone ${found.zone || "in the file"}`));
  for (const one of found.points) lines.push(line(`${one.point}: ${one.min} to ${one.max} ${one.unit}`));
  if (found.asks) lines.push(line(`Asks: ${found.asks}`, "problem"));
  for (const one of found.candidates || []) lines.push(line(`Mentions ${one}`));
  lines.push(line(stored ? `Kept as ${found.id}` : found.already ? `Here already as ${found.already}` : "Nothing was stored yet."));
  $("file-said").replaceChildren(...lines);
}

async function act(path, stored) {
  try {
    drawFile(await given(path), stored);
    if (stored) await draw();
  } catch (problem) {
    $("file-said").replaceChildren(line(problem.message, "problem"));
  }
}

// What a person wishes or decides goes with their reason; a wish counts when another person confirms it.
function button(label, path, ask) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", async () => {
    const body = ask();
    if (!body) return;
    try {
      await asked(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      await draw();
    } catch (problem) {
      $("file-said").replaceChildren(line(problem.message, "problem"));
    }
  });
  return made;
}

function why(label) {
  const reason = window.prompt(`${label}: why?`);
  return reason ? { reason } : null;
}

function otherZone() {
  const zone = window.prompt("In which zone was the logger's clock set?");
  const told = zone ? why(`Read in ${zone}`) : null;
  return told ? { ...told, zone } : null;
}

function withButtons(text, buttons, kind = "") {
  const item = line(text, kind);
  const span = document.createElement("span");
  span.className = "ranges";
  span.append(...buttons);
  if (buttons.length) item.append(" ", span);
  return item;
}

function inboxLine(one, rights, user) {
  const name = one.name || one.id, where = `/imports/${encodeURIComponent(one.id)}`, wish = one.proposed;
  if (!wish) return line(one.kind === "evidence" ? `${name}: evidence of nothing yet` : `${name}: link ${one.unlinked.join(", ")}`);
  const said = Object.entries(wish.said).map(([key, value]) => `${key} ${typeof value === "object" ? "changed" : value}`).join(", ");
  const decide = rights.includes("confirm") && wish.actor !== user ? [button("Confirm", `${where}/confirmation`, () => why("Confirm")),
    button("Reject", `${where}/rejection`, () => why("Reject"))] : [];
  return withButtons(`${name}: ${wish.wish}${said ? ` (${said})` : ""} proposed by ${wish.actor}: ${wish.reason}. Another person decides.`, decide);
}

function importLine(one, rights) {
  const where = `/imports/${encodeURIComponent(one.id)}`, enter = rights.includes("enter") && !one.proposed;
  const how = one.kind === "evidence" ? "evidence" : `${one.readings} readings, zone ${one.zone || "in the file"}`;
  const notes = [...one.notes, ...(one.clock ? [`drift ${one.clock.drift_ppm} ppm`] : [])];
  const buttons = [...(enter && one.kind === "readings" ? [button("Other zone", `${where}/correction`, otherZone)] : []),
    ...(enter && one.state === "in_force" ? [button("Withdraw", `${where}/withdrawal`, () => why("Withdraw"))] : [])];
  return withButtons(`${one.name || one.id}: ${one.state.replace("_", " ")}, version ${one.version}, ${how}${notes.length ? `; ${notes.join("; ")}` : ""}`, buttons);
}

async function draw() {
  if ($("site").hidden) return;
  try {
    const [{ items }, every, session] = await Promise.all([asked("/imports?inbox=true"), asked("/imports?limit=500"), asked("/session")]);
    const rights = session.person ? session.rights : [];
    const lines = items.map((one) => inboxLine(one, rights, session.user));
    $("inbox").replaceChildren(...(lines.length ? lines : [line("Everything that came belongs to something.")]));
    $("imported").replaceChildren(...every.items.slice(-20).reverse().map((one) => importLine(one, rights)));
    $("imported-head").textContent = `Imported files (${every.items.length})`;
  } catch {
    // app.js tells that answers stopped; the list stays as it was.
  }
}

$("file-preview").addEventListener("click", () => act("/imports/preview", false));
$("file-import").addEventListener("click", () => act("/imports", true));
new MutationObserver(draw).observe($("site"), { attributes: true, attributeFilter: ["hidden"] });
setInterval(draw, REFRESH_MS);

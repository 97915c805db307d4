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

async function draw() {
  if ($("site").hidden) return;
  try {
    const { items } = await asked("/imports?inbox=true");
    const lines = items.map((one) => line(
      one.kind === "evidence" ? `${one.name || one.id}: evidence of nothing yet` : `${one.name || one.id}: link ${one.unlinked.join(", ")}`));
    $("inbox").replaceChildren(...(lines.length ? lines : [line("Everything that came belongs to something.")]));
  } catch {
    // app.js tells that answers stopped; the list stays as it was.
  }
}

$("file-preview").addEventListener("click", () => act("/imports/preview", false));
$("file-import").addEventListener("click", () => act("/imports", true));
new MutationObserver(draw).observe($("site"), { attributes: true, attributeFilter: ["hidden"] });
setInterval(draw, REFRESH_MS);

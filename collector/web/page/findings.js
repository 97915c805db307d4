// Findings: what the gateways' detectors noticed, worst first, as advice. Draws its own panel, like inbox.js.
const REFRESH_MS = 10000;
const SHOWN_MAX = 12;
const $ = (id) => document.getElementById(id);

function line(one) {
  const item = document.createElement("li");
  const mark = document.createElement("strong");
  mark.textContent = one.state === "open" ? "open · " : "";
  const about = document.createElement("span");
  about.className = "note";
  about.textContent = ` ${one.detector}, ${one.from.slice(0, 16).replace("T", " ")} UTC, score ${one.score.toFixed(2)}`;
  item.append(mark, one.sentence || one.point, about);
  return item;
}

function word(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

async function draw() {
  if ($("site").hidden) return;
  try {
    const answer = await fetch(`/api/v1/findings?limit=${SHOWN_MAX}`, { credentials: "same-origin" });
    if (!answer.ok) return;
    const { items } = await answer.json();
    $("findings").replaceChildren(...(items.length ? items.map(line) : [word("Nothing was noticed.")]));
  } catch {
    // app.js tells that answers stopped; the list stays as it was.
  }
}

new MutationObserver(draw).observe($("site"), { attributes: true, attributeFilter: ["hidden"] });
setInterval(draw, REFRESH_MS);

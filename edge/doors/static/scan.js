// The scan page. An act gets its id here and waits in localStorage until the gateway has it on disk:
// sent again as often as it takes, recorded once. What a person sees is what the gateway answered.
const $ = (id) => document.getElementById(id);
const QUEUE = "telomere.scan.queue";
const WORDS = { put_in: "put in", take_out: "take out", hand_over: "hand over", receive: "receive" };
const CONTROL = "TELOMERE:";
const BADGE = "TELOMERE:BADGE:";
const AGAIN_MS = 2000;
const TIMEOUT_MS = 5000;
const BADGE_MS = 10 * 60 * 1000;
let sending = false;
let provisional = "";
let lastAct = Date.now();

const load = () => JSON.parse(localStorage.getItem(QUEUE) || "[]");
const save = (queue) => localStorage.setItem(QUEUE, JSON.stringify(queue));

function hex(bytes) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function say(text, kind) {
  $("said").textContent = text;
  $("said").className = `said ${kind}`;
}

function line(text, kind) {
  const item = document.createElement("li");
  item.textContent = text;
  item.className = kind;
  $("acts").prepend(item);
  while ($("acts").children.length > 30) $("acts").lastChild.remove();
}

function state(text, away) {
  const waiting = load().length;
  $("state").textContent = waiting ? `${text} · ${waiting} waiting` : text;
  $("state").className = away ? "note away" : "note";
}

function uplink(word) {
  state(word === "online" ? "uplink fine" : "uplink away: kept here, sent later", false);
}

// -- recording

function record(body) {
  const badge = $("badge").value.trim();
  const equipment = $("equipment").value.trim();
  if (!badge) return refuse("Who are you? Scan or type your badge.", "badge");
  if (!equipment) return refuse("Which equipment?", "equipment");
  const effective = $("effective").value;
  const act = { id: hex(16), equipment, badge, note: $("note").value.trim(), ...body };
  if (effective) act.effective = new Date(effective).toISOString();
  save([...load(), { made: Date.now(), act }]);
  lastAct = Date.now();
  clear();
  say("…", "");
  void send();
}

function refuse(text, field) {
  say(text, "wrong");
  $(field).focus();
}

function clear() {
  provisional = "";
  $("sticker").hidden = true;
  for (const id of ["code", "effective", "party", "note", "value"]) $(id).value = "";
  $("code").focus();
}

async function send() {
  if (sending) return;
  sending = true;
  try {
    for (let queue = load(); queue.length; queue = load()) {
      if (!(await sendOne(queue[0]))) break;
      save(load().filter((one) => one.act.id !== queue[0].act.id));
    }
  } finally {
    sending = false;
  }
  if (!load().length && $("state").classList.contains("away")) void look();
}

// True when this act is settled: recorded, or refused for good.
async function sendOne({ made, act }) {
  let answer;
  let said;
  try {
    answer = await fetch("/api/acts", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...act, age_ms: Math.max(0, Math.round(Date.now() - made)) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    said = await answer.json();
  } catch {
    say("The gateway cannot be reached: kept in this page, sent by itself.", "wrong");
    state("gateway away", true);
    return false;
  }
  if (answer.ok) {
    say(`Recorded: ${said.sentence}.`, "ok");
    line(`${new Date(said.time).toLocaleTimeString()} ${said.sentence}`, "ok");
    save(load().filter((one) => one.act.id !== act.id));
    uplink(said.uplink);
    return true;
  }
  if (answer.status >= 500 || answer.status === 429) {
    say(`Waiting: ${said.detail}.`, "wrong");
    return false;
  }
  say(`NOT recorded: ${said.detail}.`, "wrong");
  line(`NOT recorded: ${act.batch || act.value} ${WORDS[act.act] || ""} ${act.equipment}: ${said.detail}`, "wrong");
  return true;
}

function scanned(act) {
  const batch = $("code").value;
  if (!batch.trim()) return refuse("Scan the batch first, or say that the label cannot be read.", "code");
  const label = batch === provisional ? "unreadable" : "read";
  record({ kind: "scan", act, batch, label, party: $("party").value.trim() });
}

function reading() {
  const text = $("value").value.trim().replace(",", ".");
  if (!/^[-+]?\d+(\.\d+)?$/.test(text)) return refuse("Type the number that the instrument shows.", "value");
  record({ kind: "manual_reading", value: Number(text), unit: $("unit").value, batch: $("code").value.trim() });
}

function unreadable() {
  provisional = `P-${hex(3).toUpperCase()}`;
  $("code").value = provisional;
  $("sticker").textContent = `Write ${provisional} on it by hand: under this name it is found again.`;
  $("sticker").hidden = false;
}

// A wedge types the code and Enter; its control barcodes choose the act, so that no hand is needed.
function entered() {
  const code = $("code").value;
  if (code.startsWith(BADGE)) {
    $("badge").value = code.slice(BADGE.length);
    $("code").value = "";
    say(`Scanned by ${$("badge").value}.`, "ok");
    return;
  }
  const typed = code.indexOf(CONTROL);
  const act = typed < 0 ? "" : code.slice(typed + CONTROL.length).toLowerCase();
  if (typed >= 0 && WORDS[act]) {
    $("code").value = code.slice(0, typed);
    scanned(act);
  } else {
    say(code ? `${code}: what happened to it?` : "", "");
  }
}

// -- camera, where the browser can read codes by itself

async function camera() {
  const detector = new BarcodeDetector();
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const video = $("video");
  video.srcObject = stream;
  video.hidden = false;
  await video.play();
  const until = Date.now() + 30000;
  const stop = () => {
    for (const track of stream.getTracks()) track.stop();
    video.hidden = true;
  };
  const step = async () => {
    const [found] = await detector.detect(video).catch(() => []);
    if (found) {
      $("code").value = found.rawValue;
      entered();
      stop();
    } else if (Date.now() < until) {
      requestAnimationFrame(step);
    } else {
      stop();
      say("No code was seen. Type it, or say that the label cannot be read.", "wrong");
    }
  };
  await step();
}

// -- start

async function look() {
  try {
    const answer = await fetch("/api/site", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const site = await answer.json();
    $("site").textContent = `${site.group} / ${site.node}`;
    $("places").replaceChildren(...site.equipment.map((name) => Object.assign(document.createElement("option"), { value: name })));
    if (!$("equipment").value && site.equipment.length === 1) $("equipment").value = site.equipment[0];
    uplink(site.uplink);
    const recent = await (await fetch("/api/recent")).json();
    if (!$("acts").children.length) {
      for (const one of recent.items.reverse()) {
        line(`${new Date(one.time).toLocaleTimeString()} ${one.door}: ${one.sentence}`, one.ok ? "ok" : "wrong");
      }
    }
  } catch {
    state("gateway away", true);
  }
}

for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => scanned(button.dataset.act));
}
$("read").addEventListener("click", reading);
$("unreadable").addEventListener("click", unreadable);
$("code").addEventListener("keydown", (event) => {
  if (event.key === "Enter") entered();
});
$("equipment").addEventListener("change", () => localStorage.setItem("telomere.scan.equipment", $("equipment").value));
$("equipment").value = new URLSearchParams(location.search).get("equipment") || localStorage.getItem("telomere.scan.equipment") || "";
if ("BarcodeDetector" in window && navigator.mediaDevices) {
  $("camera").hidden = false;
  $("camera").addEventListener("click", () => camera().catch((error) => say(`No camera: ${error.message}.`, "wrong")));
}
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/worker.js").catch(() => {});
addEventListener("online", () => void send());
setInterval(() => {
  void send();
  if (Date.now() - lastAct > BADGE_MS) $("badge").value = "";
}, AGAIN_MS);
void look();
void send();
$(($("badge").value ? "code" : "badge")).focus();

// Live figures, the live tail, times as people like them, keys. Everything else works without this file.

const root = document.documentElement;
const main = document.querySelector("main");
const ROWS_MAX = 200;
const AGES = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

root.dataset.script = "yes";
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

function age(at) {
  const seconds = Math.trunc((Date.now() - at) / 1000);
  if (Math.abs(seconds) < 2) return "just now";
  const [unit, name] = AGES.find(([size]) => Math.abs(seconds) >= size);
  const count = Math.floor(Math.abs(seconds) / unit);
  return seconds > 0 ? `${count} ${name} ago` : `in ${count} ${name}`;
}

function pad(number) {
  return String(number).padStart(2, "0");
}

function local(at, clock) {
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  if (clock) return time;
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${time}`;
}

function tellTimes(place) {
  if (root.dataset.times === "utc") return;
  for (const each of place.querySelectorAll("time[datetime]")) {
    const at = new Date(each.dateTime);
    const text = root.dataset.times === "local" ? local(at, "clock" in each.dataset) : age(at);
    if (each.textContent !== text) each.textContent = text;
  }
}

tellTimes(document);
if (root.dataset.times === "relative") setInterval(() => document.hidden || tellTimes(document), 5000);

// One stream of events a page. It is closed while nobody looks.

const link = document.getElementById("link");
const tail = document.getElementById("tail");
const rows = document.getElementById("rows");
const pauseButton = document.getElementById("pause");
const freshButton = document.getElementById("fresh");
const tailState = document.getElementById("tail-state");
let source = null;
let paused = false;
let waiting = [];
let fresh = 0;
const states = {};
for (const each of document.querySelectorAll('[data-live^="state-"]')) states[each.dataset.live] = each.textContent;
// What came since then is asked for when the stream is opened: between the page and the stream nothing is lost.
let seen = tail?.dataset.since;
const AWAY_MAX_MS = 50000;
let left = 0;

function tell(text, tone) {
  if (!link) return;
  link.textContent = text;
  link.dataset.tone = tone;
}

// Whoever is on the way to another page is not called back.
let leaving = false;
window.addEventListener("beforeunload", () => { leaving = true; });
window.addEventListener("pageshow", () => { leaving = false; });

function reload() {
  if (!leaving) location.reload();
}

function isTyping() {
  return document.activeElement?.matches("input, select");
}

// What was still being asked when the page was made is there a little later.
function lookAgain() {
  if (document.hidden || isTyping()) setTimeout(lookAgain, 1000);
  else reload();
}

if (main?.dataset.asks) setTimeout(lookAgain, 1000 * main.dataset.asks);

// A page that says who does not answer looks again when that one is back, unless somebody is typing.
function isBack(live) {
  const back = Object.entries(live).some(([name, word]) => name.startsWith("state-") && word === "up" && states[name] && states[name] !== "up");
  Object.assign(states, live);
  return back && document.querySelector(".retry") && !isTyping();
}

function apply(live) {
  for (const [name, text] of Object.entries(live)) {
    for (const each of document.querySelectorAll(`[data-live="${name}"]`)) each.textContent = text;
    if (!name.startsWith("tone-")) continue;
    const what = name.slice(5);
    for (const each of document.querySelectorAll(`[data-live="state-${what}"], [data-live="${what}"], #${what}`)) each.dataset.tone = text;
  }
  if ((live.running === "" && main.dataset.running) || isBack(live)) reload();
}

function put(elements) {
  for (const each of elements) each.classList.add("new");
  rows.prepend(...elements);
  while (rows.rows.length > ROWS_MAX) rows.rows[rows.rows.length - 1].remove();
  document.getElementById("none")?.remove();
}

function idOf(row) {
  return row.querySelector("a")?.textContent;
}

function arrive(frame) {
  const made = document.createElement("template");
  made.innerHTML = frame.rows;
  tellTimes(made.content);
  const known = new Set([...rows.rows, ...waiting].map(idOf));
  const elements = [...made.content.querySelectorAll("tr")].filter((each) => !known.has(idOf(each)));
  if (!elements.length) return;
  if (!paused) {
    put(elements);
    tailState.textContent = frame.more ? `Live; ${frame.more} more came than are shown` : "Live";
    return;
  }
  fresh += elements.length + frame.more;
  waiting = [...elements, ...waiting].slice(0, ROWS_MAX);
  freshButton.hidden = false;
  freshButton.textContent = `${fresh} new`;
}

function show() {
  put(waiting);
  waiting = [];
  fresh = 0;
  freshButton.hidden = true;
}

function setPaused(wanted) {
  paused = wanted;
  pauseButton.textContent = paused ? "Go on" : "Pause";
  pauseButton.setAttribute("aria-pressed", String(paused));
  tailState.textContent = paused ? "Paused" : "Live";
  if (!paused) show();
}

function open() {
  if (source || document.hidden || !main?.dataset.events) return;
  const asked = new URLSearchParams();
  if (tail) {
    asked.set("tail", "1");
    asked.set("since", seen);
    for (const name of ["partition", "category"]) if (tail.dataset[name]) asked.set(name, tail.dataset[name]);
  }
  source = new EventSource(`${main.dataset.events}?${asked}`);
  source.onopen = () => tell("live", "good");
  source.onerror = () => {
    // Left to itself it would come back with the address of its beginning.
    tell("not live; trying again", "warn");
    source?.close();
    source = null;
    setTimeout(open, 2000);
  };
  source.onmessage = (message) => {
    const frame = JSON.parse(message.data);
    seen = frame.at;
    if (frame.live) apply(frame.live);
    if (frame.rows && rows) arrive(frame);
    if (frame.trouble && tailState) tailState.textContent = frame.trouble;
  };
}

function close() {
  source?.close();
  source = null;
  tell("not live while hidden", "plain");
}

if (link && window.EventSource) {
  if (tail) tail.hidden = false;
  pauseButton?.addEventListener("click", () => setPaused(!paused));
  freshButton?.addEventListener("click", show);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      left = Date.now();
      close();
    } else if (tail && !paused && left && Date.now() - left > AWAY_MAX_MS) reload();
    else open();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
}

// Copying, waiting, keys.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it, and copy";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});

document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog") return;
  root.dataset.busy = "yes";
  // After the form is read: a disabled button would not be sent.
  if (event.target.method === "post") setTimeout(() => event.submitter && (event.submitter.disabled = true));
});
window.addEventListener("pageshow", () => { delete root.dataset.busy; });

const help = document.getElementById("help");
const keyed = new Map([...document.querySelectorAll("a[data-key]")].map((each) => [each.dataset.key, each]));
let going = 0;

document.getElementById("keys")?.addEventListener("click", (event) => {
  event.preventDefault();
  help.showModal();
});

const ACTIONS = {
  "?": () => help.showModal(),
  "/": () => { const search = document.getElementById("search"); search ? search.focus() : keyed.get("s").click(); },
  "m": () => document.getElementById("theme").click(),
  "u": () => document.getElementById("times").click(),
  " ": () => setPaused(!paused),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.closest("input, select, textarea, button, summary, [contenteditable], .scroll, pre")) return;
  if (event.key === "g") { going = Date.now(); return; }
  if (Date.now() - going < 1500 && keyed.has(event.key)) { keyed.get(event.key).click(); going = 0; return; }
  if (event.key === " " && !tail) return;
  if (!ACTIONS[event.key]) return;
  event.preventDefault();
  ACTIONS[event.key]();
});

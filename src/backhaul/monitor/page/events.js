// The lines of the log as they appear. They may contain text of unauthenticated peers, and enter the page as text only.

import { BASE } from "./api.js";
import { element } from "./cells.js";
import { count, moment } from "./format.js";

const MOST = 1000; // lines kept
const SHOWN = 200; // lines shown, the newest
const PAUSE = 10000; // milliseconds until another attempt, if the server takes no more readers
const LEVELS = { debug: 0, info: 1, warning: 2, error: 3, critical: 4 };

const byId = (id) => document.getElementById(id);
let events = []; // the newest last
let last = ""; // the id of the newest
let source = null;
let drawing = false; // a frame has been requested

function take(event) {
  last = event.lastEventId;
  events.push(JSON.parse(event.data));
  if (events.length > MOST) events = events.slice(-MOST);
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    render();
  });
}

function render() {
  const least = LEVELS[byId("events-level").value] ?? 0;
  const text = byId("events-search").value.trim().toLowerCase();
  const found = events.filter((event) => (LEVELS[event.level] ?? 1) >= least && event.text.toLowerCase().includes(text));
  byId("events-count").textContent = found.length === events.length ? "" : `${count(found.length)} of ${count(events.length)}`;
  byId("events-none").hidden = found.length > 0;
  byId("events-none").textContent = events.length ? "No event matches." : "No events yet.";
  byId("events").replaceChildren(...found.slice(-SHOWN).reverse().map(line));
}

function line(event) {
  const item = element("li", "", event.level);
  const time = element("time", moment(event.time));
  time.dateTime = new Date(event.time * 1000).toISOString();
  const text = element("p", "");
  if (event.level !== "info") text.append(element("b", event.level));
  text.append(event.text);
  item.append(time, text);
  return item;
}

/** Follow the log while the page is visible; the server sends what it has kept, then each new line. */
function follow() {
  if (document.hidden || source) return;
  source = new EventSource(new URL(`events?last_event_id=${encodeURIComponent(last)}`, BASE));
  source.addEventListener("log", take);
  source.addEventListener("error", () => {
    if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    leave();
    setTimeout(follow, PAUSE);
  });
}

function leave() {
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? leave() : follow()));
for (const id of ["events-level", "events-search"]) byId(id).addEventListener("input", render);
follow();

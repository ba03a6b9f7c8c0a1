// The table of users in flight. Only the visible rows exist, so ten thousand scroll like ten. Rates are computed from
// two consecutive answers. Texts enter the page as text only.

import { get, send } from "./api.js";
import { command, show } from "./curl.js";
import { count, duration, rate, size } from "./format.js";
import { whileSeen } from "./seen.js";
import { chosenClient, chosenPort, onChoice, showsUser } from "./view.js";

const SPARE = 6; // rows beyond both edges of the view
const PERIOD = 2000; // milliseconds from an answer to the next request, or more if the answer took long
const SHARE = 10; // the pause is at least so many times as long as the answer took

const byId = (id) => document.getElementById(id);
const view = byId("connections");
const body = byId("connections-rows");

let users = []; // of the last answer, with rates
let shown = []; // those that match the search, in order
let before = new Map(); // id → [received, sent] of the previous answer
let asked = 0; // the time of the last answer, on the server; 0 before the first one
let order = { key: "age", falling: false };
let chosen = null; // id of the selected user
let closable = false;
let logins = [];
let rows = new Map(); // id → row
let height = 48; // of a row in pixels, from the style sheet for this width

/** Return a text whose numbers compare as numbers; a collator takes ten times as long for ten thousand rows. */
const natural = (text) => text.replace(/\d+/g, (digits) => digits.padStart(5, "0"));
const compare = (one, other) => (one < other ? -1 : Number(one > other));

const ORDERS = {
  age: (user) => user.since,
  user: (user) => natural(user.user),
  port: (user) => natural(`${user.port} ${user.target}`),
  rate: (user) => user.down + user.up,
  total: (user) => user.received + user.sent,
  state: (user) => `${user.state} ${user.carrier}`,
};
const FALLING = new Set(["rate", "total"]); // at the first click

function take(answer) {
  const seconds = answer.now - asked;
  const speed = (now, then) => (then === undefined || seconds <= 0 ? 0 : Math.max(0, now - then) / seconds);
  users = answer.connections;
  for (const user of users) {
    const [received, sent] = before.get(user.id) ?? [];
    user.up = speed(user.received, received);
    user.down = speed(user.sent, sent);
  }
  before = new Map(users.map((user) => [user.id, [user.received, user.sent]]));
  asked = answer.now;
  ({ closable, logins } = answer);
  offer(byId("connections-port"), "All ports", users.map((user) => user.port || user.target));
  offer(byId("connections-state"), "All states", users.map((user) => user.state));
  arrange();
}

/** Fill a list of choices, unless it holds these already. */
function offer(list, all, texts) {
  const known = [...new Set(texts)].sort((one, other) => compare(natural(one), natural(other)));
  const key = JSON.stringify(known);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const value = list.value;
  list.replaceChildren(new Option(all, ""), ...known.map((text) => new Option(text, text)));
  list.value = known.includes(value) ? value : "";
}

function arrange() {
  if (!asked) return;
  height = parseFloat(getComputedStyle(view).getPropertyValue("--row"));
  const text = byId("connections-search").value.trim().toLowerCase();
  const [port, state] = [byId("connections-port").value, byId("connections-state").value];
  const key = ORDERS[order.key];
  const way = order.falling ? -1 : 1;
  shown = users.filter((user) => showsUser(user) && (!port || (user.port || user.target) === port) && (!state || user.state === state)
    && (!text || words(user).includes(text)));
  const keys = new Map(shown.map((user) => [user, key(user)]));
  shown.sort((one, other) => way * compare(keys.get(one), keys.get(other)) || one.id - other.id);
  byId("connections-none").hidden = shown.length > 0;
  byId("connections-none").textContent = users.length ? "No connection matches." : "No user is connected.";
  const total = `${count(users.length)} user${users.length === 1 ? "" : "s"}`;
  byId("connections-count").textContent = shown.length === users.length ? total : `${count(shown.length)} of ${total}`;
  byId("connections-hint").textContent = closable ? "Select a row with the arrow keys; Delete closes it."
    : "To close connections here, set web_user and web_password, or web_client_ca.";
  view.setAttribute("aria-rowcount", String(shown.length + 1));
  view.hidden = users.length === 0;
  body.style.height = `${shown.length * height}px`;
  draw();
}

const words = (user) => [user.id, user.user, user.port, user.client, user.target, user.carrier, user.state, user.protocol]
  .join(" ").toLowerCase();

/** Make the visible rows and remove all others. */
function draw() {
  const first = Math.max(0, Math.floor(view.scrollTop / height) - SPARE);
  const last = Math.min(shown.length, Math.ceil((view.scrollTop + view.clientHeight) / height) + SPARE);
  const next = new Map();
  for (let index = first; index < last; index += 1) {
    const user = shown[index];
    const row = rows.get(user.id) ?? makeRow(user);
    fill(row, user, index);
    next.set(user.id, row);
  }
  for (const [id, row] of rows) if (!next.has(id)) row.line.remove();
  for (const row of next.values()) if (!row.line.isConnected) body.append(row.line);
  rows = next;
  view.setAttribute("aria-activedescendant", rows.has(chosen) ? `connection-${chosen}` : "");
}

function makeRow(user) {
  const line = part("div", "row", "line");
  const cells = ["age", "user", "port", "rate", "total", "phase"].map((name) => part("div", "gridcell", name));
  const act = part("div", "gridcell", "act");
  line.id = `connection-${user.id}`;
  line.append(...cells, act);
  return { line, cells, act };
}

function part(tag, role, name) {
  const made = document.createElement(tag);
  made.setAttribute("role", role);
  made.className = name;
  return made;
}

function fill(row, user, index) {
  const [age, who, port, speed, total, state] = row.cells;
  row.line.style.transform = `translateY(${index * height}px)`;
  row.line.setAttribute("aria-rowindex", String(index + 2));
  row.line.setAttribute("aria-selected", String(user.id === chosen));
  put(age, duration(asked - user.since));
  put(who, user.user || "–", user.client ? `client ${user.client}` : "");
  put(port, user.port || user.target, user.port ? `to ${user.target}` : "");
  put(speed, `↓ ${rate(user.down)}`, `↑ ${rate(user.up)}`);
  put(total, `↓ ${size(user.sent)}`, `↑ ${size(user.received)}`);
  put(state, user.state, user.protocol === "udp" ? `${user.carrier}, UDP` : user.carrier);
  if (closable && !row.act.firstChild) row.act.append(closer(user));
  if (!closable) row.act.replaceChildren();
}

/** Put one or two lines into a cell; touch it only if they changed. */
function put(cell, text, small = "") {
  const key = `${text}\n${small}`;
  if (cell.dataset.shown === key) return;
  cell.dataset.shown = key;
  cell.title = small ? `${text}, ${small}` : text;
  const quiet = document.createElement("small");
  quiet.textContent = small;
  cell.replaceChildren(text, ...(small ? [quiet] : []));
}

function closer(user) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Close";
  button.tabIndex = -1; // the Delete key does the same for the chosen row
  button.setAttribute("aria-label", `Close ${user.user || user.id}`);
  button.addEventListener("click", () => confirmClose(user));
  return button;
}

// Closing

const dialog = byId("connections-dialog");
let closing = null;

const addressOf = (user) => user.user.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");

function confirmClose(user) {
  closing = user;
  const address = addressOf(user);
  const many = users.filter((other) => other.user && addressOf(other) === address).length;
  byId("connections-question").textContent = `Close ${user.user || `user ${user.id}`} to ${user.target}?`;
  byId("connections-close-all").hidden = many < 2;
  byId("connections-close-all").textContent = `Close all ${count(many)} from ${address}`;
  byId("connections-result").textContent = "";
  dialog.showModal();
}

async function close(choice) {
  try {
    await send("connections/close", choice);
    dialog.close();
    askNow();
  } catch (error) {
    byId("connections-result").textContent = `Not closed: ${error.message}`;
  }
}

byId("connections-close-one").addEventListener("click", () => close({ id: closing.id }));
byId("connections-close-all").addEventListener("click", () => close({ user: addressOf(closing) }));
byId("connections-close-curl").addEventListener("click", () => {
  dialog.close();
  show(command("connections/close", { logins, body: { id: closing.id } }));
});
byId("connections-keep").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => view.focus());

// Keys, sorting, search

function choose(index) {
  const bounded = Math.min(shown.length - 1, Math.max(0, index));
  chosen = shown[bounded].id;
  const top = bounded * height;
  const room = view.clientHeight - byId("connections-head").offsetHeight;
  if (top < view.scrollTop) view.scrollTop = top;
  else if (top + height > view.scrollTop + room) view.scrollTop = top + height - room;
  draw();
}

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -Infinity, End: Infinity };

view.addEventListener("keydown", (event) => {
  if (event.target !== view || !shown.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const present = shown.findIndex((user) => user.id === chosen);
  if (event.key in STEPS) {
    choose(present < 0 && event.key !== "End" ? 0 : present + STEPS[event.key]);
  } else if (event.key === "Delete" && closable && present >= 0) {
    confirmClose(shown[present]);
  } else {
    return;
  }
  event.preventDefault();
});
body.addEventListener("click", (event) => {
  const line = event.target.closest(".line");
  if (!line) return;
  chosen = Number(line.id.slice("connection-".length));
  draw();
});

for (const button of document.querySelectorAll("#connections-head button")) {
  button.addEventListener("click", () => {
    const key = button.dataset.key;
    order = { key, falling: order.key === key ? !order.falling : FALLING.has(key) };
    mark();
    view.scrollTop = 0;
    arrange();
    say();
  });
}

function mark() {
  for (const button of document.querySelectorAll("#connections-head button")) {
    const isKey = button.dataset.key === order.key;
    button.parentElement.setAttribute("aria-sort", isKey ? (order.falling ? "descending" : "ascending") : "none");
  }
}

/** Announce the effect of a choice to a screen reader. */
function say() {
  const sorted = document.querySelector(`#connections-head [data-key="${order.key}"]`).textContent;
  const way = order.falling ? "descending" : "ascending";
  byId("connections-said").textContent = `${byId("connections-count").textContent}, by ${sorted.toLowerCase()}, ${way}`;
}

let waiting = false; // a frame has been requested

view.addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
});
for (const id of ["connections-search", "connections-port", "connections-state"]) {
  byId(id).addEventListener("input", () => {
    view.scrollTop = 0;
    arrange();
    say();
  });
}
addEventListener("resize", arrange);

/** Return the operation that lists the shown users, as far as the API can filter them. */
function listed() {
  const query = new URLSearchParams();
  const [, port] = byId("connections-port").value.match(/:(\d+)$/) ?? [null, chosenPort()];
  if (port && users.some((user) => user.port)) query.set("port", port);
  if (chosenClient()) query.set("client", chosenClient());
  return query.size ? `connections?${query}` : "connections";
}

byId("connections-curl").addEventListener("click", () => show(command(listed(), { logins })));

// Requests, only while the table is visible

/** Request the list, and return the pause until the next request. */
async function ask() {
  const begin = performance.now();
  try {
    take(await get("connections"));
  } catch (error) {
    console.warn("backhaul:", error); // page.js tells the reader that there is no answer
  }
  return Math.max(PERIOD, SHARE * (performance.now() - begin));
}

const askNow = whileSeen(byId("connections-card"), ask);
onChoice(arrange);
mark();

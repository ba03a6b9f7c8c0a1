// The table of ports. Rates are computed from two consecutive answers, because the server has none for each port.

import { part, place, put, rove, ways } from "./cells.js";
import { count, moment, rate, size } from "./format.js";
import { choose, nameOf, onChoice, showsPort } from "./view.js";

const MOST = 20; // rows shown until the reader requests all: the busiest
const FEW = 12; // the filter is shown for more ports than this

const byId = (id) => document.getElementById(id);
const keyOf = (port) => JSON.stringify([port.port, port.bind, port.protocol, port.target]);

let answer = null;
let rates = new Map(); // key → bytes per second [from users, to users]
let rows = new Map(); // key → a row's cells, kept so that a selection survives an update
let all = false;

export function showPorts(next) {
  rates = measure(answer, next);
  answer = next;
  render();
}

function measure(previous, next) {
  const before = new Map(previous?.status.ports.map((port) => [keyOf(port), port]));
  const seconds = next.now - (previous?.now ?? 0);
  const known = next.status.ports.filter((port) => before.has(keyOf(port)) && seconds > 0);
  return new Map(known.map((port) => {
    const old = before.get(keyOf(port));
    const speed = (way) => Math.max(0, port[way] - old[way]) / seconds; // counters restart at 0 after a reload
    return [keyOf(port), [speed("received"), speed("sent")]];
  }));
}

function render() {
  if (!answer) return;
  const { side, ports } = answer.status;
  const matching = ports.filter(wanted);
  const shown = all || matching.length <= MOST ? matching : busiest(matching);
  rows = new Map(shown.map((port) => [keyOf(port), rows.get(keyOf(port)) ?? makeRow()]));
  for (const port of shown) fill(rows.get(keyOf(port)), port, side);
  place(byId("ports"), [...rows.values()].map((row) => row.line));
  byId("ports-column").textContent = side === "server" ? "Port and target" : "Target";
  byId("ports-none").hidden = ports.length > 0;
  byId("filter-label").hidden = ports.length <= FEW;
  byId("ports-more").hidden = shown.length === matching.length;
  byId("ports-more").textContent = `The busiest ${MOST} are shown. Show all ${count(matching.length)}`;
}

function wanted(port) {
  if (!showsPort(port, answer.status.side)) return false;
  const text = `${port.bind}:${port.port} ${title(port, answer.status.side)} ${port.target} ${port.client}`.toLowerCase();
  return text.includes(byId("filter").value.trim().toLowerCase());
}

function busiest(ports) {
  const traffic = (port) => port.received + port.sent;
  return ports.toSorted((one, other) => traffic(other) - traffic(one)).slice(0, MOST);
}

function makeRow() {
  const [line, name] = [part("tr", "row"), part("th", "rowheader")];
  const [open, speed, total] = [part("td", "cell"), part("td", "cell"), part("td", "cell")];
  name.scope = "row";
  line.append(name, open, speed, total);
  return { line, name, open, speed, total };
}

function fill(row, port, side) {
  const speeds = rates.get(keyOf(port));
  row.port = port;
  const client = owner(port);
  const target = side === "server" ? [["small", `to ${port.target}${client}`]] : [];
  put(row.name, [["button", title(port, side)], ...target, ...health(port), ...trouble(port)]);
  put(row.open, [["span", count(port.open)], ...more(port)]);
  put(row.speed, ways(speeds, rate));
  put(row.total, ways([port.received, port.sent], size));
}

function title(port, side) {
  if (side === "client") return port.target;
  if (port.bind.startsWith("/")) return `unix:${port.bind}`;
  const spot = port.bind && port.bind !== "0.0.0.0" && port.bind !== "::" ? `${port.bind}:${port.port}` : `${port.port}`;
  return port.protocol ? `${spot}/${port.protocol}` : spot;
}

function owner(port) {
  if (port.group) return ` of group ${port.group}`;
  return port.client ? ` of client ${port.client}` : "";
}

/** Return the outcome of the target's last user; the program does not probe targets for this. */
function health(port) {
  if (port.failed > port.reached) {
    const before = port.reached ? `, last reached ${moment(port.reached)}` : "";
    return [["small", `target failed ${moment(port.failed)}: ${port.failure}${before}`, "trouble"]];
  }
  return port.reached ? [["small", `target reached ${moment(port.reached)}`]] : [];
}

function trouble(port) {
  const kinds = [
    ...refusals(port), [port.dropped, "dropped"], [port.target_refused, "refused by the target"],
    [port.udp_dropped, "datagrams lost"],
  ];
  const counted = kinds.filter(([number]) => number).map(([number, kind]) => `${count(number)} ${kind}`).join(", ");
  const texts = [state(port), counted].filter((text) => text);
  return texts.map((text) => ["small", text, "trouble"]);
}

/** Return the refused users by reason; without reasons, as on a client, their total. */
function refusals(port) {
  const reasons = Object.entries(port.refused_by);
  if (!reasons.length) return [[port.refused, "refused"]];
  return reasons.map(([reason, number]) => [number, `refused (${reason.replaceAll("_", " ")})`]);
}

function state(port) {
  if (port.up) return "";
  return `${port.problem === "no client" ? "closed" : "down"}: ${port.problem}`;
}

function more(port) {
  const accepted = port.total ? [["small", `of ${count(port.total)}`]] : [];
  return port.udp_flows ? [...accepted, ["small", `${count(port.udp_flows)} UDP flows`]] : accepted;
}

byId("filter").addEventListener("input", render);
byId("ports").addEventListener("click", (event) => {
  const line = event.target.closest("button")?.closest("tr");
  const row = [...rows.values()].find((one) => one.line === line);
  if (row) choose("port", nameOf(row.port, answer.status.side), `${answer.status.side === "server" ? "port " : ""}${title(row.port, answer.status.side)}`);
});
onChoice(render);
byId("ports-more").addEventListener("click", () => {
  all = true;
  render();
});
rove(byId("ports"));

// The table of clients, of a server that has several. Their numbers are those of their ports.

import { part, put, rove, ways } from "./cells.js";
import { count, rate, size } from "./format.js";
import { choose } from "./view.js";

const byId = (id) => document.getElementById(id);
const NAMELESS = "without a name";

let before = null; // the answer before
let rows = new Map(); // name → a row's cells

export function showClients(answer) {
  const { clients } = answer.status;
  byId("clients-card").hidden = clients.length === 0;
  const [now, then] = [sums(answer), before && sums(before)];
  const seconds = before ? answer.now - before.now : 0;
  rows = new Map(clients.map((client) => [client.name, rows.get(client.name) ?? makeRow(client)]));
  for (const client of clients) {
    const total = now.get(client.name) ?? [0, 0];
    const old = then?.get(client.name);
    const speeds = old && seconds > 0 ? total.map((bytes, way) => Math.max(0, bytes - old[way]) / seconds) : null;
    fill(rows.get(client.name), client, speeds, total);
  }
  const lines = [...rows.values()].map((row) => row.line);
  const same = lines.length === byId("clients").children.length && lines.every((line, index) => byId("clients").children[index] === line);
  if (!same) byId("clients").replaceChildren(...lines);
  before = answer;
}

/** Return bytes from and to the users of each client. */
function sums({ status }) {
  const found = new Map();
  for (const port of status.ports) {
    const [received, sent] = found.get(port.client) ?? [0, 0];
    found.set(port.client, [received + port.received, sent + port.sent]);
  }
  return found;
}

function makeRow(client) {
  const [line, name] = [part("tr", "row"), part("th", "rowheader")];
  const [users, speed, total] = [part("td", "cell"), part("td", "cell"), part("td", "cell")];
  name.scope = "row";
  name.addEventListener("click", (event) => {
    if (event.target.closest("button")) choose("client", client.name, `client ${client.name || NAMELESS}`);
  });
  line.append(name, users, speed, total);
  return { line, name, users, speed, total };
}

function fill(row, client, speeds, total) {
  put(row.name, [["button", client.name || NAMELESS], state(client)]);
  put(row.users, [["span", count(client.users)]]);
  put(row.speed, ways(speeds, rate));
  put(row.total, ways(total, size));
}

function state(client) {
  if (client.problem) return ["small", client.problem, "trouble"];
  return client.connected ? ["small", `connected from ${client.peer}`] : ["small", "not connected", "trouble"];
}
rove(byId("clients"));

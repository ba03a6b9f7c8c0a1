// The table of clients and groups, of a server that has several. Their numbers are those of their ports.

import { part, place, put, rove, ways } from "./cells.js";
import { count, rate, size } from "./format.js";
import { choose } from "./view.js";

const byId = (id) => document.getElementById(id);
const NAMELESS = "without a name";

let before = null; // the answer before
let rows = new Map(); // key → a row's cells

export function showClients(answer) {
  const owners = [...answer.status.clients.map(client), ...answer.status.groups.map(group)];
  byId("clients-card").hidden = owners.length === 0;
  const seconds = before ? answer.now - before.now : 0;
  rows = new Map(owners.map((owner) => [owner.key, rows.get(owner.key) ?? makeRow(owner)]));
  for (const owner of owners) {
    const [total, old] = [sum(owner, answer), before && sum(owner, before)];
    const speeds = seconds > 0 ? total.map((bytes, way) => Math.max(0, bytes - old[way]) / seconds) : null;
    fill(rows.get(owner.key), owner, speeds, total);
  }
  place(byId("clients"), [...rows.values()].map((row) => row.line));
  before = answer;
}

function client(one) {
  const name = ["button", one.name || NAMELESS];
  return { key: `client ${one.name}`, name, client: one.name, owns: (port) => !port.group && port.client === one.name, users: one.users, state: state(one) };
}

function group(one) {
  const members = one.members.map((member) => `${member.client} ${member.state === "ready" ? count(member.users) : member.state}`).join(", ");
  const users = one.members.reduce((sum, member) => sum + member.users, 0);
  const ready = one.members.some((member) => member.state === "ready");
  const text = ["small", `by ${one.balance}: ${members}`, ready ? "" : "trouble"];
  return { key: `group ${one.name}`, name: ["strong", `group ${one.name}`], owns: (port) => port.group === one.name, users, state: text };
}

/** Return bytes from and to the users of a client or group. */
function sum(owner, { status }) {
  const ports = status.ports.filter(owner.owns);
  return ["received", "sent"].map((way) => ports.reduce((bytes, port) => bytes + port[way], 0));
}

function makeRow(owner) {
  const [line, name] = [part("tr", "row"), part("th", "rowheader")];
  const [users, speed, total] = [part("td", "cell"), part("td", "cell"), part("td", "cell")];
  name.scope = "row";
  name.addEventListener("click", (event) => {
    if (event.target.closest("button")) choose("client", owner.client, `client ${owner.client || NAMELESS}`);
  });
  line.append(name, users, speed, total);
  return { line, name, users, speed, total };
}

function fill(row, owner, speeds, total) {
  put(row.name, [owner.name, owner.state]);
  put(row.users, [["span", count(owner.users)]]);
  put(row.speed, ways(speeds, rate));
  put(row.total, ways(total, size));
}

function state(client) {
  if (client.problem) return ["small", client.problem, "trouble"];
  return client.connected ? ["small", `connected from ${client.peer}`] : ["small", "not connected", "trouble"];
}
rove(byId("clients"));

// The table of the clients and groups of a server that has several. Their numbers are the sums of their ports.

import { part, place, put, rove, ways } from "./cells.js";
import { count, rate, size } from "./format.js";
import { choose } from "./view.js";

const byId = (id) => document.getElementById(id);
const NAMELESS = "without a name";

let before = null; // the previous answer
let rows = new Map(); // key → a row's cells

export function showClients(answer) {
  const { clients, groups } = answer.status;
  const owners = [...clients.map((one) => client(one, groups)), ...groups.map(group)];
  byId("clients-card").hidden = owners.length === 0;
  const seconds = before ? answer.now - before.now : 0;
  rows = new Map(owners.map((owner) => [owner.key, rows.get(owner.key) ?? makeRow()]));
  for (const owner of owners) {
    const [total, old] = [sum(owner, answer), before && sum(owner, before)];
    const speeds = seconds > 0 ? total.map((bytes, way) => Math.max(0, bytes - old[way]) / seconds) : null;
    fill(rows.get(owner.key), owner, bytes(owner, answer, speeds, rate), bytes(owner, answer, total, size));
  }
  place(byId("clients"), [...rows.values()].map((row) => row.line));
  before = answer;
}

function client(one, groups) {
  const own = groups.filter((other) => other.members.some((member) => member.client === one.name));
  const name = one.name || NAMELESS;
  return {
    key: `client ${one.name}`,
    links: [{ kind: "client", name: one.name, text: name }, ...own.map((other) => link(other.name))],
    owns: (port) => !port.group && port.client === one.name,
    shares: own.length > 0, // ports with other clients
    users: one.users,
    state: state(one),
  };
}

const link = (name) => ({ kind: "group", name, text: `group ${name}` });

function group(one) {
  const members = one.members.map((member) => `${member.client} ${member.state === "ready" ? count(member.users) : member.state}`).join(", ");
  const users = one.members.reduce((sum, member) => sum + member.users, 0);
  const ready = one.members.some((member) => member.state === "ready");
  const text = ["small", `balance ${one.balance}: ${members}`, ready ? "" : "trouble"];
  return { key: `group ${one.name}`, links: [link(one.name)], owns: (port) => port.group === one.name, users, state: text };
}

/** Return the lines of a cell with bytes. A port of a group has one count for the users of all clients. */
function bytes(owner, { status }, pair, written) {
  if (!owner.shares) return ways(pair, written);
  return status.ports.some(owner.owns) ? [...ways(pair, written), ["small", "own ports"]] : [["small", "see the group"]];
}

/** Return bytes from and to the users of a client or group. */
function sum(owner, { status }) {
  const ports = status.ports.filter(owner.owns);
  return ["received", "sent"].map((way) => ports.reduce((bytes, port) => bytes + port[way], 0));
}

function makeRow() {
  const [line, name] = [part("tr", "row"), part("th", "rowheader")];
  const [users, speed, total] = [part("td", "cell"), part("td", "cell"), part("td", "cell")];
  name.scope = "row";
  line.append(name, users, speed, total);
  const row = { line, name, users, speed, total, links: [] };
  name.addEventListener("click", (event) => follow(row, event.target.closest("button")));
  return row;
}

/** Show only the client or group of a button; the buttons of a row are its links, in their order. */
function follow(row, button) {
  const one = row.links[[...row.name.querySelectorAll("button")].indexOf(button)];
  if (one) choose(one.kind, one.name, one.kind === "client" ? `client ${one.text}` : one.text);
}

function fill(row, owner, speeds, total) {
  row.links = owner.links;
  const [first, ...others] = owner.links.map((one) => ["button", one.text]);
  put(row.name, [first, owner.state, ...others.map((one) => [...one, "minor"])]);
  put(row.users, [["span", count(owner.users)]]);
  put(row.speed, speeds);
  put(row.total, total);
}

function state(client) {
  if (client.problem) return ["small", client.problem, "trouble"];
  const drained = client.draining ? ", draining" : "";
  return client.connected ? ["small", `connected from ${client.peer}${drained}`, drained && "trouble"] : ["small", "not connected", "trouble"];
}
rove(byId("clients"));

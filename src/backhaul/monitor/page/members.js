// The members of the chosen group.

import { part, place, put, rove } from "./cells.js";
import { count } from "./format.js";
import { choose, chosenGroup, nameOf, onChoice } from "./view.js";

const byId = (id) => document.getElementById(id);

let status = null; // of the last answer
let rows = new Map(); // name of a client → a row's cells

export function showMembers(answer) {
  ({ status } = answer);
  render();
}

function render() {
  const group = status?.groups.find((one) => one.name === chosenGroup());
  byId("group-card").hidden = !group;
  if (!group) return;
  byId("group-title").textContent = `Group ${group.name}`;
  put(byId("group-about"), [["span", about(group)]]);
  rows = new Map(group.members.map((member) => [member.client, rows.get(member.client) ?? makeRow(member.client)]));
  for (const member of group.members) fill(rows.get(member.client), member);
  place(byId("members"), [...rows.values()].map((row) => row.line));
}

function about(group) {
  const ready = group.members.filter((member) => member.state === "ready").length;
  const ports = status.ports.filter((port) => port.group === group.name).map((port) => nameOf(port, "server"));
  const health = group.health ? `health ${group.health} every ${count(group.health_interval)} s` : "no health checks";
  return `${count(ready)} of ${count(group.members.length)} ready · balance ${group.balance} · ${health} · ${ports.join(", ")}`;
}

function makeRow(client) {
  const [line, name] = [part("tr", "row"), part("th", "rowheader")];
  const [users, total, refused] = [part("td", "cell"), part("td", "cell"), part("td", "cell")];
  name.scope = "row";
  name.addEventListener("click", (event) => {
    if (event.target.closest("button")) choose("client", client, `client ${client}`);
  });
  line.append(name, users, total, refused);
  return { line, name, users, total, refused };
}

function fill(row, member) {
  const text = member.problem ? `${member.state}: ${member.problem}` : member.state;
  put(row.name, [["button", member.client], ["small", text, member.state === "ready" ? "" : "trouble"]]);
  put(row.users, [["span", count(member.users)]]);
  put(row.total, [["span", count(member.total)]]);
  put(row.refused, [["span", count(member.refused)]]);
}

onChoice(render);
rove(byId("members"));

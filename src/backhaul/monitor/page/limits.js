// The limits in force, and how much of each is used: of a limit per source by the source that uses most.

import { element } from "./cells.js";
import { count, decimal, duration, rate } from "./format.js";
import { onChoice, showsLimits } from "./view.js";

const byId = (id) => document.getElementById(id);
const UNITS = {
  bytes: decimal,
  "bit/s": (bits) => rate(bits / 8),
  seconds: duration,
  "users/s": (number) => `${count(number)} a second`,
};
const NAMES = {
  max_users: "Users",
  max_connections: "Users",
  max_users_per_source: "Users, busiest source",
  new_users_per_second: "New users",
  new_users_per_second_per_source: "New users per source",
  rate: "Rate, each way",
  rate_per_source: "Rate per source, each way",
  bytes_per_day: "Bytes today",
  bytes_per_day_per_source: "Bytes today, busiest source",
  bytes_per_month: "Bytes this month",
  bytes_per_month_per_source: "Bytes this month, busiest source",
  idle_timeout: "Idle timeout",
  max_lifetime: "Maximum lifetime",
  allow: "Allowed networks",
  deny: "Denied networks",
};
let limits = [];

export function showLimits(next) {
  limits = next;
  render();
}

function render() {
  const shown = limits.filter((limit) => showsLimits(limit.table));
  byId("limits-card").hidden = shown.length === 0;
  const key = JSON.stringify(shown);
  if (byId("limits").dataset.shown === key) return;
  byId("limits").dataset.shown = key;
  byId("limits").replaceChildren(...shown.map(item));
}

function item(limit) {
  const line = document.createElement("li");
  const [kind, name] = limit.table.split(/\.(.*)/);
  const where = { limits: name ? `port ${name}` : "all ports", clients: `client ${name}` }[kind];
  const write = UNITS[limit.unit] ?? count;
  const label = document.createElement(limit.used === null ? "span" : "label");
  label.append(NAMES[limit.limit] ?? limit.limit, element("small", where), amount(limit, write));
  if (limit.used !== null) label.append(bar(limit));
  line.title = `${limit.table}.${limit.limit}`;
  line.append(label);
  return line;
}

function amount(limit, write) {
  return element("b", limit.used === null ? write(limit.most) : `${write(limit.used)} of ${write(limit.most)}`);
}

function bar(limit) {
  const made = document.createElement("meter");
  Object.assign(made, { min: 0, max: limit.most, high: limit.most * 0.9, optimum: 0, value: limit.used });
  return made;
}

onChoice(render);

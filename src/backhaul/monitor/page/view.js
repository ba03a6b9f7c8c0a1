// The port, target, client or group that the reader wants to see alone.

const byId = (id) => document.getElementById(id);
const listeners = [];
let choice = null; // { kind: "port", "client" or "group", name, title }; null: all
let ports = []; // of the last status

/** Learn which ports belong to which group. */
export function learn(status) {
  ({ ports } = status);
}

/** Call `listener` each time the choice changes. */
export function onChoice(listener) {
  listeners.push(listener);
}

export function choose(kind, name, title) {
  set({ kind, name, title });
}

function set(next) {
  choice = next;
  byId("view").hidden = choice === null;
  byId("view-name").textContent = title();
  for (const listener of listeners) listener();
}

/** Return what is chosen, in words; empty for all. */
export const title = () => choice?.title ?? "";

/** Return the series of the history that is chosen. */
export function series() {
  if (choice === null) return "";
  return choice.kind === "port" ? choice.name : `${choice.kind} ${choice.name}`;
}

/** Return the name of the client that is chosen, as far as one is; the client without a name has none here. */
export const chosenClient = () => (choice?.kind === "client" ? choice.name : "");

/** Return the name of the group that is chosen, as far as one is. */
export const chosenGroup = () => (choice?.kind === "group" ? choice.name : "");

/** Return the number of the port that is chosen, or of the only port of a chosen group; empty without one. */
export function chosenPort() {
  const numbers = portNumbers();
  return numbers.length === 1 && /^\d+$/.test(numbers[0]) ? numbers[0] : ""; // a Unix socket has a path
}

/** Return whether a port of the status is to be shown. */
export function showsPort(port, side) {
  if (choice === null) return true;
  if (choice.kind === "group") return port.group === choice.name;
  return choice.kind === "client" ? port.client === choice.name : nameOf(port, side) === choice.name;
}

/** Return whether a user is to be shown. */
export function showsUser(user) {
  if (choice === null) return true;
  return choice.kind === "client" ? user.client === choice.name : portNames().includes(user.port || user.target);
}

/** Return whether the limits of a table are to be shown. */
export function showsLimits(table) {
  if (choice === null || table === "limits") return true;
  if (choice.kind === "client") return table === `clients.${choice.name}`;
  return portNumbers().some((number) => table === `limits.${number}`);
}

/** Return the names of the ports that are chosen, or of those of the group; for a client, the name of a target. */
function portNames() {
  if (choice?.kind === "port") return [choice.name];
  return ports.filter((port) => choice?.kind === "group" && port.group === choice.name).map((port) => nameOf(port, "server"));
}

const portNumbers = () => portNames().map((name) => name.split(":").pop());

/** Return the name of a port of the status, as lists of users have it. */
export function nameOf(port, side) {
  if (side === "client") return port.target;
  if (port.bind.startsWith("/")) return `unix:${port.bind}`;
  const host = port.bind || "*";
  return `${host.includes(":") ? `[${host}]` : host}:${port.port}`;
}

byId("view-all").addEventListener("click", () => {
  set(null);
  byId("ports-title").focus(); // the button is gone
});

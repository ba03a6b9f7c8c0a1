// The port, target, client or group that the reader has chosen to see alone.

const byId = (id) => document.getElementById(id);
const listeners = [];
let choice = null; // { kind: "port", "client" or "group", name, title }; null: all
let ports = []; // of the last status
let shared = new Set(); // addresses that have a port for each protocol

/** Note the ports of a status, which name their groups. */
export function learn(status) {
  ({ ports } = status);
  const seen = new Set();
  shared = new Set(ports.map(addressOf).filter((address) => seen.has(address) || !seen.add(address)));
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

/** Return the title of the choice; empty for all. */
export const title = () => choice?.title ?? "";

/** Return the name of the chosen series of the history. */
export function series() {
  if (choice === null) return "";
  return choice.kind === "port" ? choice.name : `${choice.kind} ${choice.name}`;
}

/** Return the name of the chosen client; empty without one, and for the client without a name. */
export const chosenClient = () => (choice?.kind === "client" ? choice.name : "");

/** Return the name of the chosen group; empty without one. */
export const chosenGroup = () => (choice?.kind === "group" ? choice.name : "");

/** Return the number of the chosen port, or of the only port of the chosen group; empty without one. */
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
  return choice.kind === "client" ? user.client === choice.name : portNames().some((name) => name === (user.port || user.target) || name === `${user.port}/${user.protocol}`);
}

/** Return whether the limits of this table of the configuration are to be shown. */
export function showsLimits(table) {
  if (choice === null || table === "limits") return true;
  if (choice.kind === "client") return table === `clients.${choice.name}`;
  return portNumbers().some((number) => table === `limits.${number}`);
}

/** Return the names of the chosen port, or of the ports of the chosen group; on a client, the name of a target. */
function portNames() {
  if (choice?.kind === "port") return [choice.name];
  return ports.filter((port) => choice?.kind === "group" && port.group === choice.name).map((port) => nameOf(port, "server"));
}

const portNumbers = () => portNames().map((name) => name.replace(/\/(tcp|udp)$/, "").split(":").pop());

/** Return the name of a port's series, which in lists of users lacks the protocol. */
export function nameOf(port, side) {
  if (side === "client") return port.target;
  const address = addressOf(port);
  return port.protocol && shared.has(address) ? `${address}/${port.protocol}` : address;
}

function addressOf(port) {
  if (port.bind.startsWith("/")) return `unix:${port.bind}`;
  const host = port.bind || "*";
  return `${host.includes(":") ? `[${host}]` : host}:${port.port}`;
}

byId("view-all").addEventListener("click", () => {
  set(null);
  byId("ports-title").focus(); // the button is gone
});

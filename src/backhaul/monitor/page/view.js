// The port, target or client that the reader wants to see alone.

const byId = (id) => document.getElementById(id);
const listeners = [];
let choice = null; // { kind: "port" or "client", name, title }; null: all

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
  return choice.kind === "client" ? `client ${choice.name}` : choice.name;
}

/** Return the name of the client that is chosen, as far as one is; the client without a name has none here. */
export const chosenClient = () => (choice?.kind === "client" ? choice.name : "");

/** Return whether a port of the status is to be shown. */
export function showsPort(port, side) {
  if (choice === null) return true;
  return choice.kind === "client" ? port.client === choice.name : nameOf(port, side) === choice.name;
}

/** Return whether a user is to be shown. */
export function showsUser(user) {
  if (choice === null) return true;
  return choice.kind === "client" ? user.client === choice.name : (user.port || user.target) === choice.name;
}

/** Return whether the limits of a table are to be shown. */
export function showsLimits(table) {
  if (choice === null || table === "limits") return true;
  const own = choice.kind === "client" ? `clients.${choice.name}` : `limits.${choice.name.split(":").pop()}`;
  return table === own;
}

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

// The part of the program's API that the page uses; api/openapi.json describes all of it.

const PATIENCE = 15000; // milliseconds for an answer

// Without the user name and password that the page's address may contain, because fetch() refuses them.
export const BASE = new URL("api/", location.origin + location.pathname);

async function ask(operation, options) {
  const response = await fetch(new URL(operation, BASE), { signal: AbortSignal.timeout(PATIENCE), ...options });
  if (response.ok) return response.json();
  const text = await response.text();
  throw new Error(problem(text) || String(response.status));
}

/** Return the reason for a refusal: the API sends JSON, the login a line of text. */
function problem(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text.trim();
  }
}

/** Return the answer of an operation that only reads. */
export const get = (operation, patience = PATIENCE) => ask(operation, { signal: AbortSignal.timeout(patience) });

/** Carry out an operation that changes something, and return its answer. */
export const send = (operation, body) => ask(operation, {
  method: "POST",
  headers: { "Content-Type": "application/json", "X-Backhaul": "1" },
  body: JSON.stringify(body),
});

// The page's requests for use in scripts: a dialog with a curl command to copy.

import { BASE } from "./api.js";

const dialog = document.getElementById("curl-dialog");
const text = document.getElementById("curl-text");
const said = document.getElementById("curl-said");

/** Return these characters as one word of a shell. */
const quote = (word) => (/^[\w.:\/=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Return the options for the first of the page's logins. Curl asks for the password, so no history holds it. */
const login = (logins) => ({ password: ["-u", "USER"], certificate: ["--cert", "CERTIFICATE", "--key", "KEY"] }[logins[0]] ?? []);

/** Return the command for an operation. ``logins`` are the page's ways to log in; with a ``body`` it is a POST. */
export function command(operation, { logins = [], body = null } = {}) {
  const words = ["curl", ...login(logins)];
  if (body !== null) words.push("-H", "X-Backhaul: 1", "-H", "Content-Type: application/json", "-d", JSON.stringify(body));
  return [...words, new URL(operation, BASE).href].map(quote).join(" ");
}

/** Show a command, which the button or the system's keys can copy. */
export function show(line) {
  text.value = line;
  said.textContent = "";
  dialog.showModal();
  text.select();
}

document.getElementById("curl-copy").addEventListener("click", async () => {
  text.select();
  try {
    await navigator.clipboard.writeText(text.value); // only over HTTPS and on localhost
    said.textContent = "Copied.";
  } catch {
    said.textContent = "The browser does not let the page copy: press Ctrl+C.";
  }
});
document.getElementById("curl-close").addEventListener("click", () => dialog.close());

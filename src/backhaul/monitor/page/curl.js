// The same requests outside of the page, for scripts: a command of curl in a dialog, ready to be copied.

import { BASE } from "./api.js";

const dialog = document.getElementById("curl-dialog");
const text = document.getElementById("curl-text");
const said = document.getElementById("curl-said");

/** Return a word of a shell that stands for these characters. */
const quote = (word) => (/^[\w.:\/=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Return the words for the first of the page's ways to log in. Curl asks for the password, so no history has it. */
const login = (logins) => ({ password: ["-u", "USER"], certificate: ["--cert", "CERTIFICATE", "--key", "KEY"] }[logins[0]] ?? []);

/** Return the command for an operation; ``logins`` are the page's ways to log in, a ``body`` makes it a change. */
export function command(operation, { logins = [], body = null } = {}) {
  const words = ["curl", ...login(logins)];
  if (body !== null) words.push("-H", "X-Backhaul: 1", "-H", "Content-Type: application/json", "-d", JSON.stringify(body));
  return [...words, new URL(operation, BASE).href].map(quote).join(" ");
}

/** Show a command; it can be copied by the button, or by the keys of the system. */
export function show(line) {
  text.value = line;
  said.textContent = "";
  dialog.showModal();
  text.select();
}

document.getElementById("curl-copy").addEventListener("click", async () => {
  text.select();
  try {
    await navigator.clipboard.writeText(text.value); // only on HTTPS and on this machine
    said.textContent = "Copied.";
  } catch {
    said.textContent = "This browser copies only what you tell it to: press Ctrl+C.";
  }
});
document.getElementById("curl-close").addEventListener("click", () => dialog.close());

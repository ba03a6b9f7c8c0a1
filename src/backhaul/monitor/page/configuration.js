// The configuration in effect, read when the reader opens it.

import { get } from "./api.js";
import { count } from "./format.js";

const byId = (id) => document.getElementById(id);
let settings = [];

function render() {
  const all = byId("configuration-all").checked;
  const shown = settings.filter((setting) => all || !setting.default);
  byId("configuration-count").textContent = `${count(shown.length)} of ${count(settings.length)} keys`;
  byId("configuration").replaceChildren(...shown.map(row));
}

function row(setting) {
  const line = cell("tr", "row");
  const [name, value] = [cell("th", "rowheader"), cell("td", "cell")];
  const code = document.createElement("code");
  name.scope = "row";
  name.textContent = setting.name;
  code.textContent = setting.value;
  value.append(code, setting.unit ? ` ${setting.unit}` : "");
  if (setting.default) value.append(small("default"));
  line.append(name, value);
  return line;
}

function cell(tag, role) {
  const made = document.createElement(tag);
  made.setAttribute("role", role);
  return made;
}

function small(text) {
  const made = document.createElement("small");
  made.textContent = text;
  return made;
}

async function load() {
  if (!byId("configuration-card").open) return;
  try {
    const answer = await get("configuration");
    settings = answer.settings;
    byId("configuration-file").textContent = answer.file;
    byId("configuration-trouble").textContent = "";
    render();
  } catch (error) {
    byId("configuration-trouble").textContent = `Not shown: ${error.message}`;
  }
}

byId("configuration-card").addEventListener("toggle", load);
byId("configuration-all").addEventListener("input", render);

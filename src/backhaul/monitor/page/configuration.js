// The configuration in effect, requested when the reader opens its card.

import { get } from "./api.js";
import { element, part } from "./cells.js";
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
  const line = part("tr", "row");
  const [name, value] = [part("th", "rowheader"), part("td", "cell")];
  name.scope = "row";
  name.textContent = setting.name;
  value.append(element("code", setting.value), setting.unit ? ` ${setting.unit}` : "");
  if (setting.default) value.append(element("small", "default"));
  line.append(name, value);
  return line;
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

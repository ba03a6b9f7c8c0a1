// The last hours of the whole program, a port, a client or a group: three charts with a common cursor.

import { get } from "./api.js";
import { clock, count, rate } from "./format.js";
import { whileSeen } from "./seen.js";
import { onChoice, series, title } from "./view.js";

const PERIOD = 60000; // milliseconds: the server takes a sample a minute
const SPANS = { 1: [60, 60], 6: [60, 360], 24: [300, 288] }; // hours → seconds that share a point, points
const HEIGHT = 100;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);
const slider = byId("day");

/** Each chart: its name, the text of a number, the least top of its scale, and its lines: class, meaning, value. */
const CHARTS = [
  { name: "Throughput", text: rate, least: 125, lines: [["down", "to users", (point) => point.down], ["up", "from users", (point) => point.up]] },
  { name: "Users", text: count, least: 4, lines: [["down", "connected", (point) => point.users], ["up", "waiting", (point) => point.waiting]] },
  { name: "New and refused", text: count, least: 4, lines: [["down", "new users", (point) => point.fresh], ["up", "refused", (point) => point.refused]] },
];

let [step, width] = SPANS[24];
let answer = { now: 0, samples: [] };
let points = []; // the oldest first; null while the program was not running
let end = 0; // number of the last point since 1970
let chosen = null; // steps before the last point; null: none

function gather({ samples, now }) {
  end = Math.floor(now / step);
  const buckets = new Map();
  for (const [minute, ...numbers] of samples) {
    const bucket = Math.floor((minute * 60) / step);
    buckets.set(bucket, [...(buckets.get(bucket) ?? []), numbers]);
  }
  return Array.from({ length: width }, (_, index) => merge(buckets.get(end - width + 1 + index)));
}

function merge(minutes) {
  if (!minutes) return null;
  const column = (index) => minutes.map((numbers) => numbers[index]);
  const sum = (index) => column(index).reduce((all, one) => all + one, 0);
  const [users, waiting] = [Math.max(...column(0)), Math.max(...column(3))];
  const seconds = minutes.length * 60;
  return { users, fresh: sum(1), refused: sum(2), waiting, up: sum(4) / seconds, down: sum(5) / seconds };
}

// Drawing

const figures = CHARTS.map(makeFigure);

function makeFigure(chart) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const [title, top] = [document.createElement("b"), document.createElement("span")];
  title.textContent = chart.name;
  const keys = document.createElement("span");
  keys.append(...chart.lines.map(([way, meaning]) => legend(way, meaning)));
  caption.append(title, top, keys);
  const picture = made("svg", { preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
  const grid = made("path", { class: "grid" });
  const lines = chart.lines.map(([way]) => made("path", { class: `line ${way}` }));
  const cursor = made("path", { class: "cursor" });
  picture.append(grid, ...lines, cursor);
  figure.append(caption, picture);
  slider.append(figure);
  picture.addEventListener("pointermove", (event) => hover(event, picture));
  return { chart, picture, grid, top, lines, cursor };
}

function made(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function legend(way, meaning) {
  const key = document.createElement("span");
  key.className = `key ${way}`;
  key.textContent = meaning;
  return key;
}

function draw() {
  points = gather(answer);
  slider.setAttribute("aria-valuemin", String(1 - width));
  for (const { chart, picture, grid, top, lines } of figures) {
    picture.setAttribute("viewBox", `0 0 ${width - 1} ${HEIGHT}`);
    grid.setAttribute("d", `M0 0H${width - 1}M0 50H${width - 1}M0 100H${width - 1}`);
    const known = points.filter((point) => point);
    const most = Math.max(chart.least, ...chart.lines.flatMap(([, , read]) => known.map(read)));
    top.textContent = `scale ${chart.text(most)}`;
    chart.lines.forEach(([, , read], index) => lines[index].setAttribute("d", path(read, most)));
  }
  point();
}

function path(read, most) {
  let open = false;
  return points.map((one, index) => {
    const begun = open;
    open = one !== null;
    if (!open) return "";
    const y = (HEIGHT * (1 - read(one) / most)).toFixed(1);
    return begun ? `L${index} ${y}` : `M${index} ${y}h.5`; // a single point is a dot
  }).join("");
}

function point() {
  const steps = chosen ?? 0;
  const one = points[width - 1 - steps];
  const text = `${clock((end - steps) * step)}: ${one ? described(one) : "no data"}`;
  slider.setAttribute("aria-valuenow", String(-steps));
  slider.setAttribute("aria-valuetext", text);
  byId("day-readout").textContent = chosen === null ? "" : text;
  for (const { cursor } of figures) cursor.setAttribute("d", chosen === null ? "" : `M${width - 1 - steps} 0V${HEIGHT}`);
}

function described(one) {
  const rest = [[one.waiting, "waiting"], [one.fresh, "new"], [one.refused, "refused"]];
  const users = rest.filter(([number]) => number).map(([number, what]) => `, ${count(number)} ${what}`).join("");
  return `${count(one.users)} users${users}, ${rate(one.down)} to, ${rate(one.up)} from users`;
}

// Pointer and keys

function choose(steps) {
  chosen = steps === null ? null : Math.max(0, Math.min(width - 1, steps));
  point();
}

function hover(event, picture) {
  const box = picture.getBoundingClientRect();
  choose(Math.round((1 - (event.clientX - box.left) / box.width) * (width - 1)));
}

const KEYS = { ArrowLeft: 1, ArrowDown: 1, ArrowRight: -1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: Infinity, End: -Infinity };

slider.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    choose(null);
  } else if (event.key in KEYS) {
    event.preventDefault();
    choose((chosen ?? 0) + KEYS[event.key]);
  }
});
slider.addEventListener("pointerleave", () => choose(null));
slider.addEventListener("blur", () => choose(null));

// Requests, only while the charts are visible

/** Request the history, and return the pause until the next request. */
async function ask() {
  const name = series();
  try {
    const next = await get(`history?series=${encodeURIComponent(name)}`);
    if (name !== series()) return PERIOD; // another request is on its way
    answer = next;
    byId("day-none").hidden = answer.samples.length > 0;
    byId("day-none").textContent = "The first sample follows within a minute.";
    draw();
  } catch (error) {
    byId("day-none").hidden = false;
    byId("day-none").textContent = `No history: ${error.message}`;
  }
  return PERIOD;
}

const askNow = whileSeen(byId("day-card"), ask);

byId("day-span").addEventListener("input", () => {
  const hours = byId("day-span").value;
  [step, width] = SPANS[hours];
  byId("day-begin").textContent = `${hours} h ago`;
  chosen = null;
  draw();
});
onChoice(() => {
  byId("day-of").textContent = title() && `of ${title()}`;
  askNow();
});

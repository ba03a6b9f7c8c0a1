// The throughput of the last minutes: one SVG with a cursor, which pointer and arrow keys move.

import { clock, rate } from "./format.js";

const SPAN = 299; // intervals between the 300 samples the server keeps
const HEIGHT = 100;
const byId = (id) => document.getElementById(id);

let samples = []; // [bytes/s from users, bytes/s to users], the newest at the end
let end = 0; // the time of the newest, in seconds since 1970
let interval = 1;
let chosen = null; // steps before the newest; null: none

export function draw(history, now, seconds) {
  samples = history;
  end = now;
  interval = seconds;
  const top = niceTop(Math.max(...samples.flat(), 125)); // 125 bytes/s: never less than 1 kbit/s
  byId("scale-top").textContent = rate(top);
  byId("scale-middle").textContent = rate(top / 2);
  const down = line(1, top);
  byId("line-down").setAttribute("d", down);
  byId("area-down").setAttribute("d", down && `${down}L${SPAN} ${HEIGHT}L${SPAN - samples.length + 1} ${HEIGHT}Z`);
  byId("line-up").setAttribute("d", line(0, top));
  point();
}

/** Return the next round number of bits per second, in bytes; half of it is round, too. */
function niceTop(bytes) {
  const bits = bytes * 8;
  const power = 10 ** Math.floor(Math.log10(bits));
  const step = [1, 1.5, 2, 3, 4, 6, 8, 10].find((factor) => factor * power >= bits);
  return (step * power) / 8;
}

function line(way, top) {
  const start = SPAN - samples.length + 1;
  const points = samples.map((sample, index) => `${start + index} ${(HEIGHT * (1 - sample[way] / top)).toFixed(1)}`);
  return points.length ? `M${points.join("L")}` : "";
}

function point() {
  const plot = byId("plot");
  const steps = Math.min(chosen ?? 0, samples.length - 1);
  const sample = samples[samples.length - 1 - steps];
  if (!sample) return;
  const text = `${clock(end - steps * interval)}: ${rate(sample[1])} to, ${rate(sample[0])} from users`;
  plot.setAttribute("aria-valuenow", String(-steps));
  plot.setAttribute("aria-valuetext", text);
  byId("readout").textContent = chosen === null ? "" : text;
  byId("cursor").setAttribute("d", chosen === null ? "" : `M${SPAN - steps} 0V${HEIGHT}`);
}

function choose(steps) {
  chosen = steps === null ? null : Math.max(0, Math.min(SPAN, samples.length - 1, steps));
  point();
}

const KEYS = { ArrowLeft: 1, ArrowDown: 1, ArrowRight: -1, ArrowUp: -1, PageDown: 30, PageUp: -30, Home: SPAN, End: -SPAN };

function press(event) {
  if (event.key === "Escape") {
    choose(null);
  } else if (event.key in KEYS) {
    event.preventDefault();
    choose((chosen ?? 0) + KEYS[event.key]);
  }
}

function hover(event) {
  const box = byId("plot").getBoundingClientRect();
  choose(Math.round((1 - (event.clientX - box.left) / box.width) * SPAN));
}

byId("plot").addEventListener("keydown", press);
byId("plot").addEventListener("pointermove", hover);
byId("plot").addEventListener("pointerleave", () => choose(null));
byId("plot").addEventListener("blur", () => choose(null));

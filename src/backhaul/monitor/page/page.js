// Requests the status every second and shows it. Its texts may come from unauthenticated peers, so they enter the page
// as text only, never as markup.

import { get } from "./api.js";
import { element } from "./cells.js";
import { draw } from "./chart.js";
import { showClients } from "./clients.js";
import { clock, count, duration, rate, size } from "./format.js";
import { showLimits } from "./limits.js";
import { showMembers } from "./members.js";
import { showPorts } from "./ports.js";
import { learn } from "./view.js";

const PERIOD = 1000; // milliseconds: the server takes a sample a second
const PATIENCE = 5000; // milliseconds for an answer
const FEW = 5; // allowed targets that are listed

const byId = (id) => document.getElementById(id);
let answered = null; // the time of the last answer
let timer = null;

function showState({ status }) {
  const peer = status.peer ? ` to ${status.peer}` : "";
  const waiting = status.side === "server" ? "Waiting for the client" : "Connecting to the server";
  const text = status.connected ? `Connected${peer}` : status.problem || `${waiting} …`;
  if (byId("state-text").textContent !== text) byId("state-text").textContent = text; // announced once
  document.body.dataset.state = status.connected ? "up" : "down";
  document.title = `${status.connected ? "Up" : "DOWN"} · Backhaul ${status.side}`;
  byId("side").textContent = `${status.side} · ${status.transport}`;
  byId("about").textContent = `version ${status.version}`;
}

function showFacts(list, facts) {
  const items = facts.filter(([, value]) => value !== null);
  list.replaceChildren(...items.map(([name, value]) => {
    const item = document.createElement("div");
    item.append(element("dt", name), element("dd", value));
    return item;
  }));
}

function allowed(targets) {
  if (!targets.length) return "all but Unix sockets";
  return targets.length > FEW ? `${targets.slice(0, FEW).join(", ")} and ${count(targets.length - FEW)} more` : targets.join(", ");
}

function serverState(server) {
  if (server.connected) return `${server.transport}, connected`;
  return server.problem || (server.in_use ? `${server.transport}, connecting …` : "not in use");
}

function tunnelFacts({ status, now, usage }) {
  const open = status.ports.reduce((sum, port) => sum + port.open, 0);
  const pool = status.pool_size === null ? count(status.pool_idle) : `${count(status.pool_idle)} of ${count(status.pool_size)}`;
  return [
    ["Running for", duration(now - status.started)],
    ["Round trip", status.rtt === null ? null : `${(status.rtt * 1000).toFixed(1)} ms`],
    ["Reconnects", count(status.reconnects)],
    ["Unanswered users", status.unanswered ? count(status.unanswered) : null],
    ["Open connections", count(open)],
    ["Idle in the pool", pool],
    ["Streams", status.sessions ? `${count(status.streams)} in ${count(status.sessions)} sessions` : null],
    ["Disconnected", status.parked ? `${count(status.parked)} sessions` : null],
    ["Resumed", status.resumes ? `${count(status.resumes)} times` : null],
    ["UDP flows", status.flows ? count(status.flows) : null],
    ...status.servers.map((server) => [server.name, serverState(server)]),
    ["Allowed targets", status.side === "client" ? allowed(status.allow_targets) : null],
    ["Total traffic", usage && size(Object.values(usage).reduce((sum, bytes) => sum + bytes, 0))],
  ];
}

function showThroughput({ history, now, interval }) {
  const [up, down] = history.at(-1) ?? [0, 0];
  byId("rate-down").textContent = rate(down);
  byId("rate-up").textContent = rate(up);
  draw(history, now, interval);
}

function meter(name, used, total, text) {
  const label = element("label", name);
  const bar = document.createElement("meter");
  Object.assign(bar, { min: 0, max: total, high: total * 0.9, optimum: 0, value: used });
  label.append(element("span", text), bar);
  return label;
}

const MISSING = "–"; // a figure that the machine does not provide

function share(name, figure) {
  if (figure === null) return meter(name, 0, 1, MISSING);
  return meter(name, figure.used, figure.total, `${size(figure.used)} of ${size(figure.total)}`);
}

function processor(cpu) {
  return cpu === null ? meter("Processor", 0, 100, MISSING) : meter("Processor", cpu, 100, `${cpu.toFixed(0)} %`);
}

function showMachine({ machine, machine_rate }) {
  const hasSwap = machine.swap === null || machine.swap.total > 0;
  byId("meters").replaceChildren(
    processor(machine.cpu),
    share("Memory", machine.memory),
    ...(hasSwap ? [share("Swap", machine.swap)] : []),
    share("Disk", machine.disk),
  );
  showFacts(byId("machine"), [
    ["Network in", machine_rate === null ? MISSING : rate(machine_rate.received)],
    ["Network out", machine_rate === null ? MISSING : rate(machine_rate.sent)],
    ["Sockets", machine.sockets === null ? MISSING : count(machine.sockets)],
  ]);
}

function show(answer) {
  learn(answer.status);
  showState(answer);
  showFacts(byId("facts"), tunnelFacts(answer));
  showThroughput(answer);
  showClients(answer);
  showMembers(answer);
  showPorts(answer);
  showLimits(answer.status.limits);
  showMachine(answer);
}

function complain() {
  document.body.dataset.state = "stale";
  document.title = "No answer · Backhaul";
  const since = answered ? ` since ${clock(answered)}; the numbers below are old` : "";
  byId("stale").textContent = `No answer from Backhaul${since}. Trying again …`;
  byId("stale").hidden = false;
}

async function ask() {
  try {
    const [status, traffic] = await Promise.all([get("status", PATIENCE), get("traffic", PATIENCE)]);
    answered = Date.now() / 1000;
    byId("stale").hidden = true;
    show({ ...traffic, status });
  } catch (error) {
    console.warn("backhaul:", error);
    complain();
  }
  timer = document.hidden ? null : setTimeout(ask, PERIOD);
}

// A hidden page requests nothing.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && timer === null) ask();
});
ask();

import { showChange } from "./change.js";
import { Flow } from "./flow.js";
import { Letters } from "./letters.js";
import { Rates } from "./rates.js";
import { ask, Stream, token } from "./stream.js";
import { showDrops, showMemory, Stores, Tasks, Topics, Workers } from "./tables.js";
import * as words from "./words.js";

const at = (id) => document.getElementById(id);
const { count, duration, element, plural, say, showDialog } = words;

// What a screen reader hears: changes of state, not every number.
function announce(text) {
  say(at("announcer"), text);
}

const rates = new Rates();
const topics = new Topics(at("topics"), rates);
const tasks = new Tasks(at("tasks"));
const workers = new Workers(at("workers"), rates);
const stores = new Stores(at("stores"), rates);
const flow = new Flow(at("flow"), rates, (topology) => showChange(at("change"), topology.change));
const letters = new Letters(at("letters"), { announce, askToken });
const stateListeners = [];
const staleListeners = [];
let last = { level: null, isStale: false };
let isAsked = false;

function* counters(state) {
  yield ["processed", state.processed_records];
  const sums = new Map();
  const add = (name, value) => sums.set(name, (sums.get(name) ?? 0) + value);
  for (const task of state.tasks) {
    for (const input of task.inputs) {
      add(`in/${input.topic}`, input.records);
      add(`in-bytes/${input.topic}`, input.bytes);
      add(`rejected/${input.topic}`, input.rejected);
      add(`edge/${input.topic}>${task.subtopology}`, input.records);
    }
    for (const output of task.outputs) {
      add(`out/${output.topic}`, output.records);
      add(`out-bytes/${output.topic}`, output.bytes);
      add(`edge/${task.subtopology}>${output.topic}`, output.records);
    }
    for (const store of task.stores) {
      if (store.changelog_written) add(`store/${store.store}`, store.changelog_written.records);
    }
  }
  yield* sums;
  for (const worker of state.workers) {
    for (const [bound, atMost] of worker.latency.buckets_ms) yield [`latency/${worker.worker}/${bound}`, atMost];
  }
}

// The current problems, the worst first: a level and a sentence each.
function waits(state) {
  const found = [];
  if (state.error) found.push(["failed", `The application has failed: ${state.error}`]);
  for (const worker of state.workers) {
    if (worker.stuck) {
      const { for_ms, node, task, partition, offset } = worker.stuck;
      const what = `A worker has been processing one record for ${duration(for_ms)}: ${node} of task ${task}, ${partition} offset ${count(offset)}`;
      found.push([worker.expelled ? "failed" : "waiting", worker.expelled ? `${what}; its tasks were reassigned` : what]);
    }
    if (worker.outage) {
      found.push(["waiting", `The log has not answered for ${duration(worker.outage.for_ms)}: ${worker.outage.reason}`]);
    }
  }
  for (const task of state.restoring) {
    const done = task.records_total ? `, ${words.share(task.records, task.records_total)} done` : "";
    const left = task.left_ms === null ? "" : `, about ${duration(task.left_ms)} left`;
    found.push(["waiting", `Task ${task.task} is being restored${done}${left}`]);
  }
  for (const task of state.waiting) {
    found.push(["waiting", `Task ${task.task} could not be opened after ${plural(task.tries, "attempt", "attempts")}: ${task.error}`]);
  }
  for (const task of state.tasks) {
    const held = task.held_back;
    if (!held || held.for_ms < 2000) continue;
    const who = held.origin === null ? `partition ${held.partition} of ${held.topic}` : `upstream task ${held.origin} of ${held.topic}`;
    const behind = held.time_ms === null || held.ahead_ms === null ? ", which has not reported yet" : `, ${duration(held.ahead_ms - held.time_ms)} behind the others`;
    found.push(["waiting", `Windows of ${task.task} have waited ${duration(held.for_ms)} for ${who}${behind}`]);
  }
  const unique = new Map(found.map(([level, text]) => [text, level]));
  return [...unique].map(([text, level]) => [level, text]);
}

function headline(state, found) {
  const names = { starting: "Starting", running: "Running", draining: "Draining", stopping: "Stopping", stopped: "Stopped", failed: "Failed" };
  const parts = [names[state.state] ?? state.state];
  parts.push(`${count(state.workers_running)} of ${plural(state.workers_total, "worker", "workers")}`);
  const pace = rates.rate("processed");
  const lagMs = pace ? (1000 * state.lag_records) / pace : null;
  if (state.lag_records === null) parts.push("lag not yet known");
  else if (state.lag_records === 0) parts.push("caught up");
  else if (lagMs !== null && lagMs < 100) parts.push("lag under 0.1 s");
  else if (lagMs !== null) parts.push(`lag ${duration(Math.round(lagMs / 100) * 100)}, ${plural(state.lag_records, "record", "records")}`);
  else parts.push(`${plural(state.lag_records, "record", "records")} to be processed`);
  const isFailed = state.state === "failed" || state.state === "stopped" || !state.live.ok;
  const level = isFailed ? "failed" : found.length > 0 || !state.ready.ok ? "waiting" : "well";
  return { level, text: parts.join(", ") };
}

function showHead(state) {
  const found = waits(state);
  if (found.length === 0 && !state.ready.ok) found.push(...state.ready.reasons.map((reason) => ["waiting", reason]));
  const { level, text } = headline(state, found);
  at("headline").dataset.level = level;
  say(at("headline-text"), text);
  const promise = state.guarantee === "exactly_once" ? "Exactly once" : "At least once";
  const committed = state.committed_ms === null ? "nothing committed yet" : `committed ${duration(state.committed_ms)} ago`;
  const all = state.tasks.length === state.tasks_total;
  const open = all ? plural(state.tasks.length, "task", "tasks") : `${count(state.tasks.length)} of ${plural(state.tasks_total, "task", "tasks")} open here`;
  say(at("promise"), `${promise}, ${committed} · ${open} · ${rates.rate("processed") === null ? "rate not yet known" : `${words.number(rates.rate("processed"))} records/s`}`);
  const list = at("waits");
  const shown = found.slice(0, 8).map(([, text]) => text);
  if (found.length > 8) shown.push(`and ${found.length - 8} more`);
  while (list.children.length > shown.length) list.lastChild.remove();
  while (list.children.length < shown.length) list.append(element("li"));
  shown.forEach((text, number) => say(list.children[number], text));
  list.hidden = shown.length === 0;
  if (last.level !== null && last.level !== level) {
    const said = { well: "All is well", waiting: "Waiting", failed: "Not running" };
    announce(`${said[level]}: ${found[0]?.[1] ?? text}`);
  }
  last.level = level;
}

function showState(state) {
  rates.take(state.at_ms, counters(state));
  showHead(state);
  showBegin(state);
  if (!document.hidden) {
    topics.show(state);
    tasks.show(state);
    workers.show(state);
    stores.show(state);
    flow.show(state);
    showDrops(at("drops"), state);
    showMemory(at("memory"), state);
  }
  letters.show(state);
  say(at("version"), `marea ${state.version}`);
  for (const listener of stateListeners) listener(state);
}

// Until the first record arrives: how to send one.
function showBegin(state) {
  const begin = at("begin");
  const isEmpty = state.state === "running" && state.processed_records === 0;
  if (isEmpty === begin.childNodes.length > 0) return;
  const source = state.tasks.flatMap((task) => task.inputs).find((input) => !input.repartition);
  if (!isEmpty || !source) begin.replaceChildren();
  else {
    const hint = `No record has arrived yet. Write one to ${source.topic}, from any program that opens the same log:`;
    begin.append(element("p", {}, hint), words.command(`log.producer::<String, String>("${source.topic}")?.send(key, value)?;`));
  }
}

function showStale(forMs) {
  const isStale = forMs !== null;
  document.body.classList.toggle("is-stale", isStale);
  at("stale").hidden = !isStale;
  if (isStale) say(at("stale"), `State as of ${duration(Math.round(forMs / 1000) * 1000)} ago. The connection is lost; reconnecting.`);
  if (isStale === last.isStale) return;
  last.isStale = isStale;
  announce(isStale ? "The connection is lost" : "Reconnected");
  for (const listener of staleListeners) listener(isStale);
}

function showRefusal(status, reason) {
  at("headline").dataset.level = "failed";
  if (status === 401) {
    say(at("headline-text"), "This page requires the token");
    say(at("promise"), "To enter it later, use “token” at the bottom of the page.");
    // Once; whoever closes the dialog is not asked again at each attempt to connect.
    if (!isAsked) askToken();
    isAsked = true;
  } else say(at("headline-text"), reason);
}

// Asks for the token, in one dialog at a time; resolves when it is closed.
async function askToken() {
  const dialog = at("token-dialog");
  if (!dialog.open) {
    at("token-input").value = "";
    showDialog(dialog);
  }
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue === "use" && at("token-input").value) {
    token.set(at("token-input").value.trim());
    at("token-input").value = "";
    isAsked = false;
    stream.restart();
  }
  return token.get() !== null;
}

const stream = new Stream({ onState: showState, onBroken: showStale, onRefused: showRefusal });
at("token-button").addEventListener("click", askToken);
// They submit nothing, so that the Enter key does what the form is for.
for (const button of document.querySelectorAll("dialog button[value=cancel]")) {
  button.addEventListener("click", () => button.closest("dialog").close("cancel"));
}

// The application's own sections.
const page = {
  onState: (listener) => stateListeners.push(listener),
  onStale: (listener) => staleListeners.push(listener),
  fetch: ask,
  format: words,
  announce,
};
for (const mount of document.querySelectorAll("[data-module]")) {
  import(new URL(mount.dataset.module, document.baseURI).href)
    .then((module) => module.default(mount, page))
    .catch((error) => mount.append(element("p", { className: "empty" }, `This section could not be loaded: ${error.message}`)));
}

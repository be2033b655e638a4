// Tables whose rows keep their places: a row is found by its key, and only changed cells are written.

import { quantile, Sparkline } from "./rates.js";
import { byteRate, bytes, command, count, DASH, duration, element, number, plural, rate, say, share, time } from "./words.js";

export class Table {
  #rows = new Map();

  // `columns` are pairs of a name and a class.
  constructor(mount, label, columns) {
    this.mount = mount;
    this.columns = columns;
    this.body = element("tbody");
    const head = columns.map(([name, className]) => element("th", { scope: "col", className, textContent: name }));
    this.table = element("table", { "aria-label": label }, element("thead", {}, element("tr", {}, ...head)), this.body);
    this.empty = element("div", { className: "empty" });
    mount.append(this.table, this.empty);
  }

  // Shows rows by key, sorted by it; each is a list of texts, pairs of text and title, or elements.
  show(rows, empty) {
    const keys = [...rows.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    for (const [key, row] of this.#rows) {
      if (!rows.has(key)) {
        row.remove();
        this.#rows.delete(key);
      }
    }
    let before = null;
    for (const key of keys) {
      let row = this.#rows.get(key);
      if (!row) {
        const cells = this.columns.map(([name, className], at) =>
          element(at === 0 ? "th" : "td", { className, "data-label": name, scope: at === 0 ? "row" : null }));
        row = element("tr", {}, ...cells);
        this.#rows.set(key, row);
        if (before) before.after(row);
        else this.body.prepend(row);
      }
      rows.get(key).forEach((cell, at) => this.#write(row.children[at], cell));
      before = row;
    }
    this.table.hidden = keys.length === 0;
    if ((keys.length === 0) !== (this.empty.childNodes.length > 0)) {
      this.empty.replaceChildren(...(keys.length === 0 ? empty() : []));
    }
  }

  #write(cell, value) {
    if (value instanceof Element) {
      if (cell.firstChild !== value) cell.replaceChildren(value);
    } else if (Array.isArray(value)) say(cell, value[0], value[1]);
    else say(cell, value);
  }
}

export class Topics {
  #lines = new Map();

  constructor(mount, rates) {
    this.rates = rates;
    this.table = new Table(mount, "Topics", [
      ["Topic", "name"], ["Last 5 min", "line"], ["Records in", "number"], ["Bytes in", "number"],
      ["Records out", "number"], ["Bytes out", "number"], ["Rejected", "number"], ["Lag", "number"],
    ]);
  }

  show(state) {
    const topics = new Map();
    const of = (name) => {
      if (!topics.has(name)) topics.set(name, { lag: 0, rejected: 0, isRead: false, isWritten: false });
      return topics.get(name);
    };
    for (const task of state.tasks) {
      for (const input of task.inputs) {
        const topic = of(input.topic);
        topic.isRead = true;
        topic.rejected += input.rejected;
        topic.lag = topic.lag === null || input.lag_records === null ? null : topic.lag + input.lag_records;
      }
      for (const output of task.outputs) of(output.topic).isWritten = true;
    }
    for (const name of this.#lines.keys()) if (!topics.has(name)) this.#lines.delete(name);
    const rows = new Map();
    for (const [name, topic] of topics) {
      if (!this.#lines.has(name)) this.#lines.set(name, this.#line(name));
      const kept = this.#lines.get(name);
      kept.line.draw(this.rates.line(`${topic.isRead ? "in" : "out"}/${name}`));
      const rejected = topic.isRead ? this.rates.rate(`rejected/${name}`) : null;
      say(kept.rejected, topic.rejected > 0 ? `${rate(rejected)} (${count(topic.rejected)})` : rate(rejected));
      kept.rejected.classList.toggle("bad", topic.rejected > 0);
      const when = (is, value) => (is ? value : DASH);
      rows.set(name, [
        name, kept.line.element,
        when(topic.isRead, rate(this.rates.rate(`in/${name}`))),
        when(topic.isRead, byteRate(this.rates.rate(`in-bytes/${name}`))),
        when(topic.isWritten, rate(this.rates.rate(`out/${name}`))),
        when(topic.isWritten, byteRate(this.rates.rate(`out-bytes/${name}`))),
        topic.rejected > 0 ? kept.rejected : when(topic.isRead, rate(rejected)),
        when(topic.isRead, count(topic.lag)),
      ]);
    }
    this.table.show(rows, () => [element("p", {}, "No task is open here yet.")]);
  }

  #line(name) {
    const rejected = element("a", { href: "#letters-title", title: "Records that were refused, skipped or sent to the dead letters" });
    return { line: new Sparkline(`Records per second of ${name} over five minutes`), rejected };
  }
}

export class Tasks {
  constructor(mount) {
    this.table = new Table(mount, "Tasks", [
      ["Task", "name"], ["State", "words"], ["Worker", "name short"], ["Stream time", "number"], ["Behind", "number"],
      ["Time reached", "number"], ["Lag", "number"],
    ]);
  }

  show(state) {
    const newest = Math.max(...state.tasks.map((task) => task.stream_time_ms ?? -1));
    const rows = new Map();
    for (const task of state.tasks) {
      const at = time(task.stream_time_ms);
      const lags = task.inputs.map((input) => input.lag_records);
      const lag = lags.includes(null) ? null : lags.reduce((sum, lag) => sum + lag, 0);
      const held = task.held_back && task.held_back.for_ms >= 2000;
      const words = task.ended ? "ended" : held ? "waiting" : lag === 0 ? "caught up" : "working";
      const behind = task.stream_time_ms === null ? null : newest - task.stream_time_ms;
      const reached = time(task.floor_ms);
      const closed = reached.title && `${reached.title}: all inputs have reached it; windows that ended before, with their grace, are closed, later ones are open`;
      rows.set(task.task, [
        task.task, words, shortWorker(task.worker), [at.text, at.title], duration(behind), [reached.text, closed], count(lag),
      ]);
    }
    for (const task of state.restoring) {
      const left = task.left_ms === null ? "" : `, ${duration(task.left_ms)} left`;
      const done = task.records_total === null ? "" : ` ${share(task.records, task.records_total)}`;
      rows.set(task.task, [task.task, `restoring${done}${left}`, shortWorker(task.worker), DASH, DASH, DASH, DASH]);
    }
    for (const task of state.waiting) {
      rows.set(task.task, [task.task, [`next try in ${duration(task.next_try_in_ms)}`, task.error], shortWorker(task.worker), DASH, DASH, DASH, DASH]);
    }
    this.table.show(rows, () => [element("p", {}, "This instance has no tasks: other instances have all of them, or they are still being assigned.")]);
  }
}

// The end of a name distinguishes workers; the title has all of it.
function shortWorker(name) {
  const parts = name.split("-");
  const short = parts.length > 1 ? `${parts.at(-2).slice(0, 4)}-${parts.at(-1)}` : name;
  return [short, name];
}

export class Workers {
  constructor(mount, rates) {
    this.rates = rates;
    this.table = new Table(mount, "Workers", [
      ["Worker", "name short"], ["State", "words"], ["Tasks", "number"], ["Last commit", "number"],
      ["Commit p50", "number"], ["p99", "number"], ["Aborted", "number"],
    ]);
  }

  show(state) {
    const rows = new Map();
    for (const worker of state.workers) {
      // Over the last five minutes once these are known; over the whole run until then.
      const grown = worker.latency.buckets_ms.map(([bound]) => [bound, this.rates.grown(`latency/${worker.worker}/${bound}`)]);
      const isKnown = grown.every(([, value]) => value !== null) && grown.at(-1)[1] > 0;
      const buckets = isKnown ? grown : worker.latency.buckets_ms;
      const tasks = state.tasks.filter((task) => task.worker === worker.worker).length;
      const words = worker.expelled ? "stuck, without tasks"
        : worker.stuck ? [`processing one record for ${duration(worker.stuck.for_ms)}`, `${worker.stuck.node}, ${worker.stuck.partition} offset ${worker.stuck.offset}`]
        : worker.outage ? [`log silent for ${duration(worker.outage.for_ms)}`, worker.outage.reason]
        : "working";
      rows.set(worker.worker, [
        shortWorker(worker.worker), words, count(tasks),
        worker.committed_ms === null ? DASH : `${duration(worker.committed_ms)} ago`,
        duration(quantile(buckets, 0.5)), duration(quantile(buckets, 0.99)), count(worker.aborts),
      ]);
    }
    this.table.show(rows, () => [element("p", {}, "No worker has reported yet.")]);
  }
}

export class Stores {
  constructor(mount, rates) {
    this.rates = rates;
    this.table = new Table(mount, "Stores", [
      ["Store", "name"], ["Rows", "number"], ["Size", "number"], ["Changes", "number"], ["Changelog", "name"],
    ]);
  }

  show(state) {
    const stores = new Map();
    for (const task of state.tasks) {
      for (const store of task.stores) {
        const sum = stores.get(store.store) ?? { rows: 0, bytes: 0, changelog: store.changelog };
        sum.rows = sum.rows === null || store.rows === null ? null : sum.rows + store.rows;
        sum.bytes = sum.bytes === null || store.bytes === null ? null : sum.bytes + store.bytes;
        stores.set(store.store, sum);
      }
    }
    const rows = new Map();
    for (const [name, store] of stores) {
      rows.set(name, [name, count(store.rows), bytes(store.bytes), rate(this.rates.rate(`store/${name}`)), store.changelog ?? "not logged"]);
    }
    this.table.show(rows, () => [element("p", {}, "The topology keeps no state.")]);
  }
}

const REASONS = {
  null_key: "without a key", null_value: "without a value", late: "late: their window had closed",
  closed_while_idle: "late: their window closed while their input was silent", refused: "refused by their source",
  expired: "older than the retention of their store", null_repartition_key: "without a new key", superseded: "answers that arrived too late",
  out_of_order: "older than the row of their key", skipped: "skipped by a policy", dead_letter: "sent to the dead letters",
};

export function showDrops(mount, state) {
  const dropped = Object.entries(state.drops).filter(([, value]) => value > 0);
  const texts = dropped.map(([reason, value]) => `${count(value)} ${REASONS[reason] ?? reason}`);
  if (state.deleted_unread_records > 0) texts.push(`${count(state.deleted_unread_records)} deleted before they were read`);
  const text = texts.length === 0 ? "Nothing has been dropped since the start." : `Dropped since the start: ${texts.join("; ")}.`;
  if (!mount.firstChild) mount.append(element("p", { className: "note" }));
  say(mount.firstChild, text);
}

export function showMemory(mount, state) {
  const memory = state.memory;
  if (!mount.firstChild) {
    const meter = element("meter", { min: 0, max: 1, high: 0.9, "aria-label": "Memory used, as a share of the limit" });
    mount.append(element("p", { className: "note memory" }, meter, element("span")), element("p", { className: "note" }));
  }
  const [meter, text] = mount.firstChild.children;
  meter.value = memory.limit_bytes ? memory.used_bytes / memory.limit_bytes : 0;
  say(text, `Memory: ${bytes(memory.used_bytes)} of a limit of ${bytes(memory.limit_bytes)}; the process uses ${bytes(memory.process_bytes)}.`);
  const parts = [["RocksDB", memory.rocksdb_bytes], ["cached rows", memory.cached_bytes], ["fetched", memory.fetched_bytes],
    ["not committed", memory.uncommitted_bytes], ["log, at most", memory.log_bytes]];
  if (memory.globals_bytes) parts.push(["global stores", memory.globals_bytes]);
  say(mount.lastChild, parts.map(([name, value]) => `${name} ${bytes(value)}`).join(" · "));
}

export { command, number, plural };

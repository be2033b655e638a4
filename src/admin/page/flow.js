// The topology as a graph from left to right, or from top to bottom if the page is narrow. Positions depend only on the
// topology and the width: numbers change, nothing moves.

import { ask } from "./stream.js";
import { bytes, count, duration, element, rate, say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const GAP = { column: 118, row: 22, narrow: 58 };
const NODE_WIDTH = 212;

export class Flow {
  #topology = null;
  #asked = false;
  #graph = null;
  #state = null;
  #width = 0;

  // `onTopology` gets the topology once it is known.
  constructor(mount, rates, onTopology) {
    Object.assign(this, { mount, rates, onTopology });
    new ResizeObserver(() => {
      if (Math.abs(mount.clientWidth - this.#width) > 1 && this.#graph) this.#place();
    }).observe(mount);
  }

  show(state) {
    this.#state = state;
    if (!this.#asked) this.#load();
    const outputs = state.tasks.flatMap((task) => task.outputs.map(({ topic }) => `${task.subtopology}>${topic}`));
    // Topics that records name, and the dead-letter topic, become known when they are written.
    if (this.#topology && this.#graph && outputs.some((edge) => !this.#graph.edges.has(edge) && this.#isShown(edge))) this.#build();
    if (this.#graph) this.#write();
  }

  #isShown(edge) {
    return this.#state.tasks.some((task) => task.outputs.some(({ topic, records }) => records > 0 && `${task.subtopology}>${topic}` === edge));
  }

  async #load() {
    this.#asked = true;
    try {
      const answer = await ask("topology?format=json");
      if (!answer.ok) throw new Error(await answer.text());
      this.#topology = await answer.json();
      this.onTopology(this.#topology);
      this.#build();
      this.#write();
    } catch (error) {
      this.mount.replaceChildren(element("p", { className: "empty" }, `The topology could not be read: ${error.message}`));
      setTimeout(() => (this.#asked = false), 5000);
    }
  }

  // The full name, on the log, of a topic of the topology.
  #full(name) {
    return name.endsWith("-repartition") ? `${this.#state.application}-${name}` : name;
  }

  #build() {
    const nodes = new Map();
    const edges = new Map();
    const back = new Set((this.#topology.feedbacks ?? []).map((name) => this.#full(name)));
    const topic = (name, isInner) => {
      const id = `topic:${name}`;
      if (!nodes.has(id)) nodes.set(id, { id, kind: isInner ? "inner topic" : "topic", name });
      return id;
    };
    const edge = (key, from, to, isBack) => edges.set(key, { key, from, to, isBack });
    for (const part of this.#topology.subtopologies) {
      const id = `part:${part.name}`;
      nodes.set(id, { id, kind: "part", name: part.name, part });
      for (const node of part.nodes) {
        for (const name of node.reads) {
          const full = this.#full(name);
          edge(`${full}>${part.name}`, topic(full, full !== name), id, back.has(full));
        }
        if (node.writes && node.writes !== "(by record)") {
          const full = this.#full(node.writes);
          edge(`${part.name}>${full}`, id, topic(full, full !== node.writes), back.has(full));
        }
      }
    }
    for (const task of this.#state.tasks) {
      for (const output of task.outputs) {
        const key = `${task.subtopology}>${output.topic}`;
        if (output.records > 0 && !edges.has(key)) edge(key, `part:${task.subtopology}`, topic(output.topic, false), false);
      }
    }
    this.#graph = { nodes, edges };
    this.#rank();
    this.#draw();
    this.#place();
  }

  // Ranks by the longest path from a source, without edges that lead back; then orders each rank to have few crossings.
  #rank() {
    const { nodes, edges } = this.#graph;
    const forward = [...edges.values()].filter((edge) => !edge.isBack);
    for (const node of nodes.values()) node.rank = 0;
    for (let round = 0; round < nodes.size; round += 1) {
      let moved = false;
      for (const { from, to } of forward) {
        const rank = nodes.get(from).rank + 1;
        if (nodes.get(to).rank < rank && rank <= nodes.size) {
          nodes.get(to).rank = rank;
          moved = true;
        }
      }
      if (!moved) break;
    }
    const ranks = [];
    for (const node of nodes.values()) (ranks[node.rank] ??= []).push(node);
    // An edge over several ranks takes a place in each rank that it passes.
    for (const edge of edges.values()) {
      edge.via = [];
      if (edge.isBack) continue;
      for (let rank = nodes.get(edge.from).rank + 1; rank < nodes.get(edge.to).rank; rank += 1) {
        const pass = { id: `${edge.key}@${rank}`, kind: "pass", rank };
        edge.via.push(pass);
        ranks[rank].push(pass);
      }
    }
    const links = [];
    for (const edge of edges.values()) {
      if (edge.isBack) continue;
      const chain = [nodes.get(edge.from), ...edge.via, nodes.get(edge.to)];
      for (let at = 1; at < chain.length; at += 1) links.push([chain[at - 1], chain[at]]);
    }
    const position = new Map();
    const number = (rank) => rank.forEach((item, at) => position.set(item, at));
    ranks.forEach(number);
    const sort = (rank, side) => {
      const middle = new Map(rank.map((item) => {
        const others = links.filter((link) => link[1 - side] === item).map((link) => position.get(link[side]));
        return [item, others.length ? others.reduce((a, b) => a + b, 0) / others.length : position.get(item)];
      }));
      rank.sort((a, b) => middle.get(a) - middle.get(b));
      number(rank);
    };
    for (let sweep = 0; sweep < 4; sweep += 1) {
      for (const rank of ranks) sort(rank, 0);
      for (const rank of [...ranks].reverse()) sort(rank, 1);
    }
    this.#graph.ranks = ranks;
  }

  #draw() {
    const { nodes, edges } = this.#graph;
    this.lines = document.createElementNS(SVG, "svg");
    this.lines.setAttribute("aria-hidden", "true");
    this.mount.replaceChildren(this.lines);
    for (const node of nodes.values()) {
      node.figures = element("p", { className: "figures" }, "–");
      const name = element("h3", { title: node.name }, node.name);
      const kind = { topic: "topic", "inner topic": "repartition topic", part: "sub-topology" }[node.kind];
      node.element = element("article", { className: `node ${node.kind}` }, element("p", { className: "kind" }, kind), name, node.figures);
      if (node.part) {
        const steps = node.part.nodes.map(({ operator, name: given, id, writes }) => {
          const what = given ?? writes;
          return element("li", { title: id }, what ? `${operator.replace("repartition_", "")} ${what}` : operator.replace("repartition_", ""));
        });
        const most = 7;
        const shown = steps.slice(0, steps.length > most ? most - 1 : most);
        if (steps.length > most) shown.push(element("li", {}, `and ${steps.length - shown.length} more`));
        node.element.append(element("ol", { className: "steps" }, ...shown));
        node.stores = new Map(node.part.stores.map((text) => {
          const store = text.split(":")[0];
          const figures = element("span", {}, "–");
          node.element.append(element("p", { className: "store", title: text }, element("strong", {}, store), figures));
          return [store, figures];
        }));
      }
      this.mount.append(node.element);
    }
    for (const edge of edges.values()) {
      edge.line = document.createElementNS(SVG, "path");
      edge.tip = document.createElementNS(SVG, "path");
      edge.tip.setAttribute("class", "tip");
      this.lines.append(edge.line, edge.tip);
      edge.label = element("p", { className: "edge" }, element("span", {}, "–"), element("small", {}, ""));
      this.mount.append(edge.label);
    }
  }

  #place() {
    const { ranks, edges } = this.#graph;
    this.#width = this.mount.clientWidth;
    const wide = ranks.length * (NODE_WIDTH - 60) + (ranks.length - 1) * (GAP.column - 14) <= this.#width;
    this.mount.classList.toggle("is-narrow", !wide);
    const height = wide ? this.#columns() : this.#rows();
    this.mount.style.height = `${height}px`;
    this.lines.setAttribute("viewBox", `0 0 ${this.#width} ${height}`);
    this.lines.setAttribute("width", this.#width);
    this.lines.setAttribute("height", height);
    for (const edge of edges.values()) this.#route(edge, wide, height);
  }

  #columns() {
    const { ranks } = this.#graph;
    const room = this.#width - (ranks.length - 1) * (GAP.column - 14);
    const width = Math.min(NODE_WIDTH + 48, Math.floor(room / ranks.length));
    const gap = ranks.length > 1 ? Math.min(170, (this.#width - width * ranks.length) / (ranks.length - 1)) : 0;
    let height = 0;
    const sizes = ranks.map((rank) => {
      for (const item of rank) {
        if (item.element) item.element.style.width = `${width}px`;
        item.width = width;
        item.height = item.element ? item.element.offsetHeight : 30;
      }
      const size = rank.reduce((sum, item) => sum + item.height, 0) + (rank.length - 1) * GAP.row;
      height = Math.max(height, size);
      return size;
    });
    ranks.forEach((rank, column) => {
      let y = (height - sizes[column]) / 2;
      for (const item of rank) {
        this.#put(item, column * (width + gap), y);
        y += item.height + GAP.row;
      }
    });
    return height + 4;
  }

  #rows() {
    const { ranks } = this.#graph;
    let y = 0;
    for (const rank of ranks) {
      const real = rank.filter((item) => item.element);
      const passes = rank.length - real.length;
      const room = this.#width - passes * 26 - (rank.length - 1) * 10;
      const width = Math.min(340, real.length ? Math.floor(room / real.length) : 0);
      const used = width * real.length + passes * 26 + (rank.length - 1) * 10;
      let x = (this.#width - used) / 2;
      let most = 0;
      for (const item of rank) {
        item.width = item.element ? width : 26;
        if (item.element) item.element.style.width = `${width}px`;
        item.height = item.element ? item.element.offsetHeight : 0;
        most = Math.max(most, item.height);
        this.#put(item, x, y);
        x += item.width + 10;
      }
      for (const item of rank) if (!item.element) item.height = most;
      y += most + GAP.narrow;
    }
    return y - GAP.narrow + 4;
  }

  #put(item, x, y) {
    Object.assign(item, { x, y });
    if (!item.element) return;
    item.element.style.left = `${x}px`;
    item.element.style.top = `${y}px`;
  }

  #route(edge, wide, height) {
    const { nodes } = this.#graph;
    const [from, to] = [nodes.get(edge.from), nodes.get(edge.to)];
    const out = (item) => (wide ? [item.x + item.width, item.y + item.height / 2] : [item.x + item.width / 2, item.y + item.height]);
    const into = (item) => (wide ? [item.x, item.y + item.height / 2] : [item.x + item.width / 2, item.y]);
    const curve = ([ax, ay], [bx, by]) => {
      const middle = wide ? (ax + bx) / 2 : (ay + by) / 2;
      return wide ? `C${middle} ${ay} ${middle} ${by} ${bx} ${by}` : `C${ax} ${middle} ${bx} ${middle} ${bx} ${by}`;
    };
    let [at, end] = [out(from), into(to)];
    let label = null;
    let drawn = `M${at[0]} ${at[1]}`;
    if (edge.isBack) {
      const low = wide ? height - 2 : Math.min(this.#width - 4, Math.max(at[0], end[0]) + 60);
      drawn += wide ? `C${at[0] + 50} ${low} ${end[0] - 50} ${low} ${end[0]} ${end[1]}` : `C${low} ${at[1]} ${low} ${end[1]} ${end[0]} ${end[1]}`;
      label = [(at[0] + end[0]) / 2, (at[1] + end[1]) / 2];
    } else {
      for (const pass of [...edge.via, to]) {
        const next = into(pass);
        drawn += curve(at, next);
        label ??= [(at[0] + next[0]) / 2, (at[1] + next[1]) / 2];
        at = next;
        if (pass !== to) {
          at = out(pass);
          drawn += `L${at[0]} ${at[1]}`;
        }
      }
    }
    edge.line.setAttribute("d", drawn);
    const [x, y] = end;
    edge.tip.setAttribute("d", wide ? `M${x - 8} ${y - 4.5}L${x} ${y}L${x - 8} ${y + 4.5}` : `M${x - 4.5} ${y - 8}L${x} ${y}L${x + 4.5} ${y - 8}`);
    edge.label.style.left = `${label[0]}px`;
    edge.label.style.top = `${label[1]}px`;
  }

  #write() {
    const { nodes, edges } = this.#graph;
    const tasks = this.#state.tasks;
    const inputs = tasks.flatMap((task) => task.inputs);
    const newest = Math.max(...inputs.map((input) => input.time_ms ?? -1));
    for (const edge of edges.values()) {
      const pace = this.rates.rate(`edge/${edge.key}`);
      const [side, other] = edge.key.split(">");
      const read = tasks.filter((task) => task.subtopology === other).flatMap((task) => task.inputs).filter((input) => input.topic === side);
      const times = read.map((input) => input.time_ms).filter((time) => time !== null);
      const behind = times.length > 0 && newest >= 0 ? newest - Math.min(...times) : null;
      const isStill = pace === 0;
      edge.line.classList.toggle("is-still", isStill);
      edge.tip.classList.toggle("is-still", isStill);
      edge.label.classList.toggle("is-still", isStill);
      say(edge.label.firstChild, isStill ? "idle" : rate(pace));
      say(edge.label.lastChild, behind ? `${duration(behind)} behind` : "", "How far the slowest partition is behind the newest record, by timestamps");
    }
    for (const node of nodes.values()) {
      if (node.kind === "part") {
        const own = tasks.filter((task) => task.subtopology === node.name);
        say(node.figures, `${count(own.length)} ${own.length === 1 ? "task" : "tasks"} here`);
        for (const [name, figures] of node.stores) {
          const found = own.flatMap((task) => task.stores).filter((store) => store.store === name);
          const sum = (of) => (found.length === 0 || found.some((store) => store[of] === null) ? null : found.reduce((all, store) => all + store[of], 0));
          say(figures, ` ${count(sum("rows"))} rows, ${bytes(sum("bytes"))}`);
        }
      } else {
        const read = inputs.filter((input) => input.topic === node.name);
        const lag = read.length === 0 || read.some((input) => input.lag_records === null) ? null : read.reduce((sum, input) => sum + input.lag_records, 0);
        const text = read.length === 0 ? rate(this.rates.rate(`out/${node.name}`)) : lag === 0 ? "caught up" : `${count(lag)} unread`;
        say(node.figures, text);
      }
    }
  }
}

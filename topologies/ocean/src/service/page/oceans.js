// The oceans, one card each, what is posted, and the alerts by ocean and kind.

const QUANTITIES = [
  { name: "temperature", label: "Temperature", unit: "°C", at: 3 },
  { name: "salinity", label: "Salinity", unit: "PSU", at: 4 },
  { name: "volume", label: "Volume", unit: "", at: 5 },
];
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 28;

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function set(target, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (target.getAttribute(key) !== String(value)) target.setAttribute(key, value);
  }
}

// A quantity of an ocean: its last average, a line of the last windows, and its bounds as a band behind the line.
class Quantity {
  constructor({ label, unit, at }, { element }) {
    this.unit = unit;
    this.at = at;
    this.value = element("dd", { className: "value" });
    this.verdict = element("span", { className: "verdict" });
    this.line = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "trend", role: "img", preserveAspectRatio: "none", "aria-label": `${label}, no window yet` });
    this.band = svg("rect", { x: 0, width: WIDTH, class: "band" });
    this.path = svg("path", {});
    this.line.append(this.band, this.path);
    this.label = label;
    this.nodes = [element("dt", { textContent: label }), this.value, element("dd", { className: "trend-cell" }, this.line), element("dd", { className: "bounds" }, this.verdict)];
  }

  show(windows, bounds, { say, number }) {
    const values = windows.map((window) => window[this.at]);
    const last = values.at(-1);
    const unit = this.unit ? ` ${this.unit}` : "";
    say(this.value, last === undefined ? "–" : `${number(last)}${unit}`);
    if (last === undefined || !bounds) {
      say(this.verdict, "");
      set(this.path, { d: "" });
      set(this.band, { height: 0, y: 0 });
      return null;
    }
    const [low, high] = bounds;
    const side = last < low ? "below" : last > high ? "above" : null;
    const range = `${number(low)} to ${number(high)}`;
    say(this.verdict, side ? `${side === "above" ? "▲" : "▼"} ${side} ${range}` : range);
    this.verdict.className = side ? "verdict bad" : "verdict";
    const bottom = Math.min(low, ...values);
    const top = Math.max(high, ...values);
    const y = (value) => HEIGHT - 2 - ((value - bottom) / (top - bottom || 1)) * (HEIGHT - 4);
    const x = (place) => (values.length < 2 ? WIDTH : (place / (values.length - 1)) * WIDTH);
    set(this.band, { y: y(high).toFixed(1), height: Math.max(0, y(low) - y(high)).toFixed(1) });
    const points = values.map((value, place) => `${x(place).toFixed(1)} ${y(value).toFixed(1)}`);
    set(this.path, { d: values.length < 2 ? `M0 ${y(last).toFixed(1)} H${WIDTH}` : `M${points.join(" L")}` });
    set(this.line, { "aria-label": `${this.label}, last ${values.length} windows: ${number(Math.min(...values))} to ${number(Math.max(...values))}${unit}` });
    return side ? `${this.label.toLowerCase()} ${side} its bounds` : null;
  }
}

class Card {
  constructor(name, format) {
    const { element } = format;
    this.format = format;
    this.state = element("p", { className: "ocean-state" });
    this.figures = element("p", { className: "ocean-figures" });
    this.quantities = QUANTITIES.map((quantity) => [quantity.name, new Quantity(quantity, format)]);
    const list = element("dl", { className: "quantities" }, ...this.quantities.flatMap(([, quantity]) => quantity.nodes));
    this.root = element("article", { className: "ocean" }, element("h3", { textContent: name }), this.state, list, this.figures);
  }

  // `newest` is the end of the newest window of all oceans, 0 if there is none.
  show({ windows, bounds }, newest) {
    const { say, plural, time } = this.format;
    const outside = this.quantities.map(([name, quantity]) => quantity.show(windows, bounds?.[name], this.format)).filter(Boolean);
    const last = windows.at(-1);
    // The windows of an instant do not all arrive at once: a single one that is missing may be on its way.
    const isSilent = !last || newest - last[1] > last[1] - last[0];
    const isOut = outside.length > 0;
    let verdict = isOut ? `▲ ${outside.join(", ")}` : "● Within bounds";
    if (isSilent) verdict = last ? `○ No readings since ${time(last[1]).text}` : "○ No readings in the last windows";
    say(this.state, newest ? verdict : "No window has closed yet");
    this.root.dataset.level = isSilent ? "silent" : isOut ? "out" : "well";
    if (!last) return say(this.figures, "");
    const { text, title } = time(last[1]);
    say(this.figures, `${plural(last[2], "reading", "readings")} in the window to ${text}`, title);
  }
}

// One line per ocean and kind, so that even a year of alerts fits on a page.
function grouped(alerts) {
  const groups = new Map();
  for (const alert of alerts) {
    const kind = alert.kind === "no_readings" ? "no readings" : `${alert.quantity} out of bounds`;
    const key = `${alert.ocean}: ${kind}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(alert);
  }
  return groups;
}

class Alerts {
  constructor(format) {
    const { element } = format;
    this.format = format;
    this.rows = new Map();
    this.list = element("ul", { className: "ocean-alerts" });
    this.empty = element("p", { className: "empty", textContent: "No alerts: every ocean has readings, all within its bounds." });
    this.earlier = element("p", { className: "note", hidden: true });
    this.root = element("div", {}, element("h3", { textContent: "Alerts" }), this.empty, this.list, this.earlier);
  }

  row(key) {
    if (this.rows.has(key)) return this.rows.get(key);
    const { element } = this.format;
    const head = element("summary");
    const windows = element("ol");
    const row = { key, head, windows, root: element("li", {}, element("details", {}, head, windows)) };
    this.rows.set(key, row);
    return row;
  }

  show(alerts, most) {
    const { say, plural, time, number, element, count } = this.format;
    const groups = grouped(alerts);
    this.earlier.hidden = alerts.length < most;
    say(this.earlier, `Only the last ${count(most)} alerts are shown and counted here.`);
    this.empty.hidden = groups.size > 0;
    for (const [key, row] of this.rows) {
      if (groups.has(key)) continue;
      row.root.remove();
      this.rows.delete(key);
    }
    for (const [key, found] of groups) {
      const row = this.row(key);
      const since = time(Math.min(...found.map((alert) => alert.start_ms)));
      say(row.head, `${key}, ${plural(found.length, "window", "windows")} since ${since.text}`, since.title);
      const lines = found.slice(0, 12).map((alert) => {
        const { text, title } = time(alert.start_ms);
        const what = alert.average === null ? "" : `: ${number(alert.average)}, bounds ${number(alert.low)} to ${number(alert.high)}`;
        return [`${text}${what}`, title];
      });
      while (row.windows.children.length > lines.length) row.windows.lastChild.remove();
      while (row.windows.children.length < lines.length) row.windows.append(element("li"));
      lines.forEach(([text, title], place) => say(row.windows.children[place], text, title));
    }
    // The newest first; but nothing moves while the pointer or the focus is on it.
    if (this.list.matches(":hover, :focus-within") && this.list.children.length === this.rows.size) return;
    const wanted = [...groups.keys()].map((key) => this.rows.get(key).root);
    wanted.forEach((root, place) => {
      if (this.list.children[place] !== root) this.list.insertBefore(root, this.list.children[place] ?? null);
    });
  }
}

// How many seconds rates are averaged over, like those of the topics.
const RATE_SECONDS = 10;

// What clients post a second, and what they were refused since the service started.
class Posts {
  #seen = [];

  constructor({ element }) {
    this.root = element("p", { className: "note" });
  }

  show(atMs, posts, { say, rate, plural }) {
    if (this.#seen.length > 0 && posts.readings < this.#seen.at(-1).posts.readings) this.#seen = [];
    this.#seen.push({ atMs, posts });
    while (this.#seen.length > RATE_SECONDS + 1) this.#seen.shift();
    const [first, last] = [this.#seen[0], this.#seen.at(-1)];
    const seconds = (last.atMs - first.atMs) / 1000;
    const perSecond = (name) => rate(seconds > 0 ? (last.posts[name] - first.posts[name]) / seconds : null);
    const texts = [`Posted: ${perSecond("readings")} acknowledged`];
    texts.push(`${perSecond("refused_readings")} refused (${plural(posts.refused_readings, "reading", "readings")} since the start)`);
    if (posts.refused_requests > 0) texts.push(`${plural(posts.refused_requests, "request", "requests")} refused`);
    if (posts.deferred_requests > 0) texts.push(`${plural(posts.deferred_requests, "request", "requests")} told to come again`);
    say(this.root, texts.join(" · "));
  }
}

export default function (mount, page) {
  const { element } = page.format;
  const cards = new Map();
  const grid = element("div", { className: "oceans" });
  const alerts = new Alerts(page.format);
  const posts = new Posts(page.format);
  mount.append(grid, posts.root, alerts.root);
  page.onState((state) => {
    const shown = state.sections?.oceans;
    if (!shown || document.hidden) return;
    const newest = Math.max(0, ...shown.oceans.flatMap(({ windows }) => windows.map((window) => window[1])));
    for (const ocean of shown.oceans) {
      if (!cards.has(ocean.name)) {
        const card = new Card(ocean.name, page.format);
        cards.set(ocean.name, card);
        grid.append(card.root);
      }
      cards.get(ocean.name).show(ocean, newest);
    }
    posts.show(state.at_ms, shown.posts, page.format);
    alerts.show(shown.alerts, shown.alerts_max);
  });
}

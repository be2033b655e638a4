// Counters of the last five minutes, one value per second, from which rates and sparklines are computed. Counters that
// no longer exist are forgotten, so that the memory of a page that is open for days does not grow.

const KEPT = 300;
const RATE_MS = 10_000;

export class Rates {
  #series = new Map();
  #times = [];

  // Adds the counters of one moment: an iterable of names and values.
  take(atMs, counters) {
    const last = this.#times.at(-1);
    if (last !== undefined && atMs <= last) return;
    this.#times.push(atMs);
    const length = this.#times.length;
    for (const [name, value] of counters) {
      let values = this.#series.get(name);
      if (!values) this.#series.set(name, (values = []));
      while (values.length < length - 1) values.push(null);
      values.push(value ?? null);
    }
    for (const [name, values] of this.#series) {
      while (values.length < length) values.push(null);
      if (length > KEPT) values.splice(0, length - KEPT);
      if (values.every((value) => value === null)) this.#series.delete(name);
    }
    if (length > KEPT) this.#times.splice(0, length - KEPT);
  }

  // Growth per second over the last ten seconds; null while it is unknown, and if the counter has started over.
  rate(name) {
    return this.#between(name, this.#times.length - 1, RATE_MS);
  }

  #between(name, end, ms) {
    const values = this.#series.get(name);
    if (!values || end < 1) return null;
    let begin = end;
    while (begin > 0 && this.#times[end] - this.#times[begin] < ms) begin -= 1;
    while (begin < end && values[begin] === null) begin += 1;
    const seconds = (this.#times[end] - this.#times[begin]) / 1000;
    if (seconds <= 0 || values[end] === null || values[begin] === null) return null;
    const grown = values[end] - values[begin];
    return grown < 0 ? null : grown / seconds;
  }

  // The growth of a counter over all that is kept.
  grown(name) {
    const values = (this.#series.get(name) ?? []).filter((value) => value !== null);
    if (values.length < 2) return null;
    const grown = values.at(-1) - values[0];
    return grown < 0 ? null : grown;
  }

  // Rates over the last five minutes, one point per five seconds, the oldest first.
  line(name) {
    const points = [];
    for (let end = this.#times.length - 1; end > 0; end -= 5) points.unshift(this.#between(name, end, 5000));
    return points;
  }
}

// A quantile of a histogram: its buckets are pairs of an upper bound, null for none, and how many values were at most that.
export function quantile(buckets, share) {
  const all = buckets.at(-1)?.[1] ?? 0;
  if (!all) return null;
  const wanted = all * share;
  let [below, lower] = [0, 0];
  for (const [bound, atMost] of buckets) {
    if (atMost >= wanted) {
      if (bound === null) return lower;
      const within = atMost > below ? (wanted - below) / (atMost - below) : 1;
      return lower + (bound - lower) * within;
    }
    [below, lower] = [atMost, bound ?? lower];
  }
  return lower;
}

const SVG = "http://www.w3.org/2000/svg";

// A line of points, whose place and size do not depend on what it shows.
export class Sparkline {
  constructor(label) {
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("viewBox", "0 0 120 24");
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", label);
    this.path = document.createElementNS(SVG, "path");
    this.element.append(this.path);
  }

  draw(points, length = 60) {
    const most = Math.max(...points.map((point) => point ?? 0), 1e-9);
    let [drawn, isUp] = ["", true];
    points.forEach((point, at) => {
      if (point === null) {
        isUp = true;
        return;
      }
      const x = 120 - ((points.length - 1 - at) * 120) / (length - 1);
      const y = 22 - (point / most) * 20;
      drawn += `${isUp ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
      isUp = false;
    });
    if (this.path.getAttribute("d") !== drawn) this.path.setAttribute("d", drawn);
  }
}

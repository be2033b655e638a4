// What the start found on the log: what it kept, added, moved and left behind. It does not change while the application runs.

import { Table } from "./tables.js";
import { count, DASH, element, plural, time } from "./words.js";

const KINDS = { store: "store", timers: "timers", repartition: "repartition" };

const FATES = {
  accepted: "left behind: accepted",
  before: "left behind by an earlier start",
  empty: "left behind: empty",
  shared: "left to other instances, which may use it",
  unasked: "left behind: an earlier release did not record which topologies have run",
};

const CONTENTS = { store: ["row", "rows"], timers: ["timer", "timers"], repartition: ["unread record", "unread records"] };

function inside({ kind, count: found }) {
  if (!found) return DASH;
  const text = plural(found.number, ...(CONTENTS[kind] ?? ["record", "records"]));
  return found.is_at_least ? `at least ${text}` : text;
}

export function showChange(mount, change) {
  // What others may use is not left behind.
  const left = change.orphans.filter(({ fate }) => fate !== "shared").length;
  const parts = [`${count(change.keeps.length)} kept`, `${count(change.adds.length)} added`];
  if (change.returns.length > 0) parts.push(`${count(change.returns.length)} used again`);
  if (change.moves.length > 0) parts.push(`times of ${count(change.moves.length)} moved`);
  parts.push(left === 0 ? "nothing left behind" : `${count(left)} left behind`);
  mount.replaceChildren(element("p", { className: "note" }, `${parts.join(", ")}.`));
  if (left > 0) {
    mount.append(element("p", { className: "note" },
      "What is left behind stays on the log until its topic is deleted; later starts do not ask about it again."));
  }
  const table = new Table(mount, "What the start found", [
    ["Name", "name"], ["Kind", "words"], ["Topic", "name"], ["Contents", "number"], ["This start", "words"],
  ]);
  const rows = new Map();
  const row = (piece, what, contents = DASH) => {
    const kind = KINDS[piece.kind] ?? piece.kind;
    rows.set(`${piece.name} ${kind} ${what}`, [piece.name, [kind, piece.description ?? ""], piece.topic ?? "no topic", contents, what]);
  };
  for (const piece of change.keeps) row(piece, "kept");
  for (const piece of change.adds) row(piece, "added");
  for (const piece of change.returns) row(piece, `used again, left behind on ${time(piece.since_ms).text}`);
  for (const { of, from, to } of change.moves) {
    rows.set(`${of} moved`, [of, "times", DASH, DASH, `moved from ${from} to ${to}`]);
  }
  for (const orphan of change.orphans) {
    const since = orphan.since_ms ? ` on ${time(orphan.since_ms).text}` : "";
    row(orphan, `${FATES[orphan.fate] ?? orphan.fate}${since}`, inside(orphan));
  }
  table.show(rows, () => [element("p", {}, "The topology keeps nothing on the log.")]);
}

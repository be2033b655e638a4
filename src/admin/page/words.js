// How the page writes numbers, sizes, durations and times. Unknown values are a dash, never 0.

export const DASH = "–";

const locale = "en-GB";
const grouped = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const rounded = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(locale, { year: "numeric", month: "short", day: "numeric" });

const unknown = (value) => value === null || value === undefined || Number.isNaN(value);

// An exact count, with its thousands separated.
export const count = (value) => (unknown(value) ? DASH : grouped.format(value));

// Three significant digits.
export const number = (value) => (unknown(value) ? DASH : rounded.format(value));

export const rate = (value) => (unknown(value) ? DASH : `${number(value)}/s`);

export function bytes(value) {
  if (unknown(value)) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${number(value)} ${units[unit]}`;
}

export const byteRate = (value) => (unknown(value) ? DASH : `${bytes(value)}/s`);

export function duration(ms) {
  if (unknown(ms)) return DASH;
  if (ms < 999.5) return `${number(ms)} ms`;
  if (ms < 120_000) return `${number(ms / 1000)} s`;
  if (ms < 7_200_000) return `${number(Math.round(ms / 60_000))} min`;
  if (ms < 172_800_000) return `${number(ms / 3_600_000)} h`;
  return `${number(ms / 86_400_000)} days`;
}

export const share = (part, whole) =>
  unknown(part) || !whole ? DASH : `${number(Math.floor((1000 * part) / whole) / 10)} %`;

// A time in the reader's time zone; `title` has it in UTC.
export function time(ms) {
  if (unknown(ms)) return { text: DASH, title: "" };
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return { text: DASH, title: "" };
  const isToday = day.format(date) === day.format(new Date());
  const text = isToday ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`;
  return { text, title: date.toISOString().replace("T", " ").replace("Z", " UTC") };
}

export const plural = (value, one, many) => `${count(value)} ${value === 1 ? one : many}`;

// Builds elements without HTML in strings: the content of a record is text, whatever it contains.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Writes a text only if it has changed, so that nothing is painted needlessly.
export function say(target, text, title) {
  if (target.textContent !== text) target.textContent = text;
  if (title !== undefined && target.title !== title) target.title = title;
}

// Shows a dialog. In some browsers the Escape key leaves the value that it returned the last time, which must not count again.
export function showDialog(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
}

// A command that can be copied.
export function command(text) {
  const button = element("button", { type: "button", className: "copy", textContent: "copy" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(button, "copied");
    } catch {
      say(button, "select it");
    }
    setTimeout(() => say(button, "copy"), 2000);
  });
  return element("p", { className: "command" }, element("code", { textContent: text }), button);
}

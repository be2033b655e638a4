// The stream of states. It is read with `fetch`, since an EventSource cannot send a token; after a failure it resumes
// after the last state that was seen.

const SILENT_MS = 6000;
const PAUSES_MS = [500, 1000, 2000, 5000, 10_000];
const TOKEN = "marea-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (secret) => (secret ? sessionStorage.setItem(TOKEN, secret) : sessionStorage.removeItem(TOKEN)),
};

// Like `fetch`, relative to the page, with the token if there is one.
export function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token.get()) headers.set("Authorization", `Bearer ${token.get()}`);
  return fetch(path, { cache: "no-store", ...options, headers });
}

export class Stream {
  #lastId = null;
  #seenAtMs = 0;
  #failures = 0;
  #wake = null;
  #request = null;

  // `onState` gets each state, `onBroken` a number of milliseconds or null, `onRefused` a reason.
  constructor({ onState, onBroken, onRefused }) {
    Object.assign(this, { onState, onBroken, onRefused });
    setInterval(() => this.#look(), 1000);
    // Nothing is drawn while the page is hidden; when it is shown again, a broken stream is retried at once.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retry();
    });
    this.#run();
  }

  // Retries now, perhaps with another token.
  retry() {
    this.#wake?.();
  }

  restart() {
    this.#request?.abort();
    this.retry();
  }

  #look() {
    const forMs = this.#seenAtMs ? performance.now() - this.#seenAtMs : 0;
    this.onBroken(forMs > 3000 ? forMs : null);
    // A dead connection may look alive for minutes.
    if (forMs > SILENT_MS) this.#request?.abort();
  }

  async #run() {
    for (;;) {
      try {
        await this.#read();
      } catch {
        // It broke; it is retried after the pause.
      }
      const pause = PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)];
      this.#failures += 1;
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, pause * (0.8 + 0.4 * Math.random()));
      });
      this.#wake = null;
    }
  }

  async #read() {
    this.#request = new AbortController();
    const opening = setTimeout(() => this.#request.abort(), SILENT_MS);
    const headers = this.#lastId ? { "Last-Event-ID": this.#lastId } : {};
    const answer = await ask("events", { headers, signal: this.#request.signal });
    clearTimeout(opening);
    if (!answer.ok) {
      this.onRefused(answer.status, (await answer.text()).trim());
      return;
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) this.#event(text.slice(0, end));
    }
  }

  #event(text) {
    let data = "";
    for (const line of text.split("\n")) {
      if (line.startsWith("id: ")) this.#lastId = line.slice(4);
      if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (!data) return;
    this.#seenAtMs = performance.now();
    this.#failures = 0;
    this.onBroken(null);
    this.onState(JSON.parse(data));
  }
}

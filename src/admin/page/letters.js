// Dead letters: lists them page by page, and sends one again.

import { ask, token } from "./stream.js";
import { command, count, element, plural, say, showDialog, time } from "./words.js";

const AT_MOST = 500;

export class Letters {
  #shownFor = null;
  #topic = undefined;
  #next = null;

  constructor(mount, { announce, askToken }) {
    Object.assign(this, { mount, announce, askToken });
    this.note = element("p", { className: "note" });
    this.list = element("ol", { className: "letters" });
    this.more = element("button", { type: "button", textContent: "Older", hidden: true });
    this.again = element("button", { type: "button", textContent: "Refresh", hidden: true });
    this.empty = element("div", { className: "empty" });
    this.more.addEventListener("click", () => this.#load(this.#next));
    this.again.addEventListener("click", () => this.#load(null));
    mount.append(this.note, this.empty, this.list, element("p", { className: "buttons" }, this.again, this.more));
  }

  // Nothing moves while someone reads: new ones are counted, and shown on request.
  show(state) {
    const dead = state.drops.dead_letter;
    if (state.dead_letters.topic !== this.#topic) {
      this.#topic = state.dead_letters.topic;
      if (this.#topic === null) {
        this.empty.replaceChildren(
          element("p", {}, "No dead-letter topic is configured, so a record that fails stops the application, or is skipped. To keep such records, configure:"),
          command('policies: ErrorPolicies::all(Policy::DeadLetter), dead_letter_topic: Some("dead-letters".to_owned()),'));
        return;
      }
      this.#load(null);
    }
    if (this.#topic === null || this.#shownFor === null) return;
    const fresh = dead - this.#shownFor;
    say(this.again, fresh > 0 ? `Show ${plural(fresh, "new one", "new ones")}` : "Refresh");
  }

  async #load(before) {
    const path = before ? `dead-letters?limit=20&before=${before}` : "dead-letters?limit=20";
    try {
      const [answer, state] = await Promise.all([ask(path), ask("state")]);
      if (!answer.ok) throw new Error((await answer.text()).trim());
      const page = await answer.json();
      if (state.ok) this.#shownFor = (await state.json()).drops.dead_letter;
      if (!before) this.list.replaceChildren();
      this.list.append(...page.letters.map((letter) => this.#item(letter)));
      this.#next = page.next;
      const shown = this.list.children.length;
      this.more.hidden = !page.next || shown >= AT_MOST;
      this.again.hidden = false;
      say(this.note, shown === 0 ? "" : `The newest records of ${page.topic}, each with the reason why it failed. Send one again once the cause is fixed.`);
      this.empty.replaceChildren(...(shown === 0 ? [element("p", {}, `None: no record has failed. Records that fail will be in ${page.topic} and here.`)] : []));
    } catch (error) {
      this.again.hidden = false;
      say(this.note, `The list could not be read: ${error.message}`);
    }
  }

  #item(letter) {
    const at = time(letter.timestamp_ms);
    const from = letter.source ? `${letter.source.topic}, partition ${letter.source.partition}, offset ${letter.source.offset === null ? "unknown" : count(letter.source.offset)}` : "an unknown topic";
    const button = element("button", { type: "button" });
    const outcome = element("span", { className: "outcome", role: "status" });
    const item = element("li", {},
      element("p", { className: "why" }, element("strong", {}, letter.stage ? `${letter.stage}: ` : ""), letter.message ?? "no reason given"),
      element("p", { className: "place" }, `${from} · `, element("time", { title: at.title }, at.text)),
      element("dl", { className: "record" }, ...this.#part("key", letter.key), ...this.#part("value", letter.value)),
      element("p", { className: "buttons" }, button, outcome));
    if (letter.redriven) this.#done(button, outcome, "already sent again");
    else if (letter.refusal) this.#done(button, outcome, letter.refusal);
    else {
      button.textContent = "Send again";
      button.addEventListener("click", () => this.#redrive(letter, button, outcome));
    }
    return item;
  }

  #part(name, part) {
    const text = part === null ? "null" : part.text;
    const cut = part && part.text.length < part.bytes && part.bytes > 2048 ? ` … ${count(part.bytes)} bytes in total` : "";
    // Long content scrolls, and can be reached by keyboard.
    const isLong = text.length > 150 || text.split("\n").length > 5;
    const shown = element("dd", { tabIndex: isLong ? 0 : null }, element("code", {}, text), cut);
    return [element("dt", {}, name), shown];
  }

  #done(button, outcome, text) {
    button.remove();
    say(outcome, text);
  }

  async #redrive(letter, button, outcome) {
    const dialog = document.getElementById("confirm-dialog");
    const { topic, partition } = letter.source;
    say(document.getElementById("confirm-text"), `The record goes to ${topic}, partition ${partition}, after the records already there, and is processed like any other. It is sent only once: afterwards it cannot be sent from here again. If it fails again, it becomes another dead letter.`);
    showDialog(dialog);
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "do") return;
    if (!token.get() && !(await this.askToken())) return;
    button.disabled = true;
    say(outcome, "sending …");
    try {
      const body = JSON.stringify({ partition: letter.partition, offset: letter.offset });
      const headers = { "Content-Type": "application/json" };
      const answer = await ask("dead-letters/redrive", { method: "POST", headers, body });
      const text = (await answer.text()).trim();
      if (answer.ok) this.#done(button, outcome, `sent again to ${topic}, partition ${partition}`);
      else if (answer.status === 409) this.#done(button, outcome, text);
      else {
        if (answer.status === 401) token.set(null);
        say(outcome, text);
        button.disabled = false;
      }
    } catch (error) {
      say(outcome, `no response: ${error.message}; it will not be sent twice if you try again`);
      button.disabled = false;
    }
    this.announce(outcome.textContent);
  }
}

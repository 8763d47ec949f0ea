// The token, and what it allows: the rate, drain and undrain. The token lives in this tab's session storage.

import { $, say } from "./dom.js";
import { amount } from "./format.js";

const KEY = "tickerd.token";

export class Control {
  constructor(accepted) {
    this.accepted = accepted;
    this.dialog = $("control");
    $("control-open").addEventListener("click", () => this.open());
    $("control-close").addEventListener("click", () => this.dialog.close());
    $("token-form").addEventListener("submit", (event) => this.unlock(event));
    $("rate-form").addEventListener("submit", (event) => this.setRate(event));
    $("drain").addEventListener("click", () => this.drain());
    $("forget").addEventListener("click", () => this.forget("The token is forgotten."));
    this.dialog.addEventListener("click", ({ target }) => target === this.dialog && this.dialog.close());
  }

  get token() {
    try {
      return sessionStorage.getItem(KEY) ?? "";
    } catch {
      return this.kept ?? "";
    }
  }

  set token(token) {
    this.kept = token;
    try {
      if (token) sessionStorage.setItem(KEY, token);
      else sessionStorage.removeItem(KEY);
    } catch {
      // Without storage it is kept until the page is left.
    }
  }

  // The header of every request, once there is a token.
  authorization() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  open(why = "") {
    say($("control-answer"), why);
    if (!this.dialog.open) this.dialog.showModal();
    this.show();
    if (this.token) this.look();
  }

  // Reading needs the token too, and it is missing or was wrong.
  refused() {
    const had = this.token !== "";
    this.forget("");
    say($("token-why"), "This daemon shows nothing without its token. It is kept in this tab and sent to this server only.");
    this.open(had ? "The token is not right any more." : "");
  }

  show() {
    const trusted = this.token !== "";
    $("token-form").hidden = trusted;
    $("control-body").hidden = !trusted;
    if (!trusted) $("token").focus();
  }

  forget(why) {
    this.token = "";
    $("token").value = "";
    say($("control-answer"), why);
    this.show();
  }

  async unlock(event) {
    event.preventDefault();
    this.token = $("token").value.trim();
    if (!(await this.look())) return;
    $("token").value = "";
    say($("control-answer"), "");
    this.show();
    this.accepted();
    $("rate").focus();
  }

  // Ask what is in force, and whether the token is right.
  async look() {
    const now = await this.ask("GET", "control");
    if (!now) return false;
    if (!now.trusted) {
      this.forget("This token is wrong.");
      return false;
    }
    if (document.activeElement !== $("rate")) $("rate").value = now.records_per_second;
    this.tick(now.draining);
    return true;
  }

  // Whether anything may be read; asked before the first event, so that no request is refused.
  async mayRead() {
    const now = await this.ask("GET", "control");
    return !now || now.trusted || !now.read_needs_token;
  }

  tick(draining) {
    this.draining = draining;
    say($("drain"), draining ? "Undrain" : "Drain");
    say($("drain-text"), draining ? "Nothing is generated. Undrain goes on." : "Draining stops generating, delivers what has begun, and keeps the daemon.");
  }

  async setRate(event) {
    event.preventDefault();
    const wanted = $("rate").valueAsNumber;
    const done = await this.ask("POST", "rate", { records_per_second: wanted });
    if (done) say($("control-answer"), `The rate is ${amount(done.records_per_second)} records/s from now on.`);
  }

  async drain() {
    const done = await this.ask("POST", this.draining ? "undrain" : "drain");
    if (!done) return;
    this.tick(done.draining);
    say($("control-answer"), done.draining ? "It drains." : "It goes on.");
  }

  // The answer's content, or null when it was refused, which is said.
  async ask(method, path, content) {
    const headers = this.authorization();
    if (content) headers["Content-Type"] = "application/json";
    let answer;
    let said = {};
    try {
      answer = await fetch(path, { method, headers, body: content && JSON.stringify(content), credentials: "omit", cache: "no-store" });
      said = await answer.json();
    } catch (error) {
      if (!answer) {
        say($("control-answer"), "The daemon cannot be reached.");
        return null;
      }
    }
    if (answer.ok) return said;
    if (answer.status === 401) this.forget("This token is wrong.");
    else say($("control-answer"), said.detail ?? `The daemon refused: HTTP ${answer.status}`);
    return null;
  }
}

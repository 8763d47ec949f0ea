// The heat strip: one cell a shard, or a group of them, by how full it is, with what was throttled.

import { $, make, say } from "./dom.js";
import { amount, integer, share } from "./format.js";

const LABELLED_MAX = 16;

export class Shards {
  constructor() {
    this.strip = $("shards");
    this.chosen = null;
    this.strip.addEventListener("pointermove", (event) => this.choose(event.target.closest(".cell")));
    this.strip.addEventListener("pointerleave", () => this.choose(null));
    this.strip.addEventListener("blur", () => this.choose(null));
    this.strip.addEventListener("keydown", (event) => this.move(event));
  }

  tick({ shards, status: { destination, stream } }) {
    this.now = shards;
    const shown = shards?.share.length ?? 0;
    if (this.strip.children.length !== shown) {
      this.chosen = null;
      this.strip.replaceChildren(...Array.from({ length: shown }, () => make("div", { class: "cell" }, make("b"), make("span"))));
      this.strip.dataset.dense = String(shown > LABELLED_MAX);
    }
    if (!shards) {
      const why = destination.kind !== "kinesis" ? "Only Kinesis streams have shards." : stream?.distribution === "AUTO" ? "This stream deals records out over its shards by itself." : "Nothing has been delivered yet.";
      say($("shards-summary"), why);
      say($("shards-detail"), "");
      return;
    }
    [...this.strip.children].forEach((cell, i) => this.paint(cell, i));
    say($("shards-summary"), this.summary(stream));
    this.tell();
  }

  paint(cell, i) {
    const { share: shares, load, throttled } = this.now;
    cell.style.setProperty("--heat", `${Math.round(Math.min(1, load[i]) ** 0.7 * 100)}%`);
    cell.dataset.hot = String(load[i] > 0.78);
    cell.dataset.throttled = String(throttled[i] > 0);
    if (this.strip.dataset.dense === "false") {
      say(cell.firstChild, share(shares[i]));
      say(cell.lastChild, throttled[i] > 0 ? `${amount(throttled[i])}/s throttled` : `${share(load[i])} full`);
    }
  }

  summary(stream) {
    const { shards, share: shares, load, throttled } = this.now;
    const cells = shares.length;
    const many = shards > cells ? `${integer(shards)} shards, neighbours counted together in ${cells} groups` : `${integer(shards)} ${shards === 1 ? "shard" : "shards"}`;
    const busiest = load.indexOf(Math.max(...load));
    const refused = throttled.reduce((sum, each) => sum + each, 0);
    const calm = refused > 0 ? `${amount(refused)} entries/s throttled` : "nothing throttled";
    return `${many} of ${stream.name} · the busiest has ${share(shares[busiest])} of the records and is ${share(load[busiest])} full · ${calm}`;
  }

  choose(cell) {
    const at = cell ? [...this.strip.children].indexOf(cell) : -1;
    this.chosen = at < 0 ? null : at;
    [...this.strip.children].forEach((each, i) => each.classList.toggle("chosen", i === this.chosen));
    this.tell();
  }

  move(event) {
    const last = this.strip.children.length - 1;
    const at = this.chosen ?? (event.key === "ArrowLeft" ? last + 1 : -1);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(this.strip.children[Math.max(0, Math.min(last, to))]);
  }

  tell() {
    if (!this.now) return;
    const { shards, share: shares, load, throttled } = this.now;
    if (this.chosen === null) {
      say($("shards-detail"), "In the order of their hash keys; what this host sends, over the last ten seconds.");
      return;
    }
    const i = this.chosen;
    const group = shards > shares.length ? `Group ${i + 1} of ${shares.length}` : `Shard ${i + 1} of ${shards}`;
    const refused = throttled[i] > 0 ? `${amount(throttled[i])} entries/s throttled` : "nothing throttled";
    say($("shards-detail"), `${group}: ${share(shares[i])} of the records, ${share(load[i])} full, ${refused}`);
  }
}

// The list of prices: those watched, those that move most, or all of a kind; one of them is chosen.

import { $, draw, make, press, say, store } from "./dom.js";
import { sparkline } from "./charts.js";
import { direction, percent, price } from "./format.js";

const SHOWN_MAX = 40;
const SPARK = { spanS: 86_400, points: 48, everyMs: 10 * 60_000, width: 84, height: 24 };
const FIRST_PAIRS = 6;
const FIRST_STOCKS = 8;
const ORDER_EVERY_TICKS = 5; // movers keep their places for so long

export class Watch {
  constructor(market, chosen) {
    this.market = market;
    this.onChosen = chosen;
    this.list = "watched";
    this.watched = store("watched");
    this.rows = new Map();
    this.sparks = new Map(); // symbol -> {at, values}
    this.ticks = 0;
    $("lists").addEventListener("click", ({ target }) => {
      if (!target.dataset.list) return;
      this.list = target.dataset.list;
      $("search").value = "";
      press($("lists"), target);
      this.fill();
    });
    $("search").addEventListener("input", () => this.fill());
    $("prices").addEventListener("click", (event) => this.click(event));
  }

  begin() {
    if (!this.watched) {
      const { instruments, pairs } = this.market;
      const stocks = instruments.slice(pairs).filter(({ exchange }, i, all) => all.findIndex((each) => each.exchange === exchange) === i);
      const more = instruments.slice(pairs).filter((each) => !stocks.includes(each));
      this.watched = [...instruments.slice(0, Math.min(pairs, FIRST_PAIRS)), ...[...stocks, ...more].slice(0, FIRST_STOCKS)].map(({ symbol }) => symbol);
    }
    this.sparks.clear();
    this.fill();
  }

  get chosen() {
    return this.symbol;
  }

  choose(symbol) {
    this.symbol = symbol;
    for (const [each, { row, name }] of this.rows) {
      row.classList.toggle("chosen", each === symbol);
      name.setAttribute("aria-pressed", String(each === symbol));
    }
  }

  symbols() {
    const { instruments, pairs } = this.market;
    const wanted = $("search").value.trim().toLowerCase();
    if (wanted) {
      const fits = ({ symbol, name }) => symbol.toLowerCase().includes(wanted) || symbol.replace("/", "").toLowerCase().includes(wanted) || name.toLowerCase().includes(wanted);
      return instruments.filter(fits).map(({ symbol }) => symbol);
    }
    if (this.list === "watched") return this.watched.filter((symbol) => this.market.places.has(symbol));
    const all = instruments.map(({ symbol }) => symbol);
    if (this.list === "forex") return all.slice(0, pairs);
    if (this.list === "stocks") return all.slice(pairs);
    const size = new Map(all.map((symbol) => [symbol, Math.abs(this.market.at(symbol).change)]));
    return all.sort((a, b) => size.get(b) - size.get(a)).slice(0, 20);
  }

  fill() {
    const symbols = this.symbols();
    const shown = symbols.slice(0, SHOWN_MAX);
    for (const [symbol, { row }] of this.rows) {
      if (shown.includes(symbol)) continue;
      row.remove();
      this.rows.delete(symbol);
    }
    shown.forEach((symbol, i) => {
      const { row } = this.rows.get(symbol) ?? this.add(symbol);
      if ($("prices").children[i] !== row) $("prices").insertBefore(row, $("prices").children[i] ?? null);
    });
    const empty = this.list === "watched" && !$("search").value.trim() ? "Nothing is watched: mark instruments with the star." : "No instrument has such a name.";
    const left = this.market.leftOut ? ` ${this.market.leftOut} instruments of this large universe are not shown.` : "";
    const more = symbols.length > shown.length ? `${symbols.length - shown.length} more: find them by name.${left}` : "";
    $("prices-note").hidden = shown.length > 0 && !more;
    say($("prices-note"), shown.length ? more : empty);
    this.update();
    this.loadSparks();
  }

  add(symbol) {
    const { name, exchange } = this.market.at(symbol);
    const path = draw("path");
    const spark = draw("svg", { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, class: "spark", "aria-hidden": "true" }, path);
    const button = make("button", { type: "button", class: "symbol", "aria-pressed": "false" }, symbol);
    const star = make("button", { type: "button", class: "star", data: { symbol } });
    const row = {
      path,
      name: button,
      star,
      price: make("td", { class: "number price" }),
      change: make("td", { class: "number change" }),
    };
    row.row = make("tr", { data: { symbol } },
      make("th", { scope: "row" }, button, make("small", {}, exchange ? `${name} · ${exchange}` : name)),
      make("td", { class: "trend" }, spark), row.price, row.change, make("td", { class: "mark" }, star));
    this.rows.set(symbol, row);
    this.mark(symbol);
    row.row.classList.toggle("chosen", symbol === this.symbol);
    button.setAttribute("aria-pressed", String(symbol === this.symbol));
    return row;
  }

  mark(symbol) {
    const { star } = this.rows.get(symbol);
    const on = this.watched.includes(symbol);
    say(star, on ? "★" : "☆");
    star.setAttribute("aria-pressed", String(on));
    star.setAttribute("aria-label", `Watch ${symbol}`);
  }

  click({ target }) {
    const symbol = target.closest("tr")?.dataset.symbol;
    if (!symbol) return;
    if (target.closest(".star")) {
      this.watched = this.watched.includes(symbol) ? this.watched.filter((each) => each !== symbol) : [...this.watched, symbol];
      store("watched", this.watched);
      this.mark(symbol);
    } else {
      this.onChosen(symbol);
    }
  }

  tick(visible) {
    this.ticks += 1;
    if (!visible) return;
    if (this.list === "movers" && this.ticks % ORDER_EVERY_TICKS === 0 && !$("prices").contains(document.activeElement)) this.fill();
    else this.update();
  }

  update() {
    for (const [symbol, row] of this.rows) {
      const now = this.market.at(symbol);
      if (!now) continue;
      const text = price(now.price, now.decimals);
      if (row.last !== undefined && row.last !== now.price) this.flash(row.price, now.price > row.last);
      row.last = now.price;
      say(row.price, text);
      say(row.change, now.isOpen ? percent(now.change) : "closed");
      row.change.dataset.direction = now.isOpen ? direction(now.change) : "none";
      const spark = this.sparks.get(symbol);
      if (spark?.values) {
        sparkline(row.path, [...spark.values, now.price], SPARK.width, SPARK.height);
        row.path.dataset.direction = direction(now.change);
      }
    }
    this.loadSparks();
  }

  flash(cell, rose) {
    cell.classList.remove("rose", "fell");
    void cell.offsetWidth; // so that the animation begins anew
    cell.classList.add(rose ? "rose" : "fell");
  }

  async loadSparks() {
    const now = Date.now();
    const wanted = [...this.rows.keys()].filter((symbol) => now - (this.sparks.get(symbol)?.at ?? 0) > SPARK.everyMs);
    if (!wanted.length) return;
    for (const symbol of wanted) this.sparks.set(symbol, { ...this.sparks.get(symbol), at: now });
    try {
      const { prices } = await this.market.chart(wanted, SPARK.spanS, SPARK.points);
      for (const [symbol, values] of Object.entries(prices)) this.sparks.set(symbol, { at: now, values });
    } catch {
      // The rows go without until the next try, in half a minute.
      for (const symbol of wanted) this.sparks.set(symbol, { ...this.sparks.get(symbol), at: now - SPARK.everyMs + 30_000 });
    }
  }
}

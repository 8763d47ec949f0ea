// The chosen instrument: its price over some time, going on live, with the news marked where it moved it.

import { $, press, say } from "./dom.js";
import { Chart, colour } from "./charts.js";
import { clock, direction, moment, percent, price } from "./format.js";
import { showBrief } from "./stories.js";

const POINTS = 360;
const RECENT = 60;
const RELOAD_MS = 5 * 60_000;
const AGAIN_MS = 3000;

// Room above and below the line, so that it neither touches the edge nor hides how small its moves are.
function around(_chart, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = Math.max((high - low) * 0.12, Math.abs(high) * 1e-5);
  return [low - room, high + room];
}

export class Instrument {
  constructor(market, choose) {
    this.market = market;
    this.choose = choose;
    this.spanS = 3600;
    this.stories = [];
    this.recent = []; // of all instruments: a chart that was made seconds ago lacks them
    this.times = [];
    this.values = [];
    this.chart = new Chart($("instrument"), {
      series: [{ label: "price", colour: "--accent", fill: true, format: () => "" }],
      values: (value) => price(value, this.decimals ?? 2),
      range: around, side: 1, size: 74,
      draw: (plot) => this.mark(plot),
      hover: (at) => this.hover(at),
    });
    $("spans").addEventListener("click", ({ target }) => {
      if (!target.dataset.span) return;
      this.spanS = Number(target.dataset.span);
      press($("spans"), target);
      this.load();
    });
  }

  begin(stories) {
    this.recent = [...stories];
  }

  show(symbol) {
    this.symbol = symbol;
    const { name, exchange, decimals } = this.market.at(symbol);
    this.decimals = decimals;
    say($("instrument-title"), symbol);
    say($("instrument-name"), exchange ? `${name} · ${exchange}` : name);
    this.update();
    this.load();
  }

  async load() {
    const { symbol, spanS } = this;
    if (!symbol) return;
    clearTimeout(this.later);
    $("instrument").ariaBusy = "true";
    try {
      const { seconds, prices, stories } = await this.market.chart([symbol], spanS, POINTS);
      if (symbol !== this.symbol || spanS !== this.spanS) return;
      this.times = seconds;
      this.values = prices[symbol];
      this.stories = stories;
      this.know(this.recent);
      this.stepS = seconds[1] - seconds[0];
      this.draw();
      $("instrument").ariaBusy = "false";
      this.later = setTimeout(() => this.load(), RELOAD_MS);
    } catch {
      if (symbol === this.symbol) this.later = setTimeout(() => this.load(), AGAIN_MS);
    }
  }

  // Each second: the price goes on where the history ended.
  tick(now, stories, visible) {
    if (!this.symbol || !this.market.at(this.symbol)) return;
    const { price: value } = this.market.at(this.symbol);
    this.recent = [...this.recent, ...stories].slice(-RECENT);
    this.know(stories);
    if (this.times.length) {
      const seconds = Math.round(now / 1000);
      // The last point moves along until a whole step has passed.
      if (this.live && seconds - this.times.at(-2) < this.stepS) {
        this.times[this.times.length - 1] = seconds;
        this.values[this.values.length - 1] = value;
      } else if (seconds > this.times.at(-1)) {
        this.times.push(seconds);
        this.values.push(value);
        this.live = true;
      }
      while (this.times[0] < seconds - this.spanS) {
        this.times.shift();
        this.values.shift();
      }
      if (visible) this.draw();
    }
    if (visible) this.update();
  }

  // Take up those of these stories that are about the instrument and not known yet: the greeting and the first
  // event after it tell some of them twice.
  know(stories) {
    const subjects = this.symbol.split("/");
    const known = new Map([...this.stories, ...stories].map((story) => [story.story_id, story]));
    this.stories = [...known.values()].filter(({ symbol }) => subjects.includes(symbol));
    this.stories.sort((a, b) => a.time_ms - b.time_ms);
  }

  draw() {
    const first = this.times[0] * 1000;
    this.stories = this.stories.filter(({ time_ms: time }) => time >= first);
    this.chart.show([this.times, this.values]);
    showBrief($("instrument-stories"), this.stories, this.choose);
  }

  update() {
    const now = this.market.at(this.symbol);
    if (!now) return;
    const text = price(now.price, now.decimals);
    say($("instrument-price"), text);
    say($("instrument-change"), `${percent(now.change)} today${now.isOpen ? "" : " · closed"}`);
    $("instrument-change").dataset.direction = direction(now.change);
    document.title = `${this.symbol} ${text} · tickerd`;
    const about = `${this.symbol}, ${text}, ${percent(now.change)} today`;
    if (!$("instrument").ariaLabel?.startsWith(this.symbol)) $("instrument").ariaLabel = about;
  }

  hover(at) {
    if (at === null) {
      say($("instrument-hover"), "");
      return;
    }
    const time = this.times[at];
    const near = this.stories.filter((story) => Math.abs(story.time_ms / 1000 - time) <= this.stepS * 2).at(-1);
    const when = this.spanS > 86_400 ? moment(time * 1000) : clock(time * 1000);
    const news = near ? ` · ${near.symbol} ${percent(near.move_percent)}: ${near.news_item}` : "";
    say($("instrument-hover"), `${when}  ${price(this.values[at], this.decimals)}${news}`);
  }

  // A dashed line and a dot on the price for every story.
  mark(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    const dots = { up: colour("--up"), down: colour("--down"), none: colour("--ink-faint") };
    ctx.save();
    for (const story of this.stories) {
      const seconds = story.time_ms / 1000;
      const x = Math.round(plot.valToPos(seconds, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const at = this.times.findIndex((time) => time >= seconds);
      const y = plot.valToPos(this.values[at < 0 ? this.values.length - 1 : at], "y", true);
      const kind = dots[Math.abs(story.move_percent) < 0.001 ? "none" : story.move_percent > 0 ? "up" : "down"];
      ctx.strokeStyle = ctx.fillStyle = kind;
      ctx.lineWidth = ratio;
      ctx.globalAlpha = 0.45;
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.arc(x, y, 4 * ratio, 0, 2 * Math.PI);
      ctx.fill();
      ctx.strokeStyle = colour("--panel");
      ctx.lineWidth = 1.5 * ratio;
      ctx.stroke();
    }
    ctx.restore();
  }
}

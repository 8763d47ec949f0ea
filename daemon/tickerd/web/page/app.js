// The page: events in, panels up to date, and plainly said when there is no connection.

import { $, say, store } from "./dom.js";
import { repaint } from "./charts.js";
import { clock } from "./format.js";
import { Control } from "./control.js";
import { Daemon } from "./daemon.js";
import { Instrument } from "./instrument.js";
import { Market } from "./market.js";
import { News } from "./stories.js";
import { Shards } from "./shards.js";
import { Stream } from "./stream.js";
import { Watch } from "./watch.js";

const STALE_MS = 4000; // without an event, which come every second
const narrow = matchMedia("(max-width: 760px)"); // as in style.css
const THEMES = ["system", "light", "dark"];

const control = new Control(() => stream.again());
const authorization = () => control.authorization();
const market = new Market(authorization);
const daemon = new Daemon();
const shards = new Shards();
const watch = new Watch(market, go);
const instrument = new Instrument(market, go);
const news = new News(go);

let heard = 0; // when the last event came, on this page's clock
let lost = null; // since when there is none
let ahead = 0; // the server's clock less this one

function choose(subject) {
  const symbol = market.of(subject);
  if (!symbol) return;
  store("instrument", symbol);
  watch.choose(symbol);
  instrument.show(symbol);
}

// Where the chart is not beside what was clicked, go to it.
function go(subject) {
  choose(subject);
  if (narrow.matches) $("instrument-title").closest("section").scrollIntoView({ block: "start" });
}

function begin({ market: catalogue, samples }) {
  market.begin(catalogue);
  daemon.begin(samples);
  watch.begin();
  news.begin(catalogue.stories);
  instrument.begin(catalogue.stories);
  choose(watch.chosen ?? market.of(store("instrument") ?? "") ?? watch.watched[0] ?? market.instruments[0].symbol);
}

function tick(now) {
  const visible = !document.hidden;
  ahead = now.time_ms - Date.now();
  market.tick(now);
  daemon.tick(now, visible);
  shards.tick(now);
  watch.tick(visible);
  instrument.tick(now.time_ms, now.stories, visible);
  news.tick(now.stories);
  control.tick(now.status.draining);
}

function connection(state, text) {
  $("connection").dataset.state = state;
  document.body.dataset.connection = state;
  say($("connection-text"), text);
}

function live() {
  lost = null;
  connection("live", "Live");
}

function gone(why) {
  lost ??= heard || Date.now();
  const reason = why ? ` (${why})` : "";
  connection("lost", `Disconnected since ${clock(lost + ahead)} UTC${reason}; trying again`);
}

function locked() {
  connection("locked", "Locked: the token is needed");
  control.refused();
}

const stream = new Stream("events", authorization, {
  open() {
    heard = Date.now();
    live();
  },
  event(kind, content) {
    heard = Date.now();
    if (lost !== null) live();
    if (kind === "hello") begin(content);
    else tick(content);
  },
  lost: gone,
  refused: locked,
});

setInterval(() => {
  say($("clock"), `${clock(Date.now() + ahead)} UTC`);
  if ($("connection").dataset.state === "live" && Date.now() - heard > STALE_MS) gone("the server is silent");
}, 1000);
addEventListener("online", () => stream.again());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  daemon.draw();
  if (document.body.dataset.connection !== "locked") stream.again();
});

function showTheme() {
  const chosen = document.documentElement.dataset.theme ?? "system";
  say($("theme-text"), `Colours: ${chosen === "system" ? "as the system" : chosen}`);
  $("theme").title = $("theme-text").textContent;
  repaint();
}

$("theme").addEventListener("click", () => {
  const { dataset } = document.documentElement;
  const next = THEMES[(THEMES.indexOf(dataset.theme ?? "system") + 1) % THEMES.length];
  if (next === "system") delete dataset.theme;
  else dataset.theme = next;
  try {
    localStorage.setItem("tickerd.theme", next);
  } catch {
    // It holds until the page is left.
  }
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
document.fonts.ready.then(repaint);
showTheme();
if (await control.mayRead()) stream.again();
else locked();

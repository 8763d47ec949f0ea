// The daemon's side of the page: its figures, their last ten minutes, workers, and what stands in the way.

import { $, make, say } from "./dom.js";
import { Chart } from "./charts.js";
import { amount, clock, duration, integer } from "./format.js";

const SPAN_S = 600;
const GAP_S = 3; // a longer one is a gap in the line
const WINDOW_TICKS = 6; // over which a worker's rate is taken

const STATES = {
  starting: "Starting",
  waiting: "Waiting for the destination",
  running: "Running",
  draining: "Draining",
  drained: "Drained: nothing is generated",
  stopped: "Stopped",
  poisoned: "Stopped: died of one frame",
  broken: "Dies again and again",
};
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const words = (state) => STATES[state] ?? state;

const upwards = (_chart, _min, max) => [0, Math.max(max * 1.15, 1)];
const upwardsOf = (least) => (_chart, _min, max) => [0, Math.max(max * 1.15, least)];

// From a third below to a third above, so that a start does not flatten what comes after it.
const decades = (_chart, min, max) => [Math.min(min ?? 0.1, 0.05) / 1.3, Math.max(max ?? 0.1, 0.4) * 1.3];

export class Daemon {
  constructor() {
    this.columns = Array.from({ length: 8 }, () => []);
    this.tiles = new Map();
    this.workers = new Map();
    const rate = (value) => (value === null ? "–" : `${amount(value)}/s`);
    this.throughput = new Chart($("throughput"), {
      legend: $("throughput-legend"),
      series: [
        { label: "generated", colour: "--generated", format: rate, width: 1.5 },
        { label: "acknowledged", colour: "--accent", format: rate, fill: true },
        { label: "target", colour: "--ink-faint", format: rate, dash: [4, 4], width: 1 },
      ],
      values: amount, range: upwards, spanS: SPAN_S,
    });
    this.delay = new Chart($("delay"), {
      legend: $("delay-legend"),
      series: [
        { label: "p50", colour: "--accent", format: duration, fill: true },
        { label: "p95", colour: "--p95", format: duration, width: 1.5 },
        { label: "p99", colour: "--p99", format: duration, width: 1.5 },
      ],
      values: duration, range: decades, log: true, spanS: SPAN_S, size: 54,
    });
    this.lag = new Chart($("lag"), {
      legend: $("lag-legend"),
      series: [{ label: "lag", colour: "--p95", format: duration, fill: true }],
      values: duration, range: upwardsOf(1), spanS: SPAN_S, size: 54,
    });
  }

  // All samples that the server has: after an outage too, so that nothing is missing.
  begin(samples) {
    this.columns = Array.from({ length: 8 }, () => []);
    samples.forEach((sample) => this.add(sample));
    this.draw();
  }

  add(sample) {
    const times = this.columns[0];
    const last = times.at(-1) ?? -Infinity;
    if (sample[0] <= last) return;
    if (sample[0] - last > GAP_S && times.length) {
      this.columns.forEach((column, row) => column.push(row ? null : last + 1));
    }
    this.columns.forEach((column, row) => column.push(sample[row]));
    while (times.length > SPAN_S + 20) this.columns.forEach((column) => column.shift());
  }

  draw() {
    const [times, generated, acked, target, lag, p50, p95, p99] = this.columns;
    if (!times.length) return;
    this.throughput.show([times, generated, acked, target]);
    this.delay.show([times, p50, p95, p99]);
    this.lag.show([times, lag]);
  }

  tick({ samples, status, holds, time_ms: now }, visible) {
    samples.forEach((sample) => this.add(sample));
    if (visible) this.draw();
    this.showFigures(samples.at(-1), status);
    this.showIdentity(status);
    this.showWorkers(status.workers, now);
    this.showNotices(status, holds);
    say($("about"), `tickerd ${status.version} · run ${status.run} · ${words(status.state)}`);
  }

  showFigures([, generated, acked, target, lag, p50, , p99], { totals, state }) {
    const rate = (value) => [amount(value), "records/s"];
    this.tile("Acknowledged", ...rate(acked), `${integer(totals.acked)} in all`);
    this.tile("Generated", ...rate(generated), `${integer(totals.generated)} in all`);
    this.tile("Target", ...rate(target), words(state));
    this.tile("Median delay", duration(p50), "", `99 % within ${duration(p99)}`);
    this.tile("Lag", duration(lag), "", lag > 5 ? "behind the clock" : "up with the clock");
    this.tile("Owed", amount(totals.owed), "records", "not yet acknowledged");
  }

  tile(name, value, unit, note) {
    let tile = this.tiles.get(name);
    if (!tile) {
      tile = { value: make("b"), unit: make("span", { class: "unit" }), note: make("p", { class: "note" }) };
      const head = make("h2", {}, name);
      $("figures").append(make("div", { class: "tile" }, head, make("p", {}, tile.value, " ", tile.unit), tile.note));
      this.tiles.set(name, tile);
    }
    const [number, own = unit] = value.split("\u202f");
    say(tile.value, number);
    say(tile.unit, unit && own !== unit ? `${own} ${unit}` : own);
    say(tile.note, note);
  }

  showIdentity({ destination, stream, run }) {
    const facts = stream
      ? [
          ["Stream", stream.name],
          ["Shards", `${integer(stream.shards)} ${stream.shards === 1 ? "shard" : "shards"}`],
          ["Packing", { none: "plain records", kpl: "KPL aggregates", lines: "lines" }[stream.aggregation]],
          ["Ceiling", `takes up to ${amount(stream.ceiling_records_per_second)}/s`],
        ]
      : destination.kind === "kinesis"
        ? [["Run", `run ${run}`]]
        : [["Destination", `${destination.kind}${destination.name === destination.kind ? "" : `: ${destination.name}`}`], ["Run", `run ${run}`]];
    const text = facts.flat().join();
    if (this.identityText === text) return;
    this.identityText = text;
    $("identity").replaceChildren(
      ...facts.map(([name, value]) => make("div", {}, make("dt", { class: "sr" }, name), make("dd", {}, value ?? "–"))),
    );
  }

  showWorkers(workers, now) {
    let restarts = 0;
    for (const worker of workers) {
      restarts += worker.restarts;
      this.showWorker(worker, now);
    }
    const running = workers.filter(({ state }) => state === "running").length;
    const times = restarts === 1 ? "once" : `${integer(restarts)} times`;
    say($("workers-summary"), `${running} of ${workers.length} running · ${restarts ? `restarted ${times}` : "no restarts"}`);
    for (const [number, { row }] of this.workers) {
      if (number < workers.length) continue;
      row.remove();
      this.workers.delete(number);
    }
  }

  showWorker(worker, now) {
    let shown = this.workers.get(worker.worker);
    if (!shown) {
      const cells = ["", "state", "number", "number wide", "number", "number"].map((kind) => make("td", { class: kind }));
      shown = { cells, acked: [], row: make("tr", {}, ...cells) };
      $("workers").append(shown.row);
      this.workers.set(worker.worker, shown);
    }
    const { acked, cells } = shown;
    acked.push([now, worker.acked]);
    if (acked.length > WINDOW_TICKS) acked.shift();
    const [[then, before]] = acked;
    const rate = now > then ? Math.max(0, ((worker.acked - before) * 1000) / (now - then)) : 0;
    shown.row.dataset.state = worker.state;
    cells[0].title = worker.pid === null ? worker.source : `${worker.source}, process ${worker.pid}`;
    const lines = [
      `${worker.worker}`,
      worker.poison_frame === null ? words(worker.state) : `${words(worker.state)} (${worker.poison_frame})`,
      `${amount(rate)}/s`,
      integer(worker.owed),
      duration(worker.lag_seconds),
      integer(worker.restarts),
    ];
    lines.forEach((text, i) => say(cells[i], text));
  }

  showNotices({ errors, state, draining }, holds) {
    const notices = errors.map(({ code, message, since, count }) => ({
      key: code, kind: "error", text: capital(message), more: `since ${clock(since * 1000)} UTC${count > 1 ? ` · ${integer(count)} times` : ""}`,
    }));
    for (const [who, why] of Object.entries(holds)) {
      notices.push({ key: who, kind: "info", text: `Held by ${who}: ${why}`, more: words(state) });
    }
    if (draining && !Object.keys(holds).length) {
      notices.push({ key: "ending", kind: "info", text: "The daemon is ending: it delivers what has begun.", more: "" });
    }
    const text = notices.map(({ key, text: said }) => key + said).join("\n");
    if (text === this.noticesText) {
      notices.forEach(({ more }, i) => say($("notices").children[i].lastChild, more));
      return;
    }
    this.noticesText = text;
    $("notices").replaceChildren(
      ...notices.map(({ kind, text: said, more }) =>
        make("p", { class: "notice", data: { kind } }, make("span", {}, said), make("span", { class: "more" }, more)),
      ),
    );
  }
}

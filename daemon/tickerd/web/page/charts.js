// Charts by uPlot in the page's colours: they follow the theme, the width of their place, and the pointer.

import uPlot from "./vendor/uPlot.js";
import { make, say } from "./dom.js";

const charts = new Set();

// A colour of the style sheet as it is now.
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const faded = (name, percent) => `color-mix(in srgb, ${colour(name)} ${percent}%, transparent)`;
const SPAN_MIN_S = 60; // of what grows until it is as long as it may be
const DECADES = [0.001, 0.01, 0.1, 1, 10, 60, 600]; // of a logarithmic axis
const HALVES = [0.003, 0.03, 0.3, 3, 30, 300]; // between them, where there is room
const LABEL_HEIGHT = 22;
const FONT = '500 11px "Inter", system-ui, sans-serif';

export function repaint() {
  for (const chart of charts) chart.redraw(false);
}

const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");

// The axes' labels say as much as is needed: hours and minutes, the day where another one begins.
function timeLabels(chart, splits, _axis, _space, step) {
  let last = "";
  return splits.map((seconds) => {
    const iso = new Date(seconds * 1000).toISOString();
    const day = new Date(seconds * 1000).toLocaleDateString("en-GB", {
      day: "numeric", month: "short", timeZone: "UTC",
    });
    if (step >= 86_400) return day;
    const text = step < 60 ? iso.slice(11, 19) : iso.slice(11, 16);
    const turns = iso.slice(11, 16) === "00:00" && last !== day;
    last = day;
    return turns ? day : text;
  });
}

function decades(chart, _axis, low, high) {
  const within = (splits) => splits.filter((split) => split >= low && split <= high);
  const all = within([...DECADES, ...HALVES].sort((a, b) => a - b));
  return all.length * LABEL_HEIGHT > chart.bbox.height / devicePixelRatio ? within(DECADES) : all;
}

// Steps of a value's axis never closer than what its labels can tell apart.
function makeAxes({ values, side, size, log }) {
  const grid = { stroke: () => colour("--line-faint"), width: 1 };
  const common = { stroke: () => colour("--ink-faint"), font: FONT, ticks: { show: false } };
  return [
    { ...common, grid: { show: false }, values: timeLabels, size: 24, gap: 6, space: 70 },
    {
      ...common, grid, side, size, gap: 8, space: 34,
      values: (_chart, splits) => splits.map((split) => (split === null ? "" : values(split))),
      ...(log ? { splits: decades, filter: (_chart, splits) => splits } : {}),
    },
  ];
}

function fillBelow(name) {
  return (chart) => {
    const { top, height } = chart.bbox;
    if (!Number.isFinite(top + height)) return "transparent";
    const shade = chart.ctx.createLinearGradient(0, top, 0, top + height);
    shade.addColorStop(0, faded(name, 22));
    shade.addColorStop(1, faded(name, 0));
    return shade;
  };
}

export class Chart {
  // `series`: [{label, colour, fill, dash, format}]; `legend`: a list that shows what is under the pointer.
  constructor(place, { series, legend, values, range, side = 3, size = 46, spanS = null, log = false, draw, hover }) {
    this.place = place;
    this.series = series;
    this.hover = hover;
    this.values = legend ? this.makeLegend(legend) : [];
    const options = {
      width: Math.max(120, place.clientWidth),
      height: Math.max(80, place.clientHeight),
      padding: [10, side === 1 ? 0 : 22, 0, side === 1 ? 6 : 0],
      legend: { show: false },
      tzDate: utc,
      cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true, range: spanS ? (_c, min, max) => [max - Math.min(spanS, Math.max(SPAN_MIN_S, max - min)), max] : undefined },
        y: { range, distr: log ? 3 : 1 },
      },
      axes: makeAxes({ values, side, size, log }),
      series: [{}, ...series.map((each) => this.line(each))],
      hooks: { setCursor: [() => this.told()], draw: draw ? [draw] : [] },
    };
    this.plot = new uPlot(options, [[], ...series.map(() => [])], place);
    charts.add(this.plot);
    new ResizeObserver(() => this.fit()).observe(place);
  }

  line({ colour: name, fill, dash, width = 1.75 }) {
    return {
      stroke: () => colour(name),
      fill: fill ? fillBelow(name) : undefined,
      width,
      dash,
      points: { show: false },
      spanGaps: false,
    };
  }

  makeLegend(list) {
    return this.series.map(({ label, colour: name, dash }) => {
      const value = make("b", {}, "–");
      const mark = make("i", { class: dash ? "mark dashed" : "mark" });
      mark.style.setProperty("--mark", `var(${name})`);
      list.append(make("li", {}, mark, make("span", {}, label), value));
      return value;
    });
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (width > 0 && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({ width, height });
  }

  show(data) {
    this.plot.setData(data);
    this.told();
  }

  // What the legend says: under the pointer, or else the newest.
  told() {
    const { idx } = this.plot.cursor;
    const [times] = this.plot.data;
    const at = idx ?? times.length - 1;
    this.values.forEach((value, row) => say(value, this.series[row].format(this.plot.data[row + 1][at] ?? null)));
    this.hover?.(idx === null || idx === undefined ? null : idx);
  }
}

// A small line without axes, as a path: for rows of a table.
export function sparkline(path, values, width, height) {
  const shown = values.filter((value) => value !== null);
  if (shown.length < 2) {
    path.setAttribute("d", "");
    return;
  }
  const low = Math.min(...shown);
  const scale = (height - 2) / (Math.max(...shown) - low || 1);
  const step = width / (values.length - 1);
  const points = values.map((value, i) => `${(i * step).toFixed(1)} ${(height - 1 - (value - low) * scale).toFixed(1)}`);
  path.setAttribute("d", `M${points.join("L")}`);
}

// Numbers and times as people read them. Times are UTC, as in the records.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const fixed = new Map();
const MINUS = "\u2212";
const NARROW = "\u202f";


export const integer = (value) => whole.format(value);

// 0.5, 12.3, 2,000, 125 k, 1.25 M: three or four figures, however large.
export function amount(value) {
  if (value === 0) return "0";
  if (value < 100) return tenths.format(value).replace(/\.0$/, "");
  if (value < 100_000) return whole.format(value);
  if (value < 1_000_000) return `${whole.format(value / 1000)}${NARROW}k`;
  if (value < 1_000_000_000) return `${hundredths.format(value / 1_000_000)}${NARROW}M`;
  return `${hundredths.format(value / 1_000_000_000)}${NARROW}G`;
}

export function price(value, decimals) {
  if (!fixed.has(decimals)) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    fixed.set(decimals, new Intl.NumberFormat("en-US", digits));
  }
  return fixed.get(decimals).format(value);
}

// A change with its sign; none for 0.00.
export function percent(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  const sign = Number(text) === 0 ? "" : value > 0 ? "+" : MINUS;
  return `${sign}${text}${NARROW}%`;
}

export const share = (part) => {
  const value = part * 100;
  return `${value > 0 && value < 9.95 ? tenths.format(value) : whole.format(value)}${NARROW}%`;
};

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0";
  if (seconds < 0.9995) return `${whole.format(seconds * 1000)}${NARROW}ms`;
  if (seconds < 99.5) return `${tenths.format(seconds).replace(/\.0$/, "")}${NARROW}s`;
  if (seconds < 5400) return `${whole.format(seconds / 60)}${NARROW}min`;
  return `${tenths.format(seconds / 3600)}${NARROW}h`;
}

export const clock = (ms) => new Date(ms).toISOString().slice(11, 19);

export function moment(ms, now = Date.now()) {
  const iso = new Date(ms).toISOString();
  if (iso.slice(0, 10) === new Date(now).toISOString().slice(0, 10)) return iso.slice(11, 16);
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }).format(ms);
  return `${day} ${iso.slice(11, 16)}`;
}

export const direction = (value) => (Math.abs(value) < 0.005 ? "none" : value > 0 ? "up" : "down");


// What is known of the market: instruments, their prices now and at midnight (UTC). Asks for charts.

export class Market {
  constructor(authorization) {
    this.authorization = authorization;
    this.instruments = [];
    this.prices = [];
    this.places = new Map();
    this.closed = new Set(); // places of those that are not traded now
  }

  begin(catalogue) {
    this.instruments = catalogue.instruments;
    this.midnight = catalogue.midnight;
    this.pairs = catalogue.pairs;
    this.leftOut = catalogue.left_out;
    this.places = new Map(this.instruments.map(({ symbol }, place) => [symbol, place]));
    if (this.prices.length !== this.instruments.length) this.prices = [...catalogue.midnight];
  }

  tick({ prices, closed }) {
    this.prices = prices;
    this.closed = new Set(closed);
  }

  at(symbol) {
    const place = this.places.get(symbol);
    if (place === undefined) return null;
    const price = this.prices[place];
    return {
      ...this.instruments[place],
      place,
      price,
      isOpen: !this.closed.has(place),
      change: (price / this.midnight[place] - 1) * 100,
    };
  }

  // The instrument by which a story is best seen: the stock, or the first pair with the currency.
  of(subject) {
    if (this.places.has(subject)) return subject;
    return this.instruments.slice(0, this.pairs).find(({ symbol }) => symbol.split("/").includes(subject))?.symbol;
  }

  // {seconds, prices: {symbol: [...]}, stories}; throws where the server cannot be asked.
  async chart(symbols, spanS, points) {
    const query = new URLSearchParams(symbols.map((symbol) => ["instrument", symbol]));
    query.set("span_s", spanS);
    query.set("points", points);
    const answer = await fetch(`chart?${query}`, { headers: this.authorization(), credentials: "omit" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer.json();
  }
}

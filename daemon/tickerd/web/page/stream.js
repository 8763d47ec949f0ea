// Listens to /events, over fetch, since an EventSource cannot send a token; comes back by itself.

const PAUSE_MAX_MS = 15_000;
const SILENCE_MAX_MS = 25_000; // longer than the server is ever silent

// One event of the text between two blank lines; null for comments.
export function parse(block) {
  const event = { kind: "message", data: "", retry: null };
  const data = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0 || line === "") continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event.kind = value;
    else if (field === "data") data.push(value);
    else if (field === "retry" && /^\d+$/.test(value)) event.retry = Number(value);
  }
  event.data = data.join("\n");
  return data.length || event.retry !== null ? event : null;
}

export class Stream {
  // `on` has: open(), event(kind, content), lost(why), refused() for a missing or wrong token.
  constructor(address, authorization, on) {
    this.address = address;
    this.authorization = authorization;
    this.on = on;
    this.retryMs = 2000;
    this.failures = 0;
  }

  // Now: the page has begun, somebody has a token, or has come back to the tab.
  again() {
    if (this.connecting) return;
    clearTimeout(this.waiting);
    this.connect();
  }

  async connect() {
    this.connecting = true;
    this.aborter = new AbortController();
    let why = "";
    try {
      const answer = await fetch(this.address, {
        headers: { Accept: "text/event-stream", ...this.authorization() },
        cache: "no-store",
        credentials: "omit",
        signal: this.aborter.signal,
      });
      if (answer.status === 401) {
        this.connecting = false;
        this.on.refused();
        return;
      }
      if (!answer.ok) why = answer.status === 503 ? "too many listen already" : `HTTP ${answer.status}`;
      else await this.read(answer.body.getReader());
    } catch (error) {
      if (!(error instanceof TypeError || error.name === "AbortError")) throw error; // a fault of this page
    } finally {
      clearTimeout(this.silence);
      this.connecting = false;
    }
    this.failures += 1;
    this.on.lost(why);
    const pause = Math.min(PAUSE_MAX_MS, this.retryMs * 1.5 ** Math.min(this.failures - 1, 8));
    this.waiting = setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2));
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      this.hear();
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const event of blocks.map(parse)) {
        if (event === null) continue;
        if (event.retry !== null) this.retryMs = event.retry;
        if (!event.data) continue;
        if (event.kind === "hello") {
          this.failures = 0;
          this.on.open();
        }
        this.on.event(event.kind, JSON.parse(event.data));
      }
    }
  }

  // A connection that says nothing for so long is dead, whatever the network believes.
  hear() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.aborter.abort(), SILENCE_MAX_MS);
  }
}

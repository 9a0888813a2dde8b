// The connection: newest pictures, rows of numbers, texts; questions with answers; the run's clock.
export const PICTURE = 1, ROWS = 2;
const RETRY_MS = [300, 600, 1000, 2000];

export class Link {
  constructor(handlers) {
    this.handlers = handlers;       // {open, closed, text, picture, rows}
    this.waiting = new Map();       // questions without an answer, by id
    this.id = 0;
    this.tries = 0;
    this.offset = null;             // page time (s of the run) minus performance.now() / 1000
    this.error = null;              // half of the shortest way there and back, s
    this.clockRun = null;
    this.connect();
    setInterval(() => this.tuneClock(), 2000);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = this.socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { this.tries = 0; this.clockRun = null; this.handlers.open(); this.tuneClock(); };
    socket.onmessage = (event) => this.hear(event.data);
    socket.onclose = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error("the page is not connected"));
      this.waiting.clear();
      this.handlers.closed(event.code, event.reason);
      setTimeout(() => this.connect(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
    };
  }

  hear(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (!("reply" in message)) { this.handlers.text(message); return; }
      const asked = this.waiting.get(message.reply);
      this.waiting.delete(message.reply);
      if (!asked) return;
      if (message.ok) asked.resolve(message); else asked.reject(new Error(message.error));
      return;
    }
    const view = new DataView(data);
    const head = { kind: view.getUint8(0), step: view.getUint8(1), run: view.getUint16(2, true), n: view.getUint32(4, true) };
    if (head.kind === PICTURE) this.handlers.picture(head, data);
    else if (head.kind === ROWS) { this.handlers.rows(head, data); this.got("rows"); }
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  got(what) { this.send({ do: "got", what }); }

  ask(todo, fields = {}) {
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) { reject(new Error("the page is not connected")); return; }
      const id = ++this.id;
      this.waiting.set(id, { resolve, reject });
      this.send({ do: todo, id, ...fields });
    });
  }

  // The shortest of several ways there and back says best what the run's clock shows now.
  async tuneClock() {
    for (let i = 0; i < 3; i++) {
      const before = performance.now() / 1000;
      let told;
      try { told = await this.ask("clock"); } catch { return; }
      const after = performance.now() / 1000;
      if (told.now_s === undefined) return;
      if (told.run !== this.clockRun) { this.clockRun = told.run; this.error = null; }
      const error = (after - before) / 2;
      if (this.error === null || error <= this.error) {
        this.error = error;
        this.offset = told.now_s - (before + after) / 2;
      }
    }
    if (this.error !== null) this.error *= 1.02;   // clocks part: after a while a newer one is taken
  }

  // s of the run's clock, or null while it is not known
  now() { return this.offset === null ? null : performance.now() / 1000 + this.offset; }
}

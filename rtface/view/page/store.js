// The last minute of results, in memory of a fixed size; of very many numbers less than a minute.
export const FRAME_SEQ = 0, EXPOSURE = 1, HOST = 2, DONE = 3, FRAME_ID = 4, N_TIMES = 5;
const SECONDS = 60, SPARE = 256, MOST_BYTES = 64 * 2 ** 20;

export class Store {
  constructor(columns, rateHz) {
    this.columns = columns;
    this.index = new Map(columns.map((name, i) => [name, i]));
    this.m = columns.length;
    const rowBytes = 8 * N_TIMES + 4 * this.m;
    this.capacity = Math.max(2, Math.min(Math.ceil(rateHz * SECONDS) + SPARE, Math.floor(MOST_BYTES / rowBytes)));
    this.times = new Float64Array(this.capacity * N_TIMES);
    this.values = new Float32Array(this.capacity * this.m);
    this.count = 0;                 // rows that were ever added
    this.missed = 0;                // frames of which no row came to this page
  }

  get oldest() { return Math.max(0, this.count - this.capacity); }

  add(n, times, values) {
    for (let i = 0; i < n; i++) {
      const place = this.count % this.capacity;
      this.times.set(times.subarray(i * N_TIMES, (i + 1) * N_TIMES), place * N_TIMES);
      this.values.set(values.subarray(i * this.m, (i + 1) * this.m), place * this.m);
      this.count++;
    }
  }

  time(row, which) { return this.times[(row % this.capacity) * N_TIMES + which]; }

  // Of a column, or of the two that are computed from times: "age" (ms) and "skipped".
  value(row, column) {
    if (column === -1) return 1000 * (this.time(row, DONE) - this.time(row, HOST));
    return this.values[(row % this.capacity) * this.m + column];
  }

  column(name) { return name === "age" ? -1 : this.index.get(name); }

  // the first row of which a time is not before t
  find(t, which = EXPOSURE) {
    let low = this.oldest, high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time(middle, which) < t) low = middle + 1; else high = middle;
    }
    return low;
  }
}

// Rows and pictures as they come over the connection; see rtface/view/packet.py.
export function readRows(head, data, m) {
  const values = 8 + head.n * N_TIMES * 8;
  return {
    times: new Float64Array(data, 8, head.n * N_TIMES),
    values: new Float32Array(data, values, head.n * m),
  };
}

export function readPicture(head, data) {
  const values = 8 + N_TIMES * 8;
  const jpeg = values + head.n * 4;
  return {
    run: head.run, step: head.step,
    times: new Float64Array(data, 8, N_TIMES),
    values: new Float32Array(data, values, head.n),
    jpeg: new Uint8Array(data, jpeg),
  };
}

export function quantile(sorted, q) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : NaN;
}

// Motion components over time as a strip: one row each, red above 0, blue below.
import { sizeOf } from "./colours.js";
import { EXPOSURE } from "./store.js";

const MOST = 60, RESCALE_MS = 4000;

export class Heat {
  constructor(canvas) {
    this.canvas = canvas;
    this.strip = new OffscreenCanvas(1, 1);
    this.columns = [];
    this.store = null;
    this.drawn = -Infinity;         // the last column of pixels that is painted, counted in time
    this.rescaled = 0;
    this.known = false;             // whether there were components to find the scale of
  }

  describe(columns, store) {
    this.store = store;
    this.columns = columns.map((name, i) => [name, i]).filter(([name]) => name.startsWith("motion.")).slice(0, MOST).map(([, i]) => i);
    this.rescaled = 0;
    return this.columns.length;
  }

  draw(until, span) {
    if (!this.columns.length || until === null) return;
    const width = Math.round(sizeOf(this.canvas).width), height = this.columns.length;
    if (width < 2) return;
    const store = this.store, perPixel = span / width, now = performance.now();
    if (this.strip.width !== width || this.strip.height !== height || perPixel !== this.perPixel || now - this.rescaled > (this.known ? RESCALE_MS : RESCALE_MS / 8)) {
      this.strip.width = width;
      this.strip.height = height;
      this.perPixel = perPixel;
      this.rescaled = now;
      this.scale = this.scales(until - span);
      this.known = this.scale.some((scale) => scale > 0);
      this.drawn = Math.floor((until - span) / perPixel) - 1;
    }
    // the last column is still filling; columns stand in the strip at their number modulo its width
    const last = Math.floor(until / perPixel);
    this.paint(Math.max(this.drawn, last - width), last);
    // rows come some time after their exposure: what is newer than the newest is painted again
    const newest = store.count ? Math.floor(store.time(store.count - 1, EXPOSURE) / perPixel) : -Infinity;
    this.drawn = Math.max(last - width, Math.min(last, newest) - 1);
    const cut = (last + 1) % width;
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height; }
    const context = this.canvas.getContext("2d");
    context.drawImage(this.strip, cut, 0, width - cut, height, 0, 0, width - cut, height);
    if (cut) context.drawImage(this.strip, 0, 0, cut, height, width - cut, 0, cut, height);
  }

  // 1 / (3 rms) of each component in what is shown
  scales(begin) {
    const { store, columns } = this, sums = new Float64Array(columns.length);
    let n = 0;
    for (let row = store.find(begin); row < store.count; row++) {
      if (!Number.isFinite(store.value(row, columns[0]))) continue;
      n++;
      columns.forEach((column, i) => { sums[i] += store.value(row, column) ** 2; });
    }
    return sums.map((sum) => (n && sum > 0 ? 1 / (3 * Math.sqrt(sum / n)) : 0));
  }

  paint(after, last) {
    const { store, columns, perPixel } = this, height = columns.length;
    const context = this.strip.getContext("2d"), image = context.createImageData(1, height);
    let row = store.find((after + 1) * perPixel);
    for (let k = after + 1; k <= last; k++) {
      const most = new Float32Array(height);
      for (; row < store.count && store.time(row, EXPOSURE) < (k + 1) * perPixel; row++) {
        for (let i = 0; i < height; i++) {
          const value = store.value(row, columns[i]) * this.scale[i];
          if (Math.abs(value) > Math.abs(most[i])) most[i] = value;   // the strongest, not the mean
        }
      }
      for (let i = 0; i < height; i++) {
        const strength = Math.min(1, Math.abs(most[i])) * 255, above = most[i] > 0;
        image.data.set([above ? strength : strength * 0.15, strength * 0.3, above ? strength * 0.12 : strength, 255], 4 * i);
      }
      context.putImageData(image, ((k % this.strip.width) + this.strip.width) % this.strip.width, 0);
    }
  }
}

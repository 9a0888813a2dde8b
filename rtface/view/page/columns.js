// Results as columns of pixels, each from its smallest to its largest value, and columns as pixels.
import { EXPOSURE, FRAME_ID } from "./store.js";

const COLOUR = 0xf3d49f;            // blue, green, red of #9fd4f3

// Columns stand at whole multiples of perPixel in time, so that they keep their contents as they scroll.
// Returns spans [column, smallest, largest, first, last, begins after a gap], and what is in all of them. A gap
// is a frame without a row, however short: lost, passed over, or one that did not come to this page.
export function spansOf(store, column, begin, until, perPixel) {
  const k0 = Math.floor(begin / perPixel), end = store.find(until + 1e-9), spans = [];
  let low = Infinity, high = -Infinity, last = NaN, before = NaN, now = null;
  for (let row = Math.max(store.oldest, store.find(begin) - 1); row < end; row++) {
    const value = store.value(row, column), id = store.time(row, FRAME_ID);
    if (!Number.isFinite(value)) { before = NaN; continue; }
    const k = Math.floor(store.time(row, EXPOSURE) / perPixel) - k0, gap = id - before !== 1;
    before = id;
    last = value;
    low = Math.min(low, value);
    high = Math.max(high, value);
    if (!now || now[0] !== k || gap) { now = [k, value, value, value, value, gap]; spans.push(now); } else {
      now[1] = Math.min(now[1], value);
      now[2] = Math.max(now[2], value);
      now[4] = value;
    }
  }
  return { spans, low, high, last };
}

// Writes a trace into pixels (words, rows of a width). y: from a value to px from the top of the picture.
// Stroking a path of as many corners takes ten times as long where no graphics card does it.
export function paint(pixels, width, spans, y, thick) {
  let before = null;
  for (let i = 0; i < spans.length; i++) {
    const [k, smallest, largest, first, last, gap] = spans[i];
    let top = y(largest), bottom = y(smallest);
    if (before && !gap) {
      const from = before.y, to = y(first), n = k - before.k;
      for (let j = 1; j < n; j++) {          // fewer results than pixels: a line between them
        const a = from + ((to - from) * (j - 0.5)) / n, b = from + ((to - from) * (j + 0.5)) / n;
        upright(pixels, width, before.k + j, Math.min(a, b), Math.max(a, b), thick);
      }
      if (n === 1) { top = Math.min(top, from); bottom = Math.max(bottom, from); }
    }
    const alone = gap && (spans[i + 1]?.[5] ?? true);        // between gaps: a dot that is seen
    for (let side = 0; side <= (alone ? 1 : 0); side++) upright(pixels, width, k + side, top, bottom, alone ? 2 * thick : thick);
    before = { k, y: y(last) };
  }
}

// One column from top to bottom; its ends are as opaque as they cover their pixels.
function upright(pixels, width, x, top, bottom, thick) {
  if (x < 0 || x >= width) return;
  top -= thick / 2;
  bottom += thick / 2;
  const end = Math.min(Math.floor(bottom), pixels.length / width - 1);
  for (let row = Math.max(0, Math.floor(top)); row <= end; row++) {
    const cover = Math.min(bottom, row + 1) - Math.max(top, row), at = row * width + x;
    pixels[at] = Math.max(pixels[at] >>> 24, Math.round(255 * cover)) * 0x1000000 + COLOUR;
  }
}

// The picture with what was found in it; zoom and pan.
import { colourOf, CROP, fitted, groupOf, PUPIL, sizeOf, write } from "./colours.js";
import { EXPOSURE } from "./store.js";

const SURE = 0.5, TRAIL_S = 0.4, MOST_ZOOM = 20;
const EYE_SHUT = 8192, NO_PUPIL = 16384, NO_FACE = 1024;

export class Video {
  constructor(canvas, legend) {
    this.canvas = canvas;
    this.legend = legend;
    this.bitmap = null;
    this.shown = null;              // {run, step, times, values} of the bitmap
    this.meta = null;
    this.store = null;
    this.trail = this.names = false;
    this.editor = null;             // takes the pointer and draws on top while it is on
    this.zoom = { scale: 1, x: 0.5, y: 0.5 };   // times the whole frame; middle, as parts of it
    this.dirty = true;
    this.listen();
  }

  describe(meta, store) {
    this.meta = meta;
    this.store = store;
    const groups = new Map(meta.keypoints.map((name) => [groupOf(name), colourOf(name)]));
    this.legend.replaceChildren(...[...groups].map(([group, colour]) => {
      const entry = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = colour;
      entry.append(dot, group === "lowerlip" ? "lower lip" : group);
      return entry;
    }));
  }

  show(bitmap, told) {
    this.bitmap?.close();           // else pictures heap up until the next collection
    this.bitmap = bitmap;
    this.shown = told;
    this.dirty = true;
  }

  // CSS px of the canvas for px of the frame: x * k + left, with pixel centres at integers
  place() {
    const { width, height } = sizeOf(this.canvas), { width: w, height: h } = this.meta.camera;
    const k = Math.min(width / w, height / h) * this.zoom.scale;
    const clamp = (middle, room, size) => {
      const half = room / size / 2;
      return half >= 0.5 ? 0.5 : Math.min(1 - half, Math.max(half, middle));
    };
    this.zoom.x = clamp(this.zoom.x, width, w * k);
    this.zoom.y = clamp(this.zoom.y, height, h * k);
    return { k, left: width / 2 - this.zoom.x * w * k, top: height / 2 - this.zoom.y * h * k };
  }

  draw() {
    this.dirty = false;
    const { context, width, height } = fitted(this.canvas);
    context.clearRect(0, 0, width, height);
    if (!this.bitmap || !this.meta) return;
    const { k, left, top } = this.place();
    context.imageSmoothingEnabled = k < 3;
    const step = this.shown.step;
    context.drawImage(this.bitmap, left, top, this.bitmap.width * step * k, this.bitmap.height * step * k);
    context.save();
    context.translate(left + k / 2, top + k / 2);
    this.drawFound(context, k);
    context.restore();
    if (this.editor?.on) this.editor.draw(context, this.place());
  }

  drawFound(context, k) {
    const { values } = this.shown, names = this.meta.keypoints, at = (name) => values[this.store.index.get(name)];
    const flags = at("flags") | 0;
    if (Number.isNaN(values[0])) return;          // a frame that was not tracked
    if (!Number.isNaN(at("crop.left"))) {
      context.setLineDash([7, 6]);
      context.strokeStyle = CROP;
      context.lineWidth = 1;
      context.strokeRect(at("crop.left") * k, at("crop.top") * k, at("crop.width") * k, at("crop.height") * k);
      context.setLineDash([]);
    }
    if (this.trail) this.drawTrail(context, k);
    context.lineWidth = 1.5;
    for (const [a, b] of this.meta.skeleton) {
      context.globalAlpha = 0.5 * Math.min(values[3 * a + 2], values[3 * b + 2]);
      context.strokeStyle = colourOf(names[a]);
      line(context, [values[3 * a] * k, values[3 * a + 1] * k], [values[3 * b] * k, values[3 * b + 1] * k]);
    }
    context.globalAlpha = 1;
    if (!(flags & (EYE_SHUT | NO_PUPIL | NO_FACE)) && at("pupil.long_px") > 0) {
      context.strokeStyle = PUPIL;
      context.lineWidth = 2;
      context.beginPath();
      context.ellipse(at("pupil.x_px") * k, at("pupil.y_px") * k, at("pupil.long_px") * k, at("pupil.short_px") * k, at("pupil.angle_rad"), 0, 2 * Math.PI);
      context.stroke();
    }
    if (this.meta.whiskers) this.drawWhiskers(context, k, at);
    const radius = 4.5;
    for (let i = 0; i < names.length; i++) {
      const [x, y, score] = values.subarray(3 * i, 3 * i + 3);
      context.globalAlpha = Math.min(1, 0.1 + score);
      context.beginPath();
      context.arc(x * k, y * k, radius, 0, 2 * Math.PI);
      if (score >= SURE) {
        context.fillStyle = colourOf(names[i]);
        context.fill();
        context.strokeStyle = "#000";
        context.lineWidth = 0.75;
      } else {
        context.strokeStyle = colourOf(names[i]);
        context.lineWidth = 1.5;
      }
      context.stroke();
      if (this.names) {
        context.font = "13px system-ui, sans-serif";
        context.fillStyle = colourOf(names[i]);
        write(context, names[i], x * k + 8, y * k - 6);
      }
    }
    context.globalAlpha = 1;
  }

  // A line from the base through each whisker's point and beyond, and the angle to the face's axis (dashed).
  drawWhiskers(context, k, at) {
    const x = at("azimuth.base.x"), y = at("azimuth.base.y"), axis = at("azimuth.axis_rad");
    if (Number.isNaN(at("azimuth_rad"))) return;
    context.strokeStyle = context.fillStyle = colourOf("whisker");
    context.font = "13px system-ui, sans-serif";
    let reach = 0;
    for (const name of this.meta.whiskers.points) {
      const px = at(`${name}.x`), py = at(`${name}.y`), [ex, ey] = [x + 1.4 * (px - x), y + 1.4 * (py - y)];
      reach = Math.max(reach, Math.hypot(px - x, py - y));
      context.lineWidth = 2;
      line(context, [x * k, y * k], [ex * k, ey * k]);
      write(context, `${Math.round((at(`azimuth.${name}_rad`) * 180) / Math.PI)}\u00b0`, ex * k + 4, ey * k);
    }
    context.setLineDash([3, 5]);
    context.lineWidth = 1.5;
    line(context, [x * k, y * k], [(x + reach * Math.cos(axis)) * k, (y + reach * Math.sin(axis)) * k]);
    context.setLineDash([]);
  }

  drawTrail(context, k) {
    const store = this.store, until = this.shown.times[EXPOSURE];
    const first = store.find(until - TRAIL_S), end = store.find(until + 1e-9);
    context.lineWidth = 1.5;
    this.meta.keypoints.forEach((name, i) => {
      context.strokeStyle = colourOf(name);
      for (let row = first + 1; row < end; row++) {
        if (Math.min(store.value(row, 3 * i + 2), store.value(row - 1, 3 * i + 2)) < SURE) continue;
        context.globalAlpha = 0.8 * (1 - (until - store.time(row, EXPOSURE)) / TRAIL_S);
        line(context, [store.value(row - 1, 3 * i) * k, store.value(row - 1, 3 * i + 1) * k], [store.value(row, 3 * i) * k, store.value(row, 3 * i + 1) * k]);
      }
    });
    context.globalAlpha = 1;
  }

  // --- zoom ---

  zoomBy(factor, at = null) {
    if (!this.meta) return;
    const { width: w, height: h } = this.meta.camera;
    const before = this.place();
    this.zoom.scale = Math.min(MOST_ZOOM, Math.max(1, this.zoom.scale * factor));
    if (at) {                       // what is under the pointer stays there
      const x = (at.x - before.left) / before.k, y = (at.y - before.top) / before.k;
      const { width, height } = sizeOf(this.canvas), k = Math.min(width / w, height / h) * this.zoom.scale;
      this.zoom.x = (x + (width / 2 - at.x) / k) / w;
      this.zoom.y = (y + (height / 2 - at.y) / k) / h;
    }
    this.dirty = true;
  }

  whole() { this.zoom = { scale: 1, x: 0.5, y: 0.5 }; this.dirty = true; }

  face() {
    if (!this.shown || !this.meta) return;
    const at = (name) => this.shown.values[this.store.index.get(name)];
    const { width: w, height: h } = this.meta.camera, { width, height } = sizeOf(this.canvas);
    const [cw, ch] = [at("crop.width"), at("crop.height")];
    if (!(cw > 0)) return;
    this.zoom.x = (at("crop.left") + cw / 2) / w;
    this.zoom.y = (at("crop.top") + ch / 2) / h;
    const scale = Math.min(width / cw, height / ch) / Math.min(width / w, height / h);
    this.zoom.scale = Math.min(MOST_ZOOM, Math.max(1, scale));
    this.dirty = true;
  }

  listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400), at(event));
    }, { passive: false });
    let from = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!this.meta) return;
      this.canvas.setPointerCapture(event.pointerId);
      if (this.editor?.on) { this.editor.down(at(event)); return; }
      from = { ...at(event), zoom: { ...this.zoom } };
    });
    this.canvas.addEventListener("pointermove", (event) => {
      this.editor?.move(at(event));
      if (!from) return;
      const { k } = this.place(), to = at(event);
      this.zoom.x = from.zoom.x - (to.x - from.x) / k / this.meta.camera.width;
      this.zoom.y = from.zoom.y - (to.y - from.y) / k / this.meta.camera.height;
      this.dirty = true;
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { from = null; this.editor?.up(); });
    this.canvas.addEventListener("dblclick", () => { if (!this.editor?.on) this.whole(); });
  }

  snapshot(name) {
    this.draw();
    this.canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }
}

function line(context, [x0, y0], [x1, y1]) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

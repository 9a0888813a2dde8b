// Traces of chosen signals. Every result counts: a column of pixels spans its smallest to its largest value.
import { BAD, fitted, FIRED, say } from "./colours.js";
import { paint, spansOf } from "./columns.js";

const FIRST = [
  ["pupil.edge_area_px2", "pupil.area_px2"], ["motion_energy.full", /^motion_energy\./], ["whisker(II).y", /^whisker.*\.y$/],
  ["nose(tip).y", /\.y$/], ["age"],
];
const MOST = 8, TOLD_MS = 150;
const MARKS = { fired: [FIRED, []], sham: [FIRED, [4, 4]], suppressed: ["#6d7887", [2, 4]] };

// What is offered: not each of hundreds of components, which have a strip of their own.
export function offered(columns) {
  return ["age", ...columns.filter((name) => !/^(motion\.|movie\.|azimuth\.(base|axis))/.test(name) && name !== "flags")];
}

export function labelOf(name) {
  if (name === "age") return "age of results, ms";
  const units = [["_px2", "px\u00b2"], ["_px", "px"], ["_rad", "rad"], ["_ms", "ms"]];
  const [ending, unit] = units.find(([end]) => name.endsWith(end)) ?? ["", /\.(x|y|dx|dy)$/.test(name) ? "px" : /^stage\./.test(name) ? "ms" : ""];
  const text = name.slice(0, name.length - ending.length).replaceAll("_", " ").replace(".edge ", ", outline's ").replace(".", " ");
  return unit ? `${text}, ${unit}` : text;
}

export function number(value) {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  return size >= 10000 ? `${(value / 1000).toFixed(1)} k` : size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export class Traces {
  constructor(holder, canvas, add) {
    this.holder = holder;
    this.canvas = canvas;
    this.add = add;
    this.lanes = [];                // {name, rule, column, box, value, low, high}, of equal heights
    this.span = 10;
    this.told = 0;
    this.store = null;
    this.rules = {};
    this.decisions = [];
    add.addEventListener("change", () => { if (add.value) this.addLane(add.value); add.value = ""; this.remember(); });
  }

  describe(meta, columns, store) {
    this.store = store;
    this.rules = meta.rules?.rules ?? {};
    const names = offered(columns);
    this.add.replaceChildren(new Option("signal ...", ""), ...names.map((name) => new Option(labelOf(name), name)));
    const chosen = this.remembered().filter((name) => names.includes(name));
    for (const choices of chosen.length ? [] : FIRST) {
      const found = choices.map((c) => names.find((name) => (c instanceof RegExp ? c.test(name) : c === name))).find(Boolean);
      if (found && !chosen.includes(found)) chosen.push(found);
    }
    for (const lane of this.lanes) lane.box.remove();
    this.lanes = [];
    for (const name of chosen) this.addLane(name);
    for (const name of Object.keys(this.rules)) this.addLane(`rule ${name}`);
  }

  remembered() {
    try { return JSON.parse(localStorage.getItem("rtface.signals")) ?? []; } catch { return []; }
  }

  remember() {
    try { localStorage.setItem("rtface.signals", JSON.stringify(this.lanes.filter((l) => !l.rule).map((l) => l.name))); } catch { /* private mode */ }
  }

  addLane(name) {
    if (this.lanes.length >= MOST || this.lanes.some((lane) => lane.name === name)) return;
    const rule = name.startsWith("rule ") ? name.slice(5) : null;
    const [box, label, value] = ["div", "div", "div"].map((tag) => document.createElement(tag));
    const text = document.createElement("span");
    box.className = "lane"; label.className = "label"; value.className = "value";
    text.textContent = rule ? `rule ${rule}: ${this.rules[rule]?.when ?? ""}` : labelOf(name);
    label.append(text);
    if (!rule) {
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "remove";
      remove.setAttribute("aria-label", `remove ${labelOf(name)}`);
      remove.addEventListener("click", () => { box.remove(); this.lanes = this.lanes.filter((lane) => lane.name !== name); this.remember(); });
      label.append(remove);
    }
    box.append(label, value);
    this.holder.append(box);
    this.lanes.push({ name, rule, column: rule ? null : this.store.column(name), box, value, low: NaN, high: NaN });
  }

  addEvents(events) {
    this.decisions.push(...events.filter((event) => event.kind === "decision" || event.kind === "rules"));
    if (this.decisions.length > 2000) this.decisions.splice(0, 1000);
  }

  // until: s of the run at the right edge; cursor: s of the frame that is shown while paused, or null
  draw(until, cursor) {
    if (!this.store || until === null) return;
    const begin = until - this.span;
    const marks = this.decisions.filter((event) => when(event) >= begin && when(event) <= until);
    const { context, width, height: all } = fitted(this.canvas), ratio = this.canvas.width / width;
    const height = Math.floor(all / Math.max(1, this.lanes.length));
    const found = this.lanes.map((lane) => (lane.rule ? null : spansOf(this.store, lane.column, begin, until, this.span / this.canvas.width)));
    this.paint(context, found, height * ratio, ratio);
    const telling = performance.now() - this.told > TOLD_MS;   // numbers that flicker cannot be read
    if (telling) this.told = performance.now();
    this.lanes.forEach((lane, i) => {
      context.save();
      context.translate(0, i * height);
      const view = { context, width, height };
      const text = lane.rule ? this.drawRule(lane, view, begin, marks) : this.label(lane, view, found[i], cursor);
      if (telling) say(lane.value, text);
      this.drawMarks(view, begin, marks, lane.rule);
      context.restore();
    });
    if (cursor !== null) {
      context.fillStyle = "#ffffff90";
      context.fillRect(((cursor - begin) / this.span) * width, 0, 1, all);
    }
  }

  // All traces in px of the screen; what was there goes.
  paint(context, found, tall, ratio) {
    const { width, height } = this.canvas;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = new ImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.pixels.fill(0);
    this.lanes.forEach((lane, i) => {
      if (lane.rule) return;
      this.range(lane, found[i].low, found[i].high);
      if (lane.high > lane.low) paint(this.pixels, width, found[i].spans, (value) => i * tall + ratio * this.y(lane, value, tall / ratio), 1.3 * ratio);
    });
    context.putImageData(this.image, 0, 0);
  }

  // px from the top of its lane
  y(lane, value, height) { return 22 + (height - 28) * (1 - (value - lane.low) / (lane.high - lane.low)); }

  // What stands beside a trace; returns its value in words.
  label(lane, { context, width, height }, { low, high, last }, cursor) {
    const store = this.store, limit = this.limitOf(lane.name);
    context.fillStyle = "#222b36";
    context.fillRect(0, height - 1, width, 1);
    if (lane.high > lane.low) {
      context.font = "11px system-ui, sans-serif";
      context.fillStyle = "#78869a";
      context.textAlign = "right";
      if (height > 64) { context.fillText(number(high), width - 6, 32); context.fillText(number(low), width - 6, height - 4); }
      if (limit !== null && limit >= lane.low && limit <= lane.high) dashed(context, this.y(lane, limit, height), width);
    }
    return number(cursor === null ? last : store.value(Math.min(store.count - 1, store.find(cursor - 1e-9)), lane.column));
  }

  // The scale follows at once to more, slowly to less.
  range(lane, low, high) {
    if (!(high >= low)) return;
    const room = Math.max((high - low) * 0.06, Math.abs(high) * 1e-4, 1e-6);
    low -= room; high += room;
    lane.low = !(lane.low <= low) ? low : lane.low + (low - lane.low) * 0.03;
    lane.high = !(lane.high >= high) ? high : lane.high + (high - lane.high) * 0.03;
  }

  // The threshold of a rule that looks at just this signal.
  limitOf(name) {
    for (const rule of Object.values(this.rules)) {
      const signal = /^\s*([^<>]+?)\s*[<>]/.exec(rule.when ?? "")?.[1];
      if (signal && (name === signal || name.replace(/_(px2|px|rad)$/, "") === signal)) return rule.threshold;
    }
    return null;
  }

  // Values of a rule's own signal are told when it decides.
  drawRule(lane, { context, width, height }, begin, marks) {
    const decided = marks.filter((event) => event.kind === "decision" && event.rule === lane.rule && event.value !== null);
    const threshold = this.rules[lane.rule]?.threshold ?? 0;
    const most = Math.max(Math.abs(threshold) * 1.5, ...decided.map((event) => Math.abs(event.value)), 1e-9);
    const y = (value) => height - 4 - (height - 26) * Math.min(1, Math.abs(value) / most);
    context.fillStyle = "#222b36";
    context.fillRect(0, height - 1, width, 1);
    dashed(context, y(threshold), width);
    for (const event of decided) {
      const x = ((event.exposure_s - begin) / this.span) * width;
      context.fillStyle = MARKS[event.outcome]?.[0] ?? BAD;
      context.beginPath();
      context.arc(x, y(event.value), 4, 0, 2 * Math.PI);
      context.fill();
    }
    const last = decided[decided.length - 1];
    return last ? `${last.outcome} at ${number(last.value)} ${this.rules[lane.rule]?.unit ?? ""}` : "";
  }

  drawMarks({ context, width, height }, begin, marks, rule) {
    for (const event of marks) {
      if (event.kind === "decision" && rule && event.rule !== rule) continue;
      const [colour, dash] = event.kind === "decision" ? MARKS[event.outcome] ?? [BAD, []] : ["#5d6a7b", [6, 3]];
      const x = Math.round(((when(event) - begin) / this.span) * width) + 0.5;
      context.strokeStyle = colour;
      context.globalAlpha = event.outcome === "fired" ? 0.8 : 0.55;
      context.lineWidth = event.outcome === "fired" ? 1.5 : 1;
      context.setLineDash(dash);
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height);
      context.stroke();
      context.setLineDash([]);
      context.globalAlpha = 1;
      if (event.kind === "rules" && rule) {
        context.font = "11px system-ui, sans-serif";
        context.fillStyle = "#93a0b0";
        context.textAlign = "left";
        context.fillText(event.what, x + 3, height - 6);
      }
    }
  }
}

function when(event) { return event.exposure_s ?? event.t_s; }

function dashed(context, y, width) {
  context.setLineDash([5, 5]);
  context.strokeStyle = FIRED;
  context.globalAlpha = 0.7;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

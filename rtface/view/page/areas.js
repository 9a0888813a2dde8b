// Areas of the camera, drawn and dragged: the part to track, areas of motion, the eye, the treadmill.
import { AREAS, write } from "./colours.js";

const $ = (id) => document.getElementById(id);
const REACH = 8, DRAWS_FROM = 4, LEAST = { bbox: 16, roi: 4, pupil: 8, running: 16 };    // CSS px; px of the frame
const LABELS = { bbox: "tracked part", roi: "motion area", pupil: "eye", running: "treadmill" };
const TABLES = { bbox: ["", "bbox"], roi: [".motion", "roi"], pupil: [".pupil", "box"], running: [".running", "box"] };
const MOST_ROIS = 8, NUMBERS = ["area-left", "area-top", "area-width", "area-height"];

// The lines of a rig file that say the same.
export function lines(camera, areas, names) {
  return names.map((name) => {
    const [table, key] = TABLES[name], boxes = areas[name], all = name === "roi";
    const line = !boxes.length && !all ? `# without ${key}` : `${key} = ${JSON.stringify(all ? boxes : boxes[0]).replaceAll(",", ", ")}`;
    return `[camera.${camera}${table}]\n${line}`;
  }).join("\n");
}

export class Areas {
  constructor(link, video, say) {
    Object.assign(this, { link, video, say });
    this.on = false;
    this.saved = {};                // as the rig file has them: rectangles by name
    this.draft = {};
    this.chosen = null;             // [name, place]; a place that is not there yet: of the next one
    this.drag = null;
    $("edit").addEventListener("click", () => this.toggle());
    $("area").addEventListener("change", () => { const [name, i] = $("area").value.split(" "); this.choose(name, Number(i)); });
    $("area-new").addEventListener("click", () => this.middle());
    $("area-remove").addEventListener("click", () => this.remove());
    $("area-write").addEventListener("click", () => this.write());
    $("area-lines-open").addEventListener("click", () => { $("area-lines").hidden = !$("area-lines").hidden; });
    for (const id of NUMBERS) $(id).addEventListener("change", () => this.typed());
    video.editor = this;
  }

  get size() { return this.video.meta.camera; }
  get box() { return this.chosen && this.draft[this.chosen[0]]?.[this.chosen[1]]; }
  get changed() { return Object.keys(this.draft).filter((name) => JSON.stringify(this.draft[name]) !== JSON.stringify(this.saved[name])); }

  // From the status, once a second: what the rig file says, and whether there is one.
  told(camera, counts) {
    if (camera !== this.camera && this.on) this.toggle();
    this.camera = camera;
    this.file = counts.rig_file ?? null;
    this.saved = counts.areas ?? {};
    this.offer();
    if (this.on) this.tell(true);
  }

  // a run that falls silent has no areas; whoever edits some then can still leave
  offer() { $("edit").disabled = !this.on && !(Object.keys(this.saved).length && this.video.meta); }

  toggle() {
    this.on = !this.on;
    this.drag = null;
    $("edit").setAttribute("aria-pressed", String(this.on));
    $("areas").hidden = !this.on;
    $("area-lines").hidden = true;
    this.draft = structuredClone(this.saved);
    this.chosen = null;
    if (this.on) { this.choose(Object.keys(this.draft)[0], 0); $("picture").focus(); }
    this.offer();
    this.video.dirty = true;
  }

  choose(name, i) {
    this.chosen = [name, i];
    this.tell();
  }

  // --- changing ---

  // Keeps a rectangle within the frame, in whole px, and no smaller than it may be.
  set([x, y, w, h]) {
    const [name, i] = this.chosen, { width, height } = this.size, least = LEAST[name];
    const clamp = (value, low, high) => Math.round(Math.min(high, Math.max(low, Number.isFinite(value) ? value : low)));
    w = clamp(w, least, width); h = clamp(h, least, height);
    this.draft[name][i] = [clamp(x, 0, width - w), clamp(y, 0, height - h), w, h];
    this.tell();
  }

  typed() {
    if (!this.chosen) return;
    const box = NUMBERS.map((id) => $(id).valueAsNumber);
    if (box.every(Number.isFinite)) this.set(box); else this.tell();
  }

  middle() {
    const { width, height } = this.size, [name] = this.chosen;
    if (name === "roi") this.chosen = [name, Math.min(this.draft.roi.length, MOST_ROIS - 1)];
    this.set([width / 4, height / 4, width / 2, height / 2]);
    $("picture").focus();
  }

  remove() {
    const [name, i] = this.chosen;
    if (!this.box || name === "running") return;
    this.draft[name].splice(i, 1);
    this.choose(name, Math.max(0, i - 1));
  }

  // arrows move, with Shift they resize; false: not ours
  arrow(key, resize) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (!this.on || !step || !this.box) return false;
    const [x, y, w, h] = this.box, [dx, dy] = step, { width, height } = this.size;
    if (resize) this.set([x, y, Math.min(w + dx, width - x), Math.min(h + dy, height - y)]); else this.set([x + dx, y + dy, w, h]);
    return true;
  }

  // --- the pointer; px of the canvas ---

  // beside all of them nothing is drawn, and nothing taken away, until the pointer has moved some way
  down(at) {
    const found = this.hit(at);
    this.drag = found ? { ...found, from: this.px(at), box: [...this.box] } : { begins: at };
  }

  begin(at) {
    const [name] = this.chosen, from = this.px(at);
    this.chosen = [name, name === "roi" ? Math.min(this.draft.roi.length, MOST_ROIS - 1) : 0];
    this.drag = { sides: ["right", "bottom"], from, box: [Math.round(from.x), Math.round(from.y), 0, 0] };
  }

  move(at) {
    if (!this.drag) return;
    const { begins } = this.drag;
    if (begins && Math.hypot(at.x - begins.x, at.y - begins.y) < DRAWS_FROM) return;
    if (begins) this.begin(begins);
    const { sides, from, box: [x, y, w, h] } = this.drag, to = this.px(at), dx = to.x - from.x, dy = to.y - from.y;
    if (!sides.length) { this.set([x + dx, y + dy, w, h]); return; }
    const { width, height } = this.size, clamp = (value, high) => Math.min(high, Math.max(0, value));
    let [left, right, top, bottom] = [x, x + w, y, y + h];
    if (sides.includes("left")) left = clamp(left + dx, width);
    if (sides.includes("right")) right = clamp(right + dx, width);
    if (sides.includes("top")) top = clamp(top + dy, height);
    if (sides.includes("bottom")) bottom = clamp(bottom + dy, height);
    if (right < left || bottom < top) [left, right, top, bottom] = [Math.min(left, right), Math.max(left, right), Math.min(top, bottom), Math.max(top, bottom)];
    this.set([left, top, right - left, bottom - top]);
  }

  up() { this.drag = null; }

  px({ x, y }) {
    const { k, left, top } = this.video.place();
    return { x: (x - left) / k, y: (y - top) / k };
  }

  // What is under the pointer: sides of the chosen area, else its body, else another one's.
  hit(at) {
    const { x, y } = this.px(at), reach = REACH / this.video.place().k;
    const all = Object.entries(this.draft).flatMap(([name, boxes]) => boxes.map((box, i) => [name, i, box]));
    all.sort(([name, i]) => (name === this.chosen[0] && i === this.chosen[1] ? -1 : 1));
    for (const grip of [reach, 0]) {
      for (const [name, i, [left, top, w, h]] of all) {
        const right = left + w, bottom = top + h;
        if (x < left - grip || x > right + grip || y < top - grip || y > bottom + grip) continue;
        const near = [["left", x - left], ["right", x - right], ["top", y - top], ["bottom", y - bottom]];
        const sides = near.filter(([, apart]) => Math.abs(apart) < grip).map(([side]) => side);
        if (!sides.length && grip) continue;
        this.choose(name, i);
        return { sides };
      }
    }
    return null;
  }

  // --- showing ---

  draw(context, { k, left, top }) {
    for (const [name, boxes] of Object.entries(this.draft)) {
      boxes.forEach(([x, y, w, h], i) => {
        const chosen = name === this.chosen?.[0] && i === this.chosen[1];
        context.strokeStyle = context.fillStyle = AREAS[name];
        context.lineWidth = chosen ? 2.5 : 1.5;
        context.strokeRect(left + x * k, top + y * k, w * k, h * k);
        context.font = "13px system-ui, sans-serif";
        write(context, this.label(name, i), left + x * k + 7, top + y * k + 18);
        if (!chosen) return;
        for (const cx of [x, x + w / 2, x + w]) {
          for (const cy of [y, y + h / 2, y + h]) if (cx !== x + w / 2 || cy !== y + h / 2) context.fillRect(left + cx * k - 4, top + cy * k - 4, 8, 8);
        }
      });
    }
  }

  label(name, i) { return name === "roi" ? `${LABELS.roi} ${i + 1}` : LABELS[name]; }

  // typing: a number that is being typed is left alone
  tell(typing = false) {
    const options = Object.entries(this.draft).flatMap(([name, boxes]) => {
      const n = name === "roi" ? Math.min(MOST_ROIS, boxes.length + 1) : 1;
      return Array.from({ length: n }, (_, i) => [`${name} ${i}`, `${this.label(name, i)}${boxes[i] ? "" : " (none)"}`]);
    });
    const select = $("area"), wanted = options.join();
    if (wanted !== this.offered) { this.offered = wanted; select.replaceChildren(...options.map(([value, text]) => new Option(text, value))); }
    select.value = this.chosen.join(" ");
    NUMBERS.forEach((id, i) => { const field = $(id); if (!typing || document.activeElement !== field) field.value = this.box?.[i] ?? ""; });
    const changed = this.changed;
    $("area-remove").disabled = !this.box || this.chosen[0] === "running";
    $("area-write").disabled = !this.file || !changed.length;
    $("area-lines").value = lines(this.camera, this.draft, changed.length ? changed : Object.keys(this.draft));
    $("area-text").textContent = !this.file ? "This run has no rig file: copy the lines into one." : !changed.length ? "as in the rig file" : "not written; counts from the next start";
    this.video.dirty = true;
  }

  async write() {
    const fields = { camera: this.camera };
    for (const name of this.changed) fields[name] = this.draft[name].map((box) => box.join()).join(";") || "none";
    const draft = structuredClone(this.draft);
    try {
      const answer = await this.link.ask("write_rig", fields);
      this.saved = draft;
      this.say(`Written to ${answer.file}. It counts from the next start; as it was before this run it is ${answer.backup.split(/[\\/]/).pop()}.`);
    } catch (error) {
      $("area-lines").hidden = false;
      this.say(error.message, true);
    }
    if (this.on) this.tell();
  }
}

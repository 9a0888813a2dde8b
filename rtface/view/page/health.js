// How the run does: the sentence, the cards, the ledger, the histogram.
import { fitted, say, STAGES } from "./colours.js";
import { DONE, HOST, quantile } from "./store.js";
import { number } from "./traces.js";

const $ = (id) => document.getElementById(id);
const CAUSES = { link: "on the link", incomplete: "damaged", no_buffer: "no free buffer", late: "source too slow" };
const SOURCES = {
  delivery: "times by delivery", device_clock: "the camera's clock, by delivery", latched_pairs: "the camera's clock, latched",
  frame_counter: "counted frames",
};
const UNCALIBRATED = 1, LOOK_S = 5;

function list(element, lines) {
  element.replaceChildren(...lines.filter(Boolean).map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

const ms = (value) => (Number.isFinite(value) ? (value < 10 ? value.toFixed(1) : value.toFixed(0)) : "-");

export class Health {
  constructor() { this.bars = null; }

  describe(meta) { this.meta = meta; }

  // --- once a second, from the status ---

  show({ status, findings, camera }) {
    const counts = status.cameras?.[camera] ?? {};
    this.sentence(status, counts, findings);
    list($("losses"), [
      counts.delivered === undefined ? "" : `${counts.produced} made = ${counts.delivered} delivered + ${counts.lost_camera} lost`,
      counts.tracked === undefined ? "" : `${counts.tracked} tracked + ${counts.skipped} passed over`,
      ...Object.entries(counts.lost ?? {}).filter(([, n]) => n).map(([cause, n]) => `${n} ${CAUSES[cause] ?? cause}`),
    ]);
    say($("lost"), counts.lost_camera === undefined ? "-" : counts.lost_camera + counts.skipped === 0 ? "none" : `${counts.lost_camera + counts.skipped}`);
    say($("rate"), Number.isFinite(counts.n) ? `${counts.n}` : "-");
    say($("rate-text"), this.meta ? `of ${Number(this.meta.camera.rate_hz.toFixed(1))} frames a second` : "");
    this.clock(counts);
    this.recorder(status.recording, "lifecycle" in status);
    this.loop(counts.loop);
    for (const about of ["rate", "age", "losses", "clock", "recorder", "loop"]) {
      const worst = findings.find((finding) => finding.about === about)?.level;
      $(`card-${about}`).classList.toggle("bad", worst === "bad");
      $(`card-${about}`).classList.toggle("warn", worst === "warn");
    }
  }

  sentence(status, counts, findings) {
    const worst = findings[0]?.level;
    $("dot").className = worst === "bad" ? "bad" : worst === "warn" ? "warn" : "good";
    const shown = findings.filter((finding) => finding.level !== "note").slice(0, 3);
    $("findings").replaceChildren(...shown.map((finding) => {
      const item = document.createElement("li"), what = document.createElement("b"), remedy = document.createElement("span");
      item.className = finding.level;
      what.textContent = `${finding.text}. `;
      remedy.textContent = `${finding.remedy[0].toUpperCase()}${finding.remedy.slice(1)}.`;
      item.append(what, remedy);
      return item;
    }));
    const points = this.meta?.keypoints.length ?? 0;
    const what = [`${points} points of the face`, this.meta?.motion && "motion", this.meta?.pupil && "the pupil"].filter(Boolean);
    const told = what.length > 1 ? `${what.slice(0, -1).join(", ")} and ${what[what.length - 1]}` : what[0];
    say($("sentence-text"),
      worst === "bad" && shown[0].about === "run" ? shown[0].text
        : !counts.age ? "Starting"
          : `Tracking ${told} at ${counts.n} Hz, ${ms(counts.age.p50_ms)} ms after each frame`);
  }

  clock(counts) {
    const clock = counts.clock;
    if (!clock) return;
    list($("clock"), [
      SOURCES[clock.source] ?? clock.source,
      clock.skew_ppm === null ? "" : `drifts ${number(clock.skew_ppm)} ppm, wobbles ${number(clock.scatter_us)} \u00b5s`,
      clock.resets || clock.steps ? `${clock.steps} steps, ${clock.resets} resets` : "",
    ]);
  }

  recorder(recording, known) {
    const on = recording?.state === "recording";
    $("badge-rec").hidden = !recording;
    $("badge-rec").classList.toggle("live", on);
    say($("badge-rec"), on ? "REC" : "not recording");
    say($("record"), on ? "Stop" : "Record");
    $("record").disabled = !recording;
    $("annotate").disabled = $("remark").disabled = !on;
    $("subject").hidden = on;
    if (!recording) {
      say($("recording"), known ? "off" : "-");
      say($("recorder-text"), known ? "this run records nothing; start it with --record DIR" : "");
      return;
    }
    const seconds = Math.floor(recording.seconds ?? 0), clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    const frames = Object.values(recording.cameras ?? {}).reduce((sum, one) => sum + (one.frames ?? 0), 0);
    say($("recording"), on ? clock : recording.state ?? "starting");
    const folder = (recording.folder ?? "").split(/[\\/]/).pop();
    say($("recorder-text"), [
      on ? `${frames} frames in ${folder}` : "", recording.free_mb === undefined ? "" : `${number(recording.free_mb / 1000)} GB free`,
    ].filter(Boolean).join("; "));
  }

  loop(loop) {
    $("card-loop").hidden = $("badge-arm").hidden = !loop;
    if (!loop) return;
    say($("loop"), loop.armed ? (loop.dry ? "armed, dry" : "ARMED") : "disarmed");
    say($("badge-arm"), $("loop").textContent);
    $("badge-arm").classList.toggle("armed", loop.armed);
    list($("rules"), Object.entries(loop.rules).map(([name, n]) => `${name}: ${n.fired ?? 0} fired, ${n.suppressed ?? 0} suppressed${n.sham ? `, ${n.sham} sham` : ""}`));
  }

  // --- several times a second, from the rows ---

  showRows(store, drawnMs, clockErrorMs) {
    if (!store.count) return;
    const end = store.count, first = store.find(store.time(end - 1, HOST) - LOOK_S, HOST);
    const ages = new Float64Array(end - first);
    for (let row = first; row < end; row++) ages[row - first] = 1000 * (store.time(row, DONE) - store.time(row, HOST));
    const sorted = ages.slice().sort();
    say($("age"), ms(quantile(sorted, 0.5)));
    say($("age99"), `99 of 100 within ${ms(quantile(sorted, 0.99))} ms`);
    this.histogram(sorted, 1000 / this.meta.camera.rate_hz);
    this.ledger(store, first, end);
    const flags = store.value(end - 1, store.column("flags")) | 0;
    say($("clock-err"), `\u00b1 ${ms(store.value(end - 1, store.column("exposure_err_ms")))} ms`);
    $("clock-err").title = flags & UNCALIBRATED ? "the constant delay is declared, not measured" : "calibrated";
    const sure = this.meta.keypoints.filter((_, i) => store.value(end - 1, 3 * i + 2) >= 0.5).length;
    say($("sure"), `${sure} of ${this.meta.keypoints.length} points are sure`);
    say($("drawn"), Number.isFinite(drawnMs)
      ? `drawn here ${drawnMs.toFixed(0)} ms after the frame, \u00b1 ${clockErrorMs.toFixed(1)}` : "");
  }

  ledger(store, first, end) {
    const stages = Object.keys(STAGES).map((stage) => {
      const column = store.column(`stage.${stage}`), values = new Float64Array(end - first);
      for (let row = first; row < end; row++) values[row - first] = store.value(row, column);
      return [stage, quantile(values.sort(), 0.5)];
    }).filter(([, value]) => value >= 0.005);
    const total = stages.reduce((sum, [, value]) => sum + value, 0) || 1;
    $("ledger").setAttribute("aria-label", stages.map(([stage, value]) => `${stage} ${value.toFixed(2)} ms`).join(", "));
    const box = (colour, tag) => { const made = document.createElement(tag); made.style.background = colour; return made; };
    $("ledger").replaceChildren(...stages.map(([stage, value]) => {
      const part = box(STAGES[stage], "div");
      part.style.width = `${(100 * value) / total}%`;
      part.title = `${stage} ${value.toFixed(2)} ms`;
      return part;
    }));
    $("ledger-legend").replaceChildren(...stages.map(([stage, value]) => {
      const item = document.createElement("li");
      item.append(box(STAGES[stage], "i"), `${stage} ${value.toFixed(1)}`);
      return item;
    }));
  }

  // Ages of the last seconds; the line is one frame's time.
  histogram(sorted, periodMs) {
    const { context, width, height } = fitted($("histogram"));
    context.clearRect(0, 0, width, height);
    const most = Math.max(periodMs * 1.25, quantile(sorted, 0.999) * 1.15), n = 45, bins = new Float64Array(n);
    for (const age of sorted) bins[Math.min(n - 1, Math.max(0, Math.floor((age / most) * n)))]++;
    const top = Math.max(...bins) || 1, floor = height - 16;
    context.fillStyle = "#56b4e9";
    bins.forEach((count, i) => {
      if (count) { const tall = Math.max(1.5, (count / top) * (floor - 4)); context.fillRect((i * width) / n, floor - tall, width / n - 1, tall); }
    });
    context.fillStyle = "#2c3744";
    context.fillRect(0, floor, width, 1);
    context.fillStyle = "#e6b450";
    context.fillRect((periodMs / most) * width, 0, 1, floor);
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = "#93a0b0";
    context.textAlign = "right";
    context.fillText(`${ms(most)} ms`, width, height - 3);
    context.textAlign = "left";
    context.fillText("one frame", Math.max(0, Math.min(width - 104, (periodMs / most) * width - 24)), height - 3);
  }
}

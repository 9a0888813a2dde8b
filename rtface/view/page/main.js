// The page: what comes over the connection, drawn at the display's rate.
import { Areas } from "./areas.js";
import { resized, say } from "./colours.js";
import { Controls } from "./controls.js";
import { Health } from "./health.js";
import { Heat } from "./heat.js";
import { Link } from "./link.js";
import { Past } from "./past.js";
import { EXPOSURE, FRAME_ID, FRAME_SEQ, HOST, quantile, readPicture, readRows, Store } from "./store.js";
import { Traces } from "./traces.js";
import { Video } from "./video.js";

const $ = (id) => document.getElementById(id);
// what moves is drawn 30 times a second: on a rig without a graphics card more would be the tracker's loss
const DRAWN_MS = 1000 / 30, ROWS_SHOWN_MS = 333, LATENCIES = 300;

const video = new Video($("picture"), $("legend"));
const traces = new Traces($("lanes"), $("traces"), $("add"));
const heat = new Heat($("heat"));
const health = new Health();
let meta = null, run = -1, store = null, camera = "", masks = null;
let coming = null, decoding = false, connected = false;
const latencies = new Float64Array(LATENCIES);
let drawn = 0, shownRows = 0, drawnTraces = 0;

const link = new Link({ open, closed, text, picture, rows });
const past = new Past(link, (text, bad) => controls.say(text, bad));
const areas = new Areas(link, video, (text, bad) => controls.say(text, bad));
const controls = new Controls(link, video, past, areas);
past.current = () => video.shown?.times[FRAME_SEQ] ?? 0;

function open() {
  connected = true;
  link.send({ do: "watch", camera });
  link.send({ do: "look", on: !document.hidden });
}

function closed(code, reason) {
  connected = false;
  if (past.paused) past.goOn();
  const text = code === 4029 || code === 4003 ? reason : "The page lost its connection";
  const remedy = code === 4003 ? "open the address with ?token=, as it was printed" : "it tries again by itself; is rtface running?";
  health.show({ status: {}, findings: [{ level: "bad", about: "run", text, remedy }], camera });
}

function text(message) {
  if (message.status) {
    camera = message.camera;
    showCameras(Object.keys(message.status.cameras ?? {}));
    $("rig").textContent = message.status.rig ?? "";
    document.title = message.status.rig ? `${message.status.rig} - rtface` : "rtface";
    health.show(message);
    const counts = message.status.cameras?.[camera] ?? {};
    areas.told(camera, counts);
    controls.told(camera, counts.exposure);
    showMasks(message.status.cameras?.[camera]?.masks ?? null);
  } else if (message.meta) {
    describe(message);
  } else if (message.events && message.run === run) {
    traces.addEvents(message.events);
  }
}

function describe(message) {
  meta = message.meta;
  const another = message.run !== run;
  run = message.run;
  if (another) {
    store = new Store(message.columns, meta.camera.rate_hz);
    latencies.fill(0);
    drawn = 0;
    traces.decisions = [];
    video.show(null, null);
    if (past.paused) past.goOn();
    link.clockRun = null;
    link.offset = null;
    link.tuneClock();
    traces.describe(meta, message.columns, store);
    $("motion").hidden = !heat.describe(message.columns, store);
  }
  video.describe(meta, store);
  health.describe(meta);
}

function showMasks(identity) {
  $("motion-text").textContent = identity ? "average and first masks; below, all components over the same time" : "are found in the first seconds of the run";
  if (identity && identity !== masks) $("masks").src = `/masks/${encodeURIComponent(camera)}.png?${identity.slice(0, 16)}`;
  $("masks").hidden = !identity;
  masks = identity;
}

function showCameras(names) {
  const select = $("camera");
  if (names.join() !== [...select.options].map((option) => option.value).join()) select.replaceChildren(...names.map((name) => new Option(name, name)));
  select.hidden = names.length < 2;
  select.value = camera;
}
$("camera").addEventListener("change", () => {
  if (past.paused) past.goOn();
  run = -1;
  masks = null;
  camera = $("camera").value;
  link.send({ do: "watch", camera });
});

function rows(head, data) {
  if (head.run !== run) return;
  const { times, values } = readRows(head, data, store.m);
  store.add(head.n, times, values);
}

function picture(head, data) {
  // while the past is being kept the picture stands still
  if (head.run !== run || (past.paused && !past.frames.length)) { link.got("picture"); return; }
  if (coming) link.got("picture");   // a newer one is here before that was looked at
  coming = readPicture(head, data);
  decode();
}

async function decode() {
  if (decoding) return;
  decoding = true;
  while (coming) {
    const told = coming;
    coming = null;
    try {
      const bitmap = await createImageBitmap(new Blob([told.jpeg], { type: "image/jpeg" }));
      if (told.run === run) { told.fresh = true; video.show(bitmap, told); } else bitmap.close();
    } catch { /* the next one comes */ }
    link.got("picture");
  }
  decoding = false;
}

function frame(now) {
  requestAnimationFrame(frame);
  if (!store) return;
  if (video.dirty || resized(video.canvas)) {
    video.draw();
    const told = video.shown;
    if (told?.fresh && !past.paused && link.now() !== null) {
      told.fresh = false;
      latencies[drawn++ % LATENCIES] = 1000 * (link.now() - told.times[HOST]);
    }
  }
  if (now - drawnTraces < DRAWN_MS - 4) return;
  drawnTraces = now;
  const until = past.paused ? past.until : link.now();
  traces.draw(until, past.paused && video.shown ? video.shown.times[EXPOSURE] : null);
  heat.draw(until, traces.span);
  if (connected && now - shownRows > ROWS_SHOWN_MS && !past.paused) {
    shownRows = now;
    health.showRows(store, latency(0.5), 1000 * (link.error ?? NaN));
  }
  say($("overlay-note"), past.paused ? "paused" : "");
}
requestAnimationFrame(frame);

function latency(q) { return quantile(latencies.slice(0, Math.min(drawn, LATENCIES)).sort(), q); }

document.addEventListener("visibilitychange", () => link.send({ do: "look", on: !document.hidden }));
$("span").addEventListener("change", () => { traces.span = Number($("span").value); });
$("zoom-all").addEventListener("click", () => video.whole());
$("zoom-face").addEventListener("click", () => video.face());
for (const what of ["trail", "names"]) {
  $(what).addEventListener("click", () => {
    video[what] = !video[what];
    video.dirty = true;
    $(what).setAttribute("aria-pressed", String(video[what]));
  });
}
$("snapshot").addEventListener("click", () => {
  if (video.shown) video.snapshot(`${meta.rig}-${camera}-frame${video.shown.times[FRAME_SEQ]}.png`.replace(/[^\w.-]/g, "_"));
});

// for tests, and for who is curious: what the page knows of itself
window.rtface = {
  get drawn() { return drawn; },
  get rows() { return store?.count ?? 0; },
  get latencyMs() { return { p50: latency(0.5), p99: latency(0.99), clockError: 1000 * (link.error ?? NaN) }; },
  get shown() { return video.shown && { frame_seq: video.shown.times[FRAME_SEQ], frame_id: video.shown.times[FRAME_ID], values: [...video.shown.values], ...video.place() }; },
  get kept() { return past.frames; },
  get paused() { return past.paused; },
  get run() { return run; },
  get settled() { return !video.dirty && !coming && !decoding && !resized(video.canvas); },
  get columns() { return store?.columns ?? []; },
  get areas() { return { on: areas.on, draft: structuredClone(areas.draft), saved: areas.saved, chosen: areas.chosen }; },
};

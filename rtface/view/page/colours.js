// Of keypoints by what they belong to (Okabe and Ito 2008, lightened for a dark ground), and of stages.
const GROUPS = [
  ["pupil", "#56b4e9"], ["eye", "#f0a818"], ["nose", "#1fb08a"], ["whisker", "#f0e442"],
  ["mouth", "#e8743b"], ["lowerlip", "#e08fc0"], ["paw", "#b79cf0"],
];
const OTHERS = "#d0d0d0";
export const STAGES = {
  wait: "#4c5a6b", keypoints: "#56b4e9", motion: "#1fb08a", pupil: "#b79cf0", rules: "#e6b450", finish: "#8a94a2",
};
export const PUPIL = "#7fd0ff", CROP = "#9fb0c2", FIRED = "#ffb347", BAD = "#ff6b62";

export const AREAS = { bbox: "#ffffff", roi: "#5fe0a8", pupil: PUPIL, running: "#ff9bd2" };

export function groupOf(name) {
  const found = GROUPS.find(([start]) => name.startsWith(start));
  return found ? found[0] : "other";
}
export function colourOf(name) {
  const found = GROUPS.find(([start]) => name.startsWith(start));
  return found ? found[1] : OTHERS;
}

// Sizes on the screen, kept up to date by the browser: asking for them in every frame costs a layout.
const sizes = new WeakMap();
const watcher = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) sizes.set(target, { width: contentRect.width, height: contentRect.height });
});

export function sizeOf(canvas) {
  let size = sizes.get(canvas);
  if (!size) {
    watcher.observe(canvas);
    size = { width: canvas.clientWidth, height: canvas.clientHeight };
    sizes.set(canvas, size);
  }
  return size;
}

// The pixels of a canvas follow its size on the screen; returns its context, scaled to CSS px.
export function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1, { width, height } = sizeOf(canvas);
  const w = Math.max(1, Math.round(width * ratio)), h = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

// Whether a canvas has another size on the screen than it was drawn for.
export function resized(canvas) {
  const ratio = window.devicePixelRatio || 1, { width, height } = sizeOf(canvas);
  return canvas.width !== Math.max(1, Math.round(width * ratio)) || canvas.height !== Math.max(1, Math.round(height * ratio));
}

// Sets a text only if it is another one: an equal text would be laid out all the same.
export function say(element, text) { if (element.textContent !== text) element.textContent = text; }

// A text that is read on any picture: with a dark edge.
export function write(context, text, x, y) {
  context.save();
  context.strokeStyle = "#000";
  context.lineWidth = 3;
  context.setLineDash([]);
  context.strokeText(text, x, y);
  context.restore();
  context.fillText(text, x, y);
}

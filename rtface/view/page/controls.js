// What can be ordered. Nothing counts as done before the run's control port has answered.
const $ = (id) => document.getElementById(id);

export class Controls {
  constructor(link, video, past, areas) {
    Object.assign(this, { link, video, past, areas });
    this.key = null;
    $("annotate").addEventListener("click", () => this.annotate());
    $("remark").addEventListener("keydown", (event) => { if (event.key === "Enter") this.annotate(); });
    $("record").addEventListener("click", () => this.record());
    $("disarm").addEventListener("click", () => this.order("disarm", {}, "Disarmed: nothing fires."));
    $("arm").addEventListener("click", () => this.prepareArm());
    $("arm-now").addEventListener("click", () => this.arm());
    $("arm-cancel").addEventListener("click", () => this.unprepare());
    $("exposure-set").addEventListener("click", () => this.expose());
    $("exposure-us").addEventListener("keydown", (event) => { if (event.key === "Enter") this.expose(); });
    $("help-open").addEventListener("click", () => $("help").showModal());
    $("help-close").addEventListener("click", () => $("help").close());
    document.addEventListener("keydown", (event) => this.key_down(event));
  }

  say(text, bad = false) {
    const said = $("said");
    said.textContent = text;
    said.className = bad ? "on bad" : "on";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { said.className = ""; said.textContent = ""; }, bad ? 8000 : 4000);
  }

  async order(todo, fields, done) {
    try {
      const answer = await this.link.ask(todo, fields);
      if (done) this.say(done);
      return answer;
    } catch (error) {
      this.say(error.message, true);
      return null;
    }
  }

  async annotate() {
    const text = $("remark").value.trim();
    if (text && await this.order("annotate", { text }, `Noted: ${text}`)) $("remark").value = "";
  }

  record() {
    if ($("record").textContent === "Stop") this.order("stop_record", {}, "The recording ends.");
    else this.order("record", { subject: $("subject").value.trim() }, "Recording.");
  }

  // from the status: how long the camera exposes, and what it takes
  told(camera, exposure) {
    this.camera = camera;
    $("exposure").hidden = !exposure;
    if (!exposure) return;
    const field = $("exposure-us"), round = (us) => Number(us.toPrecision(5));
    if (document.activeElement !== field) field.value = round(exposure.us);
    field.title = `${round(exposure.least_us)} to ${round(exposure.most_us)} \u00b5s`;
  }

  async expose() {
    const asked = $("exposure-us").value, answer = await this.order("exposure", { camera: this.camera, us: asked });
    if (!answer) return;
    $("exposure-us").value = Number(answer.us.toPrecision(5));
    this.say(`Exposed for ${$("exposure-us").value} \u00b5s${answer.us === Number(asked) ? "" : `, the nearest to ${asked}`}.`);
  }

  async prepareArm() {
    const answer = await this.order("prepare_arm", {});
    if (!answer) return;
    this.key = answer.key;
    $("arm").hidden = true;
    $("arm-confirm").hidden = false;
    $("arm-seconds").focus();
    this.lapse = setTimeout(() => this.unprepare(), answer.within_s * 1000);
  }

  unprepare() {
    clearTimeout(this.lapse);
    this.key = null;
    $("arm").hidden = false;
    $("arm-confirm").hidden = true;
  }

  async arm() {
    const key = this.key, seconds = $("arm-seconds").value;
    this.unprepare();
    await this.order("arm", { key, seconds }, `Armed for ${seconds} s.`);
  }

  key_down(event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    const press = (id) => () => { if (!$(id).disabled) $(id).click(); };
    if (event.target.id === "picture" && this.areas.arrow(event.key, event.shiftKey)) { event.preventDefault(); return; }
    const keys = {
      " ": () => this.past.toggle(), ArrowLeft: () => this.past.step(event.shiftKey ? -10 : -1), ArrowRight: () => this.past.step(event.shiftKey ? 10 : 1),
      "+": () => this.video.zoomBy(1.25), "-": () => this.video.zoomBy(0.8), 0: press("zoom-all"), f: press("zoom-face"), t: press("trail"), n: press("names"),
      s: press("snapshot"), a: () => $("remark").focus(), r: press("record"), d: () => { if (!$("card-loop").hidden) $("disarm").click(); }, e: press("edit"), x: () => { if (!$("exposure").hidden) $("exposure-us").select(); }, "?": press("help-open"),
    };
    const todo = keys[event.key] ?? keys[event.key.toLowerCase()];
    // on a button Space presses it
    if (!todo || (event.key === " " && event.target.tagName === "BUTTON")) return;
    event.preventDefault();
    todo();
  }
}

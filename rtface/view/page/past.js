// Pause, and the last seconds frame by frame.
const $ = (id) => document.getElementById(id);

export class Past {
  constructor(link, say) {
    this.link = link;
    this.say = say;
    this.paused = false;
    this.frames = [];
    this.until = null;              // s of the run at the right edge of the traces
    $("pause").addEventListener("click", () => this.toggle());
    $("back").addEventListener("click", () => this.step(-1));
    $("forward").addEventListener("click", () => this.step(1));
    $("scrub").addEventListener("input", () => this.go(Number($("scrub").value)));
  }

  async toggle() {
    if (this.paused) { this.goOn(); return; }
    this.paused = true;
    this.until = this.link.now();
    $("pause").textContent = "Go on";
    $("pause").setAttribute("aria-pressed", "true");
    $("past-text").textContent = "keeping the last seconds ...";
    let answer;
    try { answer = await this.link.ask("pause"); } catch (error) { this.say(error.message, true); this.goOn(); return; }
    if (!this.paused) { this.link.send({ do: "go_on" }); return; }
    this.frames = answer.frames;
    const current = this.current?.();          // only now: a picture may have been under way
    const at = this.frames.findIndex((frame) => frame >= current);
    this.place = at < 0 ? this.frames.length - 1 : at;
    $("past").hidden = !this.frames.length;
    $("scrub").max = this.frames.length - 1;
    this.tell();
  }

  goOn() {
    this.paused = false;
    this.frames = [];
    this.until = null;
    $("pause").textContent = "Pause";
    $("pause").setAttribute("aria-pressed", "false");
    $("past").hidden = true;
    $("past-text").textContent = "";
    this.link.send({ do: "go_on" });
  }

  step(n) { if (this.frames.length) this.go(this.place + n); }

  go(place) {
    this.place = Math.max(0, Math.min(this.frames.length - 1, place));
    this.link.ask("frame", { frame_seq: this.frames[this.place] }).catch((error) => this.say(error.message, true));
    this.tell();
  }

  tell() {
    $("scrub").value = this.place;
    $("past-text").textContent = this.frames.length ? `frame ${this.frames[this.place]}, ${this.frames.length - 1 - this.place} before the last` : "nothing was kept";
  }
}

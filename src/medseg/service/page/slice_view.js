/* The viewer of browsers without WebGL 2: slices that the service draws, on a plain canvas. */

import { ask, askJson } from "./api.js";

const KEPT = 64;

export class SliceView {
  planes = ["axial", "coronal", "sagittal"];

  /** @param moved told when another slice is shown; @param failed told why one cannot be; @param reason why it is used. */
  constructor(host, moved, failed, reason) {
    this.hint = `The service draws the slices, because ${reason}.`;
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Slice with its mask. Arrow keys step through slices.");
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (this.stacks) this.setSlice(this.indices[this.plane] + Math.sign(event.deltaY));
    }, { passive: false });
    host.replaceChildren(this.canvas);
    this.moved = moved;
    this.failed = failed;
    this.plane = "axial";
    this.opacity = 0.5;
    this.kept = new Map();
    this.size = new ResizeObserver(() => this.#draw());
    this.size.observe(host);
  }

  async open(job, labels, told, signal) {
    this.folder = `jobs/${encodeURIComponent(job.id)}/slices`;
    this.hidden = new Set();
    this.signal = signal;
    this.stacks = await askJson(this.folder, { signal });
    this.indices = Object.fromEntries(Object.entries(this.stacks).map(([plane, stack]) => [plane, stack.fullest]));
    told(1);
    await this.#catchUp();
  }

  setPlane(plane) {
    this.plane = plane;
    this.#fetch();
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.#fetch();
  }

  setHidden(hidden) {
    this.hidden = hidden;
    this.#fetch();
  }

  get slice() {
    return { index: this.indices[this.plane], count: this.stacks[this.plane].count };
  }

  setSlice(index) {
    const last = this.stacks[this.plane].count - 1;
    this.indices[this.plane] = Math.min(last, Math.max(0, index));
    this.#fetch();
  }

  get readout() {
    const [width, height] = this.stacks[this.plane].pixel_mm;
    return `pixels of ${width.toFixed(2)} x ${height.toFixed(2)} mm`;
  }

  key(name) {
    const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[name];
    if (step === undefined) return false;
    this.setSlice(this.indices[this.plane] + step);
    return true;
  }

  reset() {
    for (const [plane, stack] of Object.entries(this.stacks)) this.indices[plane] = stack.fullest;
    this.#fetch();
  }

  close() {
    this.size.disconnect();
    this.canvas.remove();
  }

  get #address() {
    const hidden = [...this.hidden].sort((a, b) => a - b).map((value) => `&hidden=${value}`).join("");
    return `${this.folder}/${this.plane}/${this.indices[this.plane]}.png?opacity=${this.opacity}${hidden}`;
  }

  /** Fetch what is wanted now, one at a time: what was asked for meanwhile comes next, once. */
  #fetch() {
    this.moved();
    if (this.busy) return;
    this.busy = true;
    this.canvas.setAttribute("aria-busy", "true");
    this.#catchUp().catch((problem) => {
      if (problem.name !== "AbortError") this.failed(problem);
    }).finally(() => {
      this.busy = false;
      this.canvas.removeAttribute("aria-busy");
    });
  }

  async #catchUp() {
    for (let address = null; address !== this.#address && !this.signal.aborted;) {
      address = this.#address;
      if (!this.kept.has(address)) {
        const answer = await ask(address, { signal: this.signal });
        this.kept.set(address, await createImageBitmap(await answer.blob()));
        if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
      }
      this.drawn = { bitmap: this.kept.get(address), stack: this.stacks[this.plane] };
      this.#draw();
    }
  }

  #draw() {
    const box = this.canvas.parentElement;
    if (!this.drawn || !box) return;
    const { bitmap, stack } = this.drawn;
    const ratio = window.devicePixelRatio;
    const [wide, high] = [box.clientWidth, box.clientHeight];
    this.canvas.width = wide * ratio;
    this.canvas.height = high * ratio;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const margin = 26;
    const [widthMm, heightMm] = [stack.columns * stack.pixel_mm[0], stack.rows * stack.pixel_mm[1]];
    const scale = Math.min((wide - 2 * margin) / widthMm, (high - 2 * margin) / heightMm);
    const [w, h] = [widthMm * scale, heightMm * scale];
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (wide - w) / 2, (high - h) / 2, w, h);
    context.fillStyle = "#c0c9d3";
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const [left, right, top, bottom] = stack.letters;
    context.fillText(left, (wide - w) / 2 - 12, high / 2);
    context.fillText(right, (wide + w) / 2 + 12, high / 2);
    context.fillText(top, wide / 2, (high - h) / 2 - 12);
    context.fillText(bottom, wide / 2, (high + h) / 2 + 12);
  }
}

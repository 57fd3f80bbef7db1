/* The viewer's controls: planes, opacity, slices and keys, around whichever view can draw. */

import { Problem } from "./api.js";
import { at, made, show } from "./dom.js";
import { SliceView } from "./slice_view.js";
import { MOST_STRUCTURES, VolumeView, canDrawVolumes } from "./volume_view.js";

const PLANES = { all: "All", axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", space: "3D" };

export class Viewer {
  #view = null;
  #stop = new AbortController();

  constructor() {
    this.hidden = new Set();
    at("opacity").addEventListener("input", () => this.#apply((view) => view.setOpacity(this.opacity)));
    at("outline").addEventListener("change", () => this.#apply((view) => view.setOutline(at("outline").checked)));
    at("smooth").addEventListener("change", () => this.#apply((view) => view.setSmooth(at("smooth").checked)));
    at("image-in-space").addEventListener("change", () =>
      this.#apply((view) => view.setImageInSpace(at("image-in-space").checked)));
    at("reset").addEventListener("click", () => this.#apply((view) => view.reset()));
    at("slice").addEventListener("input", () => this.#apply((view) => view.setSlice(Number(at("slice").value))));
    at("picture").addEventListener("keydown", (event) => {
      if (this.#view?.key(event.key)) event.preventDefault();
    }, true);
    at("planes").addEventListener("keydown", (event) => this.#walkPlanes(event));
  }

  get opacity() {
    return Number(at("opacity").value) / 100;
  }

  /** Fetch a result and draw it; told (share that has come) meanwhile. */
  async open(job, labels, told) {
    this.close();
    const signal = this.#stop.signal;
    const slices = (reason) => this.#draw(new SliceView(...this.#ears(), reason), job, labels, told, signal);
    if (!canDrawVolumes()) return slices("this browser has no WebGL 2");
    if (labels.length > MOST_STRUCTURES) return slices("there are too many structures for the other viewer");
    const givenUp = (error) => {
      if (this.#view !== view) return;
      view.close();
      slices(error.message).catch((problem) => { at("readout").textContent = problem.message; });
    };
    const view = new VolumeView(...this.#ears(givenUp));
    try {
      return await this.#draw(view, job, labels, told, signal);
    } catch (error) {
      if (error instanceof Problem || signal.aborted) throw error;
      view.close();
      return slices(`this browser cannot hold the volume (${error.message})`);
    }
  }

  /** Let go of what is shown, and of what is being fetched. */
  close() {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#view?.close();
    this.#view = null;
    this.hidden = new Set();
    at("picture").replaceChildren();
    delete document.body.dataset.shown;
    for (const id of ["tools", "position", "picture"]) show(at(id), false);
  }

  /** Hide structures by their values. */
  setHidden(hidden) {
    this.hidden = hidden;
    this.#apply((view) => view.setHidden(hidden));
  }

  /** What every view is told: where to draw, and whom to tell that it moved or cannot. */
  #ears(failed = (problem) => { at("readout").textContent = problem.message; }) {
    return [at("picture"), () => this.#tell(), failed];
  }

  async #draw(view, job, labels, told, signal) {
    view.opacity = this.opacity;
    show(at("picture"), true);
    await view.open(job, labels, told, signal);
    if (signal.aborted) view.close();
    signal.throwIfAborted();
    this.#view = view;
    this.#offer(view);
    this.setHidden(this.hidden);
  }

  #apply(change) {
    at("opacity-value").textContent = `${at("opacity").value} %`;
    if (this.#view) change(this.#view);
  }

  #offer(view) {
    at("planes").replaceChildren(...view.planes.map((plane) => made("button", {
      type: "button", role: "radio", textContent: PLANES[plane], onclick: () => this.#choose(plane),
    })));
    at("planes").dataset.planes = view.planes.join(" ");
    at("outline").checked = false;
    at("smooth").checked = view.smooth ?? false;
    at("image-in-space").checked = false;
    at("case-note").textContent = view.hint;
    for (const id of ["tools", "position"]) show(at(id), true);
    this.#choose(view.plane);
    document.body.dataset.shown = view.constructor.name;
  }

  #choose(plane) {
    const view = this.#view;
    view.setPlane(plane);
    [...at("planes").children].forEach((button, n) => {
      const chosen = view.planes[n] === plane;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    });
    const space = plane === "space";
    show(at("opacity-tool"), !space);
    show(at("outline-tool"), !space && "setOutline" in view);
    show(at("smooth-tool"), space);
    show(at("image-tool"), space);
    this.#tell();
  }

  /** Arrow keys move within a group of radio buttons, as they do everywhere. */
  #walkPlanes(event) {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (step === undefined || !this.#view) return;
    event.preventDefault();
    const { planes } = this.#view;
    const next = (planes.indexOf(this.#view.plane) + step + planes.length) % planes.length;
    this.#choose(planes[next]);
    at("planes").children[next].focus();
  }

  #tell() {
    if (!this.#view) return;
    const slice = this.#view.slice;
    for (const id of ["slice-name", "slice", "slice-value"]) show(at(id), slice !== null);
    if (slice !== null) {
      at("slice").max = slice.count - 1;
      at("slice").value = slice.index;
      at("slice-value").textContent = `${slice.index + 1} / ${slice.count}`;
    }
    at("readout").textContent = this.#view.readout;
  }
}

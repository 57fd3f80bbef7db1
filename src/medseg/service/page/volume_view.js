/* Volume and mask drawn by NiiVue with WebGL 2: slices, all planes at once, and space. */

import { bytesOf } from "./api.js";
import { middleOf, smoothKeeps, windowOf } from "./voxels.js";

const AXIS = { sagittal: 0, coronal: 1, axial: 2 };
const DRAWING_UNIT = 7;
const FROM = [110, 15];
const SMOOTH_VOXELS = 1;

let library = null;

/** NiiVue, loaded once, when the first result is opened. */
function loaded() {
  library ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = new URL("./niivue.umd.js", import.meta.url).href;
    script.onload = () => done(window.niivue);
    script.onerror = () => failed(new Error("The viewer could not be loaded."));
    document.head.append(script);
  });
  return library;
}

/** Whether this browser can draw volumes. */
export function canDrawVolumes() {
  const gl = document.createElement("canvas").getContext("webgl2");
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return gl !== null;
}

/** Most structures that NiiVue tells apart; more are drawn as slices by the service. */
export const MOST_STRUCTURES = 254;

/** NiiVue whose mask is solid in space, and whose image is there only where it is wanted. */
const drawingOf = (niivue) => class extends niivue.Niivue {
  imageInSpace = false;

  drawImage3D(...view) {
    const { gl, renderShader, drawOpacity } = this;
    renderShader.use(gl);
    // NiiVue 0.69 misses this sampler in its lit shader, where it is declared beside another one.
    gl.uniform1i(gl.getUniformLocation(renderShader.program, "drawing"), DRAWING_UNIT);
    gl.uniform1f(renderShader.uniforms.backOpacity, this.imageInSpace ? 1 : 0);
    this.drawOpacity = this.imageInSpace ? 0.7 : 1;
    super.drawImage3D(...view);
    this.drawOpacity = drawOpacity;
  }
};

export class VolumeView {
  planes = ["all", "axial", "coronal", "sagittal", "space"];
  hint = matchMedia("(pointer: coarse)").matches
    ? "Tap to move the cross, pinch to zoom, drag the volume in space to turn it."
    : "Click to move the cross, scroll through slices, drag with the right button for contrast.";

  /** @param moved told when the cross moves; @param failed told why nothing more can be drawn. */
  constructor(host, moved, failed) {
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("aria-label", "Volume and mask. Arrow keys step through slices or turn the volume.");
    this.canvas.setAttribute("role", "img");
    this.canvas.addEventListener("keydown", (event) => event.stopImmediatePropagation());
    this.canvas.addEventListener("webglcontextlost", () => {
      if (!this.closed) failed(new Error("the graphics card gave up"));
    });
    host.replaceChildren(this.canvas);
    this.moved = moved;
    this.plane = "all";
    this.opacity = 0.5;
  }

  /** Fetch and draw a result. */
  async open(job, labels, told, signal) {
    const fetched = { image: 0, mask: 0 };
    const tell = (name) => (part) => {
      fetched[name] = part;
      told((fetched.image + fetched.mask) / 2);
    };
    const folder = `jobs/${encodeURIComponent(job.id)}/files/`;
    const [niivue, image, mask] = await Promise.all([
      loaded(),
      bytesOf(`${folder}image.nii.gz`, tell("image"), signal),
      bytesOf(`${folder}mask.nii.gz`, tell("mask"), signal),
    ]);
    signal.throwIfAborted();
    this.labels = labels;
    this.hidden = new Set();
    this.niivue = niivue;
    this.nv = new (drawingOf(niivue))({
      backColor: [0.043, 0.051, 0.063, 1], crosshairColor: [0.42, 0.72, 0.91, 0.75],
      crosshairWidth: 0.4, crosshairWidthUnit: "percent", crosshairGap: 4, fontColor: [0.92, 0.94, 0.96, 1], fontMinPx: 12,
      isRadiologicalConvention: true, isOrientCube: false, dragAndDropEnabled: false,
      isCornerOrientationText: false, dragMode: niivue.DRAG_MODE.windowing, loadingText: "",
      multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS, multiplanarPadPixels: 4,
      sagittalNoseLeft: true, logLevel: "error", showAllOrientationMarkers: true,
      multiplanarLayout: niivue.MULTIPLANAR_TYPE.GRID,
    });
    this.nv.onLocationChange = () => this.moved();
    await this.nv.attachToCanvas(this.canvas, true);
    const load = (buffer, name) => niivue.NVImage.loadFromUrl({ url: buffer, name });
    const volume = await load(image, "image.nii.gz");
    const across = volume.dimsRAS.slice(1, 4).indexOf(1);
    if (across >= 0) { // one slice, which has one plane
      this.planes = Object.keys(AXIS).filter((name) => AXIS[name] === across);
      [this.plane] = this.planes;
    }
    this.window = windowOf(volume);
    [volume.cal_min, volume.cal_max] = this.window;
    this.mask = await load(mask, "mask.nii.gz");
    this.nv.addVolume(volume);
    await this.nv.setVolumeRenderIllumination(0.6);
    this.#number();
    this.smooth = smoothKeeps(this.numbers, volume.dimsRAS, this.labels.length);
    this.nv.opts.smoothDrawing = this.smooth ? SMOOTH_VOXELS : 0;
    this.nv.createEmptyDrawing();
    this.nv.setDrawColormap(this.#colours());
    this.setHidden(this.hidden);
    this.setOpacity(this.opacity);
    this.#centre();
    this.setPlane(this.plane);
  }

  setPlane(plane) {
    this.plane = plane;
    const types = this.niivue.SLICE_TYPE;
    this.nv.setSliceType({ all: types.MULTIPLANAR, axial: types.AXIAL, coronal: types.CORONAL,
      sagittal: types.SAGITTAL, space: types.RENDER }[plane]);
    this.moved();
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.nv.setDrawOpacity(opacity);
  }

  setOutline(outline) {
    this.nv.drawRimOpacity = outline ? 1 : -1;
    this.nv.drawScene();
  }

  /** Smooth surfaces are easier to read, but lose what is one voxel thin. */
  setSmooth(smooth) {
    this.nv.opts.smoothDrawing = smooth ? SMOOTH_VOXELS : 0;
    this.nv.refreshDrawing(true);
  }

  setImageInSpace(shown) {
    this.nv.imageInSpace = shown;
    this.nv.drawScene();
  }

  setHidden(hidden) {
    this.hidden = hidden;
    const shown = Uint8Array.from([{ value: 0 }, ...this.labels], ({ value }, n) => (hidden.has(value) ? 0 : n));
    const drawn = this.nv.drawBitmap;
    for (let n = 0; n < drawn.length; n += 1) drawn[n] = shown[this.numbers[n]];
    this.nv.refreshDrawing(true);
  }

  /** {index, count} of the plane that is shown alone, or null. */
  get slice() {
    const axis = AXIS[this.plane];
    if (axis === undefined) return null;
    return { index: this.#voxel()[axis], count: this.nv.volumes[0].dimsRAS[axis + 1] };
  }

  setSlice(index) {
    const step = [0, 0, 0];
    step[AXIS[this.plane]] = index - this.slice.index;
    this.nv.moveCrosshairInVox(...step);
  }

  /** Where the cross is and what lies there. */
  get readout() {
    const at = this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true);
    const [image, mask] = [this.nv.volumes[0], this.mask].map((volume) =>
      volume.getValue(...volume.mm2vox([...at].slice(0, 3))));
    const label = this.labels.find((one) => one.value === Math.round(mask));
    const place = [...at].slice(0, 3).map((mm) => mm.toFixed(1)).join(", ");
    const grey = Number.isInteger(image) ? image : Number(image.toPrecision(5));
    return `RAS ${place} mm · value ${grey}${label ? ` · ${label.name}` : ""}`;
  }

  /** Arrow keys: through slices, or around the volume. True if the key meant something. */
  key(name) {
    const turn = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] }[name];
    if (turn === undefined) return false;
    if (this.slice !== null) {
      this.setSlice(this.slice.index + (name === "ArrowUp" || name === "ArrowRight" ? 1 : -1));
    } else {
      const { renderAzimuth, renderElevation } = this.nv.scene;
      this.nv.setRenderAzimuthElevation(renderAzimuth + turn[0], renderElevation + turn[1]);
    }
    return true;
  }

  reset() {
    [this.nv.volumes[0].cal_min, this.nv.volumes[0].cal_max] = this.window;
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    this.nv.setScale(1);
    this.nv.setRenderAzimuthElevation(...FROM);
    this.nv.updateGLVolume();
    this.#centre();
    this.moved();
  }

  close() {
    this.closed = true;
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.nv?.cleanup();
    this.canvas.remove();
  }

  #voxel() {
    return [...this.nv.frac2vox(this.nv.scene.crosshairPos)];
  }

  /** The mask on the image's axes, with the place of each label in the list instead of its value. */
  #number() {
    const places = new Uint8Array(1 + Math.max(0, ...this.labels.map(({ value }) => value)));
    for (const [n, { value }] of this.labels.entries()) places[value] = n + 1;
    const values = this.mask.img2RAS();
    this.numbers = new Uint8Array(values.length);
    for (let n = 0; n < values.length; n += 1) this.numbers[n] = places[values[n]];
  }

  #colours() {
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const [n, { name, colour }] of this.labels.entries()) {
      const parts = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
      ["R", "G", "B"].forEach((channel, at) => table[channel].push(parts[at]));
      table.A.push(255);
      table.I.push(n + 1);
      table.labels.push(name);
    }
    return table;
  }

  /** Put the cross into the middle of the mask. */
  #centre() {
    const middle = middleOf(this.mask);
    if (middle === null) return;
    this.nv.scene.crosshairPos = this.nv.mm2frac(middle);
    this.nv.createOnLocationChange();
  }
}

"use strict";
const scene = JSON.parse(document.getElementById("scene").textContent);
const byId = (id) => document.getElementById(id);
const plot = byId("gl");
const PLANES = [
  { name: "Sagittal", axis: 0, across: [1, 2], colour: "#e69f00", low: "L", high: "R" },
  { name: "Coronal", axis: 1, across: [0, 2], colour: "#009e73", low: "P", high: "A" },
  { name: "Axial", axis: 2, across: [0, 1], colour: "#cc79a7", low: "I", high: "S" },
];
const LOOKS = {
  "Front left": [-0.95, 1.3, 0.75], Front: [0, 1, 0], Back: [0, -1, 0],
  Left: [-1, 0, 0], Right: [1, 0, 0], Above: [0, 0, 1], Below: [0, 0, -1],
};
const FIELD_OF_VIEW = Math.PI / 4;
const PADDING = 0.08;
const CLOSENESS = 0.78;
const GREYS = [[0, "rgb(0,0,0)"], [1, "rgb(255,255,255)"]];
const two = scene.maps.length === 2;
const state = {
  view: two ? "side" : "0",
  colour: scene.colour,
  opacity: 1,
  camera: null,
  hidden: new Set(),
  at: scene.texture ? [...scene.texture.at] : [0, 0, 0],
  on: scene.texture ? (scene.labels.length ? [false, false, true] : [true, true, true]) : [false, false, false],
};
let voxels = null;
let meshes = [];
let bounds = null;

function fail(sentence) {
  byId("wait").textContent = sentence;
  byId("wait").hidden = false;
}

async function unpacked(id) {
  const holder = byId(id);
  const raw = atob(holder.textContent.trim());
  holder.remove();
  const bytes = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/* Numbers -> what plotly draws */

function unpackMesh(mesh, buffer) {
  const Corner = mesh.wide ? Uint32Array : Uint16Array;
  const read = (Kind, at, count) => new Kind(buffer.slice(at, at + count * Kind.BYTES_PER_ELEMENT));
  const corners = Uint32Array.from(read(Corner, mesh.corners_at, 3 * mesh.triangles));
  const steps = read(Uint16Array, mesh.places_at, 3 * mesh.vertices);
  const part = (array, n, length) => array.subarray(n * length, (n + 1) * length);
  const place = (n) => Float32Array.from(
    part(steps, n, mesh.vertices), (s) => scene.box.low[n] + s * scene.box.step[n]);
  const found = {
    map: mesh.map, label: mesh.label, x: place(0), y: place(1), z: place(2),
    i: part(corners, 0, mesh.triangles), j: part(corners, 1, mesh.triangles), k: part(corners, 2, mesh.triangles),
  };
  if (mesh.distances_at !== undefined) {
    const share = read(Uint16Array, mesh.distances_at, mesh.vertices);
    found.distances = Float32Array.from(share, (s) => (s / 65535) * scene.most);
  }
  return found;
}

async function unpackTexture() {
  const { size, columns, address } = scene.texture;
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const [I, J, K] = size;
  const rows = Math.ceil(K / columns);
  const grey = new Uint8Array(I * J * K);
  for (let row = 0; row < rows; row++) {
    const pixels = context.getImageData(0, row * J, canvas.width, J).data;
    for (let column = 0; column < columns && row * columns + column < K; column++) {
      const k = row * columns + column;
      for (let j = 0; j < J; j++)
        for (let i = 0; i < I; i++)
          grey[(k * J + j) * I + i] = pixels[4 * (j * canvas.width + column * I + i)];
    }
  }
  return grey;
}

function world(index) {
  return scene.texture.affine.map((r) => r[0] * index[0] + r[1] * index[1] + r[2] * index[2] + r[3]);
}

/* Edges of voxels along an axis: where a plane ends. */
function ends(axis) {
  return [-0.5, scene.texture.grid[axis] - 0.5];
}

/* Texels along an axis and their places; the first and the last reach to the edge. */
function stops(axis) {
  const centres = scene.texture.centres[axis];
  const [low, high] = ends(axis);
  const inner = centres.map((index, texel) => ({ index, texel }));
  return [{ index: low, texel: 0 }, ...inner, { index: high, texel: centres.length - 1 }];
}

function planeData(plane) {
  const { size, centres } = scene.texture;
  const [a, b] = plane.across;
  const index = [0, 0, 0];
  const voxel = [0, 0, 0];
  voxel[plane.axis] = state.at[plane.axis];
  index[plane.axis] = centres[plane.axis][voxel[plane.axis]];
  const alongA = stops(a);
  const rows = { x: [], y: [], z: [], surfacecolor: [] };
  for (const v of stops(b)) {
    index[b] = v.index;
    voxel[b] = v.texel;
    const line = { x: [], y: [], z: [], surfacecolor: [] };
    for (const u of alongA) {
      index[a] = u.index;
      voxel[a] = u.texel;
      const [x, y, z] = world(index);
      line.x.push(x);
      line.y.push(y);
      line.z.push(z);
      line.surfacecolor.push(voxels[(voxel[2] * size[1] + voxel[1]) * size[0] + voxel[0]]);
    }
    for (const key in rows) rows[key].push(line[key]);
  }
  return rows;
}

function frameData(plane) {
  const [a, b] = plane.across;
  const [lowA, highA] = ends(a);
  const [lowB, highB] = ends(b);
  const line = { x: [], y: [], z: [] };
  for (const [u, v] of [[lowA, lowB], [highA, lowB], [highA, highB], [lowA, highB], [lowA, lowB]]) {
    const index = [0, 0, 0];
    index[plane.axis] = scene.texture.centres[plane.axis][state.at[plane.axis]];
    index[a] = u;
    index[b] = v;
    const [x, y, z] = world(index);
    line.x.push(x);
    line.y.push(y);
    line.z.push(z);
  }
  return line;
}

/* State -> traces and layout */

function panels() {
  if (state.view === "side") return [[0], [1]];
  if (state.view === "over") return [[0, 1]];
  return [[Number(state.view)]];
}

function meshTrace(mesh, panel, pale) {
  const label = scene.labels.find((one) => one.value === mesh.label);
  const coloured = state.colour === "distance" && mesh.distances && !pale;
  const trace = {
    type: "mesh3d", scene: panel, name: label.name, meta: { label: mesh.label, pale },
    x: mesh.x, y: mesh.y, z: mesh.z, i: mesh.i, j: mesh.j, k: mesh.k,
    opacity: pale ? 0.3 : state.opacity,
    visible: !state.hidden.has(mesh.label),
    flatshading: false,
    lighting: { ambient: 0.5, diffuse: 0.75, specular: 0.15, roughness: 0.6, fresnel: 0.05, vertexnormalsepsilon: 1e-12, facenormalsepsilon: 1e-12 },
    lightposition: { x: -1e4, y: 2e4, z: 2e4 },
    hovertemplate: `${escaped(label.name)}${two ? ", " + escaped(scene.maps[mesh.map]) : ""}<br>R %{x:.1f}, A %{y:.1f}, S %{z:.1f} mm${coloured ? "<br>%{intensity:.2f} mm away" : ""}<extra></extra>`,
  };
  if (coloured) {
    Object.assign(trace, { intensity: mesh.distances, coloraxis: "coloraxis" });
  } else if (state.colour === "distance") {
    trace.color = "#8c949c";
  } else {
    trace.color = pale ? (dark() ? "#ffffff" : "#3c444c") : label.colour;
  }
  return trace;
}

function planeTraces(panel) {
  if (!voxels) return [];
  return PLANES.flatMap((plane) => [
    {
      type: "surface", scene: panel, meta: { axis: plane.axis }, ...planeData(plane), visible: state.on[plane.axis],
      colorscale: GREYS, cmin: 0, cmax: 255, showscale: false, hoverinfo: "skip",
      lighting: { ambient: 1, diffuse: 0, specular: 0, fresnel: 0 },
      contours: { x: { highlight: false }, y: { highlight: false }, z: { highlight: false } },
    },
    {
      type: "scatter3d", mode: "lines", scene: panel, meta: { axis: plane.axis }, ...frameData(plane), visible: state.on[plane.axis],
      line: { color: plane.colour, width: 4 }, hoverinfo: "skip",
    },
  ]);
}

function letterTrace(panel) {
  const middle = bounds.map(([low, high]) => (low + high) / 2);
  const gap = 0.05 * Math.max(...bounds.map(([low, high]) => high - low));
  const points = PLANES.flatMap((plane) => [0, 1].map((end) => {
    const place = [...middle];
    place[plane.axis] = bounds[plane.axis][end] + (end ? gap : -gap);
    return { place, letter: end ? plane.high : plane.low };
  }));
  return {
    type: "scatter3d", mode: "text", scene: panel, hoverinfo: "skip",
    x: points.map((p) => p.place[0]), y: points.map((p) => p.place[1]), z: points.map((p) => p.place[2]),
    text: points.map((p) => p.letter), textfont: { size: 16, color: "#8a94a0" },
  };
}

function traces() {
  return panels().flatMap((maps, n) => {
    const panel = n ? "scene2" : "scene";
    const drawn = meshes.filter((mesh) => maps.includes(mesh.map));
    return [
      ...planeTraces(panel), letterTrace(panel),
      ...drawn.map((mesh) => meshTrace(mesh, panel, maps.length === 2 && mesh.map === 1)),
    ];
  });
}

function layout() {
  const shown = panels();
  const ink = colour("--ink");
  const measured = state.colour === "distance";
  const span = spans();
  const axis = (n) => ({ visible: false, range: [bounds[n][0] - PADDING * span[n], bounds[n][1] + PADDING * span[n]], showspikes: false });
  const [ax, ay, az] = aspect();
  const room = (from, to) => ({
    domain: { x: [from, to], y: [measured ? 0.1 : 0, 1] }, xaxis: axis(0), yaxis: axis(1), zaxis: axis(2),
    aspectmode: "manual", aspectratio: { x: ax, y: ay, z: az },
    dragmode: "orbit", camera: state.camera, bgcolor: "rgba(0,0,0,0)",
  });
  const title = (text, x) => ({ text: escaped(text), x, y: 1, xref: "paper", yref: "paper", xanchor: "center", yanchor: "top", showarrow: false, yshift: -10, font: { size: 16, color: ink } });
  const made = {
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: { color: ink, family: getComputedStyle(document.body).fontFamily },
    scene: room(0, shown.length === 2 ? 0.5 : 1),
    annotations: [],
    coloraxis: {
      cmin: 0, cmax: scene.most, colorscale: "Viridis", showscale: measured,
      colorbar: { title: { text: "distance, mm", side: "top" }, orientation: "h", thickness: 12, len: 0.36, x: 0.5, xanchor: "center", y: 0, yanchor: "bottom", ypad: 12, outlinewidth: 0, tickvals: ticks(), ticktext: ticks().map((t, n, all) => (n === all.length - 1 ? `≥ ${t}` : String(t))) },
    },
  };
  if (shown.length === 2) {
    made.scene2 = room(0.5, 1);
    made.annotations = [title(scene.maps[0], 0.25), title(scene.maps[1], 0.75)];
  } else if (two) {
    made.annotations = [title(shown[0].map((n) => scene.maps[n]).join(" over "), 0.5)];
  }
  return made;
}

function ticks() {
  return [0, 0.25, 0.5, 0.75, 1].map((share) => Number((share * scene.most).toPrecision(3)));
}

function spans() {
  return bounds.map(([low, high]) => high - low);
}

function aspect() {
  const span = spans();
  const mean = Math.cbrt(span[0] * span[1] * span[2]);
  return span.map((length) => (length * (1 + 2 * PADDING)) / mean);
}

/* How far the eye must be for everything to be seen, in plotly's units. */
function distanceThatFits() {
  const wide = (plot.clientWidth / panels().length) / Math.max(plot.clientHeight, 1);
  const half = Math.atan(Math.tan(FIELD_OF_VIEW / 2) * Math.min(1, wide));
  return (CLOSENESS * Math.hypot(...aspect())) / 2 / Math.sin(half);
}

function cameraFrom(name) {
  const length = Math.hypot(...LOOKS[name]) / distanceThatFits();
  const [x, y, z] = LOOKS[name].map((part) => part / length);
  const up = name === "Above" || name === "Below" ? { x: 0, y: 1, z: 0 } : { x: 0, y: 0, z: 1 };
  return { eye: { x, y, z }, up, center: { x: 0, y: 0, z: 0 }, projection: { type: "perspective" } };
}

/* The same look from as far as another number of panels needs. */
function rescale(before) {
  const factor = distanceThatFits() / before;
  const { x, y, z } = state.camera.eye;
  state.camera = { ...state.camera, eye: { x: x * factor, y: y * factor, z: z * factor } };
}

/* Bounds of everything in mm, so that nothing jumps when a structure is hidden. */
function measureBounds() {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  const take = (point) => point.forEach((p, n) => {
    low[n] = Math.min(low[n], p);
    high[n] = Math.max(high[n], p);
  });
  if (meshes.length) {
    take(scene.box.low);
    take(scene.box.low.map((l, n) => l + 65535 * scene.box.step[n]));
  }
  if (scene.texture)
    for (const i of ends(0)) for (const j of ends(1)) for (const k of ends(2)) take(world([i, j, k]));
  if (low[0] === Infinity) return [[0, 1], [0, 1], [0, 1]];
  return low.map((l, n) => [l, Math.max(high[n], l + 1)]);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function dark() {
  return document.documentElement.dataset.theme === "dark";
}

function escaped(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function draw() {
  return Plotly.react(plot, traces(), layout(), { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: false, showTips: false });
}

/* Traces that a test finds: their numbers. */
function tracesThat(test) {
  return plot.data.flatMap((trace, n) => (trace.meta && test(trace.meta, trace) ? [n] : []));
}

/* What is hidden stays on the card. */
function showTraces() {
  const all = tracesThat(() => true);
  const wanted = all.map((n) => {
    const { axis, label } = plot.data[n].meta;
    return axis === undefined ? !state.hidden.has(label) : state.on[axis];
  });
  return Plotly.restyle(plot, { visible: wanted }, all);
}

/* Only the slice that moved is sent to the card again. */
let moving = false;
function moveSlice(plane) {
  if (moving) return;
  moving = true;
  requestAnimationFrame(() => {
    moving = false;
    const data = planeData(plane);
    const frame = frameData(plane);
    for (const [type, part] of [["surface", data], ["scatter3d", frame]]) {
      const numbers = tracesThat((meta, trace) => meta.axis === plane.axis && trace.type === type);
      const update = Object.fromEntries(Object.entries(part).map(([key, value]) => [key, numbers.map(() => value)]));
      Plotly.restyle(plot, update, numbers);
    }
  });
}

/* Controls */

function made(tag, attributes, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, attributes);
  element.append(...children);
  return element;
}

function choice(holder, options, key) {
  const row = byId(holder).querySelector(".row");
  byId(holder).hidden = false;
  const buttons = options.map(([value, text]) => {
    const button = made("button", { type: "button", textContent: text });
    button.addEventListener("click", () => {
      const before = distanceThatFits();
      state[key] = value;
      rescale(before);
      press();
      draw();
      describe();
    });
    row.append(button);
    return [value, button];
  });
  const press = () => buttons.forEach(([value, button]) => button.setAttribute("aria-pressed", String(state[key] === value)));
  press();
}

function sliceControls() {
  byId("slices").hidden = false;
  for (const plane of [PLANES[2], PLANES[1], PLANES[0]]) {
    const box = made("input", { type: "checkbox", checked: state.on[plane.axis] });
    const mark = made("span", { className: "plane" });
    mark.style.background = plane.colour;
    const slider = made("input", { type: "range", min: 0, max: scene.texture.size[plane.axis] - 1, value: state.at[plane.axis], ariaLabel: `${plane.name} slice` });
    const place = made("output");
    const say = () => {
      const index = scene.texture.grid.map((n) => (n - 1) / 2);
      index[plane.axis] = scene.texture.centres[plane.axis][state.at[plane.axis]];
      const mm = world(index)[plane.axis];
      place.textContent = `${mm < 0 ? plane.low : plane.high} ${Math.abs(mm).toFixed(1)} mm`;
    };
    box.addEventListener("change", () => {
      state.on[plane.axis] = box.checked;
      showTraces();
    });
    slider.addEventListener("input", () => {
      state.at[plane.axis] = Number(slider.value);
      say();
      if (!state.on[plane.axis]) {
        state.on[plane.axis] = box.checked = true;
        showTraces();
      }
      moveSlice(plane);
    });
    say();
    byId("slices").append(made("div", { className: "slice" }, made("label", {}, box, ` ${plane.name}`, mark), slider, place));
  }
}

function legend() {
  if (!scene.labels.length) return;
  byId("legend").hidden = false;
  const head = byId("legend").querySelector("thead");
  head.append(made("tr", {}, made("th", {}), ...scene.maps.map((name) => made("th", { textContent: `${two ? name + ", " : ""}ml` }))));
  const body = byId("legend").querySelector("tbody");
  const boxes = scene.labels.map((label) => {
    const box = made("input", { type: "checkbox", checked: true });
    const swatch = made("span", { className: "swatch" });
    swatch.style.background = label.colour;
    const name = made("span", {}, ...label.name.split(/(?<=_)/).flatMap((part) => [part, made("wbr")]));
    if (two && !(label.drawn[0] && label.drawn[1]))
      name.append(made("small", { textContent: `only in the ${scene.maps[label.drawn[0] ? 0 : 1]}` }));
    box.addEventListener("change", () => {
      state.hidden[box.checked ? "delete" : "add"](label.value);
      showTraces();
    });
    body.append(made("tr", {}, made("td", {}, made("label", {}, box, swatch, name)), ...label.ml.map((ml) => made("td", { textContent: ml.toFixed(ml < 10 ? 2 : 1) }))));
    return box;
  });
  const set = (wanted) => {
    boxes.forEach((box) => (box.checked = wanted));
    state.hidden = new Set(wanted ? [] : scene.labels.map((label) => label.value));
    showTraces();
  };
  byId("all").addEventListener("click", () => set(true));
  byId("none").addEventListener("click", () => set(false));
  byId("opacity").addEventListener("input", (event) => {
    state.opacity = Number(event.target.value) / 100;
    byId("opaque").textContent = `${event.target.value} %`;
    const drawn = tracesThat((meta) => meta.label !== undefined && !meta.pale);
    if (drawn.length) Plotly.restyle(plot, { opacity: state.opacity }, drawn);
  });
}

function describe() {
  const pale = byId("pale");
  const lines = [];
  if (state.view === "over") lines.push(`The clear grey shell is the ${scene.maps[1]}.`);
  if (state.colour === "distance" && meshes.some((mesh) => !mesh.distances))
    lines.push("Structures that only one of both holds are grey: there is nothing to measure to.");
  pale.textContent = lines.join(" ");
  pale.hidden = lines.length === 0;
}

function cameras() {
  const row = byId("cameras").querySelector(".row");
  for (const name of Object.keys(LOOKS)) {
    const button = made("button", { type: "button", textContent: name });
    button.addEventListener("click", () => look(name));
    row.append(button);
  }
}

function look(name) {
  state.camera = cameraFrom(name);
  return Plotly.relayout(plot, panels().length === 2 ? { "scene.camera": state.camera, "scene2.camera": state.camera } : { "scene.camera": state.camera });
}

/* What the mouse does to one scene the other does too, and both are kept when all is drawn anew. */
let following = false;
function follow(event) {
  const moved = event["scene.camera"] ? "scene" : event["scene2.camera"] ? "scene2" : null;
  if (!moved || following) return;
  state.camera = event[`${moved}.camera`];
  if (panels().length < 2) return;
  following = true;
  const other = moved === "scene" ? "scene2" : "scene";
  requestAnimationFrame(() => {
    Plotly.relayout(plot, { [`${other}.camera`]: state.camera }).finally(() => (following = false));
  });
}

function theme() {
  const wished = window.matchMedia("(prefers-color-scheme: dark)");
  const set = (isDark) => {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    byId("theme").textContent = isDark ? "Light" : "Dark";
  };
  set(wished.matches);
  byId("theme").addEventListener("click", () => {
    set(!dark());
    draw();
  });
}

function hasWebgl() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
}

async function start() {
  theme();
  if (!("DecompressionStream" in window)) return fail("This page needs a browser of 2023 or later.");
  if (!hasWebgl()) return fail("This page needs WebGL, which this browser does not offer. medseg view --still draws a picture without it.");
  const program = new TextDecoder().decode(await unpacked("program"));
  document.head.append(made("script", { textContent: program }));
  const numbers = await unpacked("numbers");
  meshes = scene.meshes.map((mesh) => unpackMesh(mesh, numbers));
  if (scene.texture) voxels = await unpackTexture();
  bounds = measureBounds();
  state.camera = cameraFrom("Front left");
  if (two) {
    const [first, second] = scene.maps;
    const upper = (word) => word[0].toUpperCase() + word.slice(1);
    choice("views", [["side", "Side by side"], ["over", "Overlaid"], ["0", upper(first)], ["1", upper(second)]], "view");
  }
  if (scene.measured) choice("colours", [["structure", "Structure"], ["distance", "Distance"]], "colour");
  cameras();
  if (scene.texture) sliceControls();
  legend();
  describe();
  await draw();
  plot.on("plotly_relayouting", follow);
  plot.on("plotly_relayout", follow);
  byId("wait").hidden = true;
  document.body.dataset.ready = "yes";
}

start().catch((error) => fail(`The scene could not be drawn: ${error.message}`));

/* What a finished job says: structures with volumes, quality in words, files, and its record. */

import { ask, hasKey } from "./api.js";
import { at, made, show } from "./dom.js";
import { millilitres, moment, seconds, share } from "./words.js";

const FILES = {
  "seg.dcm": ["DICOM-SEG", "for a PACS"],
  "mask.nii.gz": ["Mask", "NIfTI"],
  "image.nii.gz": ["Image", "NIfTI"],
  "measurements.dcm": ["Measurements", "DICOM-SR"],
  "report.json": ["Report", "JSON"],
};

/** Fill the panel; `hide` is told the values that are not to be shown. */
export function fill(job, hide, complain) {
  structures(job.result, hide);
  quality(job.result);
  downloads(job, complain);
  record(job);
  show(at("facts"), true);
}

function structures(result, hide) {
  const hidden = new Set();
  const boxes = new Map();
  const all = at("all");
  const tell = () => {
    all.textContent = hidden.size === result.labels.length ? "Show all" : "Hide all";
    hide(new Set(hidden));
  };
  at("structures").replaceChildren(...result.labels.map((label) => {
    const box = made("input", { type: "checkbox", checked: true, onchange: () => {
      if (box.checked) hidden.delete(label.value);
      else hidden.add(label.value);
      tell();
    } });
    boxes.set(label.value, box);
    const swatch = made("span", { className: "swatch" });
    swatch.style.backgroundColor = label.colour;
    return made("tr", {},
      made("th", { scope: "row" }, made("label", { className: "check" }, box, swatch, label.name)),
      made("td", { className: "number" }, millilitres(result.volumes_ml[label.name])),
      made("td", { className: "number" }, share(result.quality?.expected_dice?.[label.name] ?? NaN)));
  }));
  all.textContent = "Hide all";
  all.onclick = () => {
    const shown = hidden.size === result.labels.length;
    for (const [value, box] of boxes) {
      box.checked = shown;
      if (shown) hidden.delete(value);
      else hidden.add(value);
    }
    tell();
  };
}

function quality({ quality: judged, remarks = [] }) {
  const flags = (judged?.flags ?? []).map((flag) => flag.what);
  const told = [...flags, ...remarks];
  const verdict = at("verdict");
  verdict.className = told.length > 0 ? "verdict look" : "verdict";
  verdict.textContent = told.length > 0 ? "Worth a look" : "Nothing stands out";
  at("flags").replaceChildren(...told.map((sentence) => made("li", { textContent: sentence })));
  at("score").textContent = Number.isFinite(judged?.score)
    ? `Expected Dice ${share(judged.score)}: what the model expects of itself. It was not measured on this case.`
    : "This model gives no estimate.";
}

function downloads(job, complain) {
  const known = Object.keys(FILES).filter((name) => job.result.files.includes(name));
  const names = [...known, ...job.result.files.filter((name) => !known.includes(name))];
  at("downloads").replaceChildren(...names.map((name, n) => {
    const [title, kind] = FILES[name] ?? [name, "file"];
    const address = `jobs/${encodeURIComponent(job.id)}/files/${encodeURIComponent(name)}`;
    return made("a", {
      href: address, download: name, className: n === 0 ? "button main" : "button",
      onclick: (event) => {
        if (!hasKey()) return; // a plain link carries no key, so the file is fetched with it
        event.preventDefault();
        save(address, name).catch(complain);
      },
    }, made("span", {}, title), made("small", {}, kind));
  }));
}

async function save(address, name) {
  const link = made("a", { href: URL.createObjectURL(await (await ask(address)).blob()), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function record(job) {
  const { grid_size: grid, spacing_mm: spacing } = job.result;
  const spent = Object.values(job.seconds ?? {}).reduce((sum, one) => sum + one, 0);
  const rows = [
    ["Model", job.model],
    ["Rule", job.rule],
    ["Image", grid ? `${grid.join(" x ")} voxels of ${spacing.map((mm) => mm.toFixed(2)).join(" x ")} mm` : ""],
    ["Finished", job.finished_at ? moment(job.finished_at) : ""],
    ["Time", spent > 0 ? `${seconds(spent)}, of which ${seconds(job.seconds.segment ?? 0)} segmenting` : ""],
    ["Attempts", job.attempts > 1 ? String(job.attempts) : ""],
    ...(job.deliveries ?? []).map((one) => [`To ${one.destination}`, delivery(one)]),
    ["Job", job.id],
  ];
  at("record").replaceChildren(...rows.filter(([, text]) => text)
    .flatMap(([name, text]) => [made("dt", {}, name), made("dd", {}, text)]));
}

function delivery({ state, attempts, last_error: error }) {
  if (state === "accepted") return "accepted";
  if (state === "refused") return `refused for ever. ${error}`;
  return attempts > 0 ? `not yet, after ${attempts} attempts. ${error}` : "waiting";
}

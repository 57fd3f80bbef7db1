/* The page: what is sent becomes jobs, a job becomes a result, a result is looked at. */

import { askJson, ask, forgetKey, hasKey, onKeyWanted } from "./api.js";
import { at, made, show } from "./dom.js";
import { dropped, plain } from "./intake.js";
import { Jobs } from "./jobs.js";
import { fill } from "./result.js";
import { upload } from "./upload.js";
import { Viewer } from "./viewer.js";
import { bytes, isOver, stageWord, stateWord } from "./words.js";

const viewer = new Viewer();
const jobs = new Jobs((id) => open(id), connected);
let watching = new AbortController();
let sending = null;

/* ---- the key --------------------------------------------------------------------------------- */

onKeyWanted((refused) => new Promise((done) => {
  const dialog = at("key-dialog");
  at("key-note").textContent = refused
    ? "The service does not know this key, or it was revoked. Check it and try again."
    : "Ask whoever runs it for an API key. It is kept until this tab is closed.";
  at("key").value = "";
  let key = null;
  at("key-form").onsubmit = () => { key = at("key").value.trim(); };
  at("key-cancel").onclick = () => dialog.close();
  dialog.onclose = () => {
    at("forget").textContent = key === null ? "Enter a key" : "Forget key";
    show(at("forget"), true);
    done(key);
  };
  dialog.showModal();
}));

at("forget").addEventListener("click", () => {
  forgetKey();
  sessionStorage.clear();
  location.reload();
});

function connected(problem) {
  at("connection").textContent = problem === null ? "Connected" : problem.message;
  at("connection").className = problem === null ? "connection" : "connection bad";
}

/* ---- models ---------------------------------------------------------------------------------- */

async function offerModels() {
  const told = await askJson("models");
  const models = (Array.isArray(told) ? told : told.models).map((one) => (typeof one === "string" ? { name: one } : one));
  const select = at("model");
  select.replaceChildren(...models.map(({ name }) => made("option", { value: name }, name)));
  select.disabled = models.length < 2;
  const note = () => {
    const model = models.find(({ name }) => name === select.value);
    const labels = (model?.labels ?? []).map((one) => one.name ?? one);
    const listed = labels.length > 6 ? `${labels.slice(0, 6).join(", ")} and ${labels.length - 6} more` : labels.join(", ");
    at("model-note").textContent = listed ? `Finds ${listed}.` : "";
    show(at("model-note"), listed !== "");
  };
  select.addEventListener("change", note);
  note();
}

/* ---- files in -------------------------------------------------------------------------------- */

function complain(problem) {
  const told = problem?.name === "AbortError" ? "" : problem?.message ?? "";
  at("complaint").textContent = told;
  show(at("complaint"), told !== "");
}

async function send({ title, files }) {
  complain(null);
  if (sending) return;
  if (files.length === 0) {
    complain(new Error("There is no file in this folder. Choose one that holds DICOM, a zip or a NIfTI."));
    return;
  }
  const total = files.reduce((sum, file) => sum + file.size, 0);
  sending = new AbortController();
  document.body.dataset.sending = "";
  show(at("sending"), true);
  const told = (part, sent) => {
    at("sending-bar").value = part;
    at("sending-what").textContent = part < 1
      ? `Sending ${title}: ${bytes(Math.min(sent, total))} of ${bytes(total)}`
      : `${title} was sent; the service reads it…`;
  };
  told(0, 0);
  try {
    const taken = await upload(files, at("model").value, told, sending.signal);
    if (taken.jobs.length === 0) {
      throw new Error("The service found no series in these files that the model can segment.");
    }
    jobs.remember(taken.jobs, title);
    for (const job of taken.jobs) jobs.update(job);
    open(taken.jobs[0].id);
    jobs.refresh();
  } catch (problem) {
    complain(problem);
  } finally {
    sending = null;
    delete document.body.dataset.sending;
    show(at("sending"), false);
  }
}

const drop = at("drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  dropped(event.dataTransfer).then(send, complain);
});
for (const [button, input] of [["choose-files", "files"], ["choose-folder", "folder"]]) {
  at(button).addEventListener("click", () => at(input).click());
  at(input).addEventListener("change", () => {
    const chosen = plain(at(input).files);
    at(input).value = "";
    send(chosen);
  });
}
at("stop").addEventListener("click", () => sending?.abort());

/* ---- one job --------------------------------------------------------------------------------- */

function stage(shown) {
  for (const id of ["empty", "progress", "failure", "picture"]) show(at(id), id === shown);
  if (shown !== "picture") {
    for (const id of ["tools", "position", "facts"]) show(at(id), false);
  }
}

function showProgress(job) {
  if (isOver(job)) return;
  stage("progress");
  at("stage-name").textContent = job.state === "queued" ? "Waiting for its turn" : stageWord(job.stage);
  const bar = at("stage-bar");
  if (job.state === "running" && job.progress > 0) bar.value = job.progress;
  else bar.removeAttribute("value");
  at("stage-note").textContent = job.attempts > 1 ? `Attempt ${job.attempts}.` : "";
  show(at("cancel"), true);
}

function showFailure(job) {
  stage("failure");
  at("failure-title").textContent = `${stateWord(job.state)}: no mask was made`;
  at("failure-message").textContent = job.error?.message
    || (job.state === "cancelled" ? "Somebody stopped this job." : "The service did not say why.");
  at("failure-code").textContent = job.error?.code ? `Code ${job.error.code}` : "";
  show(at("retry"), job.state !== "done");
}

async function open(id) {
  watching.abort();
  watching = new AbortController();
  const { signal } = watching;
  viewer.close();
  stage("progress");
  at("case-note").textContent = "";
  jobs.select(id);
  history.replaceState(null, "", `#${encodeURIComponent(id)}`); // an address that can be passed on
  try {
    const job = await jobs.followed(id, (now) => {
      at("case-title").textContent = jobs.name(now) ?? `Job ${now.id.slice(0, 8)}`;
      showProgress(now);
    }, signal);
    if (job.state === "done" && job.result) await showResult(job, signal);
    else showFailure(job);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    showFailure({ state: "failed", error: { message: problem.message, code: problem.code } });
    at("failure-title").textContent = "This result cannot be shown";
    show(at("retry"), false);
  }
}

async function showResult(job, signal) {
  stage("progress");
  at("stage-name").textContent = "Fetching the image and its mask";
  show(at("cancel"), false);
  await viewer.open(job, job.result.labels, (part) => {
    if (Number.isFinite(part)) at("stage-bar").value = part;
  });
  signal.throwIfAborted();
  show(at("progress"), false);
  fill(job, (hidden) => viewer.setHidden(hidden), complain);
}

async function change(path, method) {
  try {
    await ask(path, { method });
  } catch (problem) {
    at(at("failure").hidden ? "stage-note" : "failure-code").textContent = problem.message;
    return;
  }
  open(jobs.current);
  jobs.refresh();
}

at("cancel").addEventListener("click", () => change(`jobs/${encodeURIComponent(jobs.current)}`, "DELETE"));
at("retry").addEventListener("click", () => change(`jobs/${encodeURIComponent(jobs.current)}/retry`, "POST"));

/* ---- start ----------------------------------------------------------------------------------- */

show(at("forget"), hasKey());
offerModels().then(() => {
  jobs.refresh();
  if (location.hash.length > 1) open(decodeURIComponent(location.hash.slice(1)));
}, (problem) => {
  connected(problem);
  if (problem.status !== 401) setTimeout(() => location.reload(), 10_000);
});

/* The list of jobs, and one of them followed until it is over. */

import { askJson, follow } from "./api.js";
import { at, made, show } from "./dom.js";
import { isOver, moment, stageWord, stateWord } from "./words.js";

const SHOWN = 20;
const BUSY_MS = 1500;
const IDLE_MS = 8000;
const NAMES = "medseg-names";

export class Jobs {
  #timer = 0;
  #known = new Map();

  /** @param chosen told a job that was clicked; @param failed told a Problem, or null when it is over. */
  constructor(chosen, failed) {
    this.chosen = chosen;
    this.failed = failed;
    this.current = null;
    document.addEventListener("visibilitychange", () => this.refresh());
  }

  /** What files were called when they were sent from this tab: the service does not tell names. */
  name(job) {
    return JSON.parse(sessionStorage.getItem(NAMES) ?? "{}")[job.id] ?? null;
  }

  remember(jobs, title) {
    const names = JSON.parse(sessionStorage.getItem(NAMES) ?? "{}");
    for (const [n, job] of jobs.entries()) {
      names[job.id] = jobs.length === 1 ? title : `${title} (${n + 1} of ${jobs.length})`;
    }
    sessionStorage.setItem(NAMES, JSON.stringify(names));
  }

  /** Ask for the newest jobs, now and again later. */
  async refresh() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    let busy = false;
    try {
      const told = await askJson(`jobs?limit=${SHOWN}`);
      const jobs = Array.isArray(told) ? told : told.jobs;
      busy = jobs.some((job) => !isOver(job));
      this.#known = new Map(jobs.map((job) => [job.id, job]));
      this.#draw();
      this.failed(null);
    } catch (problem) {
      this.failed(problem);
      if (problem.status === 401) return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), busy ? BUSY_MS : IDLE_MS);
  }

  /** Put what is newly known about a job into the list. */
  update(job) {
    this.#known = new Map([[job.id, job], ...this.#known]).set(job.id, job);
    this.#draw();
  }

  select(id) {
    this.current = id;
    this.#draw();
  }

  /** Tell each change of a job until it is over; gives the job as it is then. */
  async followed(id, told, signal) {
    const address = `jobs/${encodeURIComponent(id)}`;
    for (let job = await askJson(address, { signal }); ;) {
      told(job);
      this.update(job);
      if (isOver(job)) return job;
      try {
        await follow(`${address}/events`, (change) => {
          job = { ...job, ...change };
          told(job);
          this.update(job);
        }, signal);
      } catch (problem) {
        if (problem.name === "AbortError" || [401, 403, 404].includes(problem.status)) throw problem;
      }
      await new Promise((done) => setTimeout(done, 300)); // a stream may be cut before the end
      signal.throwIfAborted();
      job = await askJson(address, { signal });
    }
  }

  #draw() {
    const jobs = [...this.#known.values()].sort((a, b) => b.created_at - a.created_at).slice(0, SHOWN);
    show(at("no-jobs"), jobs.length === 0);
    const focused = document.activeElement?.dataset?.job;
    at("jobs").replaceChildren(...jobs.map((job) => made("li", {}, this.#row(job))));
    if (focused) [...at("jobs").querySelectorAll("button")].find((row) => row.dataset.job === focused)?.focus();
  }

  #row(job) {
    const running = job.state === "running";
    const row = made("button", { type: "button", className: "job", onclick: () => this.chosen(job.id) },
      made("span", { className: `dot ${job.state}`, "aria-hidden": "true" }),
      made("span", { className: "name" }, this.name(job) ?? job.model),
      made("span", { className: "when" }, moment(job.created_at)),
      made("span", { className: "state" }, running ? stageWord(job.stage) : stateWord(job.state),
        this.name(job) ? ` · ${job.model}` : ` · ${job.id.slice(0, 8)}`),
      running ? made("progress", { max: 1, value: job.progress ?? 0, "aria-label": "Progress" }) : "");
    row.dataset.job = job.id;
    if (job.id === this.current) row.setAttribute("aria-current", "true");
    return row;
  }
}

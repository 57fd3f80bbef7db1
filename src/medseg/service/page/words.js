/* Numbers, times and states as people say them. */

const STATES = {
  queued: "Waiting", running: "Running", done: "Done", failed: "Refused", dead: "Given up",
  cancelled: "Cancelled",
};

const STAGES = {
  receive: "Receiving the study", assemble: "Assembling the volume", segment: "Segmenting",
  encode: "Writing the results", deliver: "Delivering the results",
};

export const stateWord = (state) => STATES[state] ?? state;
export const stageWord = (stage) => STAGES[stage] ?? stage;
export const isOver = (job) => !["queued", "running"].includes(job.state);

/** A volume with two digits that mean something, at most four. */
export function millilitres(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 0.1 ? 2 : 4;
  return value.toFixed(decimals);
}

export const share = (value) => (Number.isFinite(value) ? value.toFixed(2) : "–");

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  const step = Math.min(3, Math.floor(Math.log10(Math.max(1, count)) / 3));
  return `${(count / 1000 ** step).toFixed(step > 0 ? 1 : 0)} ${units[step]}`;
}

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  return value < 90 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;
}

/** The time of day, with the day where it was another one. */
export function moment(since1970) {
  const when = new Date(typeof since1970 === "number" ? since1970 * 1000 : since1970);
  const today = when.toDateString() === new Date().toDateString();
  const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return today ? time : `${when.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}

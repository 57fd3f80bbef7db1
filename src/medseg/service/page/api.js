/* Talking to the service: one key for all requests, problems as sentences, events as they come. */

const KEY = "medseg-key";

/** Why the service did not do what was asked, as a sentence for people. */
export class Problem extends Error {
  constructor(message, { code = "", status = 0 } = {}) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const SENTENCES = {
  401: "The service does not know this key.",
  403: "This key may not do that.",
  404: "The service holds nothing of this name; it may have been deleted meanwhile.",
  413: "This is more than the service takes in one go.",
  415: "The service does not take files of this kind.",
  429: "The service is busy. Try again in a moment.",
  503: "The service is not ready yet. Try again in a moment.",
  507: "The service has no room left. Ask whoever runs it to make some.",
};

let keyWanted = async () => null;
let asking = null;

/** Tell how a key is asked for: a function (wasRefused) => key, or null if there will be none. */
export function onKeyWanted(ask) {
  keyWanted = ask;
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

/** Headers that say who asks. */
export function identity() {
  const key = sessionStorage.getItem(KEY);
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/** Ask for a key once, however many requests were refused. */
export async function renewKey() {
  asking ??= keyWanted(hasKey()).finally(() => { asking = null; });
  const key = await asking;
  if (key === null) throw new Problem("Without a key the service shows nothing.", { status: 401 });
  sessionStorage.setItem(KEY, key);
}

/** The problem that an answer tells of; `body` is its text. */
export function problemOf(status, body) {
  let told = {};
  try {
    told = JSON.parse(body) ?? {};
  } catch {
    told = {};
  }
  const message = typeof told.message === "string" && told.message !== "" ? told.message
    : SENTENCES[status] ?? (status >= 500 ? `The service failed at this (status ${status}). Its log says why.`
      : `The service refused this (status ${status}).`);
  return new Problem(message, { code: told.code ?? "", status });
}

/** An answer that is well, or a Problem. */
export async function ask(path, options = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: { ...options.headers, ...identity() } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("The service does not answer. It may be starting again; this page keeps asking.");
    }
    if (answer.status === 401) {
      await renewKey();
      continue;
    }
    if (!answer.ok) throw problemOf(answer.status, await answer.text());
    return answer;
  }
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/** The content of a file, told how much of it has come (0 to 1, or NaN where nobody knows). */
export async function bytesOf(path, told = () => {}, signal = undefined) {
  const answer = await ask(path, { signal });
  const length = Number(answer.headers.get("Content-Length"));
  const parts = [];
  let come = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    come += value.length;
    told(length > 0 ? come / length : NaN);
  }
  return new Blob(parts).arrayBuffer();
}

/** Server-sent events of a path, each as the object that its data holds, until the stream ends. */
export async function follow(path, told, signal) {
  const answer = await ask(path, { headers: { Accept: "text/event-stream" }, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (held + value).replaceAll("\r\n", "\n").split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart()).join("\n");
      if (data.startsWith("{")) told(JSON.parse(data));
    }
  }
}

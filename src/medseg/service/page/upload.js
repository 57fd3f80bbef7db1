/* Sending files, with how far it is: fetch cannot tell that yet, XMLHttpRequest can. */

import { Problem, identity, problemOf, renewKey } from "./api.js";

/** A name that tells the kind of a file and nothing of a patient. */
function neutral(name, n) {
  const [suffix = ""] = name.toLowerCase().match(/\.(nii\.gz|nii|zip|dcm)$/) ?? [];
  return `${n + 1}${suffix}`;
}

/** Send files to be segmented; gives what the service made of them. */
export async function upload(files, model, told, signal) {
  for (;;) {
    const { status, body } = await send(files, model, told, signal);
    if (status === 401) {
      await renewKey();
    } else if (status >= 200 && status < 300) {
      return JSON.parse(body);
    } else {
      throw problemOf(status, body);
    }
  }
}

function send(files, model, told, signal) {
  const form = new FormData();
  for (const [n, file] of files.entries()) form.append("files", file, neutral(file.name, n));
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", `segment?model=${encodeURIComponent(model)}`);
    for (const [name, value] of Object.entries(identity())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => told(event.loaded / Math.max(1, event.total), event.loaded);
    request.onload = () => done({ status: request.status, body: request.responseText });
    request.onerror = () => failed(new Problem(
      "The connection broke while files were sent. Nothing of them was taken; send them again."));
    request.onabort = () => failed(new DOMException("stopped", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

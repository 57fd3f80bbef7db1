/* What was dropped or chosen becomes a list of files; folders are walked to their ends. */

const NOISE = /^(\.|Thumbs\.db$|desktop\.ini$|__MACOSX$)/i;

/** Files of a drop, folders included. Must be called while the event lasts. */
export async function dropped(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? null);
  if (entries.length === 0 || entries.includes(null)) return plain(transfer.files);
  const title = entries.length === 1 ? entries[0].name : `${entries.length} files`;
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return { title, files: found };
}

/** Files of an input, or of a drop in a browser that knows no folders. */
export function plain(list) {
  const files = [...list].filter((file) => !NOISE.test(file.name));
  const folder = files[0]?.webkitRelativePath?.split("/")[0] ?? "";
  const title = folder !== "" ? folder : files.length === 1 ? files[0].name : `${files.length} files`;
  return { title, files };
}

async function walk(entry, found) {
  if (NOISE.test(entry.name)) return;
  if (entry.isFile) {
    found.push(await new Promise((done, failed) => entry.file(done, failed)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) return; // readEntries gives at most a hundred at a time
    for (const one of some) await walk(one, found);
  }
}
